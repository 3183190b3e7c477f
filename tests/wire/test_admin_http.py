"""Administration over HTTP: users, keys, organisations, teams, members, protected aliases; and the SDK's own calls for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import wandb
from wandb.errors import CommError

from tests.wire.conftest import Server, running, since

_REGISTRIES = "/organizations/local/registries"
_NUMBERS = count(1)


class Desk:
    """`/admin` of a server, with the key of its local user or another one."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = httpx.Client(base_url=server.url, timeout=30, trust_env=False)

    def __call__(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        return self._http.request(method, f"/admin{path}", json=body, auth=("api", key or self.server.key))

    def user(self, name: str, **said: Any) -> str:
        """The key of a new user."""
        made = self("POST", "/users", {"username": name, **said})
        assert made.status_code == 201, made.text
        return str(made.json().get("api_key"))

    def knows(self, key: str) -> bool:
        query = {"query": "{ viewer { username } }"}
        return self._http.post("/graphql", json=query, auth=("api", key)).status_code == 200

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Of a server of its own: other tests count who is there."""
    with running(tmp_path_factory.mktemp("admin")) as server:
        found = Desk(server)
        yield found
        found.close()


@pytest.fixture
def api(sdk: Path, desk: Desk) -> wandb.Api:
    return wandb.Api({"base_url": desk.server.url}, api_key=desk.server.key)


@pytest.fixture(scope="module")
def plain(desk: Desk) -> str:
    """The key of somebody who is admin of the organisation, and not of the server."""
    key = desk.user("plain")
    desk("PUT", "/organizations/local/members/plain", {"role": "admin"}).raise_for_status()
    return key


def test_a_user_comes_with_a_key_that_is_shown_once(desk: Desk) -> None:
    made = desk("POST", "/users", {"username": "ann", "email": "ann@x.org"})
    key = made.json()["api_key"]
    assert (made.status_code, len(key), desk.knows(key)) == (201, 40, True)
    assert made.json() | {"api_key": ""} == {
        "username": "ann",
        "name": "ann",
        "email": "ann@x.org",
        "admin": False,
        "service": False,
        "removed_at": None,
        "organizations": ["local"],
        "teams": [],
        "keys": [key[:8]],
        "api_key": "",
    }
    assert key not in desk("GET", "/users/ann").text + desk("GET", "/users/ann/keys").text


def test_a_team_keeps_the_keys_it_has(desk: Desk) -> None:
    given = "local-0123456789abcdef0123456789abcdef01234567"
    made = desk("POST", "/users", {"username": "bea", "api_key": given})
    assert (made.status_code, "api_key" in made.json(), made.json()["keys"]) == (201, False, ["local-01234567"])
    assert desk.knows(given)
    again = desk("POST", "/users/bea/keys", {"api_key": given})
    assert (again.status_code, given in again.text) == (409, False)


@pytest.mark.parametrize("given", ["a1b2c3d4" * 4, "a" * 40, "0123456789" * 26, "with a space in it 0123456789 0123456789"])
def test_what_is_no_key_is_not_given(desk: Desk, given: str) -> None:
    refused = desk("POST", "/users", {"username": "nokey", "api_key": given})
    assert (refused.status_code, given in refused.text) == (400, False)
    assert desk("GET", "/users/nokey").status_code == 404


def test_a_revoked_key_stops_working_at_once_in_every_process(desk: Desk) -> None:
    key = desk.user("carl")
    second = desk("POST", "/users/carl/keys", {"description": "ci"}).json()
    with running(desk.server.home) as other:
        elsewhere = Desk(other)
        assert (desk.knows(second["api_key"]), elsewhere.knows(second["api_key"])) == (True, True)
        assert desk("DELETE", f"/users/carl/keys/{second['prefix']}").json() == {"removed": True}
        assert (desk.knows(second["api_key"]), elsewhere.knows(second["api_key"])) == (False, False)
        elsewhere.close()
    assert desk.knows(key)
    assert [(one["prefix"], one["description"]) for one in desk("GET", "/users/carl/keys").json()["keys"]] == [
        (key[:8], "first key")
    ]


def test_the_key_in_the_homes_file_is_replaced_with_the_file(tmp_path: Path) -> None:
    with running(tmp_path / "home") as server:
        desk = Desk(server)
        refused = desk("DELETE", f"/users/local/keys/{server.key[:8]}")
        assert (refused.status_code, "remove that file and start again" in refused.json()["error"]) == (409, True)
        old = server.key
        desk.close()
    (tmp_path / "home" / "key").unlink()
    with running(tmp_path / "home") as server:
        desk = Desk(server)
        assert (desk.knows(server.key), desk.knows(old)) == (True, False)
        desk.close()


def test_a_removed_user_stays_the_author_of_what_they_made(desk: Desk) -> None:
    key = desk.user("dora")
    upsert = 'mutation { upsertBucket(input: {modelName: "p", name: "r"}) { inserted } }'
    httpx.post(f"{desk.server.url}/graphql", json={"query": upsert}, auth=("api", key), trust_env=False).raise_for_status()
    assert desk("DELETE", "/users/dora").json() == {"removed": True}
    assert desk.knows(key) is False
    query = '{ project(name: "p", entityName: "dora") { run(name: "r") { user { username deletedAt } } } }'
    author: Any = desk.server.ask(query)["project"]["run"]["user"]  # type: ignore[index]
    assert (author["username"], author["deletedAt"] is not None) == ("dora", True)
    assert "dora" in [one["username"] for one in desk("GET", "/users?removed=true").json()["users"]]
    taken = desk("POST", "/users", {"username": "Dora"})
    assert (taken.status_code, "reg admin user restore dora" in taken.json()["error"]) == (409, True)
    assert desk("POST", "/users/dora/restore", {}).json()["keys"] == []
    assert desk.knows(desk("POST", "/users/dora/keys", {}).json()["api_key"])


@pytest.mark.parametrize(("method", "path", "body", "status", "complaint"), [
    pytest.param("POST", "/users", {}, 400, "username is missing", id="no name"),
    pytest.param("POST", "/users", {"username": "a/b"}, 400, "cannot be a username", id="a path"),
    pytest.param("POST", "/users", {"username": "graphql"}, 400, "own addresses", id="a reserved name"),
    pytest.param("POST", "/users", {"username": "LOCAL"}, 409, "'local' is the name of", id="taken but for case"),
    pytest.param("POST", "/users", {"username": "x", "root": True}, 400, "'root' is not a field", id="unknown field"),
    pytest.param("POST", "/users", {"username": "x", "admin": "yes"}, 400, "admin is a str", id="wrong type"),
    pytest.param("PATCH", "/users/local", {"admin": False}, 409, "stays an instance admin", id="the local user"),
    pytest.param("DELETE", "/users/local", None, 409, "cannot be removed", id="removing the local user"),
    pytest.param("GET", "/users/absent", None, 404, "there is no user 'absent'", id="nobody"),
    pytest.param("POST", "/teams", {"name": "t", "organization": "absent"}, 404, "no organisation 'absent'", id="no such org"),
    pytest.param("DELETE", "/organizations/local", None, 409, "the organisation of this home", id="the local org"),
    pytest.param("PUT", "/organizations/local/members/local", {"role": "king"}, 400, "'king' is not a role", id="no role"),
    pytest.param("PUT", f"{_REGISTRIES}/nix/protected-aliases/a", None, 404, "no registry 'nix'", id="registry"),
    pytest.param("PUT", f"{_REGISTRIES}/model/protected-aliases/latest", None, 400, "cannot be protected", id="latest"),
    pytest.param("PUT", f"{_REGISTRIES}/model/protected-aliases/v3", None, 400, "cannot be an alias", id="vN"),
    pytest.param("DELETE", "/users", None, 404, "/admin has no DELETE /admin/users", id="no such operation"),
    pytest.param("GET", "/nonsense", None, 404, "/admin has no GET /admin/nonsense", id="no such noun"),
])  # fmt: skip
def test_a_bad_request_says_what_is_wrong(desk: Desk, method: str, path: str, body: Any, status: int, complaint: str) -> None:
    answer = desk(method, path, body)
    assert (answer.status_code, complaint in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize("path", ["", "/users", "/organizations", "/teams", "/users/local/keys", "/anything"])
def test_only_an_instance_admins_key_administers(desk: Desk, plain: str, path: str) -> None:
    assert desk("GET", path, key=plain).status_code == 403
    assert desk("GET", path, key="0" * 40).status_code == 401
    assert httpx.get(f"{desk.server.url}/admin{path}", trust_env=False).status_code == 401


def test_teams_organisations_and_roles_come_and_go(desk: Desk) -> None:
    assert desk("POST", "/organizations", {"name": "acme"}).json() == {
        "name": "acme",
        "entity": "acme-org",
        "members": 1,
        "teams": 0,
    }
    assert desk("POST", "/teams", {"name": "blue", "organization": "acme"}).status_code == 201
    desk.user("eve", organization="acme")
    for _ in range(2):  # a PUT that comes twice changes nothing more
        joined = desk("PUT", "/teams/blue/members/eve", {"role": "viewer"})
    assert joined.json() == {"members": [{"username": "eve", "name": "eve", "role": "viewer"}]}
    assert desk("PUT", "/organizations/acme/registries/model/members/eve", {}).json()["members"][-1]["role"] == "viewer"
    assert desk("PUT", "/organizations/acme/registries/model/teams/blue", {"role": "member"}).json()["teams"] == [
        {"team": "blue", "role": "member"}
    ]
    outside = desk("PUT", "/organizations/local/registries/model/members/eve", {"role": "viewer"})
    assert (outside.status_code, "does not belong to the organisation" in outside.json()["error"]) == (409, True)
    assert desk("DELETE", "/organizations/acme").status_code == 409
    assert desk("DELETE", "/organizations/acme/members/eve").json() == {"removed": True}
    assert desk("GET", "/teams/blue/members").json() == {"members": []}
    assert desk("DELETE", "/teams/blue").json() == {"removed": True}
    assert desk("DELETE", "/organizations/acme").json() == {"removed": True}
    assert desk("DELETE", "/organizations/acme").status_code == 404


def test_a_team_with_runs_is_not_removed(desk: Desk) -> None:
    desk("POST", "/teams", {"name": "busy", "organization": "local"}).raise_for_status()
    desk.server.ask('mutation { upsertBucket(input: {entityName: "busy", modelName: "p", name: "r"}) { inserted } }')
    refused = desk("DELETE", "/teams/busy")
    assert (refused.status_code, "'busy' has runs or artifacts in p" in refused.json()["error"]) == (409, True)


def test_protected_aliases_are_listed_and_given_free(desk: Desk) -> None:
    path = "/organizations/local/registries/dataset/protected-aliases"
    for alias in ("gold", "gold", "blessed"):
        assert desk("PUT", f"{path}/{alias}").status_code == 200
    assert desk("GET", path).json() == {"protected_aliases": ["blessed", "gold"]}
    query = '{ project(name: "wandb-registry-dataset", entityName: "local-org") { protectedAliases } }'
    assert desk.server.ask(query) == {"project": {"protectedAliases": ["blessed", "gold"]}}
    for alias in ("gold", "blessed"):
        assert desk("DELETE", f"{path}/{alias}").json() == {"removed": True}
    assert desk("DELETE", f"{path}/gold").status_code == 404


def test_the_sdk_makes_users_and_teams_and_invites(api: wandb.Api, desk: Desk) -> None:
    made = api.create_user("finn@x.org")
    assert (made.username, made.email, made.admin) == ("finn", "finn@x.org", False)
    team = api.create_team("finns")
    assert [(one.username, one.account_type) for one in team.members] == [("local", "USER")]
    assert (team.invite("finn@x.org"), team.invite("finn"), team.invite("nobody-here")) == (True, False, False)
    team.load(force=True)
    assert [one.username for one in team.members] == ["local", "finn"]
    assert team.members[-1].delete() is True
    service = team.create_service_account("nightly CI")
    assert service is not None
    assert (service.name, service.account_type) == ("nightly CI", "SERVICE")
    key = desk("POST", f"/users/{service.username}/keys", {}).json()["api_key"]
    assert wandb.Api({"base_url": desk.server.url}, api_key=key).default_entity == "finns"


def test_the_sdk_gives_and_takes_registry_roles(api: wandb.Api, desk: Desk) -> None:
    desk.user("gina")
    api.create_team("ginas")
    registry = api.create_registry("roles", "restricted", organization="local")
    gina, ginas = api.user("gina"), api.team("ginas")
    assert gina is not None
    registry.add_members(gina, ginas)
    assert [(one.user.username, one.role) for one in registry.user_members()] == [("local", "admin"), ("gina", "viewer")]
    assert [(one.team.name, one.role) for one in registry.team_members()] == [("ginas", "viewer")]
    registry.update_member(gina, "restricted_viewer")
    registry.update_member(ginas, "admin")
    assert [(one.user.username, one.role) for one in registry.user_members()][1:] == [("gina", "restricted_viewer")]
    assert [(one.team.name, one.role) for one in registry.team_members()] == [("ginas", "admin")]
    registry.remove_members(gina, ginas)
    assert ([one.user.username for one in registry.user_members()], registry.team_members()) == (["local"], [])


def test_whoever_an_instance_admin_adds_to_a_registry_joins_its_organisation(api: wandb.Api, desk: Desk) -> None:
    desk("POST", "/organizations", {"name": "guests"}).raise_for_status()
    key = desk.user("ivy", organization="local")
    registry = api.registry("model", organization="guests")
    ivy = api.user("ivy")
    assert ivy is not None
    registry.add_members(ivy)
    assert [(one.user.username, one.role) for one in registry.user_members()] == [("local", "admin"), ("ivy", "viewer")]
    assert desk("GET", "/organizations/guests/members").json()["members"][-1] == {
        "username": "ivy",
        "name": "ivy",
        "role": "viewer",
    }
    theirs = wandb.Api({"base_url": desk.server.url}, api_key=key)
    assert theirs.registry("model", organization="guests").full_name == "wandb-registry-model"
    registry.remove_members(ivy)
    registry.remove_members(ivy)  # who has left already is no error
    assert [one.user.username for one in registry.user_members()] == ["local"]


def test_the_admin_of_a_registry_adds_nobody_from_outside_its_organisation(sdk: Path, desk: Desk, plain: str) -> None:
    desk("POST", "/organizations", {"name": "away"}).raise_for_status()
    desk.user("jan", organization="away")
    theirs = wandb.Api({"base_url": desk.server.url}, api_key=plain)
    registry = theirs.registry("model", organization="local")
    jan = wandb.Api({"base_url": desk.server.url}, api_key=desk.server.key).user("jan")
    assert jan is not None
    with pytest.raises(Exception, match="does not belong to the organisation"):
        registry.add_members(jan.id)


def test_a_team_is_made_in_the_one_organisation_whose_admin_the_user_is(sdk: Path, desk: Desk) -> None:
    desk("POST", "/organizations", {"name": "own"}).raise_for_status()
    key = desk.user("kim", organization="own", admin=True)
    desk("PUT", "/organizations/own/members/kim", {"role": "admin"}).raise_for_status()
    wandb.Api({"base_url": desk.server.url}, api_key=key).create_team("kims")
    assert {one["name"]: one["organization"] for one in desk("GET", "/teams").json()["teams"]}["kims"] == "own"


@pytest.fixture
def team(desk: Desk) -> str:
    """A team of an organisation of its own, `<team>-firm`."""
    name = f"team-{next(_NUMBERS)}"
    desk("POST", "/organizations", {"name": f"{name}-firm"}).raise_for_status()
    desk("POST", "/teams", {"name": name, "organization": f"{name}-firm"}).raise_for_status()
    return name


@pytest.fixture
def lena(desk: Desk, team: str) -> str:
    """The key of `<team>-lena`, who is in the team."""
    key = desk.user(f"{team}-lena", organization=f"{team}-firm")
    desk("PUT", f"/teams/{team}/members/{team}-lena", {"role": "member"}).raise_for_status()
    return key


def _default(desk: Desk, key: str, chosen: str | None = None) -> str:
    """The default entity of a key's owner, after they chose one if they did; or why they could not."""
    told = "entity defaultEntity { name }"
    choose = f"mutation M($entity: String) {{ updateUser(input: {{defaultEntity: $entity}}) {{ user {{ {told} }} }} }}"
    body = {"query": choose if chosen else f"{{ viewer {{ {told} }} }}", "variables": {"entity": chosen}}
    answer = httpx.post(f"{desk.server.url}/graphql", json=body, auth=("api", key), trust_env=False).json()
    if "errors" in answer:
        return str(answer["errors"][0]["message"])
    user = answer["data"].get("viewer") or answer["data"]["updateUser"]["user"]
    assert user["defaultEntity"] == {"name": user["entity"]}
    return str(user["entity"])


def test_a_users_runs_begin_in_the_default_team_that_they_chose(sdk: Path, desk: Desk, team: str, lena: str) -> None:
    assert (_default(desk, lena), _default(desk, lena, team)) == (f"{team}-lena", team)
    theirs = wandb.Api({"base_url": desk.server.url}, api_key=lena)
    assert (theirs.default_entity, theirs.viewer.username) == (team, f"{team}-lena")
    assert theirs.create_run(project="p").entity == team
    assert _default(desk, lena, f"{team}-lena") == f"{team}-lena"


@pytest.mark.parametrize("entity", ["local", "local-org", "{}-firm-org", "nowhere"])
def test_only_a_team_that_the_user_is_in_can_be_their_default(desk: Desk, team: str, lena: str, entity: str) -> None:
    chosen = entity.format(team)
    assert _default(desk, lena, chosen).startswith(f"'{team}-lena' is in no team '{chosen}'")
    assert _default(desk, lena) == f"{team}-lena"


@pytest.mark.parametrize("path", ["/teams/{0}/members/{0}-lena", "/organizations/{0}-firm/members/{0}-lena", "/teams/{0}"])
def test_who_left_their_default_team_begins_in_their_own_entity_again(desk: Desk, team: str, lena: str, path: str) -> None:
    assert _default(desk, lena, team) == team
    desk("DELETE", path.format(team)).raise_for_status()
    assert _default(desk, lena) == f"{team}-lena"


@since("0.30")
def test_the_sdk_resolves_registries_of_several_organisations(sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("orgs")) as server:
        desk = Desk(server)
        for name in ("one", "two"):
            desk("POST", "/organizations", {"name": name}).raise_for_status()
        key = desk.user("hal", organization="one")
        desk("PUT", "/organizations/two/members/hal", {"role": "member"}).raise_for_status()
        desk.close()
        overrides = {"base_url": server.url}
        api = wandb.Api(overrides, api_key=key)
        assert [api.registry("model", organization=name).entity for name in ("one", "two")] == ["one-org", "two-org"]
        with pytest.raises(ValueError, match="Multiple organizations found"):
            api.registry("model")
        with pytest.raises((ValueError, CommError)):
            api.registry("model", organization="local")
