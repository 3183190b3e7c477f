"""Lineage: which runs logged a version, and which used it.

Edges outlive what they tell about as far as the database can remember: a version that was deleted still has its edges, a run
that was deleted takes its own away. A version that was logged again with equal contents has several loggers; the first made it.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, insert, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.server.context import now
from registry.server.store.pages import Page, page
from registry.server.tables import artifacts, collections, loggings, memberships, projects, usages


def record_logging(connection: Connection, artifact_id: int, run_id: int) -> None:
    """Say that a run logged a version; repeating it changes nothing."""
    values = {"artifact_id": artifact_id, "run_id": run_id, "created_at": now()}
    connection.execute(upsert(loggings).values(values).on_conflict_do_nothing())


def record_use(connection: Connection, artifact_id: int, run_id: int, *, used_as: str | None) -> None:
    """Say that a run used a version; the first word on what as stands."""
    values = {"artifact_id": artifact_id, "run_id": run_id, "used_as": used_as, "created_at": now()}
    connection.execute(upsert(usages).values(values).on_conflict_do_nothing())


def hand_over(connection: Connection, loser: int, winner: int) -> None:
    """Give a version the edges of another that turned out to be the same."""
    for table in (loggings, usages):
        columns = [column.name for column in table.columns if column.name not in {"id", "artifact_id"}]
        moved = select(table.c.id * 0 + winner, *(table.c[name] for name in columns)).where(table.c.artifact_id == loser)
        connection.execute(insert(table).from_select(["artifact_id", *columns], moved).prefix_with("OR IGNORE"))
        connection.execute(delete(table).where(table.c.artifact_id == loser))


def users_of(connection: Connection, artifact_id: int) -> list[int]:
    """The runs that used a version, first use first."""
    return _runs(connection, usages, artifact_id)


def loggers_of(connection: Connection, artifact_id: int) -> list[int]:
    """The runs that logged a version, its maker first."""
    return _runs(connection, loggings, artifact_id)


def logged_by_run(
    connection: Connection, run_id: int, *, visible: ColumnElement[bool], after: str | None, first: int | None
) -> Page[int]:
    """The committed versions that a run logged, in the order in which it did.

    Args:
        visible: the condition on `projects` that the user may see them (`registry.server.store.access`).
    """
    return page(connection, _versions(loggings, run_id, visible), lambda row: int(row.id), after=after, first=first)


def used_by_run(
    connection: Connection, run_id: int, *, visible: ColumnElement[bool], after: str | None, first: int | None
) -> Page[int]:
    """The committed versions that a run used, in the order in which it did; see `logged_by_run`."""
    return page(connection, _versions(usages, run_id, visible), lambda row: int(row.id), after=after, first=first)


def _runs(connection: Connection, table: Table, artifact_id: int) -> list[int]:
    query = select(table.c.run_id).where(table.c.artifact_id == artifact_id).order_by(table.c.id)
    return list(connection.execute(query).scalars())


def _versions(table: Table, run_id: int, visible: ColumnElement[bool]) -> Select[tuple[int]]:
    """Those of which the user sees a project: where they were logged, or where they are linked."""
    seen = select(collections.c.id).join(projects, projects.c.id == collections.c.project_id).where(visible)
    logged_there = seen.where(collections.c.id == artifacts.c.sequence_id).exists()
    linked = seen.join(memberships, memberships.c.collection_id == collections.c.id)
    linked_there = linked.where(memberships.c.artifact_id == artifacts.c.id).exists()
    return (
        select(artifacts.c.id)
        .join(table, table.c.artifact_id == artifacts.c.id)
        .where(table.c.run_id == run_id, artifacts.c.state == "COMMITTED", or_(logged_there, linked_there))
        .order_by(table.c.id)
    )
