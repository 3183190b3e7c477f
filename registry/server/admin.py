"""Administration over HTTP, `/admin/…`: users and their keys, organisations, teams, members and roles, protected aliases.

JSON in and out, for the key of an instance admin in the `Authorization` header; a browser's cookie is not one. This is ours
alone: W&B has pages for it. Each request is one transaction; a PUT or DELETE that is sent again changes nothing more, and a key
stands in one answer only, that of the POST that made it.

    GET     /admin
    GET     /admin/users?removed=true                POST  {username, email?, name?, admin?, api_key?, organization?}
    GET     /admin/users/NAME                        PATCH {admin?, email?, name?}    DELETE
    POST    /admin/users/NAME/restore
    GET     /admin/users/NAME/keys                   POST  {description?, api_key?}   DELETE …/keys/PREFIX
    GET     /admin/organizations                     POST  {name}                     DELETE …/ORG
    GET     /admin/organizations/ORG/members         PUT   …/NAME {role?}             DELETE …/NAME
    GET     /admin/teams                             POST  {name, organization?}      DELETE …/TEAM
    GET     /admin/teams/TEAM/members                PUT   …/NAME {role?}             DELETE …/NAME
    GET     /admin/organizations/ORG/registries/REGISTRY/members
            PUT, DELETE …/members/NAME {role?}       PUT, DELETE …/teams/TEAM {role?}
    GET     /admin/organizations/ORG/registries/REGISTRY/protected-aliases
            PUT, DELETE …/protected-aliases/ALIAS
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry import __version__
from registry.errors import BadData, Conflict, NotFound, Unauthorised
from registry.references import REGISTRY_PREFIX
from registry.server import documents, refusals
from registry.server.access import REGISTRY_ROLES, TEAM_ROLES, check_role
from registry.server.context import Context, User
from registry.server.home import Home
from registry.server.store import access, keys, members, organizations, people, protection
from registry.server.store.people import Entity, Person, Project
from registry.server.transfers import path_segments

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_Body = Mapping[str, Any]
_Operation = Callable[[Context], Any]


@dataclass(frozen=True)
class Made:
    """An answer about something that was not there before."""

    content: Mapping[str, Any]


async def administer(request: Request) -> Response:
    home: Home = request.app.state.home
    user: User = await run_in_threadpool(request.app.state.keys.user, request.headers.get("authorization"))
    if not user.admin:
        raise Unauthorised(f"/admin takes the key of an instance admin, and {user.username} is none")
    segments = path_segments(request)[1:]
    removed = request.query_params.get("removed") == "true"

    def answer(raw: bytes) -> Any:
        body = documents.read_object(raw, "the request's body") if raw else {}
        operation = _operation(request.method, segments, body, removed=removed)
        if operation is None:
            raise NotFound(f"/admin has no {request.method} {request.url.path}")
        with home.database.reading() if request.method == "GET" else home.database.writing() as connection:
            may = access.of(connection, user)
            return operation(
                Context(connection=connection, blobs=home.blobs, signer=home.signer, user=user, access=may, base_url="")
            )

    async with request.app.state.bodies.received(request) as raw:
        try:
            done = await run_in_threadpool(answer, raw)
        except Conflict as error:
            # The wire's 422 is for the SDK, which would send a 409 again.
            refusal = refusals.of(error)
            return JSONResponse(dict(refusal.body), status_code=409)
    content, status = (done.content, 201) if isinstance(done, Made) else (done, 200)
    content = {"removed": True} if content is None else content
    return JSONResponse(content, status_code=status, headers={"Cache-Control": "no-store"})


routes = [Route("/admin", administer, methods=_METHODS), Route("/admin/{rest:path}", administer, methods=_METHODS)]


def _operation(method: str, path: list[str], body: _Body, *, removed: bool) -> _Operation | None:
    """What a request asks for; None when it is nothing of ours."""
    match method, path:
        case "GET", []:
            return lambda c: {
                "server": "reg",
                "version": __version__,
                "user": c.user.username,
                "keys": keys.count(c.connection),
            }
        case _, ["users", *rest]:
            return _users(method, rest, body, removed=removed)
        case _, ["teams", *rest]:
            return _teams(method, rest, body)
        case _, ["organizations", organization, "registries", registry, *rest]:
            return _registry(method, organization, registry, rest, body)
        case _, ["organizations", *rest]:
            return _organizations(method, rest, body)
    return None


def _users(method: str, path: list[str], body: _Body, *, removed: bool) -> _Operation | None:
    match method, path:
        case "GET", []:
            return lambda c: {"users": [_person(c, one) for one in people.listing(c.connection, removed=removed)]}
        case "POST", []:
            return lambda c: _create_user(c, body)
        case "GET", [name]:
            return lambda c: _person(c, people.the_person(c.connection, name))
        case "PATCH", [name]:
            return lambda c: _edit_user(c, name, body)
        case "DELETE", [name]:
            return lambda c: people.remove(c.connection, people.the_person(c.connection, name).id)
        case "POST", [name, "restore"]:
            return lambda c: _person(c, people.restore(c.connection, name))
        case "GET", [name, "keys"]:
            return lambda c: {
                "keys": [asdict(key) for key in keys.listing(c.connection, people.the_person(c.connection, name).id)]
            }
        case "POST", [name, "keys"]:
            return lambda c: _create_key(c, people.the_person(c.connection, name), body)
        case "DELETE", [name, "keys", prefix]:
            return lambda c: _revoke(c, people.the_person(c.connection, name), prefix)
    return None


def _organizations(method: str, path: list[str], body: _Body) -> _Operation | None:
    match method, path:
        case "GET", []:
            return lambda c: {"organizations": [asdict(row) for row in organizations.listing(c.connection)]}
        case "POST", []:
            return lambda c: _create_organization(c, body)
        case "DELETE", [name]:
            return lambda c: organizations.remove(c.connection, organizations.the_organization(c.connection, name))
        case "GET", [name, "members"]:
            return lambda c: _listed(
                members.of_organization(c.connection, organizations.the_organization(c.connection, name).id)
            )
        case "PUT", [name, "members", username]:

            def join(c: Context) -> Any:
                found = organizations.the_organization(c.connection, name)
                members.join_organization(
                    c.connection, found.id, people.the_person(c.connection, username).id, _role(body, TEAM_ROLES)
                )
                return _listed(members.of_organization(c.connection, found.id))

            return join
        case "DELETE", [name, "members", username]:
            return lambda c: members.leave_organization(
                c.connection,
                organizations.the_organization(c.connection, name).id,
                people.the_person(c.connection, username),
            )
    return None


def _teams(method: str, path: list[str], body: _Body) -> _Operation | None:
    match method, path:
        case "GET", []:
            return lambda c: {"teams": [asdict(row) for row in organizations.teams(c.connection)]}
        case "POST", []:
            return lambda c: _create_team(c, body)
        case "DELETE", [name]:
            return lambda c: organizations.remove_team(c.connection, _team(c, name))
        case "GET", [name, "members"]:
            return lambda c: _listed(members.of_team(c.connection, _team(c, name).id))
        case "PUT", [name, "members", username]:

            def join(c: Context) -> Any:
                team = _team(c, name)
                members.join_team(c.connection, team, people.the_person(c.connection, username).id, _role(body, TEAM_ROLES))
                return _listed(members.of_team(c.connection, team.id))

            return join
        case "DELETE", [name, "members", username]:
            return lambda c: members.leave_team(c.connection, _team(c, name), people.the_person(c.connection, username))
    return None


def _registry(method: str, organization: str, name: str, path: list[str], body: _Body) -> _Operation | None:
    def of(c: Context) -> Project:
        owner = people.org_entity(c.connection, organizations.the_organization(c.connection, organization).id)
        found = people.project(c.connection, owner.name, REGISTRY_PREFIX + name.removeprefix(REGISTRY_PREFIX))
        if found is None:
            raise NotFound(f"the organisation '{organization[:80]}' has no registry '{name[:80]}'")
        return found

    match method, path:
        case "GET", ["members"]:
            return lambda c: _registry_members(c, of(c))
        case "PUT", ["members", username]:

            def join(c: Context) -> Any:
                members.join_registry(
                    c.connection, of(c), people.the_person(c.connection, username), _role(body, REGISTRY_ROLES)
                )
                return _registry_members(c, of(c))

            return join
        case "DELETE", ["members", username]:
            return lambda c: members.leave_registry(c.connection, of(c), people.the_person(c.connection, username))
        case "PUT", ["teams", team]:

            def join_as_team(c: Context) -> Any:
                members.team_join_registry(c.connection, of(c), _team(c, team), _role(body, REGISTRY_ROLES))
                return _registry_members(c, of(c))

            return join_as_team
        case "DELETE", ["teams", team]:
            return lambda c: members.team_leave_registry(c.connection, of(c), _team(c, team))
        case "GET", ["protected-aliases"]:
            return lambda c: {"protected_aliases": protection.listing(c.connection, of(c).id)}
        case "PUT", ["protected-aliases", alias]:

            def protect(c: Context) -> Any:
                protection.protect(c.connection, of(c), alias)
                return {"protected_aliases": protection.listing(c.connection, of(c).id)}

            return protect
        case "DELETE", ["protected-aliases", alias]:
            return lambda c: protection.unprotect(c.connection, of(c), alias)
    return None


def _create_user(c: Context, body: _Body) -> Made:
    given = _fields(body, username=str, email=str, name=str, admin=bool, api_key=str, organization=str)
    made = people.create(
        c.connection, _needed(given, "username"), email=given["email"], name=given["name"], admin=bool(given["admin"])
    )
    if given["organization"] is None:
        organizations.join_the_only_one(c.connection, made.id)
    else:
        members.join_organization(
            c.connection, organizations.the_organization(c.connection, given["organization"]).id, made.id, None
        )
    _, key = keys.create(c.connection, made.id, description="first key", given=given["api_key"])
    return Made({**_person(c, made), **({} if given["api_key"] else {"api_key": key})})


def _edit_user(c: Context, name: str, body: _Body) -> Any:
    given = _fields(body, admin=bool, email=str, name=str)
    return _person(c, people.edit(c.connection, people.the_person(c.connection, name), **given))


def _create_key(c: Context, owner: Person, body: _Body) -> Made:
    given = _fields(body, description=str, api_key=str)
    made, key = keys.create(c.connection, owner.id, description=given["description"], given=given["api_key"])
    return Made({**asdict(made), **({} if given["api_key"] else {"api_key": key})})


def _revoke(c: Context, owner: Person, prefix: str) -> None:
    keys.revoke(c.connection, owner.id, keys.named(c.connection, owner.id, prefix).id)


def _create_organization(c: Context, body: _Body) -> Made:
    made = organizations.create(c.connection, _needed(_fields(body, name=str), "name"), creator_id=c.user.id)
    return Made(asdict(next(row for row in organizations.listing(c.connection) if row.name == made.name)))


def _create_team(c: Context, body: _Body) -> Made:
    given = _fields(body, name=str, organization=str)
    present = [row.name for row in organizations.listing(c.connection)]
    if given["organization"] is None and len(present) > 1:
        raise BadData(f"organization is missing, and there are {len(present)}: {', '.join(present)}")
    owner = organizations.the_organization(c.connection, given["organization"] or present[0])
    made = organizations.create_team(c.connection, _needed(given, "name"), owner)
    return Made(asdict(next(row for row in organizations.teams(c.connection) if row.name == made.name)))


def _person(c: Context, one: Person) -> dict[str, Any]:
    return {
        "username": one.username,
        "name": one.name,
        "email": one.email,
        "admin": one.admin,
        "service": one.service,
        "removed_at": one.deleted_at,
        "organizations": [found.name for found in members.organizations_of(c.connection, one.id)],
        "teams": [found.name for found in members.teams_of(c.connection, one.id)],
        "keys": [key.prefix for key in keys.listing(c.connection, one.id)],
    }


def _registry_members(c: Context, registry: Project) -> dict[str, Any]:
    teams = [{"team": one.team.name, "role": one.role} for one in members.teams_of_registry(c.connection, registry.id)]
    return {**_listed(members.of_registry(c.connection, registry.id)), "teams": teams}


def _listed(found: list[members.Member]) -> dict[str, Any]:
    return {"members": [{"username": one.username, "name": one.name, "role": one.role} for one in found]}


def _team(c: Context, name: str) -> Entity:
    found = people.entity(c.connection, name)
    if found is None or found.kind != "team":
        raise NotFound(f"there is no team '{name[:80]}'", hint="reg admin team ls")
    return found


def _role(body: _Body, allowed: tuple[str, ...]) -> str | None:
    role = _fields(body, role=str)["role"]
    return None if role is None else check_role(role, allowed)


def _fields(body: _Body, **known: type) -> dict[str, Any]:
    """The known fields of a body, None where one is absent or null.

    Raises:
        BadData: another field, or one of another type.
    """
    for name, value in body.items():
        if name not in known:
            raise BadData(f"'{name[:80]}' is not a field of this request: {', '.join(known) or 'it has none'}")
        if value is not None and not isinstance(value, known[name]):
            raise BadData(f"{name} is a {type(value).__name__}, a {known[name].__name__} was expected")
    return {name: body.get(name) for name in known}


def _needed(given: Mapping[str, Any], name: str) -> str:
    if not given[name]:
        raise BadData(f"{name} is missing")
    return str(given[name])
