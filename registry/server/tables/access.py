"""Who belongs to what in which role, and the aliases that only admins of a registry move.

A role is one of the words of `registry.server.access`; one row per pair, so that somebody has one role in one place.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from registry.server.tables.columns import metadata


def _half(name: str, table: str) -> Column[int]:
    return Column(name, Integer, ForeignKey(f"{table}.id", ondelete="CASCADE"), primary_key=True)


def _roles(table: str, place: Column[int], member: Column[int]) -> Table:
    role, since = Column("role", Text, nullable=False), Column("created_at", Text, nullable=False)
    return Table(
        table, metadata, place, member, role, since, Index(f"{table}_by_{member.name.removesuffix('_id')}", member.name)
    )


organization_members = _roles("organization_members", _half("organization_id", "organizations"), _half("user_id", "users"))
team_members = _roles("team_members", _half("team_id", "entities"), _half("user_id", "users"))
project_users = _roles("project_users", _half("project_id", "projects"), _half("user_id", "users"))
project_teams = _roles("project_teams", _half("project_id", "projects"), _half("team_id", "entities"))

# Content that an upload names, that is stored, and that whoever uploads cannot read elsewhere: see `store.possession`.
contested = Table("contested", metadata, _half("artifact_id", "artifacts"), Column("md5", Text, primary_key=True))

protected_aliases = Table(
    "protected_aliases",
    metadata,
    _half("project_id", "projects"),
    Column("name", Text, primary_key=True),
    Column("created_at", Text, nullable=False),
)
