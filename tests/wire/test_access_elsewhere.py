"""Where names could leak: lists, lineage into a private project, what a restricted viewer gets, pages, keys in files."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import wandb
from wandb.errors import CommError

from registry.server import ids
from tests.wire.crew import LINK, PROJECT, REGISTRY, TEAM, UPSERT, Crew, link_input, outcome, populated
from tests.wire.drafts import Upload

_USE = "mutation M($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """The team's version is linked into the registry, and used by a run of somebody else's own project."""
    with populated(tmp_path_factory.mktemp("crew")) as crew:
        crew.link(crew.ids["artifact"], "shared", "staging")
        crew.post("colleague", UPSERT, input={"modelName": "own", "name": "hidden-run"}).raise_for_status()
        place = {"entityName": "colleague", "projectName": "own", "runName": "hidden-run"}
        crew.post("colleague", _USE, input={"artifactID": crew.ids["artifact"], **place}).raise_for_status()
        crew.ask(_USE, input={"artifactID": crew.ids["artifact"], "entityName": TEAM, "projectName": PROJECT, "runName": "r"})
        yield crew


def _data(crew: Crew, who: str, query: str, **variables: Any) -> Any:
    answer = crew.post(who, query, **variables)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


_LINKED = """query Q { project(name: "wandb-registry-model", entityName: "local-org") {
    artifactCollectionMembership(name: "shared:staging") { versionIndex artifact { id digest metadata
        aliases { alias artifactCollection { name } }
        artifactSequence { name project { name } }
        createdBy { __typename }
        usedBy { edges { node { name project { name } } } }
        artifactMemberships { edges { node { artifactCollection { name project { name } } } } } } } } }"""


def test_a_linked_version_does_not_name_the_private_project_it_came_from(crew: Crew) -> None:
    seen = _data(crew, "colleague", _LINKED)["project"]["artifactCollectionMembership"]["artifact"]
    assert seen["artifactSequence"] == {"name": "restricted", "project": None}
    assert seen["usedBy"]["edges"] == [{"node": {"name": "hidden-run", "project": {"name": "own"}}}]
    assert [edge["node"]["artifactCollection"]["name"] for edge in seen["artifactMemberships"]["edges"]] == ["shared"]
    assert {alias["alias"] for alias in seen["aliases"]} == {"staging", "latest"}
    assert TEAM not in json.dumps(seen)


def test_who_belongs_to_the_team_sees_all_but_a_run_of_somebody_elses(crew: Crew) -> None:
    seen = _data(crew, "mate", _LINKED)["project"]["artifactCollectionMembership"]["artifact"]
    assert seen["artifactSequence"] == {"name": "it", "project": {"name": PROJECT}}
    assert [edge["node"]["name"] for edge in seen["usedBy"]["edges"]] == ["r"]


_TAKEN = """query Q($first: Int, $after: String) { project(name: "secret", entityName: "crew") { run(name: "mixed") {
    inputArtifacts(first: $first, after: $after) { totalCount pageInfo { hasNextPage } edges { node { id } } } } } }"""
_TOTALS = """query Q($id: ID!) { artifact(id: $id) { usedBy { totalCount edges { node { name } } }
    artifactMemberships { totalCount edges { node { versionIndex } } } } }"""


def test_pages_are_full_and_totals_count_what_may_be_seen(crew: Crew) -> None:
    hidden = [crew.upload("own", {"file": bytes([number])}, entity="colleague") for number in range(2)]
    crew.run("mixed")
    seen = [crew.ids["artifact"], crew.ids["newer"]]
    for artifact in (hidden[0], seen[0], hidden[1], seen[1]):
        crew.ask(_USE, input={"artifactID": artifact, "entityName": TEAM, "projectName": PROJECT, "runName": "mixed"})
    pages = [_data(crew, "mate", _TAKEN, first=1, after=after)["project"]["run"]["inputArtifacts"] for after in (None, "1")]
    assert [[edge["node"]["id"] for edge in page["edges"]] for page in pages] == [[one] for one in seen]
    assert [(page["totalCount"], page["pageInfo"]["hasNextPage"]) for page in pages] == [(2, True), (2, False)]
    whole = crew.ask(_TAKEN)["project"]["run"]["inputArtifacts"]
    assert (whole["totalCount"], len(whole["edges"])) == (4, 4)


@pytest.mark.parametrize(("who", "counts"), [("colleague", (1, 1)), ("mate", (2, 2))])
def test_a_list_that_is_not_paged_counts_what_it_shows(crew: Crew, who: str, counts: tuple[int, int]) -> None:
    crew.run("mixed")
    crew.ask(_USE, input={"artifactID": crew.ids["artifact"], "entityName": TEAM, "projectName": PROJECT, "runName": "mixed"})
    shown = _data(crew, who, _TOTALS, id=crew.ids["artifact"])["artifact"]
    found = [(shown[name]["totalCount"], len(shown[name]["edges"])) for name in ("usedBy", "artifactMemberships")]
    assert found == [(count, count) for count in counts]


@pytest.mark.parametrize("who", ["stranger", "nobody"])
@pytest.mark.parametrize(("query", "nothing"), [
    ('{ models(entityName: "crew") { edges { node { name } } } }', {"models": {"edges": []}}),
    ('{ models(entityName: "colleague") { edges { node { name } } } }', {"models": {"edges": []}}),
    ('{ entity(name: "crew") { name members { username } } }', {"entity": None}),
    ('{ entity(name: "local-org") { name artifactCollections { edges { node { name } } } } }', {"entity": None}),
    ('{ organization(name: "local") { name } }', {"organization": None}),
    ('{ users(query: "mate") { edges { node { email apiKeys { edges { node { name } } } } } } }', {"users": {"edges": []}}),
    ('{ project(name: "secret", entityName: "crew") { name } }', {"project": None}),
])  # fmt: skip
def test_an_outsider_finds_nothing_by_name(crew: Crew, who: str, query: str, nothing: dict[str, Any]) -> None:
    assert _data(crew, who, query) == nothing


def test_nobody_reads_anothers_keys(crew: Crew) -> None:
    query = 'query Q { users(query: "head") { edges { node { username apiKeys { edges { node { name } } } } } } }'
    assert _data(crew, "boss", query) == {"users": {"edges": [{"node": {"username": "head", "apiKeys": {"edges": []}}}]}}
    mine = _data(crew, "head", query)["users"]["edges"][0]["node"]["apiKeys"]["edges"]
    assert [edge["node"]["name"] for edge in mine] == [crew.keys["head"][:8]]


_BY_ID = {
    "Artifact": "query Q($id: ID!) { artifact(id: $id) { digest } }",
    "ArtifactCollection": "query Q($id: ID!) { artifactCollection(id: $id) { name } }",
    "Run": "mutation M($id: ID!) { stopRun(input: {id: $id}) { success } }",
    "Project": "mutation M($id: String!) { deleteModel(input: {id: $id}) { success } }",
    "Sweep": 'mutation M($id: ID) { upsertSweep(input: {id: $id, state: "PAUSED"}) { sweep { id } } }',
    "Agent": "mutation M($id: ID!) { agentHeartbeat(input: {id: $id}) { commands } }",
    "ArtifactManifest": """mutation M($id: ID!) {
        updateArtifactManifest(input: {artifactManifestID: $id}) { artifactManifest { id } } }""",
    "ApiKey": "mutation M($id: String!) { deleteApiKey(input: {id: $id}) { success } }",
}


@pytest.mark.parametrize("kind", _BY_ID)
def test_counting_through_ids_finds_nothing(crew: Crew, kind: str) -> None:
    found = [outcome(crew.post("nobody", _BY_ID[kind], id=ids.encode(kind, number))) for number in (1, 2)]
    assert found == ["unseen", "unseen"]


def test_a_restricted_viewer_sees_a_version_and_not_its_content(crew: Crew) -> None:
    crew.admin("PUT", "/organizations/local/registries/model/members/boss", {"role": "viewer"}).raise_for_status()
    crew.ask(UPSERT_MODEL, input={"entityName": "local-org", "name": "wandb-registry-closed", "access": "RESTRICTED"})
    for who, role in (("colleague", "restricted_viewer"), ("mate", "viewer")):
        path = f"/organizations/local/registries/closed/members/{who}"
        crew.admin("PUT", path, {"role": role}).raise_for_status()
    other = crew.upload(PROJECT, {"file": b"for the closed registry"})
    crew.ask(LINK, input={**link_input(other, "only"), "projectName": "wandb-registry-closed"})
    see = """query Q { project(name: "wandb-registry-closed", entityName: "local-org") {
        artifactCollectionMembership(name: "only") """
    content = see + "{ files { edges { node { directUrl } } } } } }"
    details = see + "{ artifact { digest } } } }"
    assert [outcome(crew.post(who, details)) for who in ("colleague", "mate", "onlooker")] == ["yes", "yes", "unseen"]
    assert [outcome(crew.post(who, content)) for who in ("colleague", "mate", "onlooker")] == ["no", "yes", "unseen"]
    use = {"artifactID": other, "entityName": "colleague", "projectName": "own", "runName": "hidden-run"}
    assert outcome(crew.post("colleague", _USE, input=use)) == "no"


UPSERT_MODEL = "mutation M($input: UpsertModelInput!) { upsertModel(input: $input) { inserted } }"


def test_a_restricted_registry_is_not_listed_for_who_has_no_role_in_it(crew: Crew) -> None:
    crew.ask(UPSERT_MODEL, input={"entityName": "local-org", "name": "wandb-registry-hushed", "access": "RESTRICTED"})
    query = 'query Q { organization(name: "local") { orgEntity { projects { edges { node { name } } } } } }'

    def names(who: str) -> set[str]:
        edges = _data(crew, who, query)["organization"]["orgEntity"]["projects"]["edges"]
        return {edge["node"]["name"] for edge in edges}

    seen = {who: "wandb-registry-hushed" in names(who) for who in ("colleague", "head", "boss", "root")}
    assert seen == {"colleague": False, "head": False, "boss": True, "root": True}


def test_a_refused_protected_alias_says_who_could_and_leaves_nothing_done(crew: Crew) -> None:
    answer = crew.post("mate", LINK, input=link_input(crew.ids["newer"], "halfway", "staging", "production"))
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["message"] == (
        "'production' is a protected alias of the registry 'model', and mate is member there: "
        "only an admin of the registry moves or removes it (ask an admin of 'model' to do it)"
    )
    query = (
        f'query Q {{ project(name: "{REGISTRY}", entityName: "local-org") {{ artifactCollection(name: "halfway") {{ id }} }} }}'
    )
    assert crew.ask(query) == {"project": {"artifactCollection": None}}


def test_who_knows_the_digest_of_a_content_does_not_have_it(crew: Crew) -> None:
    thief = Upload(crew.as_("stranger"), "own", {"file": b"secret content"}, entity="stranger")
    assert [bool(node["uploadUrl"]) for node in thief.announce()] == [True]
    thief.put_manifest()
    assert thief.refusal() == "1 files of this artifact never arrived from stranger, and are not theirs to name"


def test_who_names_a_content_in_a_manifest_without_announcing_it_does_not_have_it(crew: Crew) -> None:
    thief = Upload(crew.as_("stranger"), "own", {"other": b"secret content"}, entity="stranger")
    thief.put_manifest()
    assert thief.refusal() == "1 files of this artifact never arrived from stranger, and are not theirs to name"


def test_who_has_the_same_content_by_themselves_logs_it(crew: Crew) -> None:
    owner = Upload(crew.as_("stranger"), "own", {"file": b"secret content", "more": b"mine"}, entity="stranger")
    owner.put_files()
    owner.put_manifest()
    assert owner.commit().status_code == 200
    again = Upload(crew.as_("stranger"), "again", {"file": b"secret content"}, entity="stranger")
    assert [node["uploadUrl"] for node in again.announce()] == [None]


def test_a_page_shows_what_its_visitor_may_see(crew: Crew) -> None:
    def page(who: str, path: str) -> httpx.Response:
        return crew.get(who, path, Accept="text/html")

    for path in (f"/{TEAM}/{PROJECT}", f"/{TEAM}/{PROJECT}/runs/r", f"/{TEAM}/{PROJECT}/artifacts/dataset/it/v0"):
        assert [page(who, path).status_code for who in ("stranger", "colleague", "onlooker")] == [404, 404, 200], path
    assert [PROJECT in page(who, "/").text for who in ("stranger", "colleague", "onlooker")] == [False, False, True]
    linked = f"/orgs/local/registry/model?selectionPath=local-org%2F{REGISTRY}%2Fshared&version=staging"
    shown = page("colleague", linked)
    assert (shown.status_code, TEAM in shown.text, PROJECT in shown.text) == (200, False, False)
    assert "restricted" in shown.text
    assert "hidden-run" not in page("mate", f"/{TEAM}/{PROJECT}/artifacts/dataset/it/v0").text


def test_no_key_is_in_the_home_the_process_list_or_a_page(crew: Crew) -> None:
    given = "a-key-that-a-team-brings-along-" + "0123456789"
    crew.admin("POST", "/users/mate/keys", {"api_key": given}).raise_for_status()
    secrets = [*crew.keys.values(), given]
    kept = [path.read_bytes() for path in crew.server.home.rglob("*") if path.is_file() and path.name != "key"]
    assert [key for key in [*secrets, crew.server.key] if any(key.encode() in content for content in kept)] == []
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert [key for key in [*secrets, crew.server.key] if key in listed] == []
    pages = [crew.get("root", path, Accept="text/html").text for path in ("/", f"/{TEAM}/{PROJECT}/runs/r", "/admin/users")]
    assert [key for key in [*secrets, crew.server.key] if any(key in page for page in pages)] == []


def test_a_signed_link_serves_who_has_it_and_no_other_path(crew: Crew) -> None:
    query = "query Q($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } } } }"
    link = _data(crew, "onlooker", query, id=crew.ids["artifact"])["artifact"]["currentManifest"]["file"]["directUrl"]
    assert httpx.get(link, trust_env=False).status_code == 200
    assert httpx.put(link.replace("/blobs/", "/uploads/"), content=b"x", trust_env=False).status_code == 403
    other = hashlib.md5(b"newer content", usedforsecurity=False).hexdigest()
    assert httpx.get(re.sub("/blobs/[0-9a-f]+", f"/blobs/{other}", link), trust_env=False).status_code == 403


def _api(crew: Crew, who: str) -> wandb.Api:
    return wandb.Api({"base_url": crew.server.url}, api_key=crew.keys[who])


def test_the_sdk_of_a_colleague_downloads_from_the_registry_what_came_from_a_private_project(crew: Crew, sdk: Path) -> None:
    found = _api(crew, "colleague").artifact("wandb-registry-model/shared:staging")
    assert (found.version, Path(found.download()).joinpath("file").read_text()) == ("v0", "secret content")
    assert (found.source_project, found.logged_by()) == ("", None)
    with pytest.raises(CommError, match="not found"):
        _api(crew, "colleague").artifact(f"{TEAM}/{PROJECT}/it:v0")


def test_the_sdk_of_a_member_moves_aliases_and_not_the_protected_one(crew: Crew, sdk: Path) -> None:
    crew.link(crew.ids["newer"], "moved")
    found = _api(crew, "mate").artifact("wandb-registry-model/moved:latest")
    found.aliases.append("canary")
    found.save()
    assert "canary" in _api(crew, "colleague").artifact("wandb-registry-model/moved:canary").aliases
    found.aliases.append("production")
    with pytest.raises(CommError, match="'production' is a protected alias of the registry 'model', and mate is member there"):
        found.save()
    with pytest.raises(CommError):
        _api(crew, "colleague").artifact("wandb-registry-model/moved:production")


def test_the_sdk_of_an_outsider_cannot_begin_a_run_in_a_teams_project(
    crew: Crew, script: Callable[..., subprocess.Popen[str]]
) -> None:
    # A process of its own: `wandb.init` remembers the server that it was given for all that comes after.
    source = f"import wandb\nwandb.init(entity={TEAM!r}, project={PROJECT!r})"
    with script(source, WANDB_BASE_URL=crew.server.url, WANDB_API_KEY=crew.keys["stranger"]) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "there is no entity 'crew' that stranger may write to" in said) == (1, True), said
