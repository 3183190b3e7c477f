"""The HTTP edge: nothing answers 5xx, links carry their own permission, and a server ends when it should."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from registry.server.signing import Signer
from tests.wire.conftest import Server, running

# An id that decodes to a number no database can hold.
_BEYOND = base64.b64encode(b"Run:" + b"9" * 30).decode()


def _stop(run_id: str) -> bytes:
    return json.dumps({"query": f'mutation {{ stopRun(input: {{id: "{run_id}"}}) {{ success }} }}'}).encode()


@pytest.mark.parametrize(("body", "status", "complaint"), [
    pytest.param(b"{", 400, "not JSON", id="broken JSON"),
    pytest.param(b"[1]", 400, "not an object", id="a list"),
    pytest.param(b"{}", 400, "needs query", id="no query"),
    pytest.param(b'{"query": "{ viewer {"}', 400, "Syntax Error", id="broken GraphQL"),
    pytest.param(b'{"query": "{ nonsense }"}', 400, "Cannot query field 'nonsense'", id="unknown field"),
    pytest.param(b'{"query": "query A { viewer { id } }", "operationName": "B"}', 400, "unknown operation 'B'", id="operation"),
    pytest.param(_stop("UnVuOjE=1"), 404, "not the id of a Run", id="bad id"),
    pytest.param(_stop(_BEYOND), 404, "not the id of a Run", id="an id beyond any database"),
])  # fmt: skip
def test_a_bad_request_is_answered_at_once_with_its_reason(server: Server, body: bytes, status: int, complaint: str) -> None:
    with server.client() as client:
        answer = client.post("/graphql", content=body)
    assert (answer.status_code, complaint in answer.json()["errors"][0]["message"]) == (status, True), answer.text
    assert "data" not in answer.json()


def test_a_mutation_that_fails_leaves_no_trace(server: Server) -> None:
    query = """mutation { upsertBucket(input: {modelName: "half", name: "r"}) { inserted }
        stopRun(input: {id: "none"}) { success } }"""
    with server.client() as client:
        assert client.post("/graphql", json={"query": query}).status_code == 404
    assert server.ask('{ project(name: "half") { id } }') == {"project": None}


def test_an_empty_operation_name_and_unknown_input_fields_are_accepted(server: Server) -> None:
    query = "mutation M($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted } }"
    given = {"modelName": "loose", "name": "r", "tags": "one", "clientMutationId": "x", "cloudRegionID": 3}
    with server.client() as client:
        answer = client.post("/graphql", json={"query": query, "operationName": "", "variables": {"input": given}})
    assert answer.json() == {"data": {"upsertBucket": {"inserted": True}}}
    assert server.ask('{ project(name: "loose") { run(name: "r") { tags } } }') == {"project": {"run": {"tags": ["one"]}}}


@pytest.mark.parametrize("headers", [
    pytest.param({}, id="no key"),
    pytest.param({"Authorization": "Basic " + base64.b64encode(b"api:" + b"0" * 40).decode()}, id="unknown key"),
    pytest.param({"Authorization": "Basic ???"}, id="not base64"),
    pytest.param({"Authorization": "Bearer nonsense"}, id="unknown token"),
])  # fmt: skip
@pytest.mark.parametrize("path", ["/graphql", "/files/local/p/r/file_stream"])
def test_without_a_known_key_nothing_is_answered(server: Server, path: str, headers: dict[str, str]) -> None:
    answer = httpx.post(server.url + path, json={"query": "{ viewer { id } }"}, headers=headers, trust_env=False)
    assert answer.status_code == 401


def test_a_bearer_token_may_be_the_key(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.key}"}
    answer = httpx.post(f"{server.url}/graphql", json={"query": "{ viewer { entity } }"}, headers=headers, trust_env=False)
    assert answer.json() == {"data": {"viewer": {"entity": "local"}}}


@pytest.mark.parametrize("path", ["/healthz", "/ready"])
def test_health_needs_no_key(server: Server, path: str) -> None:
    assert httpx.get(server.url + path, trust_env=False).json()["status"] == "ok"


@pytest.mark.parametrize(("method", "path"), [("POST", "/sdk/otel/v1/metrics"), ("GET", "/nowhere"), ("DELETE", "/graphql")])
def test_what_is_not_here_is_404(server: Server, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path, trust_env=False)
    assert (answer.status_code, answer.json()["error"]) == (404, f"nothing is served at {path}")


def test_ten_megabytes_pass_and_more_than_the_limit_is_named(server: Server) -> None:
    query = 'query Q($desc: String) { project(name: "absent") { run(name: "", desc: $desc) { name } } }'
    assert server.ask(query, desc="a" * 10**7) == {"project": None}
    with server.client() as client:
        answer = client.post("/graphql", content=b"[" + b" " * (65 << 20))
    assert (answer.status_code, answer.json()["error"].startswith("the request has 68157441 bytes")) == (413, True)


def test_the_stream_of_an_unknown_run_is_404_with_a_reason(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/files/local/p/absent%2Frun/file_stream", json={})
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no run local/p/absent/run")


def _signed(server: Server, method: str, path: str) -> str:
    return server.url + Signer((server.home / "secret").read_text().encode()).sign(method, path)


@pytest.fixture(scope="module")
def blob(server: Server) -> bytes:
    """Three million bytes, stored."""
    content = b"0123456789" * 300_000
    answer = httpx.put(_signed(server, "PUT", f"/uploads/{_md5(content)}"), content=content, trust_env=False)
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{_md5(content)}"')
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("asked", "start", "stop"), [
    ("bytes=0-0", 0, 1),
    ("bytes=10-19", 10, 20),
    ("bytes=2999990-", 2_999_990, 3_000_000),
    ("bytes=-10", 2_999_990, 3_000_000),
    ("bytes=2999990-99999999", 2_999_990, 3_000_000),
])  # fmt: skip
def test_a_range_of_a_blob_is_exactly_that(server: Server, blob: bytes, asked: str, start: int, stop: int) -> None:
    url = _signed(server, "GET", f"/blobs/{_md5(blob)}/name with space.bin")
    answer = httpx.get(url, headers={"Range": asked}, trust_env=False)
    assert (answer.status_code, answer.content) == (206, blob[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(blob)}"


def test_a_blob_comes_back_whole(server: Server, blob: bytes) -> None:
    url = _signed(server, "GET", f"/blobs/{_md5(blob)}/x")
    assert httpx.get(url, trust_env=False).content == blob
    head = httpx.head(url, trust_env=False)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3000000", b"")


@pytest.mark.parametrize("asked", ["bytes=3000000-", "bytes=5-3", "bytes=0-1,3-4", "lines=1-2", "bytes=-"])
def test_a_range_that_is_not_there_is_refused(server: Server, blob: bytes, asked: str) -> None:
    url = _signed(server, "GET", f"/blobs/{_md5(blob)}/x")
    assert httpx.get(url, headers={"Range": asked}, trust_env=False).status_code == 400


def test_an_upload_with_another_md5_is_refused_and_not_kept(server: Server) -> None:
    promised = _md5(b"promised")
    answer = httpx.put(_signed(server, "PUT", f"/uploads/{promised}"), content=b"sent", trust_env=False)
    assert (answer.status_code, f"{promised} was announced" in answer.json()["error"]) == (400, True)
    assert httpx.get(_signed(server, "GET", f"/blobs/{promised}/x"), trust_env=False).status_code == 404
    assert list((server.home / "blobs" / "incoming").iterdir()) == []


@pytest.mark.parametrize("spoil", [
    pytest.param(lambda url: url.partition("?")[0], id="unsigned"),
    pytest.param(lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), id="forged"),
    pytest.param(lambda url: re.sub(r"expires=\d+", "expires=9999999999", url), id="prolonged"),
    pytest.param(lambda url: url.replace("/x?", "/y?"), id="another path"),
])  # fmt: skip
def test_a_link_that_was_not_signed_here_is_refused(server: Server, blob: bytes, spoil: object) -> None:
    url = _signed(server, "GET", f"/blobs/{_md5(blob)}/x")
    assert callable(spoil)
    assert httpx.get(spoil(url), trust_env=False).status_code == 403


def test_a_link_to_read_does_not_permit_writing(server: Server, blob: bytes) -> None:
    url = _signed(server, "GET", f"/uploads/{_md5(blob)}")
    assert httpx.put(url, content=blob, trust_env=False).status_code == 403


@pytest.mark.parametrize("path", ["artifactsV2/default/local/p/c/id%3D/id/{md5}/a%2Fb.bin", "artifacts/local/{md5}"])
def test_the_fallback_download_wants_the_key(server: Server, blob: bytes, path: str) -> None:
    path = "/" + path.format(md5=_md5(blob))
    assert httpx.get(server.url + path, trust_env=False).status_code == 401
    with server.client() as client:
        assert client.get(path).content == blob


def test_other_origins_may_ask_for_signed_links(server: Server, blob: bytes) -> None:
    url = _signed(server, "GET", f"/blobs/{_md5(blob)}/x")
    answer = httpx.options(url, headers={"Origin": "http://elsewhere"}, trust_env=False)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_links_use_the_name_the_client_knows_the_server_by(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    server.ask('mutation { upsertBucket(input: {modelName: "names", name: "r"}) { inserted } }')
    query = """mutation { createRunFiles(input: {entityName: "local", projectName: "names", runName: "r", files: ["a"]}) {
        files { uploadUrl } } }"""
    with server.client() as client:
        data = client.post("/graphql", json={"query": query}, headers={"Host": f"localhost:{port}"}).json()["data"]
    assert data["createRunFiles"]["files"][0]["uploadUrl"].startswith(f"http://localhost:{port}/run-files/")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limit of another process can be set on Linux only")
def test_a_disk_that_refuses_is_named_and_only_lines_of_a_stream_are_sent_again(tmp_path: Path) -> None:
    content = b"x" * (8 << 20)
    with running(tmp_path / "home") as server:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        answer = httpx.put(_signed(server, "PUT", f"/uploads/{_md5(content)}"), content=content, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (422, "the server's disk refused: File too large")
        server.ask('mutation { upsertBucket(input: {modelName: "p", name: "r"}) { inserted } }')
        with server.client() as client:
            lines = [json.dumps({"_step": 0, "text": "y" * (4 << 20)})]
            chunk = {"wandb-history.jsonl": {"offset": 0, "content": lines}}
            answer = client.post("/files/local/p/r/file_stream", json={"files": chunk})
        # Of a stream the client would drop what is refused: these lines it sends again.
        assert (answer.status_code, answer.json()["error"].startswith("the server's disk refused")) == (429, True), answer.text


def test_two_servers_share_one_home(tmp_path: Path) -> None:
    with running(tmp_path / "home") as one, running(tmp_path / "home") as other:
        create = 'mutation M($name: String) { upsertBucket(input: {modelName: "p", name: $name}) { inserted } }'
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n: (one, other)[n % 2].ask(create, name=f"r{n % 16}"), range(32)))
        assert sum(answer["upsertBucket"]["inserted"] for answer in made) == 16  # type: ignore[index]
        assert other.ask('{ project(name: "p") { runCount } }') == {"project": {"runCount": 16}}


def _start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "registry.server", *arguments], capture_output=True, text=True, timeout=60)


def test_a_taken_port_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _start("--home", str(tmp_path / "home"), "--port", str(port))
    assert ended.returncode == 7
    assert json.loads(ended.stdout) == {
        "error": f"port {port} of 127.0.0.1 is taken by another program",
        "hint": "reg serve --port 0, for any free one",
        "exit_code": 7,
    }
    assert ended.stderr.splitlines() == [
        f"Error: port {port} of 127.0.0.1 is taken by another program",
        "Hint: reg serve --port 0, for any free one",
    ]


def test_a_home_that_cannot_be_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    home = tmp_path / "home"
    ended = _start("--home", str(home))
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (7, f"Error: cannot write to the home {home}: File exists")


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "reg.db").write_text("not a database" * 100)
    ended = _start("--home", str(tmp_path))
    assert (ended.returncode, "file is not a database" in ended.stderr, "Traceback" in ended.stderr) == (7, True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "registry.server", "--home", str(tmp_path / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")


def test_the_server_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent_source = """if True:
        import subprocess, sys
        command = [sys.executable, "-m", "registry.server", "--home", sys.argv[1], "--until-stdin-closes"]
        subprocess.Popen(command, stdin=subprocess.PIPE)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", parent_source, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = json.loads(parent.stdout.readline())["url"]
        parent.kill()
        # The child holds the other end of this pipe: reading to its end waits for the child to be gone.
        assert parent.stdout.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_answers_are_not_held_back_by_nagles_algorithm() -> None:
    from registry.server.serving import _listen

    with _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.slow
def test_wandb_verify_complains_only_about_https(server: Server, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= server.environment(tmp_path)
    for name in ("WANDB_SILENT", "WANDB_MODE"):
        del environment[name]
    # Its agent of a sweep asks every five seconds whether there is something to do.
    quick = "from wandb.agents.pyagent import Agent; Agent.HEARTBEAT_SLEEP_SECONDS = 0.5; from wandb.cli.cli import cli; cli()"
    command = [sys.executable, "-c", quick, "verify", "--host", server.url]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    marks = dict(re.findall(r"^(Checking [^.]+)\.+(.)", ended.stdout, re.MULTILINE))
    # No https on a loopback address.
    assert {check for check, mark in marks.items() if mark != "✅"} == {
        "Checking requests to base url",
        "Checking requests made over signed URLs",
    }
    assert {check for check, mark in marks.items() if mark == "✅"} >= {
        "Checking signed URL upload",
        "Checking ability to send large payloads through proxy",
        "Checking logged metrics, saving and downloading a file",
        "Checking artifact save and download workflows",
        "Checking sweep creation and agent execution",
    }
