"""Sweeps as lists show them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from registry.server.store.overview.places import in_projects
from registry.server.store.pages import Page, page
from registry.server.tables import projects, sweeps, trials


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A sweep in a list; `trials` counts those that began."""

    entity: str
    project: str
    name: str
    display_name: str | None
    method: str
    state: str
    trials: int
    created_at: str


def sweep_page(connection: Connection, project_id: int, *, after: str | None, first: int) -> Page[SweepRow]:
    """The sweeps of a project, newest first."""
    number = select(func.count()).where(trials.c.sweep_id == sweeps.c.id).correlate(sweeps).scalar_subquery()
    shown = ("name", "display_name", "method", "state", "created_at")
    query = in_projects(*(sweeps.c[name] for name in shown), number.label("trials"))
    query = query.join(sweeps, sweeps.c.project_id == projects.c.id).where(sweeps.c.project_id == project_id)
    return page(
        connection,
        query.order_by(sweeps.c.id.desc()),
        lambda row: SweepRow(**{name: value for name, value in row._mapping.items() if name != "organization"}),
        after=after,
        first=first,
    )
