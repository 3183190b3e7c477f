"""Runs as lists show them: those of a project, and those that logged or used a version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, func, select

from registry.server.store.overview.places import in_projects
from registry.server.store.pages import Page, page
from registry.server.tables import loggings, projects, runs, usages, users

Way = Literal["logged", "used"]
EDGES = {"logged": loggings, "used": usages}


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in a list."""

    id: int
    entity: str
    project: str
    name: str
    display_name: str | None
    job_type: str | None
    state: str
    created_at: str
    heartbeat_at: str
    by: str | None


def job_types(connection: Connection, project_id: int) -> list[tuple[str, int]]:
    """The job types of a project's runs and how many runs each has, most first."""
    number = func.count()
    query = (
        select(runs.c.job_type, number)
        .where(runs.c.project_id == project_id, runs.c.job_type.is_not(None), runs.c.job_type != "")
        .group_by(runs.c.job_type)
        .order_by(number.desc(), runs.c.job_type)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def run_page(connection: Connection, project_id: int, *, job_type: str | None, after: str | None, first: int) -> Page[RunRow]:
    """The runs of a project, of one job type if named; newest first."""
    query = _runs().where(runs.c.project_id == project_id).order_by(runs.c.id.desc())
    if job_type is not None:
        query = query.where(runs.c.job_type == job_type)
    return page(connection, query, _run, after=after, first=first)


def run_rows(connection: Connection, run_ids: Iterable[int]) -> dict[int, RunRow]:
    """Those of the runs that exist, by id."""
    query = _runs().where(runs.c.id.in_(sorted(set(run_ids))))
    return {row.id: _run(row) for row in connection.execute(query)}


def runs_of_version(connection: Connection, way: Way, artifact_id: int, *, after: str | None, first: int) -> Page[RunRow]:
    """The runs that logged a version (its maker first), or that used it (latest first)."""
    edge = EDGES[way]
    query = _runs().join(edge, edge.c.run_id == runs.c.id).where(edge.c.artifact_id == artifact_id)
    query = query.order_by(edge.c.id if way == "logged" else edge.c.id.desc())
    return page(connection, query, _run, after=after, first=first)


def username(connection: Connection, user_id: int | None) -> str | None:
    return connection.execute(select(users.c.username).where(users.c.id == user_id)).scalar_one_or_none()


def _runs() -> Select[Any]:
    shown = ("id", "name", "display_name", "job_type", "state", "created_at", "heartbeat_at")
    return (
        in_projects(*(runs.c[name] for name in shown), users.c.username.label("by"))
        .join(runs, runs.c.project_id == projects.c.id)
        .join(users, users.c.id == runs.c.user_id, isouter=True)
    )


def _run(row: Row[Any]) -> RunRow:
    known = {name: value for name, value in row._mapping.items() if name != "organization"}
    return RunRow(**known)
