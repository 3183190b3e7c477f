"""Projects and registries as lists show them: how much is in each, and when it last changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from registry.references import REGISTRY_PREFIX
from registry.server.store.overview.places import in_projects
from registry.server.store.pages import Page, page
from registry.server.tables import collections, projects, runs


@dataclass(frozen=True, kw_only=True)
class ProjectRow:
    """A project and how much is in it; `active_at` is when something in it last changed or gave a sign of life."""

    entity: str
    organization: str | None
    name: str
    description: str | None
    runs: int
    collections: int
    active_at: str

    @property
    def is_registry(self) -> bool:
        return self.name.startswith(REGISTRY_PREFIX)


def project_page(
    connection: Connection, *, visible: ColumnElement[bool], registries: bool, after: str | None, first: int
) -> Page[ProjectRow]:
    """All `visible` projects that are registries, or all that are not; the one that was active last first."""
    mine, within = runs.c.project_id == projects.c.id, collections.c.project_id == projects.c.id
    count_runs = select(func.count()).select_from(runs).where(mine).scalar_subquery()
    count_collections = select(func.count()).select_from(collections).where(within).scalar_subquery()
    heard = select(func.max(runs.c.heartbeat_at)).where(mine).scalar_subquery()
    changed = select(func.max(collections.c.updated_at)).where(within).scalar_subquery()
    active = func.max(projects.c.updated_at, func.coalesce(heard, ""), func.coalesce(changed, ""))
    prefixed = projects.c.name.startswith(REGISTRY_PREFIX, autoescape=True)
    query = (
        in_projects(
            projects.c.name,
            projects.c.description,
            count_runs.label("runs"),
            count_collections.label("collections"),
            active.label("active_at"),
        )
        .where(prefixed if registries else ~prefixed, visible)
        .order_by(active.desc(), projects.c.id.desc())
    )
    return page(connection, query, _project, after=after, first=first)


def _project(row: Row[Any]) -> ProjectRow:
    return ProjectRow(**row._mapping)
