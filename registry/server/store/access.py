"""What was given to a user, read at the start of a request, and which projects that makes visible, for lists.

The rules stand in `registry.server.access`; `visible` says in SQL what `Access.level` says of one project.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, false, or_, select, true

from registry.references import REGISTRY_PREFIX
from registry.server.access import OPENED, RESTRICTED, ROLES, Access, Grants, Level, Place
from registry.server.context import User
from registry.server.store.layers import shown
from registry.server.tables import (
    artifacts,
    collections,
    default_entity,
    entities,
    memberships,
    organization_members,
    project_teams,
    project_users,
    projects,
    team_members,
    users,
)


def of(connection: Connection, user: User) -> Access:
    """What this user may do, as things stand in this transaction."""

    def place(project_id: int) -> Place | None:
        row = connection.execute(_places().where(projects.c.id == project_id)).one_or_none()
        return None if row is None else Place(**row._mapping)

    grants = Grants() if user.admin else _grants(connection, user.id)
    return Access(
        user_id=user.id,
        username=user.username,
        admin=user.admin,
        grants=grants,
        place=place,
        places_of=lambda artifact_id: _projects_of(connection, artifact_id),
    )


def of_author(connection: Connection, user_id: int) -> Access | None:
    """The same by the id that a store function is handed; None when there is no such user."""
    query = select(users.c.id, users.c.username, users.c.admin, users.c.entity_id, entities.c.name.label("entity"))
    row = connection.execute(query.join(entities, default_entity).where(users.c.id == user_id)).one_or_none()
    return None if row is None else of(connection, User(**row._mapping))


def visible(access: Access) -> ColumnElement[bool]:
    """The condition on `projects` that the user may see them."""
    if access.admin:
        return true()
    given = access.grants
    registry = projects.c.name.startswith(REGISTRY_PREFIX, autoescape=True)
    open_to_members = projects.c.access != RESTRICTED
    governed = [number for number, level in {**given.entities, **given.organizations}.items() if level == Level.ADMIN]
    return or_(
        projects.c.id.in_(sorted(given.projects)) if given.projects else false(),
        projects.c.entity_id.in_(governed),
        and_(registry, open_to_members, projects.c.entity_id.in_(sorted(given.organizations))),
        and_(
            ~registry,
            projects.c.entity_id.in_(sorted(given.entities)),
            or_(open_to_members, projects.c.user_id == access.user_id),
        ),
        and_(~registry, projects.c.access.in_(OPENED)),
    )


def may_read_blob(connection: Connection, access: Access, md5: str) -> bool:
    """Whether the content is a file or the manifest of some version whose content the user may read."""
    if access.admin:
        return True
    as_file = select(shown.c.artifact_id).where(shown.c.md5 == md5)
    as_manifest = select(artifacts.c.id).where(artifacts.c.manifest_md5 == md5)
    where = select(memberships.c.artifact_id).where(
        or_(memberships.c.artifact_id.in_(as_file), memberships.c.artifact_id.in_(as_manifest))
    )
    known = connection.execute(where.distinct()).scalars()
    return any(access.artifact_level(number) >= Level.READ for number in known)


def _projects_of(connection: Connection, artifact_id: int) -> list[int]:
    """Where a version is; before it is one, where it is being logged to."""
    linked = (
        select(collections.c.project_id)
        .join(memberships, memberships.c.collection_id == collections.c.id)
        .where(memberships.c.artifact_id == artifact_id)
    )
    logged = (
        select(collections.c.project_id)
        .join(artifacts, artifacts.c.sequence_id == collections.c.id)
        .where(artifacts.c.id == artifact_id)
    )
    return list(connection.execute(logged.union(linked)).scalars())


def _grants(connection: Connection, user_id: int) -> Grants:
    own = select(entities.c.id, entities.c.kind).join(users, users.c.entity_id == entities.c.id).where(users.c.id == user_id)
    levels = {row.id: Level.ADMIN for row in connection.execute(own) if row.kind == "user"}
    teams = connection.execute(
        select(team_members.c.team_id, team_members.c.role).where(team_members.c.user_id == user_id)
    ).all()
    levels |= {row.team_id: ROLES[row.role] for row in teams}
    belongs = (
        select(entities.c.id, organization_members.c.role)
        .join(entities, entities.c.organization_id == organization_members.c.organization_id)
        .where(organization_members.c.user_id == user_id, entities.c.kind == "organization")
    )
    organizations = {row.id: ROLES[row.role] for row in connection.execute(belongs)}
    mine = select(project_users.c.project_id, project_users.c.role).where(project_users.c.user_id == user_id)
    ours = select(project_teams.c.project_id, project_teams.c.role).where(
        project_teams.c.team_id.in_([row.team_id for row in teams])
    )
    given = _highest((row.project_id, ROLES[row.role]) for row in connection.execute(mine.union_all(ours)))
    return Grants(entities=levels, organizations=organizations, projects=given)


def _highest(given: Iterable[tuple[int, Level]]) -> dict[int, Level]:
    found: dict[int, Level] = {}
    for number, level in given:
        found[number] = max(level, found.get(number, Level.NONE))
    return found


def _places() -> Select[Any]:
    columns = (projects.c[name] for name in ("id", "name", "entity_id", "access", "user_id"))
    return select(*columns, entities.c.name.label("entity_name")).join(entities, entities.c.id == projects.c.entity_id)
