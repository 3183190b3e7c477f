"""Connections that may be slow, endless or many, and must not be somebody's to hold.

uvicorn bounds neither the headers of a request nor the time that a client takes to send one or to read the answer. Here both
are: headers by size and by time, bodies and answers by a least rate, which never ends an honest upload of gibibytes, and never
counts the time in which this server did not want to read. When all connections are taken, a new one takes the place of the one
that has idled longest, so that a flood of silent ones keeps nobody out.
"""

from __future__ import annotations

import json
import logging
from asyncio import BaseTransport, TimerHandle, Transport
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from registry.server import limits, refusals

_log = logging.getLogger(__name__)
_PIPELINED = 100


class _Refused(Exception):
    """Ends the parsing of a request that broke a limit."""


class Connection(HttpToolsProtocol):
    """One client's connection, watched."""

    def connection_made(self, transport: BaseTransport) -> None:
        self._why: tuple[int, str] | None = None
        self._waiting = True  # for a request to be here with its headers
        self._unparsed = 0  # bytes since something of the request was understood
        self._head = 0  # bytes of the request line and the headers
        self._moved = 0  # bytes of a body, in this window
        self._buffered = 0  # bytes of an answer that waited when this window began
        self._since = self.heard = self.loop.time()
        super().connection_made(cast(Transport, transport))
        self._clock: TimerHandle = self.loop.call_later(_interval(), self._look)
        if len(self.connections) > most():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clock.cancel()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._waiting and (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else "nowhere"

    # What arrives

    def data_received(self, data: bytes) -> None:
        moment = self.loop.time()
        if self.idle and not self._unparsed:
            self._since = moment  # the first byte of a request
        self.heard = moment
        self._moved += len(data)
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > limits.HEADERS and not self.transport.is_closing():
            self.refuse(431, f"the request's head has more than {limits.HEADERS} bytes")

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too, after the body.
        self._count(len(name) + len(value))
        if len(self.headers) >= limits.HEADER_COUNT:
            self._stop(431, f"the request has more than {limits.HEADER_COUNT} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _PIPELINED:
            self._stop(400, f"more than {_PIPELINED} requests were sent before the first was answered")
        self._waiting = False
        self._unparsed = 0
        self._begin_window()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting = True
        self._unparsed = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > limits.HEADERS:
            self._stop(431, f"the request's head has more than {limits.HEADERS} bytes")

    def _stop(self, status: int, reason: str) -> None:
        self._why = status, reason
        raise _Refused(reason)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does about a request that cannot be parsed."""
        self.refuse(*(self._why or (400, "this is no HTTP request")))

    def refuse(self, status: int, reason: str) -> None:
        """Answer, if nothing was answered yet, and close."""
        _log.warning("a connection from %s is closed: %s", self._peer, reason)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            content = json.dumps(refusals.refusal(status, reason).body).encode()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + content)
        self.transport.close()

    # What does not

    def _look(self) -> None:
        waited = self.loop.time() - self._since
        if self.flow.write_paused or self.transport.is_closing():
            if not self._buffered or self._buffered - self.transport.get_write_buffer_size() >= limits.LEAST_BYTES:
                self._begin_window()
            elif waited > limits.PATIENCE_SECONDS:
                _log.warning("a connection from %s is cut: its client does not read the answer", self._peer)
                self.transport.abort()
                return
        elif self.idle:
            # Between requests uvicorn's own clock runs; here the first one, or the rest of a begun one, is awaited.
            if (self.cycle is None or self._unparsed) and waited > limits.HEADER_SECONDS:
                if self._unparsed:
                    self.refuse(408, f"no whole request came within {limits.HEADER_SECONDS:g} s")
                else:
                    self.transport.close()  # clients open connections that they turn out not to need
                return
        elif self._waiting or self.flow.read_paused or self._moved >= limits.LEAST_BYTES:
            self._begin_window()
        elif waited > limits.PATIENCE_SECONDS:
            self.refuse(408, f"fewer than {limits.LEAST_BYTES} bytes of the body came within {limits.PATIENCE_SECONDS:g} s")
            return
        self._clock = self.loop.call_later(_interval(), self._look)

    def _begin_window(self) -> None:
        self._since = self.loop.time()
        self._moved = 0
        self._buffered = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._buffered = 0  # all of it was read: the next pause begins a window of its own
        super().resume_writing()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self and one.idle]
        if not others:
            self.refuse(429, f"{most()} connections are open and busy; try again")
            return
        longest = min(others, key=lambda one: one.heard)
        _log.warning("all %d connections are taken: the one that idled longest is closed", most())
        self.connections.discard(longest)
        longest.transport.close()


@lru_cache(maxsize=1)
def most() -> int:
    """How many connections this process may have open, with file descriptors to spare for each one's files."""
    try:
        import resource
    except ImportError:  # Windows, which counts handles in millions
        return limits.CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits.CONNECTIONS
    return max(16, min(limits.CONNECTIONS, (soft - limits.SPARE_DESCRIPTORS) // 2))


def raise_descriptor_limit() -> None:
    """Systems give a process few file descriptors until it asks for the many it may have."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.CONNECTIONS + limits.SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def _interval() -> float:
    return min(limits.HEADER_SECONDS, limits.PATIENCE_SECONDS) / 4
