"""Registries: the projects of the organisation whose names begin `wandb-registry-`, and searches across them.

The client sends no filter when its user gives none, so every search here is confined to registries by itself. Other projects
are written by the same mutation (`upsertModel`); what makes a registry different is who may own it and that it may refuse
artifact types.

What W&B does is documented at https://docs.wandb.ai/models/registry/configure_registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select, update

from registry.errors import BadData, Conflict, NotFound
from registry.references import REGISTRY_PREFIX
from registry.server.context import now
from registry.server.filters import Fields, condition, ordering
from registry.server.store import artifacts, collections, people
from registry.server.store.artifacts import Version
from registry.server.store.collections import Collection, Kind
from registry.server.store.pages import Page, page
from registry.server.tables import collections as collections_table
from registry.server.tables import projects

_ACCESS = ("PRIVATE", "RESTRICTED", "USER_READ", "USER_WRITE", "ENTITY_READ", "ENTITY_WRITE", "OPEN")

FIELDS = Fields(
    named={
        "id": projects.c.id,
        "name": projects.c.name,
        "entity_id": projects.c.entity_id,
        "description": projects.c.description,
        "created_at": projects.c.created_at,
        "updated_at": projects.c.updated_at,
    }
)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a client wants to be true of a project; None leaves it."""

    description: str | None = None
    access: str | None = None
    all_types: bool | None = None
    types: Sequence[str] = ()


def upsert(
    connection: Connection, owner: people.Entity, name: str, changes: Changes, *, user_id: int
) -> tuple[people.Project, bool]:
    """Change a project, made when absent; says whether it was.

    Types can only be added: what is linked stays where it is.

    Raises:
        Conflict: a registry is to belong to somebody else than the organisation.
        BadData: the name or the access level cannot be one.
    """
    if changes.access is not None and changes.access not in _ACCESS:
        raise BadData(f"'{changes.access[:80]}' is not an access level: {', '.join(_ACCESS)}")
    inserted = people.project(connection, owner.name, name) is None
    project = people.ensure_project(connection, owner, name, user_id)
    values: dict[str, Any] = {
        "description": changes.description,
        "access": changes.access,
        "all_types": changes.all_types,
    }
    given = {column: value for column, value in values.items() if value is not None}
    connection.execute(update(projects).where(projects.c.id == project.id).values(**given, updated_at=now()))
    for kind in changes.types:
        collections.ensure_type(connection, project.id, kind)
    return people.project_by_id(connection, project.id), inserted


def rename(connection: Connection, owner: people.Entity, old: str, new: str) -> people.Project:
    """
    Raises:
        NotFound: there is no project of the old name.
        Conflict: there is one of the new name, or a registry would become an ordinary project or the reverse.
        BadData: the new name cannot be one.
    """
    project = people.project(connection, owner.name, old)
    if project is None:
        raise NotFound(f"there is no project {owner.name}/{old}")
    if people.project(connection, owner.name, new) is not None:
        raise Conflict(f"there is a project {owner.name}/{new} already")
    if new.startswith(REGISTRY_PREFIX) != project.is_registry:
        raise Conflict(f"'{old}' cannot become '{new}': the names of registries, and only theirs, begin '{REGISTRY_PREFIX}'")
    people.check_name("project", new)
    connection.execute(update(projects).where(projects.c.id == project.id).values(name=new, updated_at=now()))
    return people.project_by_id(connection, project.id)


def remove(connection: Connection, project: people.Project) -> None:
    """Delete a registry with its collections and links; the versions stay where they were logged.

    Raises:
        Conflict: it is an ordinary project, which may hold runs.
    """
    if not project.is_registry:
        raise Conflict(f"'{project.name}' is not a registry: delete its runs and collections instead")
    connection.execute(delete(projects).where(projects.c.id == project.id))


def listing(
    connection: Connection,
    owner: people.Entity,
    *,
    visible: ColumnElement[bool],
    filters: str | None,
    order: str | None,
    after: str | None,
    first: int | None,
) -> Page[people.Project]:
    """The `visible` registries of an organisation's entity, or projects of another one; newest first by default.

    Raises:
        BadData: an unknown name or operator.
    """
    query = select(projects.c.id).where(*_of(owner), visible, condition(filters, FIELDS))
    query = query.order_by(*ordering(order, FIELDS, default="-id"), projects.c.id.desc())
    return page(connection, query, lambda row: people.project_by_id(connection, row.id), after=after, first=first)


def collection_page(
    connection: Connection,
    owner: people.Entity,
    *,
    visible: ColumnElement[bool],
    registry_filters: str | None,
    filters: str | None,
    kinds: Sequence[Kind],
    order: str | None,
    after: str | None,
    first: int | None,
) -> Page[Collection]:
    """Collections across registries; see `listing`."""
    return collections.page_of(
        connection,
        *_of(owner),
        visible,
        condition(registry_filters, FIELDS),
        condition(filters, collections.FIELDS),
        collections_table.c.kind.in_(kinds),
        order=order,
        after=after,
        first=first,
    )


def version_page(
    connection: Connection,
    owner: people.Entity,
    *,
    visible: ColumnElement[bool],
    registry_filters: str | None,
    collection_filters: str | None,
    filters: str | None,
    order: str | None,
    after: str | None,
    first: int | None,
) -> Page[Version]:
    """Linked versions across registries, latest link first by default."""
    return artifacts.version_page(
        connection,
        *_of(owner),
        visible,
        condition(registry_filters, FIELDS),
        condition(collection_filters, collections.FIELDS),
        condition(filters, artifacts.FIELDS),
        order=order,
        after=after,
        first=first,
    )


def _of(owner: people.Entity) -> list[ColumnElement[bool]]:
    conditions = [projects.c.entity_id == owner.id]
    if owner.kind == "organization":
        conditions.append(projects.c.name.startswith(REGISTRY_PREFIX, autoescape=True))
    return conditions
