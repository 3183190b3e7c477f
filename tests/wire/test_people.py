"""Who the client believes it is, and the names it finds: users, entities, organisation, projects."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb

from tests.wire.conftest import Server


def test_the_viewer_is_the_local_user(sdk: Path) -> None:
    api = wandb.Api()
    assert (api.default_entity, api.viewer.username, api.viewer.email) == ("local", "local", "local@localhost")


def test_a_users_own_entity_is_a_team_of_one(sdk: Path) -> None:
    api = wandb.Api()
    assert api.viewer.teams[0] == "local"
    assert [repr(one) for one in api.team("local").members] == ["<Member local (USER)>"]


@pytest.mark.parametrize("key", ["0" * 40, "local-" + "1" * 40])
def test_a_wrong_key_is_refused_at_login(sdk: Path, key: str) -> None:
    with pytest.raises(wandb.errors.AuthenticationError):
        wandb.login(key=key, relogin=True, verify=True)


def test_the_right_key_is_accepted_at_login(server: Server, sdk: Path) -> None:
    assert wandb.login(key=server.key, relogin=True, verify=True)


def test_a_made_key_works_until_it_is_deleted(server: Server, sdk: Path) -> None:
    user = wandb.Api().viewer
    key = user.generate_api_key("ci")
    assert wandb.Api(api_key=key).viewer.username == "local"
    assert key not in wandb.Api().viewer.api_keys
    assert key[:8] in {found["node"]["name"] for found in _keys(server)}
    number = next(found["node"]["id"] for found in _keys(server) if found["node"]["name"] == key[:8])
    server.ask("mutation M($id: String!) { deleteApiKey(input: {id: $id}) { success } }", id=number)
    assert key[:8] not in {found["node"]["name"] for found in _keys(server)}


def _keys(server: Server) -> list[dict[str, dict[str, str]]]:
    data = server.ask("{ viewer { apiKeys { edges { node { id name } } } } }")
    edges: list[dict[str, dict[str, str]]] = data["viewer"]["apiKeys"]["edges"]  # type: ignore[index]
    return edges


def test_a_new_home_belongs_to_the_local_organisation(server: Server) -> None:
    query = """query Q($name: String) { entity(name: $name) {
        organization { name orgEntity { name entityType } } user { organizations { name orgEntity { name } } } } }"""
    organization = {"name": "local", "orgEntity": {"name": "local-org", "entityType": "organization"}}
    mine = {"organizations": [{"name": "local", "orgEntity": {"name": "local-org"}}]}
    assert server.ask(query, name="local")["entity"] == {"organization": organization, "user": mine}
    assert server.ask(query, name="local-org")["entity"] == {"organization": organization, "user": None}


def test_a_new_home_has_the_registries_model_and_dataset(server: Server) -> None:
    query = """query Q($name: String) {
        project(name: $name, entityName: "local-org") { name allowAllArtifactTypesInRegistry } }"""
    for name in ("wandb-registry-model", "wandb-registry-dataset"):
        assert server.ask(query, name=name)["project"] == {"name": name, "allowAllArtifactTypesInRegistry": True}


def test_projects_are_listed_page_by_page(sdk: Path, project: str) -> None:
    api = wandb.Api()
    names = [f"{project}-{number}" for number in range(3)]
    for name in names:
        api.create_run(project=name, entity="local", run_id="r")
    listed = [found.name for found in api.projects("local", per_page=2)]
    assert (set(names) <= set(listed), len(listed)) == (True, len(set(listed)))


def test_a_project_of_nobody_has_no_runs(sdk: Path) -> None:
    assert list(wandb.Api().projects("nobody")) == []
    with pytest.raises(ValueError, match="Could not find project"):
        len(wandb.Api().runs("local/absent"))


def test_a_run_of_an_unknown_entity_is_refused_with_a_reason(sdk: Path, project: str) -> None:
    with pytest.raises(wandb.errors.CommError, match="there is no entity 'nobody'"):
        wandb.init(entity="nobody", project=project)


@pytest.mark.parametrize("name", ["a/b", "x" * 129, "what?", " "])
def test_names_that_cannot_be_paths_are_refused(server: Server, name: str) -> None:
    with server.client() as client:
        query = "mutation M($name: String) { upsertBucket(input: {modelName: $name}) { inserted } }"
        answer = client.post("/graphql", json={"query": query, "variables": {"name": name}})
    assert (answer.status_code, "cannot be the name of a project" in answer.json()["error"]) == (400, True)


def test_a_team_owns_projects(sdk: Path, project: str) -> None:
    api = wandb.Api()
    team = api.create_team(project)
    assert (team.name, api.team(project).members[0].username) == (project, "local")
    with wandb.init(entity=project, project="p") as run:
        run.log({"x": 1})
    assert api.run(f"{project}/p/{run.id}").state == "finished"
