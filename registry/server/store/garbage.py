"""What nothing keeps any more: versions whose time to live is over, and uploads that nobody finished.

A time to live ends where somebody relies on the version: one that holds an alias, or is linked to a registry, stays, and so
does everything its lineage leads up to, because the evidence for what is in use does not expire before it. `latest` in the
sequence is no such alias: the server gives it to every version, nobody decides it. What expires loses its content and keeps
its number and its edges of lineage, like a version that was deleted by hand.

What W&B does is documented at https://docs.wandb.ai/models/artifacts/ttl.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import CTE, Connection, ScalarSelect, Table, delete, func, select, union

from registry.references import LATEST
from registry.server.store import artifacts as versions
from registry.server.store.artifacts import COMMITTED, PENDING
from registry.server.tables import (
    aliases,
    artifacts,
    collections,
    digests,
    entities,
    loggings,
    manifests,
    memberships,
    multiparts,
    projects,
    usages,
)


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """An artifact that can go: its name for people, its bytes as far as they are known, and since when (ISO-8601 UTC)."""

    id: int
    name: str
    size: int
    since: str


def expired(connection: Connection, *, moment: str) -> list[Doomed]:
    """The versions whose time to live was over at a moment and that nobody relies on, in the order they were made."""
    ends = func.strftime("%Y-%m-%dT%H:%M:%fZ", artifacts.c.created_at, artifacts.c.ttl_seconds.concat(" seconds"))
    relied = _relied_upon()
    query = (
        select(artifacts.c.id, artifacts.c.size, ends.label("since"))
        .where(artifacts.c.ttl_seconds > 0, artifacts.c.state == COMMITTED, ends <= moment)
        .where(artifacts.c.id.not_in(select(relied.c.artifact_id)))
        .order_by(artifacts.c.id)
    )
    rows = connection.execute(query).all()
    found = versions.by_ids(connection, (row.id for row in rows))
    return [Doomed(id=row.id, name=str(found[row.id]), size=row.size, since=row.since) for row in rows]


def abandoned(connection: Connection, *, before: str) -> list[Doomed]:
    """The uploads that were begun and not finished, and of which nothing was heard since a moment."""
    heard = func.max(artifacts.c.updated_at, func.coalesce(_last(manifests), ""), func.coalesce(_last(multiparts), ""))
    query = (
        select(artifacts.c.id, heard.label("since"), collections.c.name, projects.c.name.label("project"))
        .add_columns(entities.c.name.label("entity"))
        .join(collections, collections.c.id == artifacts.c.sequence_id)
        .join(projects, projects.c.id == collections.c.project_id)
        .join(entities, entities.c.id == projects.c.entity_id)
        .where(artifacts.c.state == PENDING, heard < before)
        .order_by(artifacts.c.id)
    )
    rows = connection.execute(query)
    return [Doomed(id=row.id, name=f"{row.entity}/{row.project}/{row.name}", size=0, since=row.since) for row in rows]


def remove_expired(connection: Connection, artifact_ids: Collection[int], *, moment: str) -> list[Doomed]:
    """Delete those of the versions that are still expired; returns which."""
    gone = [doomed for doomed in expired(connection, moment=moment) if doomed.id in artifact_ids]
    for artifact in versions.by_ids(connection, (doomed.id for doomed in gone)).values():
        versions.remove(connection, artifact, with_aliases=True, user_id=None)
    return gone


def remove_abandoned(connection: Connection, artifact_ids: Collection[int], *, before: str) -> list[Doomed]:
    """Forget those of the uploads that are still abandoned; returns which.

    Wholly: a client that comes back with its own id for the artifact begins anew, instead of finding it deleted.
    """
    gone = [doomed for doomed in abandoned(connection, before=before) if doomed.id in artifact_ids]
    for doomed in gone:
        connection.execute(delete(artifacts).where(artifacts.c.id == doomed.id))
    return gone


def forget_digests(connection: Connection, md5s: Collection[str]) -> None:
    """Forget by what other digests removed blobs were known."""
    connection.execute(delete(digests).where(digests.c.md5.in_(sorted(md5s))))


def _relied_upon() -> CTE:
    """The versions that hold an alias somebody gave, or are linked, and all they were made from."""
    named = (
        select(memberships.c.artifact_id)
        .join(aliases, aliases.c.membership_id == memberships.c.id)
        .where(aliases.c.name != LATEST)
    )
    linked = (
        select(memberships.c.artifact_id)
        .join(collections, collections.c.id == memberships.c.collection_id)
        .where(collections.c.kind == "portfolio")
    )
    relied = select(union(named, linked).subquery().c.artifact_id).cte("relied", recursive=True)
    made_from = (
        select(usages.c.artifact_id)
        .join(loggings, loggings.c.run_id == usages.c.run_id)
        .join(relied, relied.c.artifact_id == loggings.c.artifact_id)
    )
    return relied.union(made_from)


def _last(table: Table) -> ScalarSelect[str]:
    """When an artifact's newest row of a table was written."""
    return select(func.max(table.c.created_at)).where(table.c.artifact_id == artifacts.c.id).scalar_subquery()
