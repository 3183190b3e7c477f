"""Who: users and their keys, the entities that own projects, the organisation that owns the registries, the projects.

One machine has one organisation; its registries live under an entity of their own (`local-org`), as on W&B, and every entity
belongs to it, so that a registry path without a prefix resolves for everybody.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound
from registry.references import REGISTRY_PREFIX
from registry.server import ids
from registry.server.context import User, now
from registry.server.store.pages import Page, page
from registry.server.tables import api_keys, entities, organizations, projects, users

LOCAL_USER = "local"
LOCAL_ORGANIZATION = "local"
LOCAL_ORG_ENTITY = "local-org"
DEFAULT_REGISTRIES = (f"{REGISTRY_PREFIX}model", f"{REGISTRY_PREFIX}dataset")
_LONGEST_NAME = 128


@dataclass(frozen=True, kw_only=True)
class Organization:
    """A company or team of teams; `name` is the display name."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Entity:
    """Owns projects; `kind` is user, team or organization."""

    id: int
    name: str
    kind: str
    organization_id: int | None
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user as others see them; `entity` is the default entity of their paths."""

    id: int
    username: str
    name: str
    email: str
    admin: bool
    entity: str
    entity_id: int


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without the key: its first characters tell several apart."""

    id: int
    prefix: str
    description: str | None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A named place for runs and artifacts; a registry is a project of the org entity whose name begins `wandb-registry-`."""

    id: int
    name: str
    entity_id: int
    entity_name: str
    description: str | None
    access: str
    all_types: bool
    user_id: int | None
    created_at: str
    updated_at: str

    @property
    def internal_id(self) -> str:
        """The other id of a project, which the client decodes to an integer for its registry filters."""
        return ids.encode("ProjectInternalId", self.id)

    @property
    def is_registry(self) -> bool:
        return self.name.startswith(REGISTRY_PREFIX)


def ensure_local_user(connection: Connection, *, key: str) -> None:
    """Give a home its user, organisation, default registries and key; what is there already stays as it is."""
    moment = now()
    _insert_missing(connection, organizations, name=LOCAL_ORGANIZATION)
    organization = connection.execute(select(organizations.c.id).where(organizations.c.name == LOCAL_ORGANIZATION)).scalar_one()
    for name, kind in ((LOCAL_USER, "user"), (LOCAL_ORG_ENTITY, "organization")):
        _insert_missing(connection, entities, name=name, kind=kind, organization_id=organization, created_at=moment)
    owner = _the_entity(connection, LOCAL_USER)
    _insert_missing(
        connection,
        users,
        username=LOCAL_USER,
        name=LOCAL_USER,
        email=f"{LOCAL_USER}@localhost",
        admin=True,
        entity_id=owner.id,
        created_at=moment,
    )
    user_id = connection.execute(select(users.c.id).where(users.c.username == LOCAL_USER)).scalar_one()
    registries = _the_entity(connection, LOCAL_ORG_ENTITY)
    for name in DEFAULT_REGISTRIES:
        ensure_project(connection, registries, name, user_id)
    _insert_missing(
        connection, api_keys, user_id=user_id, prefix=key[:8], hash=_hashed(key), description="this home", created_at=moment
    )


def user_by_key(connection: Connection, key: str) -> User | None:
    """Whose key this is, or None."""
    row = connection.execute(
        select(users.c.id, users.c.username, users.c.admin, users.c.entity_id, entities.c.name.label("entity"))
        .join(api_keys, api_keys.c.user_id == users.c.id)
        .join(entities, entities.c.id == users.c.entity_id)
        .where(api_keys.c.hash == _hashed(key))
    ).one_or_none()
    return None if row is None else User(**row._mapping)


def person(connection: Connection, user_id: int) -> Person | None:
    row = connection.execute(_people().where(users.c.id == user_id)).one_or_none()
    return None if row is None else Person(**row._mapping)


def search(connection: Connection, words: str | None) -> list[Person]:
    """Users whose name, username or email is `words`; all of them without words."""
    query = _people().order_by(users.c.id)
    if words:
        query = query.where(or_(users.c.username == words, users.c.email == words, users.c.name == words))
    return [Person(**row._mapping) for row in connection.execute(query)]


def keys(connection: Connection, user_id: int) -> list[ApiKey]:
    rows = connection.execute(
        select(api_keys.c.id, api_keys.c.prefix, api_keys.c.description)
        .where(api_keys.c.user_id == user_id)
        .order_by(api_keys.c.id)
    )
    return [ApiKey(**row._mapping) for row in rows]


def create_key(connection: Connection, user_id: int, *, description: str | None) -> tuple[int, str]:
    """A new key of this user: its id, and the key, which is not kept in the clear."""
    key = secrets.token_hex(20)
    result = connection.execute(
        insert(api_keys).values(user_id=user_id, prefix=key[:8], hash=_hashed(key), description=description, created_at=now())
    )
    return _new_id(result), key


def delete_key(connection: Connection, user_id: int, key_id: int) -> None:
    """
    Raises:
        NotFound: the user has no such key.
    """
    result = connection.execute(api_keys.delete().where(api_keys.c.id == key_id, api_keys.c.user_id == user_id))
    if not result.rowcount:
        raise NotFound(f"you have no API key with id {key_id}")


def entity(connection: Connection, name: str) -> Entity | None:
    row = connection.execute(select(entities).where(entities.c.name == name)).one_or_none()
    return None if row is None else Entity(**row._mapping)


def entity_by_id(connection: Connection, entity_id: int) -> Entity:
    return Entity(**connection.execute(select(entities).where(entities.c.id == entity_id)).one()._mapping)


def teams(connection: Connection) -> list[Entity]:
    rows = connection.execute(select(entities).where(entities.c.kind == "team").order_by(entities.c.id))
    return [Entity(**row._mapping) for row in rows]


def create_team(connection: Connection, name: str) -> Entity:
    """A team in the local organisation.

    Raises:
        Conflict: an entity of that name exists.
        BadData: the name cannot be part of a path.
    """
    check_name("team", name)
    if entity(connection, name) is not None:
        raise Conflict(f"an entity named '{name}' exists already")
    owner = _the_entity(connection, LOCAL_ORG_ENTITY)
    connection.execute(insert(entities).values(name=name, kind="team", organization_id=owner.organization_id, created_at=now()))
    return _the_entity(connection, name)


def organization(connection: Connection, name: str) -> Organization | None:
    row = connection.execute(select(organizations).where(organizations.c.name == name)).one_or_none()
    return None if row is None else Organization(**row._mapping)


def organization_by_id(connection: Connection, organization_id: int) -> Organization:
    row = connection.execute(select(organizations).where(organizations.c.id == organization_id)).one()
    return Organization(**row._mapping)


def org_entity(connection: Connection, organization_id: int) -> Entity:
    """The entity that owns the organisation's registries."""
    row = connection.execute(
        select(entities).where(entities.c.organization_id == organization_id, entities.c.kind == "organization")
    ).one()
    return Entity(**row._mapping)


def project(connection: Connection, entity_name: str, project_name: str) -> Project | None:
    query = _projects().where(entities.c.name == entity_name, projects.c.name == project_name)
    row = connection.execute(query).one_or_none()
    return None if row is None else Project(**row._mapping)


def project_by_id(connection: Connection, project_id: int) -> Project:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(_projects().where(projects.c.id == project_id)).one_or_none()
    if row is None:
        raise NotFound(f"no project has id {project_id}")
    return Project(**row._mapping)


def project_page(connection: Connection, entity_name: str, *, after: str | None, first: int | None) -> Page[Project]:
    """The projects of an entity, newest first; none when there is no such entity."""
    query = _projects().where(entities.c.name == entity_name).order_by(projects.c.id.desc())
    return page(connection, query, lambda row: Project(**row._mapping), after=after, first=first)


def ensure_project(connection: Connection, owner: Entity, name: str, user_id: int | None) -> Project:
    """The project of that name, made when absent.

    Raises:
        BadData: the name cannot be part of a path.
    """
    found = project(connection, owner.name, name)
    if found is not None:
        return found
    check_name("project", name)
    moment = now()
    result = connection.execute(
        insert(projects).values(
            entity_id=owner.id, name=name, access="PRIVATE", user_id=user_id, created_at=moment, updated_at=moment
        )
    )
    return project_by_id(connection, _new_id(result))


def _projects() -> Select[Any]:
    return select(projects, entities.c.name.label("entity_name")).join(entities, entities.c.id == projects.c.entity_id)


def _people() -> Select[Any]:
    return select(
        users.c.id,
        users.c.username,
        users.c.name,
        users.c.email,
        users.c.admin,
        users.c.entity_id,
        entities.c.name.label("entity"),
    ).join(entities, entities.c.id == users.c.entity_id)


def _the_entity(connection: Connection, name: str) -> Entity:
    found = entity(connection, name)
    if found is None:
        raise NotFound(f"no entity is named '{name}'")
    return found


def check_name(noun: str, name: str) -> None:
    if not name.strip() or len(name) > _LONGEST_NAME or any(letter in '/\\#?%:"' or ord(letter) < 32 for letter in name):
        raise BadData(f"'{name[:80]}' cannot be the name of a {noun}: 1 to {_LONGEST_NAME} characters without / \\ # ? % : \"")


def _insert_missing(connection: Connection, table: Any, **values: Any) -> None:
    connection.execute(upsert(table).values(**values).on_conflict_do_nothing())


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _new_id(result: Any) -> int:
    row: Row[Any] | None = result.inserted_primary_key
    assert row is not None
    return int(row[0])
