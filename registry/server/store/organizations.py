"""Organisations, the entity under which each has its registries, and the teams in it.

An organisation has a name that people use and an entity of another name that paths use (`acme`, `acme-org`), as on W&B. The
entity's name is made here; the client asks for it, so it may be anything that is free.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from registry.errors import Conflict, NotFound
from registry.server.context import now
from registry.server.store import people
from registry.server.store.people import DEFAULT_REGISTRIES, LOCAL_ORGANIZATION, Entity, Organization
from registry.server.tables import (
    collections,
    entities,
    organization_members,
    organizations,
    projects,
    runs,
    team_members,
    users,
)


@dataclass(frozen=True, kw_only=True)
class OrganizationRow:
    """An organisation in a list."""

    name: str
    entity: str
    members: int
    teams: int


@dataclass(frozen=True, kw_only=True)
class TeamRow:
    """A team in a list."""

    name: str
    organization: str
    members: int
    projects: int


def listing(connection: Connection) -> list[OrganizationRow]:
    """All organisations, oldest first."""
    is_team = (entities.c.organization_id == organizations.c.id) & (entities.c.kind == "team")
    is_org = (entities.c.organization_id == organizations.c.id) & (entities.c.kind == "organization")
    members = select(func.count()).where(organization_members.c.organization_id == organizations.c.id).scalar_subquery()
    teams = select(func.count()).select_from(entities).where(is_team).scalar_subquery()
    entity = select(entities.c.name).where(is_org).scalar_subquery()
    query = select(organizations.c.name, entity.label("entity"), members.label("members"), teams.label("teams"))
    return [OrganizationRow(**row._mapping) for row in connection.execute(query.order_by(organizations.c.id))]


def create(connection: Connection, name: str, *, creator_id: int) -> Organization:
    """An organisation with its entity and the registries that W&B also gives; its creator is its first admin.

    Raises:
        Conflict: there is one of that name.
        BadData: the name cannot be part of a path.
    """
    people.check_name("organisation", name)
    if people.organization(connection, name) is not None:
        raise Conflict(f"an organisation named '{name}' exists already")
    moment = now()
    key = connection.execute(insert(organizations).values(name=name)).inserted_primary_key
    assert key is not None
    entity_name = f"{name}-org"
    if people.entity(connection, entity_name) is not None:
        entity_name = f"{name}_{secrets.token_hex(4)}"
    connection.execute(
        insert(entities).values(name=entity_name, kind="organization", organization_id=key[0], created_at=moment)
    )
    values = {"organization_id": key[0], "user_id": creator_id, "role": "admin", "created_at": moment}
    connection.execute(insert(organization_members).values(values))
    entity = people.the_entity(connection, entity_name)
    for registry in DEFAULT_REGISTRIES:
        people.ensure_project(connection, entity, registry, creator_id)
    return people.organization_by_id(connection, key[0])


def join_the_only_one(connection: Connection, user_id: int) -> None:
    """Make a new user a member where there is no choice; with several organisations somebody has to say which."""
    present = connection.execute(select(organizations.c.id)).scalars().all()
    if len(present) == 1:
        values = {"organization_id": present[0], "user_id": user_id, "role": "member", "created_at": now()}
        connection.execute(insert(organization_members).values(values))


def remove(connection: Connection, organization: Organization) -> None:
    """Delete an organisation with its registries and their links; what was linked stays where it was logged.

    Raises:
        Conflict: it is the home's own, it has teams, or something is linked in its registries.
    """
    if organization.name == LOCAL_ORGANIZATION:
        raise Conflict(f"'{LOCAL_ORGANIZATION}' is the organisation of this home and cannot be removed")
    inside = [row.name for row in teams(connection) if row.organization == organization.name]
    if inside:
        raise Conflict(f"'{organization.name}' has teams: {', '.join(inside)}", hint=f"reg admin team rm {inside[0]}")
    entity = people.org_entity(connection, organization.id)
    held = select(projects.c.name, collections.c.name.label("collection")).join(
        collections, collections.c.project_id == projects.c.id
    )
    linked = connection.execute(held.where(projects.c.entity_id == entity.id)).first()
    if linked is not None:
        raise Conflict(f"'{organization.name}' has collections in its registries, {linked.name}/{linked.collection} for one")
    connection.execute(delete(organizations).where(organizations.c.id == organization.id))


def the_organization(connection: Connection, name: str) -> Organization:
    """By its name or that of its entity.

    Raises:
        NotFound: there is none.
    """
    found = people.organization(connection, name)
    if found is None:
        entity = people.entity(connection, name)
        if entity is not None and entity.kind == "organization" and entity.organization_id is not None:
            return people.organization_by_id(connection, entity.organization_id)
        raise NotFound(f"there is no organisation '{name[:80]}'", hint="reg admin org ls")
    return found


def teams(connection: Connection) -> list[TeamRow]:
    """All teams, oldest first."""
    members = select(func.count()).where(team_members.c.team_id == entities.c.id).scalar_subquery()
    owned = select(func.count()).select_from(projects).where(projects.c.entity_id == entities.c.id).scalar_subquery()
    query = (
        select(entities.c.name, organizations.c.name.label("organization"), members.label("members"), owned.label("projects"))
        .join(organizations, organizations.c.id == entities.c.organization_id)
        .where(entities.c.kind == "team")
        .order_by(entities.c.id)
    )
    return [TeamRow(**row._mapping) for row in connection.execute(query)]


def create_team(connection: Connection, name: str, organization: Organization) -> Entity:
    """
    Raises:
        Conflict: an entity of that name exists.
        BadData: the name cannot be part of a path.
    """
    people.check_name("team", name)
    if people.entity(connection, name) is not None:
        raise Conflict(f"an entity named '{name}' exists already")
    connection.execute(insert(entities).values(name=name, kind="team", organization_id=organization.id, created_at=now()))
    return people.the_entity(connection, name)


def remove_team(connection: Connection, team: Entity) -> None:
    """Delete a team and its service accounts.

    Raises:
        Conflict: runs or artifacts are in its projects, which would go with it.
    """
    within = (runs, collections)
    kept = [
        connection.execute(
            select(projects.c.name).join(table, table.c.project_id == projects.c.id).where(projects.c.entity_id == team.id)
        ).scalars()
        for table in within
    ]
    named = sorted({name for names in kept for name in names})
    if named:
        raise Conflict(
            f"'{team.name}' has runs or artifacts in {', '.join(named)}: what a team made does not vanish with it; "
            "move or delete it first, or remove the team's members"
        )
    # A service account's paths begin with its team, which is about to be gone: it stays as author under its own.
    for row in connection.execute(select(users.c.id).where(users.c.entity_id == team.id)).all():
        people.remove(connection, row.id)
    connection.execute(delete(entities).where(entities.c.id == team.id))
