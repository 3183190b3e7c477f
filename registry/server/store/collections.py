"""Collections: the names under which versions are found, and the artifact types they belong to.

A project has one name space for both kinds. Into a *sequence* versions are logged, into a *portfolio* (a collection of a
registry) versions of sequences are linked. A deleted collection is gone with everything in it; a version's number is not
given twice as long as its collection lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound
from registry.server.context import now
from registry.server.filters import Fields, Values, condition, ordering
from registry.server.names import readable
from registry.server.store import people
from registry.server.store.pages import Page, page
from registry.server.tables import aliases, artifact_types, collection_tags, collections, memberships, projects

Kind = Literal["sequence", "portfolio"]
_LONGEST_NAME = 128
_TAG = re.compile(r"[-\w]+( +[-\w]+)*")


@dataclass(frozen=True, kw_only=True)
class ArtifactType:
    """What kind of thing a collection holds: `dataset`, `model`, whatever the user calls it."""

    id: int
    project_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A label without a holder: unlike an alias, many versions may carry it."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A named list of versions."""

    id: int
    kind: Kind
    name: str
    type: ArtifactType
    description: str | None
    created_at: str
    updated_at: str
    project: people.Project
    tags: tuple[Tag, ...]
    state: Literal["READY", "DELETED"] = "READY"

    @property
    def path(self) -> str:
        return f"{self.project.entity_name}/{self.project.name}/{self.name}"


def types(connection: Connection, project_id: int, *, after: str | None = None, first: int | None = None) -> Page[ArtifactType]:
    """The artifact types of a project, in the order of their first use."""
    query = select(artifact_types).where(artifact_types.c.project_id == project_id).order_by(artifact_types.c.id)
    return page(connection, query, lambda row: ArtifactType(**row._mapping), after=after, first=first)


def type_named(connection: Connection, project_id: int, name: str) -> ArtifactType | None:
    row = connection.execute(
        select(artifact_types).where(artifact_types.c.project_id == project_id, artifact_types.c.name == name)
    ).one_or_none()
    return None if row is None else ArtifactType(**row._mapping)


def ensure_type(connection: Connection, project_id: int, name: str, *, description: str | None = None) -> int:
    """The id of the project's artifact type of that name, made when absent.

    Raises:
        BadData: the name is empty or too long.
    """
    if not name.strip() or len(name) > _LONGEST_NAME or not readable(name):
        raise BadData(f"'{name[:80]}' cannot be the name of an artifact type: 1 to {_LONGEST_NAME} characters")
    connection.execute(
        upsert(artifact_types)
        .values(project_id=project_id, name=name, description=description, created_at=now())
        .on_conflict_do_nothing()
    )
    found = type_named(connection, project_id, name)
    assert found is not None
    return found.id


def by_id(connection: Connection, collection_id: int) -> Collection:
    """
    Raises:
        NotFound: there is none.
    """
    found = by_ids(connection, [collection_id])
    if collection_id not in found:
        raise NotFound("the collection does not exist, or no longer")
    return found[collection_id]


def by_ids(connection: Connection, collection_ids: Iterable[int]) -> dict[int, Collection]:
    """Those of the collections that exist, by id."""
    wanted = sorted(set(collection_ids))
    if not wanted:
        return {}
    rows = connection.execute(_collections().where(collections.c.id.in_(wanted))).all()
    return {found.id: found for found in _made(connection, rows)}


def find(connection: Connection, project_id: int, name: str) -> Collection | None:
    """The collection of that name, whatever its kind."""
    rows = connection.execute(_collections().where(collections.c.project_id == project_id, collections.c.name == name)).all()
    return next(iter(_made(connection, rows)), None)


def ensure(connection: Connection, project: people.Project, name: str, *, kind: Kind, type_name: str) -> Collection:
    """The project's collection of that name, made when absent.

    Raises:
        BadData: the name cannot be part of a path.
        Conflict: the name belongs to a collection of the other kind or of another artifact type.
    """
    found = find(connection, project.id, name)
    if found is None:
        _check_name(name)
        moment = now()
        connection.execute(
            insert(collections).values(
                project_id=project.id,
                type_id=ensure_type(connection, project.id, type_name),
                kind=kind,
                name=name,
                created_at=moment,
                updated_at=moment,
            )
        )
        found = find(connection, project.id, name)
        assert found is not None
    if found.kind != kind:
        way = {"sequence": "versions are logged to it, not linked", "portfolio": "versions are linked to it, not logged"}
        raise Conflict(f"the collection {found.path} is a {found.kind}: {way[found.kind]}; use another name")
    if found.type.name != type_name:
        raise Conflict(f"the collection {found.path} holds artifacts of type '{found.type.name}', not '{type_name}'")
    return found


_tags = Values(
    source=collection_tags, column=collection_tags.c.name, joined=collection_tags.c.collection_id == collections.c.id
)
FIELDS = Fields(
    named={
        "id": collections.c.id,
        "artifact_collection_id": collections.c.id,
        "name": collections.c.name,
        "description": collections.c.description,
        "type": artifact_types.c.name,
        "tag": _tags,
        "tags": _tags,
        "created_at": collections.c.created_at,
        "updated_at": collections.c.updated_at,
    }
)


def listing(
    connection: Connection,
    project_id: int,
    *,
    type_name: str | None = None,
    filters: str | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Collection]:
    """The collections of a project, of one artifact type if named; newest first by default.

    Raises:
        BadData: an unknown name or operator in `filters` or `order`.
    """
    conditions = [collections.c.project_id == project_id, condition(filters, FIELDS)]
    if type_name is not None:
        conditions.append(artifact_types.c.name == type_name)
    return page_of(connection, *conditions, order=order, after=after, first=first)


def page_of(
    connection: Connection,
    *conditions: ColumnElement[bool],
    order: str | None,
    after: str | None,
    first: int | None,
) -> Page[Collection]:
    """The collections that meet all conditions (on `collections`, `artifact_types`, `projects`); newest first by default.

    Raises:
        BadData: `order` names an unknown field.
    """
    query = (
        select(collections.c.id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
        .join(projects, projects.c.id == collections.c.project_id)
        .where(*conditions)
        .order_by(*ordering(order, FIELDS, default="-id"), collections.c.id.desc())
    )
    found = page(connection, query, lambda row: int(row.id), after=after, first=first)
    made = by_ids(connection, found.items)
    return Page(items=[made[number] for number in found.items], start=found.start, total_count=found.total_count)


def latest(connection: Connection, collection_id: int) -> int | None:
    """The artifact that holds `latest`, or the newest one when nothing does."""
    row = connection.execute(
        select(memberships.c.artifact_id)
        .join(aliases, (aliases.c.membership_id == memberships.c.id) & (aliases.c.name == "latest"), isouter=True)
        .where(memberships.c.collection_id == collection_id)
        .order_by(aliases.c.name.is_(None), memberships.c.version_index.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else int(row.artifact_id)


def describe(connection: Connection, collection: Collection, *, name: str | None, description: str | None) -> None:
    """Rename a collection or change its description; None leaves it.

    Raises:
        BadData: the name cannot be part of a path.
        Conflict: the project has another collection of that name.
    """
    changes: dict[str, Any] = {"updated_at": now()}
    if description is not None:
        changes["description"] = description
    if name is not None and name != collection.name:
        _check_name(name)
        if find(connection, collection.project.id, name) is not None:
            raise Conflict(f"{collection.project.entity_name}/{collection.project.name} has a collection '{name}' already")
        changes["name"] = name
    connection.execute(update(collections).where(collections.c.id == collection.id).values(changes))


def change_type(connection: Connection, collection: Collection, type_name: str) -> None:
    """Declare that a sequence holds another type of artifact."""
    type_id = ensure_type(connection, collection.project.id, type_name)
    connection.execute(update(collections).where(collections.c.id == collection.id).values(type_id=type_id, updated_at=now()))


def remove(connection: Connection, collection: Collection) -> None:
    """Drop the collection with its memberships, and with its versions if it is a sequence."""
    connection.execute(delete(collections).where(collections.c.id == collection.id))


def add_tags(connection: Connection, collection: Collection, names: Sequence[str]) -> None:
    """
    Raises:
        BadData: a tag is not words of letters, digits, dashes and underscores, separated by spaces.
    """
    for name in names:
        connection.execute(
            upsert(collection_tags).values(collection_id=collection.id, name=check_tag(name)).on_conflict_do_nothing()
        )


def remove_tags(connection: Connection, collection: Collection, names: Sequence[str]) -> None:
    connection.execute(
        delete(collection_tags).where(collection_tags.c.collection_id == collection.id, collection_tags.c.name.in_(names))
    )


def check_tag(name: str) -> str:
    """
    Raises:
        BadData: it cannot be a tag.
    """
    if len(name) > _LONGEST_NAME or not _TAG.fullmatch(name):
        raise BadData(f"'{name[:80]}' cannot be a tag: words of letters, digits, - and _ with spaces between them")
    return name


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME or any(letter in "/:" for letter in name) or not readable(name):
        raise BadData(f"'{name[:80]}' cannot be the name of a collection: 1 to {_LONGEST_NAME} characters without '/' and ':'")


def _collections() -> Select[Any]:
    return select(
        collections,
        artifact_types.c.name.label("type_name"),
        artifact_types.c.description.label("type_description"),
        artifact_types.c.created_at.label("type_created_at"),
    ).join(artifact_types, artifact_types.c.id == collections.c.type_id)


def _made(connection: Connection, rows: Sequence[Row[Any]]) -> list[Collection]:
    owners = {number: people.project_by_id(connection, number) for number in {row.project_id for row in rows}}
    tags: dict[int, list[Tag]] = {row.id: [] for row in rows}
    for tag in connection.execute(
        select(collection_tags).where(collection_tags.c.collection_id.in_(list(tags))).order_by(collection_tags.c.id)
    ):
        tags[tag.collection_id].append(Tag(id=tag.id, name=tag.name))
    return [
        Collection(
            id=row.id,
            kind=row.kind,
            name=row.name,
            type=ArtifactType(
                id=row.type_id,
                project_id=row.project_id,
                name=row.type_name,
                description=row.type_description,
                created_at=row.type_created_at,
            ),
            description=row.description,
            created_at=row.created_at,
            updated_at=row.updated_at,
            project=owners[row.project_id],
            tags=tuple(tags[row.id]),
        )
        for row in rows
    ]
