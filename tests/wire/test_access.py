"""Who may do what: every role tries everything, by raw requests against a real server with people in it.

A row is what one role may do, as a whole; `unseen` is an answer as if the thing were not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.wire.crew import (
    ADD,
    DROP,
    LINK,
    PROJECT,
    REGISTRY,
    TEAM,
    UPSERT,
    Crew,
    alias_input,
    link_input,
    outcome,
    populated,
)

_CONTENT = hashlib.md5(b"secret content", usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with populated(tmp_path_factory.mktemp("crew")) as crew:
        yield crew


Attempt = Callable[[Crew, str], httpx.Response]


def _ask(query: str, **variables: Any) -> Attempt:
    return lambda crew, who: crew.post(who, query, **{k: v(crew, who) if callable(v) else v for k, v in variables.items()})


def _stream(crew: Crew, who: str) -> httpx.Response:
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps({"x": 1, "_step": 0})]}}}
    return crew.http.post(f"/files/{TEAM}/{PROJECT}/r/file_stream", json=body, auth=("api", crew.keys[who]))


def _fetch(path: str) -> Attempt:
    return lambda crew, who: crew.get(who, path)


def _fresh_run(crew: Crew, who: str) -> str:
    return crew.run(f"of-{who}")


def _fresh_version(crew: Crew, who: str) -> str:
    return crew.upload(PROJECT, {"file": f"for {who}".encode()})


def _in_project(field: str, **arguments: Any) -> Attempt:
    return _ask(f'query Q {{ project(name: "{PROJECT}", entityName: "{TEAM}") {{ {field} }} }}', **arguments)


def _id(name: str) -> Callable[[Crew, str], str]:
    return lambda crew, _: crew.ids[name]


def _create(crew: Crew, who: str) -> dict[str, Any]:
    place = {"entityName": TEAM, "projectName": PROJECT, "artifactTypeName": "dataset", "artifactCollectionName": f"by-{who}"}
    return {**place, "digest": hashlib.md5(who.encode(), usedforsecurity=False).hexdigest(), "aliases": []}


def _use(crew: Crew, who: str) -> dict[str, Any]:
    """Into a run of one's own."""
    made = crew.post(who, UPSERT, input={"modelName": "own", "name": "r"})
    assert made.status_code == 200, made.text
    entity = crew.post(who, "{ viewer { entity } }").json()["data"]["viewer"]["entity"]
    return {"artifactID": crew.ids["artifact"], "entityName": entity, "projectName": "own", "runName": "r"}


IN_PROJECT: dict[str, Attempt] = {
    "see the project": _in_project("id"),
    "list it": _ask('query Q { models(entityName: "crew") { edges { node { name } } } }'),
    "see a run": _in_project('run(name: "r") { config }'),
    "see an artifact": _ask("query Q($id: ID!) { artifact(id: $id) { digest } }", id=_id("artifact")),
    "see files": _ask("query Q($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } } } }", id=_id("artifact")),
    "see a sweep": _in_project("totalSweeps name"),
    "fetch by path": _fetch(f"/artifactsV2/default/{TEAM}/{PROJECT}/it/x/x/{_CONTENT}/file"),
    "fetch a manifest by path": _fetch(f"/artifacts/{TEAM}/{_CONTENT}"),
    "use an artifact": _ask(
        "mutation M($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }", input=_use
    ),
    "log a run": _ask(
        UPSERT, input=lambda crew, who: {"entityName": TEAM, "modelName": PROJECT, "name": f"new-{who}", "host": "h"}
    ),
    "make a project": _ask(UPSERT, input=lambda crew, who: {"entityName": TEAM, "modelName": f"new-{who}", "name": "r"}),
    "edit a run": _ask(UPSERT, input=lambda crew, who: {"id": crew.ids["run"], "notes": who}),
    "stream to a run": _stream,
    "announce run files": _ask(
        "mutation M($input: CreateRunFilesInput!) { createRunFiles(input: $input) { runID } }",
        input={"entityName": TEAM, "projectName": PROJECT, "runName": "r", "files": ["f"]},
    ),
    "stop a run": _ask(
        "mutation M($input: StopRunInput!) { stopRun(input: $input) { success } }",
        input=lambda crew, who: {"id": _fresh_run(crew, f"{who}-stop")},
    ),
    "delete a run": _ask(
        "mutation M($input: DeleteRunInput!) { deleteRun(input: $input) { success } }",
        input=lambda crew, who: {"id": _fresh_run(crew, who)},
    ),
    "start a sweep": _ask(
        "mutation M($input: UpsertSweepInput!) { upsertSweep(input: $input) { sweep { id } } }",
        input={"entityName": TEAM, "projectName": PROJECT, "config": '{"method": "random", "parameters": {"x": {"value": 1}}}'},
    ),
    "begin an artifact": _ask(
        "mutation M($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id } } }", input=_create
    ),
    "describe a version": _ask(
        "mutation M($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id } } }",
        input=lambda crew, who: {"artifactID": crew.ids["artifact"], "description": who},
    ),
    "add an alias": _ask(
        ADD,
        input=lambda crew, who: alias_input(crew.ids["artifact"], who, entity=TEAM, project=PROJECT, collection="it"),
    ),
    "delete a version": _ask(
        "mutation M($input: DeleteArtifactInput!) { deleteArtifact(input: $input) { artifact { id } } }",
        input=lambda crew, who: {"artifactID": _fresh_version(crew, who), "deleteAliases": True},
    ),
    "open it to all": _ask(
        "mutation M($input: UpsertModelInput!) { upsertModel(input: $input) { inserted project { id } } }",
        input={"entityName": TEAM, "name": PROJECT, "access": "ENTITY_READ"},
    ),
    "invite to the team": _ask(
        "mutation M($input: CreateInviteInput!) { createInvite(input: $input) { invite { id } } }",
        input={"entityName": TEAM, "username": "nobody"},
    ),
}
_READS = (
    "see the project",
    "list it",
    "see a run",
    "see an artifact",
    "see files",
    "see a sweep",
    "fetch by path",
    "use an artifact",
)
_GOVERNS = ("open it to all", "invite to the team")


def _row(read: str, write: str, govern: str) -> dict[str, str]:
    found = {name: read if name in _READS else govern if name in _GOVERNS else write for name in IN_PROJECT}
    # No manifest has the digest of a file.
    return {**found, "fetch a manifest by path": "yes" if read == "yes" else "unseen"}


@pytest.mark.parametrize(("who", "expected"), [
    ("stranger", _row("unseen", "unseen", "unseen")),
    ("nobody", _row("unseen", "unseen", "unseen")),
    # Belongs to the organisation, so that the team is no secret; its projects are.
    ("colleague", _row("unseen", "unseen", "unseen")),
    ("onlooker", _row("yes", "no", "no")),
    ("mate", _row("yes", "yes", "no")),
    ("head", _row("yes", "yes", "yes")),
    ("root", _row("yes", "yes", "yes")),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_a_role_may_do_in_a_teams_project(crew: Crew, who: str, expected: dict[str, str]) -> None:
    found = {name: outcome(attempt(crew, who)) for name, attempt in IN_PROJECT.items()}
    for place in (f"/teams/{TEAM}", "/organizations/local"):
        crew.admin("DELETE", f"{place}/members/nobody")
    assert found == expected


def _linked(crew: Crew, who: str, *aliases: str) -> tuple[str, str]:
    """A version linked to a collection of the attempt's own, with aliases; the version's id and the collection."""
    collection = f"c-{who}-{'-'.join(aliases)}"
    crew.link(crew.ids["newer"], collection, *aliases)
    return crew.ids["newer"], collection


def _portfolio(crew: Crew, collection: str) -> str:
    query = """query Q($name: String!) {
        project(name: "%s", entityName: "local-org") { artifactCollection(name: $name) { id } } }"""
    found = crew.ask(query % REGISTRY, name=collection)
    return str(found["project"]["artifactCollection"]["id"])


def _alias(query: str, alias: str, *held: str) -> Attempt:
    def attempt(crew: Crew, who: str) -> httpx.Response:
        version, collection = _linked(crew, f"{who}-{alias}-{query[12:15]}", *held)
        return crew.post(
            who, query, input=alias_input(version, alias, entity="local-org", project=REGISTRY, collection=collection)
        )

    return attempt


def _unlink(*held: str) -> Attempt:
    def attempt(crew: Crew, who: str) -> httpx.Response:
        version, collection = _linked(crew, f"{who}-unlink", *held)
        given = {"artifactID": version, "artifactPortfolioID": _portfolio(crew, collection)}
        return crew.post(
            who, "mutation M($input: UnlinkArtifactInput!) { unlinkArtifact(input: $input) { success } }", input=given
        )

    return attempt


def _drop_collection(*held: str) -> Attempt:
    def attempt(crew: Crew, who: str) -> httpx.Response:
        _, collection = _linked(crew, f"{who}-drop", *held)
        query = """mutation M($input: DeleteArtifactPortfolioInput!) {
            deleteArtifactPortfolio(input: $input) { artifactCollection { name } } }"""
        return crew.post(who, query, input={"artifactPortfolioID": _portfolio(crew, collection)})

    return attempt


def _version_of(crew: Crew, who: str) -> str:
    _, collection = _linked(crew, f"{who}-see", "staging")
    return f"{collection}:staging"


def _link(*aliases: str) -> Attempt:
    return _ask(LINK, input=lambda crew, who: link_input(crew.ids["newer"], f"l-{who}", *aliases))


def _registry_id(crew: Crew, _: str) -> str:
    found = crew.ask(f'{{ project(name: "{REGISTRY}", entityName: "local-org") {{ id }} }}')
    return str(found["project"]["id"])


def _doomed(crew: Crew, who: str) -> dict[str, Any]:
    made = crew.ask(
        "mutation M($input: UpsertModelInput!) { upsertModel(input: $input) { project { id } } }",
        input={"entityName": "local-org", "name": f"wandb-registry-of-{who}"},
    )
    return {"id": made["upsertModel"]["project"]["id"]}


_SEE = f"""query Q($name: String!) {{ project(name: "{REGISTRY}", entityName: "local-org") {{
    artifactCollectionMembership(name: $name)"""
IN_REGISTRY: dict[str, Attempt] = {
    "see it": _ask(f'query Q {{ project(name: "{REGISTRY}", entityName: "local-org") {{ protectedAliases }} }}'),
    "see a version": _ask(_SEE + " { versionIndex artifact { digest } } } }", name=_version_of),
    "see its files": _ask(_SEE + " { files { edges { node { directUrl } } } } } }", name=_version_of),
    "link": _link(),
    "link with a protected alias": _link("production"),
    "add an alias": _alias(ADD, "staging"),
    "remove an alias": _alias(DROP, "staging", "staging"),
    "add a protected alias": _alias(ADD, "production"),
    "remove a protected alias": _alias(DROP, "production", "production"),
    "unlink": _unlink("staging"),
    "unlink a protected version": _unlink("production"),
    "delete a collection": _drop_collection("staging"),
    "delete a protected collection": _drop_collection("production"),
    "describe it": _ask(
        "mutation M($input: UpsertModelInput!) { upsertModel(input: $input) { project { id } } }",
        input={"entityName": "local-org", "name": REGISTRY, "description": "words"},
    ),
    "make somebody admin": _ask(
        "mutation M($input: UpdateProjectMemberInput!) { updateProjectMember(input: $input) { success } }",
        input=lambda crew, who: {
            "projectId": _registry_id(crew, who),
            "userId": _user_id(crew, "mate"),
            "userProjectRole": "member",
        },
    ),
}


def _user_id(crew: Crew, name: str) -> str:
    found = crew.ask("query Q($name: String) { users(query: $name) { edges { node { id } } } }", name=name)
    return str(found["users"]["edges"][0]["node"]["id"])


_LOOKS = ("see it", "see a version", "see its files")
_PROTECTED = (*(name for name in IN_REGISTRY if "protected" in name), "describe it", "make somebody admin")


def _registry_row(see: str, content: str, write: str, govern: str) -> dict[str, str]:
    found = {name: see if name in _LOOKS else govern if name in _PROTECTED else write for name in IN_REGISTRY}
    return {**found, "see its files": content}


@pytest.mark.parametrize(("who", "expected"), [
    ("stranger", _registry_row("unseen", "unseen", "unseen", "unseen")),
    ("nobody", _registry_row("unseen", "unseen", "unseen", "unseen")),
    ("colleague", _registry_row("yes", "yes", "no", "no")),
    ("mate", _registry_row("yes", "yes", "yes", "no")),
    ("head", _registry_row("yes", "yes", "yes", "yes")),
    ("root", _registry_row("yes", "yes", "yes", "yes")),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_a_role_may_do_in_a_registry(crew: Crew, who: str, expected: dict[str, str]) -> None:
    assert {name: outcome(attempt(crew, who)) for name, attempt in IN_REGISTRY.items()} == expected
