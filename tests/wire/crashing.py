"""A server, or a client, that is killed at chosen moments, and the proof that what was acknowledged is still there.

The client talks to the server through a small proxy which counts requests. At chosen ones it kills the server with SIGKILL:
before it forwards the request, in the middle of its body, while the server works on it, or when the reply is complete and
before, or just after, it is passed on. Then it starts another server on the same home and looks, before anything else can
happen, whether every reply that the client ever got is still true. The client only sees broken connections and tries again.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from registry.server import ids, integrity
from registry.server.home import present_home
from tests.wire.conftest import Server

Moment = Literal["before", "in the body", "while it works", "before the reply", "after the reply"]
MOMENTS: tuple[Moment, ...] = ("before", "in the body", "while it works", "before the reply", "after the reply")

# Long enough to reach into any request of the workload, so that a kill falls anywhere in it.
_LONGEST_WORK_SECONDS = 0.03

# What a client does, in one process: a history in many requests, two versions, links, and an alias that moves.
WORKLOAD = """
import json, sys, time
from pathlib import Path
import wandb

name, steps = sys.argv[1], int(sys.argv[2])
with wandb.init(project="crash", id=name) as run:
    def log(version, content):
        folder = Path(f"{name}-v{version}")
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "a.txt").write_text(content)
        (folder / "deep" / "b.bin").write_bytes(content.encode() * 20_000)
        artifact = wandb.Artifact("data", "dataset")
        artifact.add_dir(str(folder))
        return run.log_artifact(artifact, aliases=[f"made-{version}"]).wait()
    for step in range(steps // 2):
        run.log({"x": step})
        time.sleep(0.01)
    v0 = log(0, "zero")
    run.link_artifact(v0, "wandb-registry-model/held", aliases=["production"])
    Path("note.txt").write_text("a note")
    run.save("note.txt")
    v1 = log(1, "one")
    run.link_artifact(v1, "wandb-registry-model/held", aliases=["production"])
    for step in range(steps // 2, steps):
        run.log({"x": step})
        time.sleep(0.01)
back = wandb.Api().artifact("wandb-registry-model/held:production").download("back")
print(json.dumps({"a": (Path(back) / "a.txt").read_text(), "b": len((Path(back) / "deep" / "b.bin").read_bytes())}))
"""


# The client must outlast a server that is gone for a second or two, and send what it has often.
_PATIENT = {
    f"WANDB_X_{channel}_{setting}": value
    for channel in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
    for setting, value in (("RETRY_MAX", "50"), ("RETRY_WAIT_MIN_SECONDS", "0.05"), ("RETRY_WAIT_MAX_SECONDS", "0.3"))
} | {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1", "WANDB_INIT_TIMEOUT": "60", "WANDB_HTTP_TIMEOUT": "60"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Kill at the `request`-th request (from 1) at this moment; `whom` decides which side dies."""

    request: int
    moment: Moment
    whom: Literal["server", "client"] = "server"


def faults(seed: int, *, count: int, requests: int, whom: Literal["server", "client"] = "server") -> tuple[Fault, ...]:
    """Faults at different requests among the first `requests`, the same for the same seed."""
    chance = random.Random(seed)
    numbers = chance.sample(range(2, requests), count)
    moments = itertools.cycle(chance.sample(MOMENTS, len(MOMENTS)))
    return tuple(Fault(request=number, moment=moment, whom=whom) for number, moment in zip(numbers, moments, strict=False))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sent, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The name of a GraphQL operation; of anything else, its method and what kind of path it has."""
        if self.path == "/graphql" and (match := re.search(rb"(?:mutation|query)\s+(\w+)", self.body)):
            return match[1].decode()
        return f"{self.method} {'/'.join(self.path.partition('?')[0].split('/')[1:6:4])}"

    def matches(self, method: str, path: str) -> re.Match[str] | None:
        return re.fullmatch(path, self.path.partition("?")[0]) if self.method == method else None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server answered, whole."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass
class Acknowledged:
    """What the client was told is so."""

    committed: set[int] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    lines: dict[tuple[str, int], Any] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    run_files: set[int] = field(default_factory=set)
    sent_run_files: dict[int, set[str]] = field(default_factory=dict)
    refused: list[tuple[str, int]] = field(default_factory=list)

    def sent(self, request: Request) -> None:
        """A request that is about to be forwarded: from here on it may have an effect."""
        if match := request.matches("PUT", r"/run-files/(\d+)"):
            self.sent_run_files.setdefault(int(match[1]), set()).add(_md5(request.body))

    def heard(self, request: Request, reply: Reply) -> None:
        """A reply that is about to be passed on."""
        if reply.status != 200:
            self.refused.append((request.operation, reply.status))
            return
        if match := request.matches("PUT", r"/uploads/([0-9a-f]{32})"):
            self.blobs.add(match[1])
        elif match := request.matches("PUT", r"/run-files/(\d+)"):
            self.run_files.add(int(match[1]))
        elif match := request.matches("POST", r"/files/[^/]+/[^/]+/([^/]+)/file_stream"):
            chunk = (json.loads(request.body).get("files") or {}).get("wandb-history.jsonl") or {"offset": 0, "content": []}
            for line, text in enumerate(chunk["content"], start=chunk["offset"]):
                self.lines[match[1], line] = json.loads(text)
        elif request.matches("POST", "/graphql"):
            said = json.loads(request.body)
            self._graphql(request.operation, said.get("variables") or {}, json.loads(reply.body)["data"])

    def _graphql(self, operation: str, variables: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        if operation == "CommitArtifact":
            self.committed.add(ids.decode("Artifact", data["commitArtifact"]["artifact"]["id"]))
        elif operation == "LinkArtifact":
            said = variables.get("input", variables)
            which = said.get("artifactID") or said.get("clientID") or said.get("artifactId") or said.get("clientId")
            self.links |= {(which, alias["alias"]) for alias in said["aliases"]}

    def lost(self, home: Path) -> list[str]:
        """What of it is not so any more."""
        with closing(sqlite3.connect(f"file:{home / 'reg.db'}?mode=ro", uri=True)) as connection:

            def rows(query: str) -> list[Any]:
                return connection.execute(query).fetchall()

            states = dict(rows("SELECT id, state FROM artifacts"))
            stored = {
                (run, line): json.loads(body)
                for run, line, body in rows("SELECT name, line, body FROM history JOIN runs ON runs.id = run_id")
            }
            moved = set(rows("SELECT client_id, alias FROM alias_moves JOIN client_ids USING (artifact_id)"))
            moved |= {
                (ids.encode("Artifact", n), alias) for n, alias in rows("SELECT artifact_id, alias FROM alias_moves") if n
            }
            files = dict(rows("SELECT id, md5 FROM run_files"))
        blobs = {md5 for md5 in self.blobs if (home / "blobs" / md5[:2] / md5[2:]).exists()}
        return [
            *(f"version {number} is {states.get(number)}" for number in self.committed if states.get(number) != "COMMITTED"),
            *(f"link {link} never happened" for link in self.links - moved),
            *(f"line {key} is {stored.get(key)}, not {row}" for key, row in self.lines.items() if stored.get(key) != row),
            *(f"blob {md5} is not stored" for md5 in self.blobs - blobs),
            *(f"run file {n} is {files.get(n)}" for n in self.run_files if files.get(n) not in self.sent_run_files[n]),
        ]


class Crashing:
    """A home whose server is behind a proxy that kills; what it finds wrong is in `wrong`."""

    def __init__(self, home: Path, faults: Sequence[Fault], *, seed: int) -> None:
        self.home = home
        self.acknowledged = Acknowledged()
        self.requests = 0
        self.struck: list[tuple[Fault, str]] = []
        self.wrong: list[str] = []
        self.client: subprocess.Popen[str] | None = None
        self._faults = {fault.request: fault for fault in faults}
        self._chance = random.Random(seed)
        self._counting = threading.Lock()
        self._up = threading.Event()
        self._start_server()

    def carry(self, request: Request) -> tuple[Reply | None, Fault | None]:
        """The server's reply, or None to cut the connection; and the fault that remains to be done when it was passed on."""
        self._up.wait()
        with self._counting:
            self.requests += 1
            fault = self._faults.get(self.requests)
        self.acknowledged.sent(request)
        try:
            if fault is None:
                return self._forward(request), None
            return self._fail(request, fault)
        except (OSError, http.client.HTTPException):
            return None, None  # the server was killed under another request

    def strike(self, fault: Fault, request: Request) -> None:
        """Kill, and look what is left."""
        self._up.clear()
        if fault.whom == "client":
            assert self.client is not None
            _kill_family(self.client.pid)
        else:
            self._process.kill()
            self._process.communicate()
            self._start_server(up=False)
            self.wrong += self.acknowledged.lost(self.home)
            self.wrong += faults_of(self.home)
        self.struck.append((fault, request.operation))
        self._up.set()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _start_server(self, *, up: bool = True) -> None:
        command = [sys.executable, "-m", "registry.server", "--home", str(self.home), "--until-stdin-closes"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_"))}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        self._port = int(json.loads(self._process.stdout.readline())["url"].rpartition(":")[2])
        if up:
            self._up.set()

    def _fail(self, request: Request, fault: Fault) -> tuple[Reply | None, Fault | None]:
        reply = None
        if fault.moment == "in the body":
            connection = self._send(request, request.body[: len(request.body) // 2])
            self.strike(fault, request)
            connection.close()
        elif fault.moment == "while it works":
            connection = self._send(request, request.body)
            time.sleep(self._chance.uniform(0, _LONGEST_WORK_SECONDS))
            self.strike(fault, request)
            connection.close()
        else:
            if fault.moment != "before":
                reply = self._forward(request)
            if fault.moment == "after the reply":
                return reply, fault
            self.strike(fault, request)
        return None, None

    def _send(self, request: Request, body: bytes) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(body)
        return connection

    def _forward(self, request: Request) -> Reply:
        with closing(self._send(request, request.body)) as connection:
            answer = connection.getresponse()
            return Reply(status=answer.status, headers=answer.getheaders(), body=answer.read())


@contextmanager
def crashing(home: Path, faults: Sequence[Fault], *, seed: int) -> Iterator[tuple[Crashing, Server]]:
    """A home that crashes, and its server as a client sees it."""
    crashes = Crashing(home, faults, seed=seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def carry(self) -> None:
            body = self._body()
            request = Request(method=self.command, path=self.path, headers=dict(self.headers.items()), body=body)
            reply, fault = crashes.carry(request)
            if reply is None:
                self.close_connection = True
                return
            crashes.acknowledged.heard(request, reply)
            self.send_response_only(reply.status)
            for name, value in reply.headers:
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            if fault is not None:
                crashes.strike(fault, request)

        do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = carry

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, format: str, *args: Any) -> None: ...

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the client was killed

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{proxy.server_address[1]}"
        yield crashes, Server(url=url, key=(home / "key").read_text().strip(), home=home, pid=crashes._process.pid)
    finally:
        proxy.shutdown()
        proxy.server_close()
        crashes.stop()


def run_workload(crashes: Crashing, server: Server, folder: Path, name: str, steps: int) -> subprocess.CompletedProcess[str]:
    """Run the workload as a wandb process of its own, which may be killed."""
    crashes.client = wandb_process(server, folder, "-c", WORKLOAD, name, str(steps))
    return _finished(crashes.client)


def sync(server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    """`wandb sync` of every run that was made in a folder."""
    logged = sorted(str(path) for path in folder.glob("wandb/*run-*"))
    return _finished(wandb_process(server, folder, "-c", "from wandb.cli.cli import cli; cli()", "sync", *logged))


def wandb_process(server: Server, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start Python as a patient wandb client that leaves its traces in a folder."""
    folder.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= server.environment(folder) | _PATIENT
    command = [sys.executable, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, cwd=folder, **pipes)


def faults_of(home: Path) -> list[str]:
    """What `reg doctor --fsck` finds wrong."""
    with present_home(home) as opened:
        report = integrity.check(opened.database, opened.blobs, quarantine=False, on_progress=lambda done, total: None)
    return [f"{fault.kind}: {fault.where} {fault.says} {fault.affects}" for fault in report.faults]


def history(home: Path, run: str) -> list[tuple[int, int]]:
    """The line and step of every stored row of a run."""
    query = "SELECT line, step FROM history JOIN runs ON runs.id = run_id WHERE name = ? ORDER BY line"
    return _rows(home, query, run)


def numbers(home: Path, collection: str) -> list[int]:
    query = (
        "SELECT memberships.version_index FROM memberships JOIN collections ON collections.id = collection_id WHERE name = ?"
    )
    return [number for (number,) in _rows(home, f"{query} ORDER BY 1", collection)]


def holders(home: Path, collection: str, alias: str) -> list[int]:
    """The versions that held an alias, one after the other."""
    query = (
        "SELECT alias_moves.version_index FROM alias_moves JOIN collections ON collections.id = collection_id "
        "WHERE name = ? AND alias = ? ORDER BY alias_moves.id"
    )
    return [number for (number,) in _rows(home, query, collection, alias)]


def _rows(home: Path, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(f"file:{home / 'reg.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def _finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _kill_family(pid: int) -> None:
    """A client is two processes: the script, and the SDK's service in a session of its own."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended since it was listed
        if parent == pid:
            children.append(int(status.parent.name))
    for number in (pid, *children):
        os.kill(number, signal.SIGKILL)


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
