"""Users, entities, organisations, projects, and what the server says about itself."""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, ObjectType, QueryType, SchemaBindable

from registry.server import ids
from registry.server.resolvers import Info
from registry.server.store import people
from registry.server.store.pages import Page

# The newest client this server was tested with, and the oldest it hopes to serve.
_CLIENT_VERSIONS = {"max_cli_version": "0.31.99", "min_cli_version": "0.20.0"}

# What 0.31 asks about and this server does. Absent means off: XXH128 digests, gzip streams, automations.
_FEATURES = (
    "STRUCTURED_CONSOLE_LOGS",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "ARTIFACT_REGISTRY_SEARCH",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "MARK_RUN_FILES_UPLOADED",
    "SWEEPS_QUERY_FILTERING",
    "SWEEPS_LOCAL_SCHEDULER",
    # Taken for granted by 0.31, asked about by older clients.
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
)

query = QueryType()
mutation = MutationType()
user = ObjectType("User")
entity = ObjectType("Entity")
member = ObjectType("Member")
organization = ObjectType("Organization")
project = ObjectType("Project")


@query.field("serverInfo")
def server_info(_: None, info: Info) -> dict[str, Any]:
    return {
        "features": [{"name": name, "is_enabled": True} for name in _FEATURES],
        "cli_version_info": _CLIENT_VERSIONS,
        "latest_local_version_info": {"out_of_date": False},
    }


@query.field("viewer")
def viewer(_: None, info: Info) -> people.Person | None:
    context = info.context
    return people.person(context.connection, context.user.id)


@query.field("users")
def users(_: None, info: Info, query: str | None = None) -> dict[str, Any]:
    return _edges(people.search(info.context.connection, query))


@query.field("entity")
def entity_by_name(_: None, info: Info, name: str | None = None) -> people.Entity | None:
    context = info.context
    return people.entity(context.connection, name or context.user.entity)


@query.field("organization")
def organization_by_name(_: None, info: Info, name: str) -> people.Organization | None:
    return people.organization(info.context.connection, name)


@query.field("project")
@query.field("model")
def project_by_name(_: None, info: Info, name: str | None = None, entity_name: str | None = None) -> people.Project | None:
    context = info.context
    if name is None:
        return None
    return people.project(context.connection, entity_name or context.user.entity, name)


@query.field("models")
def projects(
    _: None, info: Info, entity_name: str | None = None, after: str | None = None, first: int | None = None
) -> Page[people.Project]:
    context = info.context
    return people.project_page(context.connection, entity_name or context.user.entity, after=after, first=first)


@mutation.field("createTeam")
def create_team(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    return {"entity": people.create_team(info.context.connection, input["team_name"])}


@mutation.field("generateApiKey")
def generate_api_key(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    description = input.get("description")
    number, key = people.create_key(context.connection, context.user.id, description=description)
    return {"api_key": {"id": ids.encode("ApiKey", number), "name": key, "description": description}}


@mutation.field("deleteApiKey")
def delete_api_key(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    people.delete_key(context.connection, context.user.id, ids.decode("ApiKey", input["id"]))
    return {"success": True}


@mutation.field("createCustomChart")
def create_custom_chart(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    return {"chart": {"id": f"{input['entity']}/{input['name']}"}}


@user.field("id")
def user_id(person: people.Person, info: Info) -> str:
    return ids.encode("User", person.id)


@user.field("flags")
def flags(person: people.Person, info: Info) -> str:
    return json.dumps({"code_saving_enabled": True})


@user.field("apiKeys")
def user_keys(person: people.Person, info: Info) -> dict[str, Any]:
    keys = people.keys(info.context.connection, person.id)
    return _edges([{"id": ids.encode("ApiKey", key.id), "name": key.prefix, "description": key.description} for key in keys])


@user.field("teams")
def user_teams(person: people.Person, info: Info) -> dict[str, Any]:
    return _edges(people.teams(info.context.connection))


@user.field("organizations")
def user_organizations(person: people.Person, info: Info) -> list[people.Organization]:
    found = _organization(people.entity_by_id(info.context.connection, person.entity_id), info)
    return [found] if found else []


@entity.field("id")
def entity_id(parent: people.Entity, info: Info) -> str:
    return ids.encode("Entity", parent.id)


@entity.field("entityType")
def entity_type(parent: people.Entity, info: Info) -> str:
    return parent.kind


@entity.field("isTeam")
def is_team(parent: people.Entity, info: Info) -> bool:
    return parent.kind == "team"


@entity.field("organization")
def _organization(parent: people.Entity, info: Info) -> people.Organization | None:
    if parent.organization_id is None:
        return None
    return people.organization_by_id(info.context.connection, parent.organization_id)


@entity.field("user")
def entity_user(parent: people.Entity, info: Info) -> people.Person | None:
    # The client reads a team's organisation from the entity and a person's from here; both are the same one, so
    # every entity may answer both.
    context = info.context
    return people.person(context.connection, context.user.id)


@entity.field("members")
def members(parent: people.Entity, info: Info) -> list[people.Person]:
    return people.search(info.context.connection, None)


@member.field("id")
def member_id(person: people.Person, info: Info) -> str:
    return ids.encode("User", person.id)


@organization.field("id")
def organization_id(parent: people.Organization, info: Info) -> str:
    return ids.encode("Organization", parent.id)


@organization.field("orgEntity")
def org_entity(parent: people.Organization, info: Info) -> people.Entity:
    return people.org_entity(info.context.connection, parent.id)


@project.field("id")
def project_id(parent: people.Project, info: Info) -> str:
    return ids.encode("Project", parent.id)


@project.field("entity")
def project_entity(parent: people.Project, info: Info) -> people.Entity:
    return people.entity_by_id(info.context.connection, parent.entity_id)


@project.field("user")
def project_user(parent: people.Project, info: Info) -> people.Person | None:
    return None if parent.user_id is None else people.person(info.context.connection, parent.user_id)


@project.field("allowAllArtifactTypesInRegistry")
def allows_all_types(parent: people.Project, info: Info) -> bool:
    return parent.all_types


def _constant(kind: ObjectType, **answers: Any) -> None:
    """Fields of the cloud's business side: a machine of one's own has neither plans nor quotas."""
    for name, answer in answers.items():
        kind.set_field(name, lambda _parent, _info, answer=answer: answer)


_constant(
    entity,
    available=False,
    readOnly=False,
    readOnlyAdmin=False,
    privateOnly=False,
    storageBytes=0,
    codeSavingEnabled=True,
    defaultAccess="PRIVATE",
    isPaid=False,
    limits={},
    xxhashDigestsEnabled=False,
)
_constant(member, role="admin", pending=False, accountType="MEMBER")
_constant(organization, featureFlags=[])
_constant(project, isBenchmark=False, views="{}", readOnly=False)

bindables: list[SchemaBindable] = [query, mutation, user, entity, member, organization, project]


def _edges(nodes: list[Any]) -> dict[str, Any]:
    return {"edges": [{"node": node} for node in nodes]}
