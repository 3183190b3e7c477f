"""Registries: the organisation's projects for linked versions, who belongs to them, and searches across them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.errors import BadData, Conflict, NotFound
from registry.references import REGISTRY_PREFIX
from registry.server import ids
from registry.server.access import Level
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.resolvers.places import owner_named
from registry.server.store import access, members, people, protection, registries
from registry.server.store.artifacts import Version
from registry.server.store.collections import Collection, Kind
from registry.server.store.members import Member
from registry.server.store.pages import Page
from registry.server.store.registries import Changes

_KINDS: dict[str, Kind] = {"PORTFOLIO": "portfolio", "SEQUENCE": "sequence"}

mutation = MutationType()
organization = ObjectType("Organization")
entity = ObjectType("Entity")
project = ObjectType("Project")
member = ObjectType("ProjectMember")
team_member = ObjectType("ProjectTeamMember")


@mutation.field("upsertModel")
def upsert_model(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    if not input.get("name"):
        raise BadData("a project needs a name")
    changes = Changes(
        description=input.get("description"),
        access=input.get("access"),
        all_types=input.get("allow_all_artifact_types_in_registry"),
        types=[kind["name"] for kind in input.get("artifact_types") or ()],
    )
    owner = owner_named(context, input.get("entity_name"))
    _require(context, owner, input["name"], changes)
    found, inserted = registries.upsert(context.connection, owner, input["name"], changes, user_id=context.user.id)
    return {"project": found, "model": found, "inserted": inserted}


@mutation.field("renameProject")
def rename_project(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    owner = owner_named(context, input["entity_name"])
    renamed = people.project(context.connection, owner.name, input["old_project_name"])
    if renamed is None:
        raise NotFound(f"there is no project {owner.name}/{input['old_project_name'][:80]}")
    context.access.govern(renamed.id)
    found = registries.rename(context.connection, owner, input["old_project_name"], input["new_project_name"])
    return {"project": found, "model": found, "inserted": False}


@mutation.field("deleteModel")
def delete_model(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = people.project_by_id(context.connection, ids.decode("Project", input["id"]))
    context.access.govern(found.id)
    registries.remove(context.connection, found)
    return {"success": True}


@mutation.field("createProjectMembers")
def add_members(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """As viewers, like W&B; who is there already keeps their role. Whom an instance admin adds joins the organisation too."""
    context = info.context
    registry = _governed(context, input)
    for person in _people(context, input.get("user_ids")):
        if context.access.admin:
            members.bring(context.connection, registry, person)
        members.join_registry(context.connection, registry, person, None)
    for team in _teams(context, input.get("team_ids")):
        members.team_join_registry(context.connection, registry, team, None)
    return {"success": True}


@mutation.field("deleteProjectMembers")
def remove_members(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Who has left already is no error, like W&B."""
    context = info.context
    registry = _governed(context, input)
    for person in _people(context, input.get("user_ids")):
        with suppress(NotFound):
            members.leave_registry(context.connection, registry, person)
    for team in _teams(context, input.get("team_ids")):
        with suppress(NotFound):
            members.team_leave_registry(context.connection, registry, team)
    return {"success": True}


@mutation.field("updateProjectMember")
def update_member(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    registry = _governed(context, input)
    for person in _people(context, [input["user_id"]]):
        members.join_registry(context.connection, registry, person, input["user_project_role"])
    return {"success": True}


@mutation.field("updateProjectTeamMember")
def update_team_member(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    registry = _governed(context, input)
    for team in _teams(context, [input["team_id"]]):
        members.team_join_registry(context.connection, registry, team, input["team_project_role"])
    return {"success": True}


@organization.field("advancedRegistryFeatures")
def advanced_features(parent: people.Organization, info: Info) -> dict[str, bool]:
    return {"advanced_search": False}


@entity.field("project")
def project_of_entity(parent: people.Entity, info: Info, name: str | None = None) -> people.Project | None:
    return people.project(info.context.connection, parent.name, name or "")


@entity.field("projects")
def projects_of_entity(
    parent: people.Entity,
    info: Info,
    filters: str | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[people.Project]:
    context = info.context
    seen = access.visible(context.access)
    return registries.listing(context.connection, parent, visible=seen, filters=filters, order=order, after=after, first=first)


@entity.field("artifactCollections")
def collections_of_entity(
    parent: people.Entity,
    info: Info,
    project_filters: str | None = None,
    filters: str | None = None,
    collection_types: list[str] | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Collection]:
    return registries.collection_page(
        info.context.connection,
        parent,
        visible=access.visible(info.context.access),
        registry_filters=project_filters,
        filters=filters,
        kinds=[_KINDS[kind] for kind in collection_types or ("PORTFOLIO",)],
        order=order,
        after=after,
        first=first,
    )


@entity.field("artifactMemberships")
def versions_of_entity(
    parent: people.Entity,
    info: Info,
    project_filters: str | None = None,
    collection_filters: str | None = None,
    filters: str | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Version]:
    return registries.version_page(
        info.context.connection,
        parent,
        visible=access.visible(info.context.access),
        registry_filters=project_filters,
        collection_filters=collection_filters,
        filters=filters,
        order=order,
        after=after,
        first=first,
    )


@project.field("members")
def user_members(parent: people.Project, info: Info) -> list[Member]:
    return members.of_registry(info.context.connection, parent.id)


@project.field("teamMembers")
def team_members(parent: people.Project, info: Info) -> list[members.TeamMember]:
    return members.teams_of_registry(info.context.connection, parent.id)


@project.field("protectedAliases")
def protected_aliases(parent: people.Project, info: Info) -> list[str]:
    return protection.listing(info.context.connection, parent.id)


@project.field("readOnly")
def read_only(parent: people.Project, info: Info) -> bool:
    """For the user who asks: the client asks before it changes a version."""
    return info.context.access.level(parent.id) < Level.WRITE


@member.field("id")
def member_id(parent: Member, info: Info) -> str:
    return ids.encode("User", parent.id)


@member.field("role")
@team_member.field("role")
def role(parent: Member | members.TeamMember, info: Info) -> dict[str, str]:
    return {"name": parent.role}


bindables: list[SchemaBindable] = [mutation, organization, entity, project, member, team_member]


def _require(context: Context, owner: people.Entity, name: str, changes: Changes) -> None:
    """That the user may make the project, or change it. Who sees a project, and what a registry takes, its admins decide."""
    found = people.project(context.connection, owner.name, name)
    if found is None:
        registry = name.startswith(REGISTRY_PREFIX) and owner.kind == "organization"
        context.access.require_entity(Level.WRITE, owner.id, owner.name, registry=registry)
    elif found.is_registry or changes.access not in (None, found.access):
        context.access.govern(found.id)
    else:
        context.access.write(found.id)


def _governed(context: Context, input: dict[str, Any]) -> people.Project:
    """The registry whose members are to change."""
    found = people.project_by_id(context.connection, ids.decode("Project", input["project_id"]))
    context.access.govern(found.id)
    if not found.is_registry:
        raise Conflict(f"'{found.name}' is not a registry: its members are those of {found.entity_name}")
    return found


def _people(context: Context, numbers: list[str] | None) -> list[people.Person]:
    found = [people.person(context.connection, ids.decode("User", number)) for number in numbers or ()]
    present = [person for person in found if person is not None and person.deleted_at is None]
    if len(present) < len(found):
        raise NotFound("one of the users does not exist")
    return present


def _teams(context: Context, numbers: list[str] | None) -> list[people.Entity]:
    return [people.entity_by_id(context.connection, ids.decode("Entity", number)) for number in numbers or ()]
