"""Connections that are slow, endless, broken or many: each is ended with a reason, none keeps anybody else out."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from registry.server import limits
from registry.server.signing import Signer
from tests.wire.conftest import Server
from tests.wire.raw import body, connected, exchanged, heard, limited, status

PATIENCE = 0.4


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose patience is tenths of a second, with a name of its own."""
    home = tmp_path_factory.mktemp("hasty") / "home"
    with limited(home, "--allow-host", "reg.example.org", HEADER_SECONDS=PATIENCE, PATIENCE_SECONDS=PATIENCE) as server:
        yield server


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for twenty connections."""
    with limited(tmp_path_factory.mktemp("narrow") / "home", CONNECTIONS=20) as server:
        yield server


def head(*headers: str, method: str = "POST", path: str = "/graphql") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def upload(server: Server, content: bytes) -> tuple[str, bytes]:
    """The path of a signed link for this content, and its md5."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Signer((server.home / "secret").read_text().encode()).sign("PUT", f"/uploads/{md5}"), md5.encode()


def _until_nothing_is_incoming(server: Server) -> None:
    """The client hears of the end of its connection before the server has cleared up behind it."""
    while list((server.home / "blobs" / "incoming").iterdir()):
        time.sleep(0.01)


def test_a_head_that_does_not_end_is_not_waited_for(hasty: Server) -> None:
    answer = exchanged(hasty, b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    assert (status(answer), body(answer)["error"]) == (408, f"no whole request came within {PATIENCE} s")


def test_a_connection_that_says_nothing_is_closed_without_a_word(hasty: Server) -> None:
    assert exchanged(hasty, b"") == b""


def test_a_body_that_stops_is_not_waited_for_and_not_kept(hasty: Server) -> None:
    path, _ = upload(hasty, b"x" * 1000)
    answer = exchanged(hasty, head("Content-Length: 1000", method="PUT", path=path) + b"x" * 10)
    assert (status(answer), "bytes of the body came within" in body(answer)["error"]) == (408, True)
    _until_nothing_is_incoming(hasty)


def test_a_slow_upload_that_moves_is_taken_however_long_it_lasts(hasty: Server) -> None:
    piece = b"y" * limits.LEAST_BYTES
    path, md5 = upload(hasty, piece * 10)
    with connected(hasty) as connection:
        connection.sendall(head(f"Content-Length: {10 * len(piece)}", "Connection: close", method="PUT", path=path))
        for _ in range(10):
            connection.sendall(piece)
            time.sleep(PATIENCE / 4)  # a line of this speed: in all more than twice what a silent one is given
        answer = heard(connection)
    assert (status(answer), md5 in answer) == (200, True)


def test_a_client_that_does_not_read_its_answer_is_cut_off(hasty: Server) -> None:
    content = b"z" * (32 << 20)
    path, md5 = upload(hasty, content)
    httpx.put(hasty.url + path, content=content, trust_env=False).raise_for_status()
    link = Signer((hasty.home / "secret").read_text().encode()).sign("GET", f"/blobs/{md5.decode()}/x")
    with connected(hasty) as reading:
        reading.sendall(head(method="GET", path=link))
        while "does not read the answer" not in (hasty.home / "log").read_text():
            time.sleep(PATIENCE / 10)
        assert len(heard(reading)) < len(content)


def test_a_flood_of_silent_connections_keeps_nobody_out(narrow: Server) -> None:
    flood = [connected(narrow) for _ in range(60)]
    try:
        assert httpx.get(f"{narrow.url}/healthz", trust_env=False).status_code == 200
        assert narrow.ask("{ viewer { entity } }") == {"viewer": {"entity": "local"}}
        assert flood[0].recv(1) == b""
    finally:
        for connection in flood:
            connection.close()


def test_when_all_connections_are_busy_a_new_one_is_told_to_come_back(narrow: Server) -> None:
    incoming = narrow.home / "blobs" / "incoming"
    busy: list[socket.socket] = []
    try:
        while True:
            path, _ = upload(narrow, b"x" * (1 << 20))
            busy.append(connected(narrow))
            busy[-1].sendall(head("Content-Length: 1048576", method="PUT", path=path) + b"x" * limits.LEAST_BYTES)
            if len(busy) > 20:
                answer = heard(busy[-1])
                assert (status(answer), "connections are open and busy" in body(answer)["error"]) == (429, True)
                return
            while len(list(incoming.iterdir())) < len(busy):  # an upload that the server has not seen yet is idle to it
                time.sleep(0.01)
    finally:
        for connection in busy:
            connection.close()


@pytest.mark.parametrize(("sent", "code", "reason"), [
    pytest.param(head("X-Long: " + "a" * (1 << 17)), 431, "head has more than", id="one huge header"),
    pytest.param(head(path="/" + "a" * (1 << 17)), 431, "head has more than", id="a huge address"),
    pytest.param(head(*(f"X-{n}: 1" for n in range(200))), 431, "more than 100 headers", id="many headers"),
    pytest.param(b"\r\n" * (1 << 16), 431, "head has more than", id="empty lines without end"),
    pytest.param(head("Transfer-Encoding: chunked") + b"0\r\nX: " + b"a" * (1 << 20), 431, "head", id="an endless trailer"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00" * 10, 400, "no HTTP request", id="TLS"),
    pytest.param(b"hello?\r\n\r\n", 400, "no HTTP request", id="no HTTP"),
    pytest.param(b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "no HTTP request", id="a raw address"),
    pytest.param(head("Content-Length: -5"), 400, "no HTTP request", id="a negative length"),
    pytest.param(head("Content-Length: 99999999999999999999"), 400, "no HTTP request", id="a length beyond numbers"),
    pytest.param(head("Content-Length: 1", "Content-Length: 2"), 400, "no HTTP request", id="two lengths"),
    pytest.param(
        head("Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "no HTTP request", id="length and chunks"
    ),
    pytest.param(head("Transfer-Encoding: chunked") + b"zz\r\n", 400, "no HTTP request", id="a chunk of no size"),
    pytest.param(head(method="GET", path="/healthz") * 300, 400, "before the first was answered", id="requests by the hundred"),
    pytest.param(head("Transfer-Encoding: gzip, identity") + b"x", 400, "", id="an unknown coding"),
])  # fmt: skip
def test_what_is_no_honest_request_is_refused_in_the_usual_shape(hasty: Server, sent: bytes, code: int, reason: str) -> None:
    answer = exchanged(hasty, sent)
    last = b"HTTP/1.1" + answer.rpartition(b"HTTP/1.1")[2]
    assert (status(last), reason in body(last)["error"]) == (code, True), answer[-400:]
    assert body(last)["errors"][0]["message"] == body(last)["error"]


def test_an_upload_shorter_than_it_says_is_not_kept(hasty: Server) -> None:
    path, md5 = upload(hasty, b"short")
    with connected(hasty) as connection:
        connection.sendall(head("Content-Length: 500", method="PUT", path=path) + b"short")
        connection.shutdown(socket.SHUT_WR)
        heard(connection)
    _until_nothing_is_incoming(hasty)
    assert not (hasty.home / "blobs" / md5[:2].decode() / md5[2:].decode()).exists()


def test_a_refused_request_does_not_lend_its_bytes_to_the_next(hasty: Server) -> None:
    inner = head(method="GET", path="/healthz")
    sent = (
        head(f"Content-Length: {len(inner)}", path="/nowhere")
        + inner
        + head("Connection: close", method="GET", path="/healthz")
    )
    answers = exchanged(hasty, sent)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]


@pytest.mark.parametrize(("hosts", "code"), [
    pytest.param(["attacker.example"], 421, id="another name"),
    pytest.param(["169.254.169.254:80"], 421, id="another address"),
    pytest.param(["localhost:1", "localhost:2"], 400, id="two names"),
    pytest.param(['"><script>'], 400, id="no name"),
    pytest.param(["user@localhost"], 400, id="with a user"),
    pytest.param(["localhost:99999"], 400, id="no port"),
    pytest.param(["localhost/evil"], 400, id="with a path"),
    pytest.param(["LOCALHOST:7"], 200, id="in capitals"),
    pytest.param(["[::1]:8080"], 200, id="IPv6"),
    pytest.param(["reg.localhost"], 200, id="below localhost"),
    pytest.param([], 200, id="none at all"),
])  # fmt: skip
def test_a_server_on_loopback_answers_to_its_own_names_only(server: Server, hosts: list[str], code: int) -> None:
    lines = ["GET /healthz HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    assert status(exchanged(server, "\r\n".join(lines).encode())) == code


def test_a_name_that_was_allowed_is_answered_to(hasty: Server) -> None:
    asked = {
        name: httpx.get(f"{hasty.url}/healthz", headers={"Host": name}, trust_env=False).status_code
        for name in ("reg.example.org", "REG.example.org.", "evil.example.org")
    }
    assert asked == {"reg.example.org": 200, "REG.example.org.": 200, "evil.example.org": 421}


def test_a_refusal_is_one_line_of_the_log_without_secrets(hasty: Server) -> None:
    path, _ = upload(hasty, b"secret\n")
    httpx.put(hasty.url + path, content=b"other", headers={"Authorization": f"Bearer {hasty.key}"}, trust_env=False)
    httpx.put(f"{hasty.url}/uploads/x%0AINJECTED?{path.partition('?')[2]}", content=b"", trust_env=False)
    log = (hasty.home / "log").read_text()
    assert [line for line in log.splitlines() if "/uploads/" in line and "announced" in line] != []
    assert [line for line in log.splitlines() if line.startswith("INJECTED")] == []
    assert "signature=" not in log
    assert hasty.key not in log
