"""Who: users, the entities that own projects, the organisations that own the registries, the projects.

A new home has one organisation, whose registries live under an entity of their own (`local-org`), as on W&B. A removed user is
remembered as the author of what they made, and their name is not given to somebody else: what is under it would be too.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound
from registry.references import REGISTRY_PREFIX
from registry.server import ids
from registry.server.context import now
from registry.server.names import readable
from registry.server.store import keys
from registry.server.store.pages import Page, page
from registry.server.tables import (
    api_keys,
    default_entity,
    entities,
    organization_members,
    organizations,
    project_users,
    projects,
    team_members,
    users,
)

LOCAL_USER = "local"
LOCAL_ORGANIZATION = "local"
LOCAL_ORG_ENTITY = "local-org"
DEFAULT_REGISTRIES = (f"{REGISTRY_PREFIX}model", f"{REGISTRY_PREFIX}dataset")
_LONGEST_NAME = 128
_USERNAME = re.compile(r"[A-Za-z0-9][-.\w]{0,63}", re.ASCII)
# First parts of addresses that mean something else: /admin/users is no project `users` of somebody called admin.
_RESERVED = frozenset(
    {
        *("-", "admin", "artifacts", "artifactsv2", "authorize", "blobs", "files", "graphql", "healthz", "index", "login"),
        *("logout", "oidc", "orgs", "parts", "ready", "restricted", "run-files", "sdk", "uploads"),
    }
)


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
    service: bool
    deleted_at: str | None
    entity: str
    entity_id: int


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
    owner = the_entity(connection, LOCAL_USER)
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
    _insert_missing(
        connection, organization_members, organization_id=organization, user_id=user_id, role="admin", created_at=moment
    )
    registries = the_entity(connection, LOCAL_ORG_ENTITY)
    for name in DEFAULT_REGISTRIES:
        ensure_project(connection, registries, name, user_id)
    keys.keep_of_home(connection, user_id, key)


def create(
    connection: Connection, username: str, *, email: str | None = None, name: str | None = None, admin: bool = False
) -> Person:
    """A user with an entity of their own name; they belong to no organisation and have no key yet.

    Raises:
        Conflict: a user or entity has the name, or one that differs in case only; or had it before it was removed.
        BadData: the name cannot be one.
    """
    _check_free(connection, username)
    moment = now()
    key = connection.execute(
        insert(entities).values(name=username, kind="user", organization_id=None, created_at=moment)
    ).inserted_primary_key
    assert key is not None
    return _insert_user(connection, username, email=email, name=name, admin=admin, service=False, entity_id=key[0])


def create_service_account(connection: Connection, team: Entity, description: str) -> Person:
    """A team's machine: a user whose paths begin with the team, and who is not a person."""
    words = "-".join(re.findall(r"[a-z0-9]+", description.lower()))[:40] or "service"
    username = f"{words}-{secrets.token_hex(3)}"
    _check_free(connection, username)
    return _insert_user(connection, username, email=None, name=description, admin=False, service=True, entity_id=team.id)


def edit(connection: Connection, user: Person, *, admin: bool | None, email: str | None, name: str | None) -> Person:
    """Change what is given; None leaves it.

    Raises:
        Conflict: the home's own user stays an instance admin.
    """
    if admin is False and user.username == LOCAL_USER:
        raise Conflict(f"'{LOCAL_USER}' is the user of this home and stays an instance admin")
    given = {"admin": admin, "email": email, "name": name}
    changes = {column: value for column, value in given.items() if value is not None}
    if changes:
        connection.execute(update(users).where(users.c.id == user.id).values(changes))
    return the_person(connection, user.username)


def remove(connection: Connection, user_id: int) -> None:
    """End a user's keys and roles; what they made stays, with them as its author.

    Raises:
        Conflict: it is the home's own user.
    """
    found = person(connection, user_id)
    if found is not None and found.username == LOCAL_USER:
        raise Conflict(f"'{LOCAL_USER}' is the user of this home and cannot be removed")
    for table in (api_keys, organization_members, team_members, project_users):
        connection.execute(delete(table).where(table.c.user_id == user_id))
    connection.execute(update(users).where(users.c.id == user_id).values(deleted_at=now(), admin=False))


def restore(connection: Connection, username: str) -> Person:
    """Bring a removed user back, as an ordinary one without roles and keys.

    Raises:
        NotFound: no removed user has the name.
    """
    back = connection.execute(
        update(users).where(users.c.username == username, users.c.deleted_at.is_not(None)).values(deleted_at=None)
    )
    if not back.rowcount:
        raise NotFound(f"no removed user is named '{username[:80]}'", hint="reg admin user ls --removed")
    return the_person(connection, username)


def the_person(connection: Connection, username: str) -> Person:
    """A user who is there, by username or, where only one has it, by email.

    Raises:
        NotFound: there is none.
    """
    found = [one for one in search(connection, username) if username in (one.username, one.email)]
    exact = [one for one in found if one.username == username]
    if len(exact or found) != 1:
        raise NotFound(f"there is no user '{username[:80]}'", hint="reg admin user ls")
    return (exact or found)[0]


def listing(connection: Connection, *, removed: bool = False) -> list[Person]:
    """All users who are there, or who were removed; oldest first."""
    gone = users.c.deleted_at.is_not(None) if removed else users.c.deleted_at.is_(None)
    return [Person(**row._mapping) for row in connection.execute(_people().where(gone).order_by(users.c.id))]


def person(connection: Connection, user_id: int) -> Person | None:
    row = connection.execute(_people().where(users.c.id == user_id)).one_or_none()
    return None if row is None else Person(**row._mapping)


def search(connection: Connection, words: str | None) -> list[Person]:
    """Users who are there and whose name, username or email is `words`; all of them without words."""
    query = _people().where(users.c.deleted_at.is_(None)).order_by(users.c.id)
    if words:
        query = query.where(or_(users.c.username == words, users.c.email == words, users.c.name == words))
    return [Person(**row._mapping) for row in connection.execute(query)]


def set_default(connection: Connection, user_id: int, chosen: Entity) -> None:
    """Begin the paths of a user who names no entity with a team of theirs, or with their own entity again."""
    connection.execute(
        update(users).where(users.c.id == user_id).values(default_team_id=chosen.id if chosen.kind == "team" else None)
    )


def owner_of(connection: Connection, entity_id: int) -> Person | None:
    """The user whose own entity this is."""
    row = connection.execute(_people().where(users.c.entity_id == entity_id, ~users.c.service)).one_or_none()
    return None if row is None else Person(**row._mapping)


def entity(connection: Connection, name: str) -> Entity | None:
    row = connection.execute(select(entities).where(entities.c.name == name)).one_or_none()
    return None if row is None else Entity(**row._mapping)


def entity_by_id(connection: Connection, entity_id: int) -> Entity:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(entities).where(entities.c.id == entity_id)).one_or_none()
    if row is None:
        raise NotFound(f"no entity has id {entity_id}")
    return Entity(**row._mapping)


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


def project_page(
    connection: Connection, entity_name: str, *, visible: ColumnElement[bool], after: str | None, first: int | None
) -> Page[Project]:
    """The projects of an entity that are `visible`, newest first; none when there is no such entity."""
    query = _projects().where(entities.c.name == entity_name, visible).order_by(projects.c.id.desc())
    return page(connection, query, lambda row: Project(**row._mapping), after=after, first=first)


def ensure_project(connection: Connection, owner: Entity, name: str, user_id: int | None) -> Project:
    """The project of that name, made when absent.

    Raises:
        BadData: the name cannot be part of a path.
        Conflict: it is a registry's, and the owner no organisation.
    """
    found = project(connection, owner.name, name)
    if found is not None:
        return found
    check_name("project", name)
    if name.startswith(REGISTRY_PREFIX) and owner.kind != "organization":
        raise Conflict(f"a registry belongs to the organisation, and '{owner.name}' is a {owner.kind}")
    moment = now()
    result = connection.execute(
        insert(projects).values(
            entity_id=owner.id, name=name, access="PRIVATE", user_id=user_id, created_at=moment, updated_at=moment
        )
    )
    made = project_by_id(connection, _new_id(result))
    if made.is_registry and user_id is not None:
        # Whoever makes a registry is its first admin, like on W&B, if they belong to the organisation.
        belongs = select(literal(made.id), organization_members.c.user_id, literal("admin"), literal(moment)).where(
            organization_members.c.organization_id == owner.organization_id, organization_members.c.user_id == user_id
        )
        connection.execute(insert(project_users).from_select(["project_id", "user_id", "role", "created_at"], belongs))
    return made


def _projects() -> Select[Any]:
    return select(projects, entities.c.name.label("entity_name")).join(entities, entities.c.id == projects.c.entity_id)


def _people() -> Select[Any]:
    return select(
        users.c.id,
        users.c.username,
        users.c.name,
        users.c.email,
        users.c.admin,
        users.c.service,
        users.c.deleted_at,
        users.c.entity_id,
        entities.c.name.label("entity"),
    ).join(entities, default_entity)


def the_entity(connection: Connection, name: str) -> Entity:
    found = entity(connection, name)
    if found is None:
        raise NotFound(f"no entity is named '{name}'")
    return found


def check_name(noun: str, name: str) -> None:
    """
    Raises:
        BadData: the name cannot be part of a path.
    """
    if noun != "project" and name.lower() in _RESERVED:
        raise BadData(f"'{name}' cannot be the name of a {noun}: this server's own addresses begin with it")
    if not name.strip() or len(name) > _LONGEST_NAME or any(letter in '/\\#?%:"' for letter in name) or not readable(name):
        raise BadData(f"'{name[:80]}' cannot be the name of a {noun}: 1 to {_LONGEST_NAME} characters without / \\ # ? % : \"")


def _insert_missing(connection: Connection, table: Any, **values: Any) -> None:
    connection.execute(upsert(table).values(**values).on_conflict_do_nothing())


def _check_free(connection: Connection, username: str) -> None:
    if not _USERNAME.fullmatch(username):
        raise BadData(
            f"'{username[:80]}' cannot be a username: 1 to 64 letters, digits, '.', '-' and '_', a letter or digit first"
        )
    check_name("user", username)
    row = connection.execute(
        select(users.c.username, users.c.deleted_at).where(func.lower(users.c.username) == username.lower())
    ).one_or_none()
    if row is not None and row.deleted_at is not None:
        hint = f"reg admin user restore {row.username}"
        raise Conflict(f"'{row.username}' is the name of a removed user, whose runs and artifacts are under it", hint=hint)
    taken = select(entities.c.name).where(func.lower(entities.c.name) == username.lower())
    other = connection.execute(taken).scalar_one_or_none()
    if row is not None or other is not None:
        raise Conflict(f"'{other or username}' is the name of a user, team or organisation already", hint="reg admin user ls")


def _insert_user(
    connection: Connection, username: str, *, email: str | None, name: str | None, admin: bool, service: bool, entity_id: int
) -> Person:
    values = {"username": username, "name": name or username, "email": email or "", "admin": admin, "service": service}
    connection.execute(insert(users).values(**values, entity_id=entity_id, created_at=now()))
    return the_person(connection, username)


def _new_id(result: Any) -> int:
    row: Row[Any] | None = result.inserted_primary_key
    assert row is not None
    return int(row[0])
