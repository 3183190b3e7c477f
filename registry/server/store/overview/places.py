"""Where things are: the names of the project, its entity and its organisation beside any row that a page shows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from registry.server.tables import entities, organizations, projects


def in_projects(*columns: Any) -> Select[Any]:
    """Columns of a thing in a project, with the names of its place; join the thing to `projects`."""
    names = (entities.c.name.label("entity"), organizations.c.name.label("organization"))
    own = () if any(column is projects.c.name for column in columns) else (projects.c.name.label("project"),)
    return (
        select(*columns, *own, *names)
        .select_from(projects)
        .join(entities, entities.c.id == projects.c.entity_id)
        .join(organizations, organizations.c.id == entities.c.organization_id, isouter=True)
    )
