"""Collections as lists show them, with a few of their aliases, and the versions in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from registry.server.store.artifacts import COMMITTED
from registry.server.store.overview.places import in_projects
from registry.server.store.overview.runs import RunRow, run_rows
from registry.server.store.overview.versions import BY_ITSELF, FEW, VersionRow, members, version_rows
from registry.server.store.pages import Page, page
from registry.server.tables import aliases, artifact_types, artifacts, collections, memberships, projects


@dataclass(frozen=True, kw_only=True)
class CollectionRow:
    """A collection in a list, with a few of its aliases and the number of the version each points at."""

    id: int
    entity: str
    organization: str | None
    project: str
    name: str
    type: str
    kind: str
    description: str | None
    versions: int
    newest: int | None
    updated_at: str
    aliases: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class MemberRow:
    """A version in the list of its collection; `origin` is where it was logged, `added_at` when it came here."""

    version: VersionRow
    origin: VersionRow
    aliases: tuple[str, ...]
    digest: str
    size: int
    file_count: int
    added_at: str
    made_by: RunRow | None


def collection_page(connection: Connection, project_id: int, *, after: str | None, first: int) -> Page[CollectionRow]:
    """The collections of a project by type and name, with counts and a few aliases."""
    query = _collections().where(projects.c.id == project_id).order_by(BY_ITSELF, artifact_types.c.name, collections.c.name)
    found = page(connection, query, lambda row: row, after=after, first=first)
    return Page(items=_with_aliases(connection, found.items), start=found.start, total_count=found.total_count)


def collection(connection: Connection, project_id: int, name: str) -> CollectionRow | None:
    rows = connection.execute(_collections().where(projects.c.id == project_id, collections.c.name == name)).all()
    return next(iter(_with_aliases(connection, rows)), None)


def member_page(connection: Connection, collection_id: int, *, after: str | None, first: int) -> Page[MemberRow]:
    """The versions in a collection, newest first."""
    query = (
        select(
            memberships.c.id,
            memberships.c.artifact_id,
            memberships.c.version_index,
            memberships.c.created_at,
            artifacts.c.digest,
            artifacts.c.size,
            artifacts.c.file_count,
            artifacts.c.run_id,
        )
        .join(artifacts, artifacts.c.id == memberships.c.artifact_id)
        .where(memberships.c.collection_id == collection_id, artifacts.c.state == COMMITTED)
        .order_by(memberships.c.version_index.desc())
    )
    found = page(connection, query, lambda row: row, after=after, first=first)
    here = [row.id for row in found.items]
    origins = version_rows(connection, [row.artifact_id for row in found.items])
    makers = run_rows(connection, [row.run_id for row in found.items if row.run_id is not None])
    placed = members(connection, [(collection_id, row.version_index) for row in found.items])
    held: dict[int, list[str]] = {number: [] for number in here}
    for alias in connection.execute(select(aliases).where(aliases.c.membership_id.in_(here)).order_by(aliases.c.id)):
        held[alias.membership_id].append(alias.name)
    items = [
        MemberRow(
            version=placed[collection_id, row.version_index],
            origin=origins[row.artifact_id],
            aliases=tuple(held[row.id]),
            digest=row.digest,
            size=row.size,
            file_count=row.file_count,
            added_at=row.created_at,
            made_by=makers.get(row.run_id),
        )
        for row in found.items
    ]
    return Page(items=items, start=found.start, total_count=found.total_count)


def _collections() -> Select[Any]:
    inside = memberships.c.collection_id == collections.c.id
    return (
        in_projects(
            collections.c.id,
            collections.c.name,
            collections.c.kind,
            collections.c.description,
            collections.c.updated_at,
            artifact_types.c.name.label("type"),
            select(func.count()).select_from(memberships).where(inside).scalar_subquery().label("versions"),
            select(func.max(memberships.c.version_index)).where(inside).scalar_subquery().label("newest"),
        )
        .join(collections, collections.c.project_id == projects.c.id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
    )


def _with_aliases(connection: Connection, rows: Sequence[Row[Any]]) -> list[CollectionRow]:
    place = func.row_number().over(partition_by=aliases.c.collection_id, order_by=aliases.c.id).label("place")
    numbered = (
        select(aliases.c.collection_id, aliases.c.name, memberships.c.version_index, place)
        .join(memberships, memberships.c.id == aliases.c.membership_id)
        .where(aliases.c.collection_id.in_([row.id for row in rows]))
        .subquery()
    )
    held: dict[int, list[tuple[str, int]]] = {row.id: [] for row in rows}
    for alias in connection.execute(select(numbered).where(numbered.c.place <= FEW).order_by(numbered.c.place)):
        held[alias.collection_id].append((alias.name, alias.version_index))
    return [CollectionRow(**row._mapping, aliases=tuple(held[row.id])) for row in rows]
