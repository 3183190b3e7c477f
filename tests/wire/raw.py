"""Bytes on a socket, for what no HTTP library sends; and a server that loses patience soon."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.wire.conftest import Server

MIB = 1 << 20
_START = """
import sys
from registry.server import limits
from registry.server.__main__ import main
{changes}
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def limited(home: Path, *arguments: str, **changed: float) -> Iterator[Server]:
    """A server of its own with other limits; what it logs is in `home/log`."""
    changes = "\n".join(f"limits.{name} = {value!r}" for name, value in changed.items())
    command = [sys.executable, "-c", _START.format(changes=changes), "--home", str(home), "--until-stdin-closes", *arguments]
    home.mkdir(parents=True)
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield Server(url=ready["url"], key=(home / "key").read_text().strip(), home=home, pid=ready["pid"])
        finally:
            process.stdin.close()
            code = process.wait(timeout=30)
            process.stdout.close()
    assert code == 0


def connected(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def heard(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    pieces = []
    with suppress(ConnectionResetError):  # closed with something of ours unread
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def exchanged(server: Server, sent: bytes) -> bytes:
    """What a server answers to these bytes before it closes the connection."""
    with connected(server) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
            connection.sendall(sent)
        return heard(connection)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def peak_memory(server: Server) -> int:
    """The most physical memory the server's process ever had, in bytes."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def refused(answer: httpx.Response) -> str:
    """The reason of a refusal that is one in form and not a bug."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
    found = answer.json()
    assert [error["message"] for error in found["errors"]] == [found["error"]]
    assert "server failed" not in found["error"], found
    assert "data" not in found
    reason: str = found["error"]
    return reason


def asked(server: Server, query: str, **variables: Any) -> httpx.Response:
    with server.client() as client:
        return client.post("/graphql", json={"query": query, "variables": variables})
