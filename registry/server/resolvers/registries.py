"""Registries: the organisation's projects for linked versions, who belongs to them, and searches across them."""

from __future__ import annotations

from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.errors import BadData, Conflict, NotFound
from registry.server import ids
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.store import people, registries
from registry.server.store.artifacts import Version
from registry.server.store.collections import Collection, Kind
from registry.server.store.pages import Page
from registry.server.store.registries import Changes

_KINDS: dict[str, Kind] = {"PORTFOLIO": "portfolio", "SEQUENCE": "sequence"}

mutation = MutationType()
organization = ObjectType("Organization")
entity = ObjectType("Entity")
project = ObjectType("Project")
member = ObjectType("ProjectMember")


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
    owner = _owner(context, input.get("entity_name"))
    found, inserted = registries.upsert(context.connection, owner, input["name"], changes, user_id=context.user.id)
    return {"project": found, "model": found, "inserted": inserted}


@mutation.field("renameProject")
def rename_project(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    owner = _owner(context, input["entity_name"])
    found = registries.rename(context.connection, owner, input["old_project_name"], input["new_project_name"])
    return {"project": found, "model": found, "inserted": False}


@mutation.field("deleteModel")
def delete_model(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    registries.remove(context.connection, people.project_by_id(context.connection, ids.decode("Project", input["id"])))
    return {"success": True}


@mutation.field("createProjectMembers")
@mutation.field("deleteProjectMembers")
@mutation.field("updateProjectMember")
@mutation.field("updateProjectTeamMember")
def change_members(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    raise Conflict("every user of this server is an admin of every registry: members cannot be changed")


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
    return registries.listing(info.context.connection, parent, filters=filters, order=order, after=after, first=first)


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
        registry_filters=project_filters,
        collection_filters=collection_filters,
        filters=filters,
        order=order,
        after=after,
        first=first,
    )


@project.field("members")
def members(parent: people.Project, info: Info) -> list[people.Person]:
    return people.search(info.context.connection, None)


@project.field("teamMembers")
def team_members(parent: people.Project, info: Info) -> list[people.Entity]:
    return []


@member.field("id")
def member_id(parent: people.Person, info: Info) -> str:
    return ids.encode("User", parent.id)


@member.field("role")
def role(parent: people.Person, info: Info) -> dict[str, str]:
    return {"name": "admin"}


bindables: list[SchemaBindable] = [mutation, organization, entity, project, member]


def _owner(context: Context, name: str | None) -> people.Entity:
    found = people.entity(context.connection, name or context.user.entity)
    if found is None:
        raise NotFound(f"there is no entity '{name}'")
    return found
