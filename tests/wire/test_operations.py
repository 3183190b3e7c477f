"""What whoever runs a server expects: it says how it is, what it does and what went wrong, and it ends when it is told to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from registry.embedded import ANNOUNCEMENT, announce, announced
from registry.server.app import create_app
from registry.server.home import open_home
from registry.server.signing import Signer
from tests.cli.conftest import Reg
from tests.wire.conftest import Server, running

_LINE = re.compile(
    r"(?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<address>\S+) (?P<user>\S+) (?P<method>[A-Z]+) (?P<path>\S+)"
    r" (?P<status>\d+) (?P<bytes>\d+) (?P<ms>\d+\.\d)"
)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server whose process and words are in the test's hand."""

    server: Server
    process: subprocess.Popen[str]

    def end(self) -> tuple[int, str]:
        """Its exit code and what it wrote to standard error, once it was told to end."""
        self.process.send_signal(signal.SIGTERM)
        _, complaints = self.process.communicate(timeout=30)
        return self.process.returncode, complaints


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[Served]:
    """A server as a supervisor runs it: no terminal, nothing on standard input, a pipe for its log."""
    command = [sys.executable, "-m", "registry.server", "--home", str(home), *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            ready = json.loads(process.stdout.readline())
            key = (home / "key").read_text().strip()
            yield Served(server=Server(url=ready["url"], key=key, home=home, pid=ready["pid"]), process=process)
        finally:
            process.kill()


def fields(line: str) -> tuple[str, ...]:
    """User, method, path and status of a line of the access log."""
    match = _LINE.fullmatch(line)
    assert match, line
    return match["user"], match["method"], match["path"], match["status"]


def test_the_access_log_has_a_line_for_each_request_and_no_secret(tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--access-log") as served:
        server = served.server
        server.ask("{ viewer { id } }")
        link = Signer((tmp_path / "home" / "secret").read_text().encode()).sign("GET", "/blobs/" + "0" * 32 + "/a b\n200")
        httpx.get(server.url + link, trust_env=False)
        httpx.get(f"{server.url}/healthz?key={server.key}", trust_env=False)
        httpx.post(f"{server.url}/graphql", json={}, auth=("api", "0" * 40), trust_env=False)
        code, log = served.end()
    assert code == 0
    assert [fields(line) for line in log.splitlines() if _LINE.match(line)] == [
        ("local", "POST", "/graphql", "200"),
        ("-", "GET", "/blobs/" + "0" * 32 + "/a%20b%0A200", "404"),
        ("-", "GET", "/healthz", "200"),
        ("-", "POST", "/graphql", "401"),
    ]
    assert server.key not in log
    assert link.rpartition("=")[2] not in log


def test_the_access_log_tells_how_many_bytes_were_sent(tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--access-log") as served:
        answer = httpx.get(f"{served.server.url}/healthz", trust_env=False)
        _, log = served.end()
    match = _LINE.fullmatch(log.splitlines()[0])
    assert match
    assert int(match["bytes"]) == len(answer.content)


def test_without_being_asked_a_server_logs_no_requests(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as served:
        served.server.ask("{ viewer { id } }")
        assert served.end() == (0, "")


def test_what_goes_wrong_inside_is_in_the_log_with_its_traceback(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as served:
        signer = Signer((tmp_path / "home" / "secret").read_text().encode())
        shutil.rmtree(tmp_path / "home" / "blobs")
        (tmp_path / "home" / "blobs").write_text("in the way")
        answer = httpx.put(served.server.url + signer.sign("PUT", "/uploads/" + "0" * 32), content=b"x", trust_env=False)
        code, log = served.end()
    assert (answer.status_code, code) == (422, 0)
    assert re.match(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR registry\.server\.refusals: the operating system refused\n", log
    )
    assert "NotADirectoryError" in log


@pytest.mark.parametrize("path", ["/healthz", "/ready"])
def test_health_is_told_to_whoever_only_wants_the_status(server: Server, path: str) -> None:
    answer = httpx.head(server.url + path, trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_that_cannot_write_is_alive_and_not_ready(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    shutil.rmtree(home.blobs.folder)
    transport = httpx.ASGITransport(app=create_app(home))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        alive, ready = await client.get("/healthz"), await client.get("/ready")
    home.close()
    assert alive.status_code == 200
    assert (ready.status_code, ready.json()["status"], ready.json()["error"]) == (503, "not ready", "cannot write to blobs")


def _upload_begun(served: Served, content: bytes) -> socket.socket:
    """A connection over which half of an upload was sent, and taken."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    link = Signer((served.server.home / "secret").read_text().encode()).sign("PUT", f"/uploads/{md5}")
    host, _, port = served.server.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = f"PUT {link} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n"
    connection.sendall(head.encode())
    # The server answers this when the endpoint asks for the body: from then on the request is under way.
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    connection.sendall(content[: len(content) // 2])
    return connection


def test_a_request_under_way_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    content = b"0123456789" * 1000
    with serving(tmp_path / "home") as served, _upload_begun(served, content) as connection:
        served.process.send_signal(signal.SIGTERM)
        # It takes nobody else from now on.
        while _answers(served.server.url):
            pass
        connection.sendall(content[len(content) // 2 :])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        _, complaints = served.process.communicate(timeout=30)
    assert (served.process.returncode, complaints) == (0, "")
    assert sum(path.read_bytes() == content for path in (tmp_path / "home" / "blobs").rglob("*") if path.is_file()) == 1


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_second_signal_does_not_wait_for_anybody(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as served, _upload_begun(served, b"x" * 1000) as connection:
        served.process.send_signal(signal.SIGTERM)
        while _answers(served.server.url):
            pass
        served.process.send_signal(signal.SIGTERM)
        # The client hears what makes it try again; the log would say so if the server had waited for it.
        assert connection.recv(100).startswith(b"HTTP/1.1 500")
        _, log = served.process.communicate(timeout=30)
    assert (served.process.returncode, "graceful shutdown exceeded" in log) == (0, False)


def test_nothing_but_the_home_is_left_when_a_server_ended(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as served:
        served.server.ask('mutation { upsertBucket(input: {modelName: "p", name: "r"}) { inserted } }')
        served.end()
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["blobs", "key", "reg.db", "reg.db-turn", "secret"]


def _serve(reg: Reg, *words: str) -> tuple[subprocess.Popen[str], str]:
    process = reg.start("serve", "--port", "0", *words)
    assert process.stdout is not None
    first = process.stdout.readline()
    found = re.search(r"http://\S+", first)
    assert found, first
    return process, found.group()


@pytest.fixture
def reg(tmp_path: Path) -> Reg:
    (tmp_path / "work").mkdir()
    return Reg(home=tmp_path / "home", folder=tmp_path / "work")


def test_reg_serve_writes_the_access_log_and_takes_its_announcement_back(reg: Reg) -> None:
    process, url = _serve(reg, "--access-log")
    assert announced(reg.home) == url
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [fields(line) for line in log.splitlines()] == [("local", "POST", "/graphql", "200")]
    assert not (reg.home / ANNOUNCEMENT).exists()


def test_a_second_reg_serve_of_a_home_says_where_the_first_is(reg: Reg) -> None:
    process, url = _serve(reg)
    second = reg("serve", "--port", "0")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert second.code == 7
    assert f"a server for {reg.home} already runs at {url}" in second.err
    assert f"Hint: export WANDB_BASE_URL={url}" in second.err


def test_a_server_that_was_killed_does_not_stop_the_next_one(reg: Reg) -> None:
    first, old = _serve(reg)
    first.kill()
    first.communicate(timeout=30)
    assert (reg.home / ANNOUNCEMENT).exists()
    second, url = _serve(reg, "--port", old.rpartition(":")[2])
    assert announced(reg.home) == url == old
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert second.returncode == 0


def test_an_announcement_of_another_server_is_left_alone(tmp_path: Path) -> None:
    with announce(tmp_path, "http://127.0.0.1:1"):
        (tmp_path / ANNOUNCEMENT).write_text(json.dumps({"url": "http://127.0.0.1:2", "pid": os.getpid() + 1}))
    assert json.loads((tmp_path / ANNOUNCEMENT).read_text())["url"] == "http://127.0.0.1:2"


def test_a_server_on_this_machine_is_found_whatever_proxy_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with running(tmp_path / "home") as server, announce(tmp_path / "home", server.url):
        assert announced(tmp_path / "home") == server.url
