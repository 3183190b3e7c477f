"""One line per request, when asked for: who wanted what, what came of it, how long it took.

    2026-11-21T14:10:01.123Z 127.0.0.1 alice POST /graphql 200 512 3.4

are the moment of the question, the client's address, its user (`-` where no key was asked for: signed links, health), method,
path, status, bytes of the answer's body, and milliseconds until its last byte; status 0 is an answer that never came. The
query of an address is left out, because there a link carries its permission, and the path stays percent-encoded, so that a
name cannot make a line of its own. A key is never in either.
"""

from __future__ import annotations

import logging
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

# Shared with the threads that a request is answered in: they get copies of the context, but of this list only the reference.
_askers: ContextVar[list[str] | None] = ContextVar("askers", default=None)


def asked_by(username: str) -> None:
    """Say who the present request comes from."""
    askers = _askers.get()
    if askers is not None:
        askers.append(username)


def write_to_stderr() -> None:
    """Begin to write the lines: to standard error, where supervisors collect a program's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False


class AccessLog:
    """Around an application: logs each of its requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        moment, began = datetime.now(UTC), time.perf_counter()
        status = sent = 0

        async def say(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        askers: list[str] = []
        before = _askers.set(askers)
        try:
            await self._app(scope, receive, say)
        finally:
            _askers.reset(before)
            time_text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            address = (scope.get("client") or ("-",))[0]
            user = quote(askers[-1]) if askers else "-"
            path = scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "backslashreplace") or quote(scope["path"])
            took = (time.perf_counter() - began) * 1000
            _log.info("%s %s %s %s %s %d %d %.1f", time_text, address, user, scope["method"], path, status, sent, took)
