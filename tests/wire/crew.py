"""A server with people in it: two organisations, a team, a registry with a protected alias, and one user per role.

Every attempt is a raw request, so that the server's answer is seen and not what a client makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from tests.wire.conftest import Server, running
from tests.wire.drafts import Upload

TEAM, PROJECT, REGISTRY = "crew", "secret", "wandb-registry-model"

# Who is who: username, organisation, role in the organisation, in the team, in the registry.
PEOPLE: Mapping[str, tuple[str | None, str | None, str | None, str | None]] = {
    "stranger": ("other", "admin", None, None),
    "nobody": (None, None, None, None),
    "colleague": ("local", "member", None, None),
    "onlooker": ("local", "viewer", "viewer", "restricted_viewer"),
    "mate": ("local", "member", "member", "member"),
    "head": ("local", "member", "admin", "admin"),
    "boss": ("local", "admin", None, None),
    "root": (None, None, None, None),
}


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The server, everybody's key, and the ids of what is there."""

    server: Server
    http: httpx.Client
    keys: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def admin(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        return self.http.request(method, f"/admin{path}", json=body, auth=("api", key or self.server.key))

    def get(self, who: str, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers, auth=("api", self.keys[who]))

    def as_(self, name: str) -> Server:
        """The server as somebody sees it."""
        return replace(self.server, key=self.keys[name])

    def post(self, who: str, query: str, /, **variables: Any) -> httpx.Response:
        return self.http.post("/graphql", json={"query": query, "variables": variables}, auth=("api", self.keys[who]))

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of a request by the local user that must succeed."""
        body = {"query": query, "variables": variables}
        answer = self.http.post("/graphql", json=body, auth=("api", self.server.key))
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def upload(self, project: str, files: Mapping[str, bytes], *, entity: str = TEAM) -> str:
        """The id of a committed version."""
        upload = Upload(self.server, project, files, entity=entity)
        if upload.state != "COMMITTED":
            upload.put_files()
            upload.put_manifest()
            assert upload.commit().status_code == 200
        return upload.id

    def run(self, name: str, *, project: str = PROJECT, entity: str = TEAM) -> str:
        made = self.ask(UPSERT, input={"entityName": entity, "modelName": project, "name": name})
        return str(made["upsertBucket"]["bucket"]["id"])

    def link(self, artifact: str, collection: str, *aliases: str) -> None:
        self.ask(LINK, input=link_input(artifact, collection, *aliases))


UPSERT = "mutation M($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted bucket { id name } } }"
LINK = "mutation M($input: LinkArtifactInput!) { linkArtifact(input: $input) { versionIndex } }"
ADD = "mutation M($input: AddAliasesInput!) { addAliases(input: $input) { success } }"
DROP = "mutation M($input: DeleteAliasesInput!) { deleteAliases(input: $input) { success } }"


def link_input(artifact: str, collection: str, *aliases: str) -> dict[str, Any]:
    named = [{"alias": alias, "artifactCollectionName": collection} for alias in aliases]
    place = {"entityName": "local-org", "projectName": REGISTRY, "artifactPortfolioName": collection}
    return {"artifactID": artifact, "aliases": named, **place}


def alias_input(artifact: str, alias: str, *, entity: str, project: str, collection: str) -> dict[str, Any]:
    place = {"entityName": entity, "projectName": project, "artifactCollectionName": collection}
    return {"artifactID": artifact, "aliases": [{"alias": alias, **place}]}


def outcome(answer: httpx.Response) -> str:
    """How a request ended: `yes`, `no` (it may be seen, not done), or `unseen` (as if it were not there)."""
    assert answer.status_code in (200, 201, 206, 403, 404), answer.text
    if answer.status_code == 403:
        return "no"
    if answer.status_code == 404:
        return "unseen"
    if answer.headers["content-type"].startswith("application/json") and answer.request.url.path == "/graphql":
        return "yes" if _something(answer.json()["data"]) else "unseen"
    return "yes"


@contextmanager
def populated(home: Path) -> Iterator[Crew]:
    """A server of a new home, with everybody and everything."""
    with running(home) as server, httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
        crew = Crew(server=server, http=http)
        _populate(crew)
        yield crew


def _populate(crew: Crew) -> None:
    assert crew.admin("POST", "/organizations", {"name": "other"}).status_code == 201
    assert crew.admin("POST", "/teams", {"name": TEAM, "organization": "local"}).status_code == 201
    for name, (organization, role, in_team, in_registry) in PEOPLE.items():
        made = crew.admin("POST", "/users", {"username": name, "email": f"{name}@x.org", "admin": name == "root"})
        crew.keys[name] = made.json()["api_key"]
        if organization:
            crew.admin("PUT", f"/organizations/{organization}/members/{name}", {"role": role}).raise_for_status()
        if in_team:
            crew.admin("PUT", f"/teams/{TEAM}/members/{name}", {"role": in_team}).raise_for_status()
        if in_registry:
            path = f"/organizations/local/registries/model/members/{name}"
            crew.admin("PUT", path, {"role": in_registry}).raise_for_status()
    crew.admin("PUT", "/organizations/local/registries/model/protected-aliases/production").raise_for_status()
    crew.ids["run"] = crew.run("r")
    crew.ids["artifact"] = crew.upload(PROJECT, {"file": b"secret content"})
    crew.ids["newer"] = crew.upload(PROJECT, {"file": b"newer content"})


def _something(data: Any) -> bool:
    """Whether an answer holds anything: the first field's value, followed down to a leaf."""
    while isinstance(data, dict):
        if not data:
            return False
        data = next(iter(data.values()))
    return data is not None and data != []
