"""Users, entities, organisations, projects, and what the server says about itself."""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, ObjectType, QueryType, SchemaBindable

from registry.errors import Conflict, NotFound, Unauthorised
from registry.server import ids
from registry.server.access import Level
from registry.server.context import Context, now
from registry.server.resolvers import Info
from registry.server.store import access, keys, members, organizations, people
from registry.server.store.members import Member
from registry.server.store.pages import Page

# The newest client this server was tested with, and the oldest it hopes to serve.
_CLIENT_VERSIONS = {"max_cli_version": "0.31.99", "min_cli_version": "0.20.0"}

# What 0.31 asks about and this server does. Absent means off: automations.
_FEATURES = (
    "STRUCTURED_CONSOLE_LOGS",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "ARTIFACT_REGISTRY_SEARCH",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_DIGEST_ALGORITHM",
    "MARK_RUN_FILES_UPLOADED",
    "SWEEPS_QUERY_FILTERING",
    "SWEEPS_LOCAL_SCHEDULER",
    "FILESTREAM_GZIP",
    # Taken for granted by 0.31, asked about by older clients.
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    # Asked about by W&B's own tests only.
    "UPDATE_RUN_STATE",
    "RUN_SCAN_HISTORY_LIVE_DATA",
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
    context = info.context
    found = people.search(context.connection, query)
    return _edges([one for one in found if _knows(context, one)])


@query.field("entity")
def entity_by_name(_: None, info: Info, name: str | None = None) -> people.Entity | None:
    context = info.context
    found = people.entity(context.connection, name or context.user.entity)
    return found if found is not None and _may_name(context, found) else None


@query.field("organization")
def organization_by_name(_: None, info: Info, name: str) -> people.Organization | None:
    context = info.context
    found = people.organization(context.connection, name)
    return found if found is not None and _belongs(context, found.id) else None


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
    return _projects_of(info.context, entity_name or info.context.user.entity, after=after, first=first)


@user.field("projects")
def user_projects(
    parent: people.Person, info: Info, after: str | None = None, first: int | None = None
) -> Page[people.Project]:
    return _projects_of(info.context, parent.entity, after=after, first=first)


@mutation.field("createTeam")
def create_team(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """In the organisation that the user governs, and theirs unless somebody else is named."""
    context = info.context
    team = organizations.create_team(context.connection, input["team_name"], _governed(context))
    head = input.get("team_admin_user_name") or context.user.username
    members.join_team(context.connection, team, people.the_person(context.connection, head).id, "admin")
    return {"entity": team}


@mutation.field("createUser")
def create_user(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Under the first part of the address, in the only organisation if there is one; `reg admin key create` gives a key."""
    context = info.context
    context.access.require_admin("create users")
    username, _at, _host = input["email"].partition("@")
    made = people.create(context.connection, username, email=input["email"], admin=bool(input.get("admin")))
    organizations.join_the_only_one(context.connection, made.id)
    return {"user": made}


@mutation.field("updateUser")
def update_user(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """The team in which a user's runs begin that name no entity: a setting of W&B's pages.

    https://docs.wandb.ai/platform/app/settings-page/user-settings
    """
    context = info.context
    context.access.allow()
    number = ids.decode("User", input["id"]) if input.get("id") else context.user.id
    if number != context.user.id:
        context.access.require_admin("change other users")
    changed = people.person(context.connection, number)
    if changed is None or changed.deleted_at is not None:
        raise NotFound("no user has this id")
    if input.get("default_entity"):
        theirs = [people.entity_by_id(context.connection, changed.entity_id), *members.teams_of(context.connection, number)]
        chosen = next((one for one in theirs if one.name == input["default_entity"]), None)
        if chosen is None:
            raise NotFound(f"'{changed.username}' is in no team '{input['default_entity'][:80]}'")
        people.set_default(context.connection, number, chosen)
    return {"user": people.person(context.connection, number)}


@mutation.field("createInvite")
def create_invite(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    team = _team_governed(context, input["entity_name"])
    invited = people.the_person(context.connection, input.get("username") or input.get("email") or "")
    if invited.id in {known.id for known in members.of_team(context.connection, team.id)}:
        raise Conflict(f"'{invited.username}' is in the team '{team.name}' already")
    members.join_team(context.connection, team, invited.id, "admin" if input.get("admin") else "member")
    invite = {"id": ids.encode("User", invited.id), "name": invited.name, "email": invited.email, "to_user": invited}
    return {"invite": {**invite, "created_at": now()}}


@mutation.field("deleteInvite")
def delete_invite(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    team = _team_governed(context, input.get("entity_name") or "")
    leaving = people.person(context.connection, ids.decode("User", input.get("id") or ""))
    if leaving is None:
        raise NotFound(f"nobody in the team '{team.name}' has this id")
    members.leave_team(context.connection, team, leaving)
    return {"success": True}


@mutation.field("createServiceAccount")
def create_service_account(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    team = _team_governed(context, input["entity_name"])
    made = people.create_service_account(context.connection, team, input["description"])
    members.join_team(context.connection, team, made.id, "member")
    return {"user": made}


@mutation.field("generateApiKey")
def generate_api_key(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    context.access.allow()
    made, key = keys.create(context.connection, context.user.id, description=input.get("description"))
    return {"api_key": {"id": ids.encode("ApiKey", made.id), "name": key, "description": made.description}}


@mutation.field("deleteApiKey")
def delete_api_key(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Only the owner of the key or an instance admin can."""
    context = info.context
    context.access.allow()
    number = ids.decode("ApiKey", input["id"])
    owner = keys.user_of_id(context.connection, number)
    if owner is None or not (context.access.admin or owner.id == context.user.id):
        raise NotFound("you have no API key with this id")
    keys.revoke(context.connection, owner.id, number)
    return {"success": True}


@mutation.field("createCustomChart")
def create_custom_chart(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    info.context.access.allow()  # nothing is kept
    return {"chart": {"id": f"{input['entity']}/{input['name']}"}}


@user.field("id")
def user_id(person: people.Person, info: Info) -> str:
    return ids.encode("User", person.id)


@user.field("flags")
def flags(person: people.Person, info: Info) -> str:
    return json.dumps({"code_saving_enabled": True})


@user.field("apiKeys")
def user_keys(person: people.Person, info: Info) -> dict[str, Any]:
    context = info.context
    shown = context.access.admin or person.id == context.user.id
    found = keys.listing(context.connection, person.id) if shown else []
    return _edges([{"id": ids.encode("ApiKey", key.id), "name": key.prefix, "description": key.description} for key in found])


@user.field("userEntity")
def user_entity(person: people.Person, info: Info) -> people.Entity | None:
    found = people.entity_by_id(info.context.connection, person.entity_id)
    return found if _may_name(info.context, found) else None


@user.field("defaultEntity")
def default_entity(person: people.Person, info: Info) -> people.Entity | None:
    found = people.entity(info.context.connection, person.entity)
    return found if found is not None and _may_name(info.context, found) else None


@user.field("teams")
def user_teams(person: people.Person, info: Info) -> dict[str, Any]:
    """With the user's own entity first, as W&B lists them; a service account's own is its team."""
    context = info.context
    own = people.entity_by_id(context.connection, person.entity_id)
    found = [own, *(team for team in members.teams_of(context.connection, person.id) if team.id != own.id)]
    return _edges([team for team in found if _may_name(context, team)])


@user.field("organizations")
def user_organizations(person: people.Person, info: Info) -> list[people.Organization]:
    context = info.context
    found = members.organizations_of(context.connection, person.id)
    return [organization for organization in found if _belongs(context, organization.id)]


@user.field("email")
@member.field("email")
def email(person: people.Person | Member, info: Info) -> str | None:
    return person.email if _knows(info.context, person) else None


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
    """Of a user's own entity only where there is but one: the client asks `user` for the others."""
    context = info.context
    if parent.kind == "user":
        owner = _owner_of(context, parent)
        theirs = [] if owner is None else members.organizations_of(context.connection, owner.id)
        found = theirs[0] if len(theirs) == 1 else None
    else:
        number = parent.organization_id
        found = None if number is None else people.organization_by_id(context.connection, number)
    return found if found is not None and _belongs(context, found.id) else None


@entity.field("user")
def entity_user(parent: people.Entity, info: Info) -> people.Person | None:
    return _owner_of(info.context, parent)


@entity.field("members")
def entity_members(parent: people.Entity, info: Info) -> list[Member]:
    context = info.context
    if not _may_name(context, parent):
        return []
    if parent.kind == "organization" and parent.organization_id is not None:
        return members.of_organization(context.connection, parent.organization_id)
    if parent.kind == "team":
        return members.of_team(context.connection, parent.id)
    owner = _owner_of(context, parent)
    return [] if owner is None else [members.alone(owner)]


@member.field("id")
def member_id(person: Member, info: Info) -> str:
    return ids.encode("User", person.id)


@member.field("accountType")
def account_type(person: Member, info: Info) -> str:
    return "SERVICE" if person.service else "USER"


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
        kind.set_field(name, lambda _parent, _info, answer=answer, **_asked: answer)


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
    xxhashDigestsEnabled=True,
)
_constant(member, pending=False)
_constant(organization, featureFlags=[])
_constant(project, isBenchmark=False, views="{}")

bindables: list[SchemaBindable] = [query, mutation, user, entity, member, organization, project]


def _projects_of(context: Context, entity_name: str, *, after: str | None, first: int | None) -> Page[people.Project]:
    seen = access.visible(context.access)
    return people.project_page(context.connection, entity_name, visible=seen, after=after, first=first)


def _knows(context: Context, person: people.Person | Member) -> bool:
    """Whether the user shares an organisation with somebody, whose address and name they may then look up."""
    if context.access.admin or person.id == context.user.id:
        return True
    return members.share_an_organization(context.connection, context.user.id, person.id)


def _belongs(context: Context, organization_id: int) -> bool:
    entity_id = people.org_entity(context.connection, organization_id).id
    return context.access.admin or entity_id in context.access.grants.organizations


def _may_name(context: Context, found: people.Entity) -> bool:
    """Whether the user has a part in an entity: their own, their teams, what belongs to their organisations."""
    if context.access.entity_level(found.id) > Level.NONE:
        return True
    owner = _owner_of(context, found)
    if owner is not None:
        return _knows(context, owner)
    return found.organization_id is not None and _belongs(context, found.organization_id)


def _owner_of(context: Context, found: people.Entity) -> people.Person | None:
    return people.owner_of(context.connection, found.id) if found.kind == "user" else None


def _governed(context: Context) -> people.Organization:
    """Where a team is made: in the one organisation whose admin the user is; else in the home's own, by an instance admin."""
    context.access.allow()
    governed = members.organizations_of(context.connection, context.user.id, role="admin")
    if len(governed) != 1 and context.access.admin:
        return organizations.the_organization(context.connection, people.LOCAL_ORGANIZATION)
    if len(governed) != 1:
        raise Unauthorised(
            f"{context.user.username} is admin of {len(governed)} organisations; a team is made by the admin of one",
            hint="reg admin team add NAME --org ORGANISATION",
        )
    return governed[0]


def _team_governed(context: Context, name: str) -> people.Entity:
    """A team whose members are to change, by its own admin or that of its organisation."""
    context.access.allow()
    found = people.entity(context.connection, name)
    if found is None or found.kind != "team" or not _may_name(context, found):
        raise NotFound(f"there is no team '{name[:80]}'")
    organization = None if found.organization_id is None else people.org_entity(context.connection, found.organization_id)
    if organization is None or context.access.entity_level(organization.id) < Level.ADMIN:
        context.access.require_entity(Level.ADMIN, found.id, found.name)
    return found


def _edges(nodes: list[Any]) -> dict[str, Any]:
    return {"edges": [{"node": node} for node in nodes]}
