"""What hostile clients upload and call things: streams, paths, references, names, configurations; refused before it is kept."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from registry.errors import BadData
from registry.server import limits, names
from tests.wire.conftest import Server
from tests.wire.drafts import Upload, base64_md5, entry
from tests.wire.raw import MIB, asked, limited, peak_memory, refused


def streamed(server: Server, run: str, body: Any) -> httpx.Response:
    with server.client() as client:
        return client.post(f"/files/local/untrusted/{run}/file_stream", json=body)


@pytest.fixture(scope="module")
def run(server: Server) -> str:
    """A run's name in the project `untrusted`."""
    server.ask('mutation { upsertBucket(input: {modelName: "untrusted", name: "r", config: "{}"}) { inserted } }')
    return "r"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose memory nobody else uses."""
    with limited(tmp_path_factory.mktemp("alone") / "home") as server:
        yield server


# -- File streams

LINE = '{"_step": 1}'


@pytest.mark.parametrize("body", [
    pytest.param({"files": [1]}, id="files that are none"),
    pytest.param({"files": {"wandb-history.jsonl": None}}, id="no chunk"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": -1, "content": [LINE]}}}, id="below zero"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": 10**30, "content": [LINE]}}}, id="beyond numbers"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": 2**63, "content": [LINE]}}}, id="beyond 64 bits"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": 1.5, "content": [LINE]}}}, id="a fraction"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": True, "content": [LINE]}}}, id="a boolean"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": "0", "content": [LINE]}}}, id="a text"),
    pytest.param({"files": {"wandb-history.jsonl": {"offset": 0, "content": LINE}}}, id="content that is no list"),
    pytest.param({"files": {"output.log": {"offset": 0, "content": [{"a": 1}]}}}, id="a line that is no text"),
    pytest.param({"files": {"output.log": {"offset": 0, "content": ["x" * (11 * MIB)]}}}, id="a line of eleven megabytes"),
])  # fmt: skip
def test_a_file_stream_without_sense_is_refused(server: Server, run: str, body: Any) -> None:
    answer = streamed(server, run, body)
    assert (answer.status_code, bool(refused(answer))) == (400, True)


@pytest.mark.parametrize("line", [
    pytest.param("[" * 10_000, id="deep"),
    pytest.param('{"a":' * 500 + "1" + "}" * 500, id="deep and whole"),
    pytest.param('{"a": ' + "9" * 5_000 + "}", id="a number without an end"),
    pytest.param("nothing", id="no JSON"),
    pytest.param("7", id="no object"),
    pytest.param("{", id="half an object"),
])  # fmt: skip
def test_a_line_that_cannot_be_read_back_is_left_out_and_the_others_are_kept(server: Server, project: str, line: str) -> None:
    server.ask('mutation M($p: String) { upsertBucket(input: {modelName: $p, name: "r"}) { inserted } }', p=project)
    content = [line, '{"_step": 5, "loss": 1}']
    with server.client() as client:
        files = {
            "wandb-history.jsonl": {"offset": 0, "content": content},
            "wandb-summary.json": {"offset": 0, "content": [line]},
        }
        client.post(f"/files/local/{project}/r/file_stream", json={"files": files}).raise_for_status()
    asked_for = 'query Q($p: String) { project(name: $p) { run(name: "r") { history(samples: 9) summaryMetrics } } }'
    assert server.ask(asked_for, p=project) == {"project": {"run": {"history": [content[1]], "summaryMetrics": "{}"}}}


def test_odd_lines_are_stored_and_read_back(server: Server, project: str) -> None:
    server.ask('mutation M($p: String) { upsertBucket(input: {modelName: $p, name: "r"}) { inserted } }', p=project)
    rows = ['{"\\ud800": 1, "_step": 1}', '{"": {"": {"": 1}}, "_step": 1e400}', '{"_step": -9223372036854775809, "a.b": NaN}']
    rows += ['{"x": 1e999, "_step": null}', '{"\\u0000": 1, "é": "\\udfff", "_step": {}}']
    for offset in (0, 2**53):
        with server.client() as client:
            files = {
                "wandb-history.jsonl": {"offset": offset, "content": rows},
                "output.log": {"offset": offset, "content": ["\ud800\0"]},
            }
            body = json.dumps({"files": files, "exitcode": 10**30, "complete": "yes"})
            client.post(f"/files/local/{project}/r/file_stream", content=body).raise_for_status()
    query = """query Q($p: String, $s: [JSONString!]!) { project(name: $p) { run(name: "r") {
        history(samples: 100) historyKeys sampledHistory(specs: $s) exitcode
        logLines(first: 5) { edges { node { line } } } } } }"""
    found: Any = server.ask(query, p=project, s=[json.dumps({"keys": ["\ud800", "a.b"]})])
    assert set(found["project"]["run"]["history"]) == set(rows)


def test_odd_words_spoil_neither_the_wire_nor_the_pages(server: Server, project: str) -> None:
    odd = json.dumps({"\ud800": "\udfff", "deep": {"\ud800": ["<script>", None]}, "": {}})
    make = """mutation M($p: String, $c: JSONString) {
        upsertBucket(input: {modelName: $p, name: "r", config: $c, notes: "<b>"}) { inserted } }"""
    server.ask(make, p=project, c=odd)
    lines = [
        json.dumps({"content": "\ud800<script>", "ts": {"a": 1}, "level": 7, "label": []}),
        "{",
        '{"content": 7}',
        "[" * 9_999,
    ]
    files = {"wandb-summary.json": {"offset": 0, "content": [odd]}, "output.log": {"offset": 0, "content": lines}}
    with server.client() as client:
        client.post(f"/files/local/{project}/r/file_stream", content=json.dumps({"files": files})).raise_for_status()
        page = client.get(f"/local/{project}/runs/r", headers={"Accept": "text/html"})
        assert (page.status_code, "<script" in page.text, "&lt;script&gt;" in page.text) == (200, False, True)
        assert client.get(f"/local/{project}/runs/r.json").status_code == 200
    query = 'query Q($p: String) { project(name: $p) { run(name: "r") { logLines { edges { node { line timestamp } } } } } }'
    found: Any = server.ask(query, p=project)
    shown = [edge["node"] for edge in found["project"]["run"]["logLines"]["edges"]]
    assert shown[0] == {"line": "\ufffd<script>", "timestamp": None}
    assert [node["line"] for node in shown[1:]] == lines[1:]


# -- Names, paths, references

ESCAPES = [
    "../evil", "a/../../evil", "..", "/etc/passwd", "\\evil", "C:evil", "c:\\evil", "..\\evil", "a\\..\\..\\evil",
    "\\\\host\\share", ".. /evil", "a/.. ./b", "a\0b", "a\nb", "\u202etxt.exe", "\x7f", "CON", "a/com1/b", "nul", "",
    "a" * 300, "é" * 200, "/".join(["aaaa"] * 1000),
]  # fmt: skip
HONEST = [
    "a",
    "a/b.txt",
    "..a",
    "a..b",
    "...a/b",
    "COM0",
    "console.log",
    "con.fig/x",
    "12:30.png",
    "spaces in names ",
    "a.",
    "é/ü.png",
    "日本.txt",
    "a//b",
    "x" * 255,
]


@pytest.mark.parametrize("path", ESCAPES, ids=ascii)
def test_a_path_that_would_leave_its_folder_anywhere_is_refused(path: str) -> None:
    with pytest.raises(BadData, match="the file"):
        names.check_path(path, "the file")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "C:evil", "a\0b"], ids=ascii)
def test_neither_a_manifest_nor_a_run_has_such_a_path(server: Server, run: str, path: str) -> None:
    upload = Upload(server, "untrusted", {"x": b"content"}, manifest={path: entry(b"content")})
    upload.put_files()
    upload.put_manifest()
    assert "the manifest's entry" in upload.refusal()
    make = """mutation M($f: [String!]!) { createRunFiles(input: {
        entityName: "local", projectName: "untrusted", runName: "r", files: $f}) { files { name } } }"""
    assert "the run file" in refused(asked(server, make, f=[path]))


@pytest.mark.parametrize("path", HONEST)
def test_an_unusual_path_is_an_honest_one(path: str) -> None:
    names.check_path(path, "the file")


@pytest.mark.parametrize(("body", "reason"), [
    pytest.param({"digest": base64_md5(b"x"), "size": -1}, "size: number of bytes", id="a size below zero"),
    pytest.param({"digest": base64_md5(b"x"), "size": 2**63}, "size: number of bytes", id="a size beyond 64 bits"),
    pytest.param({"digest": base64_md5(b"x"), "size": True}, "size: number of bytes", id="a size that is none"),
    pytest.param({"digest": base64_md5(b"x"), "size": 99}, "has 99 bytes", id="a wrong size"),
    pytest.param({"digest": "x" * 20_000, "ref": "s3://b/k"}, "digest", id="an endless digest"),
    pytest.param({"digest": "e", "ref": "javascript:alert(1)"}, "names no place", id="a script"),
    pytest.param({"digest": "e", "ref": " JavaScript:alert(1)"}, "names no place", id="a script in disguise"),
    pytest.param({"digest": "e", "ref": "data:text/html,<script>"}, "names no place", id="a page"),
    pytest.param({"digest": "e", "ref": "s3://b/k\nSet-Cookie: x"}, "not the URI", id="two lines"),
    pytest.param({"digest": "e", "ref": ""}, "not the URI", id="nothing"),
    pytest.param({"digest": "e", "ref": 7}, "may have ref", id="a number"),
    pytest.param({"digest": 7}, "no digest", id="a digest that is none"),
    pytest.param("entry", "no digest", id="no entry"),
    pytest.param({"digest": base64_md5(b"x"), "extra": [1]}, "extra", id="an extra that is none"),
])  # fmt: skip
def test_a_manifest_entry_is_checked_whole(server: Server, body: Any, reason: str) -> None:
    upload = Upload(server, "untrusted", {"x": b"x"}, manifest={"x": entry(b"x")})
    upload.put_files()
    document = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": {"x": entry(b"x"), "y": body}}
    upload.put_manifest(raw=json.dumps(document).encode())
    assert reason in upload.refusal()


@pytest.mark.parametrize("size", [pytest.param(limits.MANIFEST + 1, id="huge"), pytest.param(200 * MIB, id="empty")])
def test_a_manifest_of_millions_is_refused_within_memory(alone: Server, size: int) -> None:
    upload = Upload(alone, "untrusted", {"x": b"x"})
    upload.put_files()
    upload.put_manifest(raw=secrets.token_bytes(16))
    [announced] = [path for path in (alone.home / "blobs").glob("??/*") if path.stat().st_size == 16]
    # In its place a sparse file: bytes of that number need not be sent to be met.
    with announced.open("r+b") as file:
        file.truncate(size)
    assert any(word in upload.refusal() for word in ("this server takes", "not JSON"))
    announced.unlink()
    assert peak_memory(alone) < 1_200 * MIB


@pytest.mark.parametrize(
    "name", ["a\nb", "\0", "x\x1b[31m", "\u202egnp", "\u2066x", "line\u2028", "x" * 129, " ", "a/b", "\x85"], ids=ascii
)
@pytest.mark.parametrize("make", [
    pytest.param("upsertBucket(input: {modelName: $n, name: \"r\"}) { inserted }", id="project"),
    pytest.param("upsertBucket(input: {modelName: \"untrusted\", name: $n}) { inserted }", id="run"),
    pytest.param("createTeam(input: {teamName: $n}) { entity { id } }", id="team"),
    pytest.param(
        'createArtifact(input: {entityName: "local", projectName: "untrusted", artifactTypeName: "t", digest: "0", '
        "artifactCollectionName: $n}) { artifact { id } }", id="collection",
    ),
])  # fmt: skip
def test_a_name_that_does_not_show_what_it_is_is_refused(server: Server, make: str, name: str) -> None:
    answer = asked(server, f"mutation M($n: String!) {{ {make} }}", n=name)
    assert (answer.status_code, "cannot be" in refused(answer)) == (400, True)


# -- Sweeps

# Nine lists, each nine times the one before it.
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))
_STEPS = "{x: {distribution: q_uniform, min: 0, max: 1.0e+300, q: 1.0e-300}}"
_EXPONENTS = "{x: {distribution: log_normal, mu: 1.0e+5}}"


@pytest.mark.parametrize(("config", "reason"), [
    pytest.param(LAUGHS, "aliases", id="laughs by the billion"),
    pytest.param("a: &a {x: 1}\nb: {<<: [*a, *a]}\n", "merge keys", id="merges"),
    pytest.param("a: &a [*a]\n", "deep", id="a circle"),
    pytest.param("[" * 5_000, "deep", id="deep"),
    pytest.param("x: " + "9" * 5_000, "not YAML", id="a number without an end"),
    pytest.param("x: 2001-99-99", "not YAML", id="no day"),
    pytest.param("x: !!python/object/apply:os.system [id]", "not YAML", id="code"),
    pytest.param("# " + "x" * limits.SWEEP_CONFIGURATION, "characters", id="long"),
    pytest.param("method: grid\nparameters: {x: {min: 0, max: 1" + "0" * 30 + "}}", "too large", id="a grid beyond numbers"),
    pytest.param(f"method: random\nparameters: {_STEPS}", "too large", id="steps beyond numbers"),
    pytest.param(f"method: random\nparameters: {_EXPONENTS}", "too large", id="exponents beyond numbers"),
])  # fmt: skip
def test_a_sweep_configuration_that_explodes_is_refused(server: Server, config: str, reason: str) -> None:
    answer = asked(
        server,
        'mutation M($c: String) { upsertSweep(input: {projectName: "untrusted", config: $c}) { sweep { id } } }',
        c=config,
    )
    assert (answer.status_code, reason in refused(answer)) == (400, True), answer.text[:300]
