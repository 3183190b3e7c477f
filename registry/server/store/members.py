"""Memberships: who belongs to an organisation, a team or a registry, and in which role.

Whoever joins a team belongs to its organisation, and only who belongs to the organisation has a role in its registries; so
leaving it ends everything in it. Giving a role again replaces it.

What W&B does is documented at https://docs.wandb.ai/platform/hosting/iam/access-management-intro and
https://docs.wandb.ai/models/registry/configure_registry.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import Conflict, NotFound
from registry.server.access import ORGANIZATION_ROLES, REGISTRY_ROLES, TEAM_ROLES, check_role
from registry.server.context import now
from registry.server.store import people
from registry.server.store.people import Entity, Organization, Person, Project
from registry.server.tables import (
    entities,
    organization_members,
    organizations,
    project_teams,
    project_users,
    projects,
    team_members,
    users,
)

_NO_DEFAULT_TEAM = update(users).values(default_team_id=None)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A user in a role somewhere."""

    id: int
    username: str
    name: str
    email: str
    admin: bool
    service: bool
    role: str


@dataclass(frozen=True, kw_only=True)
class TeamMember:
    """A team in a role in a registry."""

    team: Entity
    role: str


def of_organization(connection: Connection, organization_id: int) -> list[Member]:
    return _members(connection, organization_members, organization_members.c.organization_id == organization_id)


def of_team(connection: Connection, team_id: int) -> list[Member]:
    return _members(connection, team_members, team_members.c.team_id == team_id)


def alone(owner: Person) -> Member:
    """Whom a user's own entity has: the user."""
    names = ("id", "username", "name", "email", "admin", "service")
    return Member(**{name: getattr(owner, name) for name in names}, role="admin")


def of_registry(connection: Connection, project_id: int) -> list[Member]:
    """Users with a role of their own in a registry; others may have one through a team or as the organisation's admins."""
    return _members(connection, project_users, project_users.c.project_id == project_id)


def teams_of_registry(connection: Connection, project_id: int) -> list[TeamMember]:
    query = (
        select(entities, project_teams.c.role)
        .join(project_teams, project_teams.c.team_id == entities.c.id)
        .where(project_teams.c.project_id == project_id)
        .order_by(entities.c.id)
    )
    return [
        TeamMember(team=Entity(**{name: value for name, value in row._mapping.items() if name != "role"}), role=row.role)
        for row in connection.execute(query)
    ]


def organizations_of(connection: Connection, user_id: int, *, role: str | None = None) -> list[Organization]:
    """The organisations that a user belongs to, or those in which they have this role; oldest first."""
    query = (
        select(organizations)
        .join(organization_members, organization_members.c.organization_id == organizations.c.id)
        .where(organization_members.c.user_id == user_id)
        .order_by(organizations.c.id)
    )
    if role is not None:
        query = query.where(organization_members.c.role == role)
    return [Organization(**row._mapping) for row in connection.execute(query)]


def teams_of(connection: Connection, user_id: int) -> list[Entity]:
    """The teams that a user is in, oldest first."""
    query = select(entities).join(team_members, team_members.c.team_id == entities.c.id)
    rows = connection.execute(query.where(team_members.c.user_id == user_id).order_by(entities.c.id))
    return [Entity(**row._mapping) for row in rows]


def share_an_organization(connection: Connection, user_id: int, other_id: int) -> bool:
    mine = select(organization_members.c.organization_id).where(organization_members.c.user_id == user_id)
    both = select(organization_members.c.user_id).where(
        organization_members.c.user_id == other_id, organization_members.c.organization_id.in_(mine)
    )
    return connection.execute(both).first() is not None


def join_organization(connection: Connection, organization_id: int, user_id: int, role: str | None) -> None:
    """Give a user a role in an organisation; None leaves the one they have, or makes them a member."""
    _give(connection, organization_members, {"organization_id": organization_id, "user_id": user_id}, role, ORGANIZATION_ROLES)


def leave_organization(connection: Connection, organization_id: int, user: Person) -> None:
    """End a user's membership, and with it those in the teams and registries of the organisation.

    Raises:
        NotFound: the user does not belong to it.
        Conflict: the home's own user cannot leave the home's own organisation.
    """
    organization = people.organization_by_id(connection, organization_id)
    if user.username == people.LOCAL_USER and organization.name == people.LOCAL_ORGANIZATION:
        raise Conflict(f"'{people.LOCAL_USER}' is the user of this home and belongs to its organisation")
    inside = select(entities.c.id).where(entities.c.organization_id == organization_id)
    within = select(projects.c.id).where(projects.c.entity_id.in_(inside))
    connection.execute(delete(team_members).where(team_members.c.user_id == user.id, team_members.c.team_id.in_(inside)))
    connection.execute(_NO_DEFAULT_TEAM.where(users.c.id == user.id, users.c.default_team_id.in_(inside)))
    connection.execute(delete(project_users).where(project_users.c.user_id == user.id, project_users.c.project_id.in_(within)))
    _take(
        connection,
        organization_members,
        {"organization_id": organization_id, "user_id": user.id},
        user.username,
        organization.name,
    )


def join_team(connection: Connection, team: Entity, user_id: int, role: str | None) -> None:
    """Give a user a role in a team, and make them a member of its organisation; None as for `join_organization`."""
    assert team.organization_id is not None
    _give(connection, team_members, {"team_id": team.id, "user_id": user_id}, role, TEAM_ROLES)
    join_organization(connection, team.organization_id, user_id, None)


def leave_team(connection: Connection, team: Entity, user: Person) -> None:
    """
    Raises:
        NotFound: the user is not in it.
    """
    _take(connection, team_members, {"team_id": team.id, "user_id": user.id}, user.username, team.name)
    connection.execute(_NO_DEFAULT_TEAM.where(users.c.id == user.id, users.c.default_team_id == team.id))


def bring(connection: Connection, registry: Project, user: Person) -> None:
    """Make a user a viewer of the registry's organisation, unless they are in it already."""
    organization_id = people.entity_by_id(connection, registry.entity_id).organization_id
    assert organization_id is not None
    if organization_id not in {organization.id for organization in organizations_of(connection, user.id)}:
        join_organization(connection, organization_id, user.id, "viewer")


def join_registry(connection: Connection, registry: Project, user: Person, role: str | None) -> None:
    """Give a user a role in a registry; None leaves the one they have, or makes them a viewer, as W&B does.

    Raises:
        Conflict: the user does not belong to the registry's organisation.
    """
    owner = people.entity_by_id(connection, registry.entity_id)
    if owner.organization_id not in {organization.id for organization in organizations_of(connection, user.id)}:
        raise Conflict(
            f"'{user.username}' does not belong to the organisation of the registry '{registry.name}'",
            hint=f"reg admin member add {user.username} --org {owner.name}",
        )
    values = {"project_id": registry.id, "user_id": user.id}
    _give(connection, project_users, values, role, REGISTRY_ROLES, default="viewer")


def leave_registry(connection: Connection, registry: Project, user: Person) -> None:
    """
    Raises:
        NotFound: the user has no role of their own there.
    """
    _take(connection, project_users, {"project_id": registry.id, "user_id": user.id}, user.username, registry.name)


def team_join_registry(connection: Connection, registry: Project, team: Entity, role: str | None) -> None:
    """
    Raises:
        Conflict: the team is not in the registry's organisation, or is no team.
    """
    owner = people.entity_by_id(connection, registry.entity_id)
    if team.kind != "team" or team.organization_id != owner.organization_id:
        raise Conflict(f"'{team.name}' is no team in the organisation of the registry '{registry.name}'")
    values = {"project_id": registry.id, "team_id": team.id}
    _give(connection, project_teams, values, role, REGISTRY_ROLES, default="viewer")


def team_leave_registry(connection: Connection, registry: Project, team: Entity) -> None:
    """
    Raises:
        NotFound: the team has no role there.
    """
    _take(connection, project_teams, {"project_id": registry.id, "team_id": team.id}, team.name, registry.name)


def _members(connection: Connection, table: Table, condition: ColumnElement[bool]) -> list[Member]:
    columns = (users.c[name] for name in ("id", "username", "name", "email", "admin", "service"))
    query = select(*columns, table.c.role).join(table, table.c.user_id == users.c.id).where(condition).order_by(users.c.id)
    return [Member(**row._mapping) for row in connection.execute(query)]


def _give(
    connection: Connection,
    table: Table,
    pair: dict[str, int],
    role: str | None,
    allowed: tuple[str, ...],
    *,
    default: str = "member",
) -> None:
    if role is None:
        values = {**pair, "role": default, "created_at": now()}
        connection.execute(upsert(table).values(values).on_conflict_do_nothing())
        return
    values = {**pair, "role": check_role(role, allowed), "created_at": now()}
    connection.execute(upsert(table).values(values).on_conflict_do_update(index_elements=list(pair), set_={"role": role}))


def _take(connection: Connection, table: Table, pair: dict[str, int], who: str, where: str) -> None:
    gone = connection.execute(delete(table).where(*(table.c[name] == value for name, value in pair.items())))
    if not gone.rowcount:
        raise NotFound(f"'{who}' has no role of their own in '{where}'")
