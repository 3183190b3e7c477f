"""Requests against a small project, and the one promise about every answer to them.

Each `Attack` sends what a strategy of `hostile` draws. The tests draw a bounded number of examples, the same ones each time;
`benchmarks/fuzz.py` draws for as long as it is told to.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import schemathesis
from graphql import print_schema
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from hypothesis_graphql import nodes

from registry.server.graphql import schema
from registry.server.signing import Signer
from tests.wire import hostile
from tests.wire.conftest import Server
from tests.wire.drafts import base64_md5, entry

# A request that takes longer than this has hung.
_PATIENCE = 30.0
CONTENTS = (b"one", b"two")


_FURNITURE = """{ viewer { id } project(name: "fuzz", entityName: "local") { id internalId entity { id }
    run(name: "r") { id files { edges { node { id } } } }
    artifactCollection(name: "it") { id artifacts { edges { node { id currentManifest { id } } } } } } }"""
_KIND = 'query($n: String!) { project(name: "fuzz", entityName: "local") { artifactCollection(name: $n) { __typename id } } }'
_DESTRUCTIVE = ("delete", "rename", "unlink", "update", "move")


class Target:
    """A server with a little of everything in the project `fuzz`, and one connection to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = httpx.Client(base_url=server.url, auth=("api", server.key), timeout=_PATIENCE, trust_env=False)
        for content in CONTENTS:
            self.put(content)
        self.furnish()

    def furnish(self) -> None:
        """Make what is missing, because some requests delete."""
        bucket = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }"
        run = {"modelName": hostile.PROJECT, "entityName": "local"}
        self.done(bucket, i=run | {"name": "r", "config": "{}"})
        make = "mutation($i: UpsertSweepInput!) { upsertSweep(input: $i) { sweep { id name } } }"
        config = "method: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2]}}"
        sweep = self.done(make, i={"projectName": hostile.PROJECT, "config": config})["upsertSweep"]["sweep"]
        self.done(bucket, i=run | {"name": "swept", "sweep": sweep["name"]})
        make = "mutation($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } } }"
        agent = self.done(make, i={"projectName": hostile.PROJECT, "sweep": sweep["name"], "host": "h"})["createAgent"]["agent"]
        lines = [json.dumps({"_step": number, "loss": 1 / (number + 1)}) for number in range(5)]
        files = {"wandb-history.jsonl": {"offset": 0, "content": lines}, "output.log": {"offset": 0, "content": ["printed"]}}
        self.fine(self.client.post("/files/local/fuzz/r/file_stream", json={"files": files}))
        artifact = self.fine(self.commit({"a.txt": entry(CONTENTS[0])}, name="it"))["data"]["commitArtifact"]["artifact"]["id"]
        make = "mutation($i: LinkArtifactInput!) { linkArtifact(input: $i) { versionIndex } }"
        self.done(make, i={"artifactID": artifact, "projectName": hostile.PROJECT, "artifactPortfolioName": "shelf"})
        make = "mutation($i: CreateRunFilesInput!) { createRunFiles(input: $i) { files { uploadUrl } } }"
        place = {"entityName": "local", "projectName": hostile.PROJECT, "runName": "r", "files": ["f.txt"]}
        link: str = self.done(make, i=place)["createRunFiles"]["files"][0]["uploadUrl"]
        self.fine(self.client.put(link, content=b"f"))
        found = self.done(_FURNITURE)
        project, collection = found["project"], found["project"]["artifactCollection"]
        self.known = {
            "@Run": project["run"]["id"],
            "@Artifact": artifact,
            "@ArtifactCollection": collection["id"],
            "@ArtifactManifest": collection["artifacts"]["edges"][0]["node"]["currentManifest"]["id"],
            "@Project": project["id"],
            "@ProjectInternalId": project["internalId"],
            "@Sweep": sweep["id"],
            "@SweepName": sweep["name"],
            "@Agent": agent["id"],
            "@RunFile": project["run"]["files"]["edges"][0]["node"]["id"],
            "@User": found["viewer"]["id"],
            "@Entity": project["entity"]["id"],
        }

    def restore(self, query: str) -> None:
        """Make what this request may have taken away or turned into something else; as well as that goes."""
        if any(word in query for word in _DESTRUCTIVE):
            with suppress(AssertionError):
                self.furnish()
                return
            # A collection under a name of ours is of another type or kind now.
            for name in ("shelf", "it"):
                found = self.done(_KIND, n=name)["project"]
                there = found and found["artifactCollection"]
                if there:
                    kind = there["__typename"].removeprefix("Artifact")
                    remove = f"mutation($i: DeleteArtifact{kind}Input!) {{ deleteArtifact{kind}(input: $i) {{ __typename }} }}"
                    self.post(remove, i={f"artifact{kind}ID": there["id"]})
            with suppress(AssertionError):
                self.furnish()

    def put(self, content: bytes) -> str:
        """Store bytes; returns their hex md5."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        signer = Signer((self.server.home / "secret").read_text().encode())
        self.fine(self.client.put(signer.sign("PUT", f"/uploads/{md5}"), content=content))
        return md5

    def commit(
        self, contents: Any, *, name: str, project: str = hostile.PROJECT, aliases: Sequence[str] = ()
    ) -> httpx.Response:
        """The last word of the server about an artifact whose manifest has these contents."""
        raw = json.dumps({"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": contents}).encode()
        create = "mutation($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id state } } }"
        given = {"entityName": "local", "projectName": project, "artifactTypeName": "dataset", "artifactCollectionName": name}
        named = [{"artifactCollectionName": name, "alias": alias} for alias in aliases]
        made = self.done(create, i=given | {"digest": digest_of(contents), "aliases": named})["createArtifact"]["artifact"]
        if made["state"] == "PENDING":
            self.put(raw)
            announce = "mutation($i: CreateArtifactManifestInput!) { createArtifactManifest(input: $i) { __typename } }"
            place = {"name": "wandb_manifest.json", "entityName": "local", "projectName": project}
            self.done(announce, i=place | {"artifactID": made["id"], "digest": base64_md5(raw)})
        return self.post(
            "mutation($a: ID!) { commitArtifact(input: {artifactID: $a}) { artifact { id versionIndex } } }", a=made["id"]
        )

    def post(self, query: str, /, **variables: Any) -> httpx.Response:
        # Not the client's own `json`, which refuses NaN and halves of surrogate pairs: a hostile client does not.
        return self.client.post("/graphql", content=json.dumps({"query": query, "variables": variables}))

    def done(self, query: str, /, **variables: Any) -> Any:
        """The data of a request that must succeed."""
        return self.fine(self.post(query, **variables))["data"]

    @staticmethod
    def fine(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text[:2000]
        return answer.json() if answer.content else None


def digest_of(contents: Any) -> str:
    """The digest of contents as the client reckons it, where they are such that it can."""
    try:
        lines = [f"{path}:{contents[path]['digest']}\n" for path in sorted(contents)]
    except (TypeError, LookupError, AttributeError):
        lines = []
    said = "wandb-artifact-manifest-v1\n{}".format("".join(lines)).encode("utf-8", "replace")
    return hashlib.md5(said, usedforsecurity=False).hexdigest()


def answered(answer: httpx.Response, about: object = "") -> None:
    """The promise: an answer, or a refusal with a reason; never a bug, never half of each, always strict JSON."""
    assert answer.status_code < 500, (answer.status_code, answer.text[:1000], about)
    if answer.content and answer.headers.get("content-type", "").startswith("application/json"):
        said = json.loads(answer.content, parse_constant=_no_constant)
        if answer.status_code >= 400:
            assert isinstance(said["error"], str), (said, about)
            assert "server failed" not in said["error"], (said["error"], about)
            assert "data" not in said, about
        else:
            assert "errors" not in said, about


def _no_constant(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What is drawn, and how it is sent; sending raises AssertionError when the promise is broken."""

    drawn: SearchStrategy[Any]
    send: Callable[[Target, Any], None]


def _sdk_request(target: Target, given: tuple[str, dict[str, Any]]) -> None:
    query, variables = given
    answered(target.post(query, **_known(variables, target.known)), given)
    target.restore(query)


def _known(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _known(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item, known) for item in value]
    return known.get(value, value) if isinstance(value, str) else value


def _document(target: Target, query: str) -> None:
    answered(target.post(query), query)
    target.restore(query)


_FILTERED = """query($f: JSONString, $o: String, $a: String, $n: Int) { project(name: "fuzz") {
    runs(filters: $f, order: $o, after: $a, first: $n) { edges { node { id } } }
    sweeps(filters: $f, first: $n) { totalCount } } }"""
_SEARCHED = """query($f: JSONString, $o: String, $n: Int) {
    project(name: "fuzz") { artifactType(name: "dataset") {
    artifactCollections(filters: $f, order: $o, first: $n) { totalCount } } } }"""
_VERSIONS = """query($f: JSONString, $o: String, $n: Int) {
    project(name: "fuzz") { artifactCollection(name: "it") {
    artifacts(filters: $f, order: $o, first: $n) { totalCount } } } }"""
_REGISTRIES = """query($f: JSONString, $o: String, $n: Int) { entity(name: "local-org") {
    projects(filters: $f, order: $o, first: $n) { edges { node { id } } } artifactMemberships(filters: $f) { totalCount } } }"""


def _filter(target: Target, given: tuple[Any, str, str, int]) -> None:
    filters, order, after, first = given
    answered(target.post(_FILTERED, f=json.dumps(filters), o=order, a=after, n=first), given)
    for query in (_SEARCHED, _VERSIONS, _REGISTRIES):
        answered(target.post(query, f=json.dumps(filters), o=order, n=first), given)


_READ_BACK = """query($s: [JSONString!]!) { project(name: "fuzz") { run(name: "r") {
    history(samples: 3) events(samples: 2) historyKeys summaryMetrics systemMetrics
    historyTail parquetHistory { parquetUrls liveData } sampledHistory(specs: $s) exitcode state
    logLines(last: 5) { edges { node { number line level timestamp } } } } } }"""


def _file_stream(target: Target, given: tuple[Any, dict[str, str]]) -> None:
    body, headers = given
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answered(target.client.post("/files/local/fuzz/r/file_stream", content=json.dumps(body), headers=encoded), given)
    # What was taken must not spoil later reading.
    target.done(_READ_BACK, s=[json.dumps({"keys": ["loss"], "samples": 3})])
    shown = target.client.get("/local/fuzz/runs/r", headers={"accept": "text/html"})
    assert shown.status_code == 200, (shown.text[-1000:], given)


def _manifest(target: Target, contents: Any) -> None:
    answered(target.commit(contents, name="manifests"), contents)


def _body(target: Target, given: tuple[bytes, str]) -> None:
    body, path = given
    answered(target.client.post(path, content=body), given)


def _address(target: Target, given: tuple[list[str], dict[str, str], str, str]) -> None:
    segments, words, method, accept = given
    path = "/" + "/".join(quote(part.encode("utf-8", "surrogatepass"), safe="") for part in segments)
    question = urlencode([(_bytes(key), _bytes(value)) for key, value in words.items()])
    # The whole address: httpx takes a path that begins with two slashes for a mistake, a stranger's client does not.
    whole = f"{target.client.base_url}".rstrip("/") + f"{path}?{question}"
    answered(target.client.request(method, whole, headers={"accept": accept}), (method, path, question))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_contents = hostile.manifests([entry(content) for content in CONTENTS])
_bodies = (
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | hostile.values.map(lambda value: json.dumps(value).encode())
)
_places = st.sampled_from(["/graphql", "/files/local/fuzz/r/file_stream", "/login"])

ATTACKS: Mapping[str, Attack] = {
    "the SDK's documents with any variables": Attack(drawn=hostile.sdk_requests(), send=_sdk_request),
    "broken documents": Attack(drawn=hostile.broken_documents(), send=_document),
    "filters": Attack(drawn=st.tuples(hostile.filters, hostile.orders, hostile.texts, st.integers(-1, 30)), send=_filter),
    "file streams": Attack(drawn=st.tuples(hostile.file_streams, hostile.stream_headers), send=_file_stream),
    "manifests": Attack(drawn=_contents, send=_manifest),
    "bodies": Attack(drawn=st.tuples(_bodies, _places), send=_body),
    "addresses": Attack(
        drawn=st.tuples(hostile.addresses, hostile.words, st.sampled_from(hostile.METHODS), hostile.accepts), send=_address
    ),
}


def _wellformed(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def operations() -> Iterator[tuple[str, Attack]]:
    """Each query and mutation of the schema by its name, with the valid documents that schemathesis writes for it."""
    for name, drawn in {"JSONString": hostile.json_texts, "DateTime": hostile.texts, "JSON": hostile.texts}.items():
        schemathesis.graphql.scalar(name, drawn.map(_wellformed).map(nodes.String))
    for name in ("Int64", "Duration"):
        schemathesis.graphql.scalar(name, hostile.numbers.map(nodes.Int))
    for result in schemathesis.graphql.from_file(io.StringIO(print_schema(schema()))).get_all_operations():
        operation = result.ok()
        yield operation.label, Attack(drawn=operation.as_strategy().map(_query), send=_document)


def _query(case: schemathesis.Case) -> str:
    return str(case.body["query"] if isinstance(case.body, dict) else case.body)
