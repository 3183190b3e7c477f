"""Request bodies that are held in memory: received within a limit each and a limit all together.

The answer to a body that is too large comes when the body has ended, or has gone on for several times what would be taken: a
server that answers earlier looks to the SDK like a lost connection, and one that listens for ever is somebody's to keep busy.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from registry.errors import BadData
from registry.server import limits
from registry.server.refusals import Overloaded, TooLarge

_PATIENCE = 4
_GZIP = 16 + zlib.MAX_WBITS
# Each member's end costs a copy of what follows.
_MEMBERS = 16


class Bodies:
    """The memory of one process for bodies; used by its event loop alone."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, unpacked, for as long as the block needs it.

        Raises:
            TooLarge: it has more bytes than this server holds at once, packed or unpacked.
            Overloaded: other requests hold all the memory there is for bodies.
            BadData: it is packed in a way this server does not know, or badly.
        """
        held = 0
        try:
            pieces: list[bytes] = []
            size = 0
            packed = _packed(request)
            # What is packed is counted as what it may become.
            self._held += (held := limits.BODY if packed else 0)
            async for piece in request.stream():
                size += len(piece)
                if size > _PATIENCE * limits.BODY:
                    raise TooLarge(f"the request has more than {size} bytes, this server takes {limits.BODY} at once")
                if size > limits.BODY:
                    pieces.clear()
                    continue
                if not packed:
                    held += len(piece)
                    self._held += len(piece)
                if self._held > limits.BODIES:
                    raise Overloaded("other requests hold all the memory for request bodies; try again")
                pieces.append(piece)
            if size > limits.BODY:
                raise TooLarge(f"the request has {size} bytes, this server takes {limits.BODY} at once")
            body = b"".join(pieces)
            pieces.clear()
            yield await run_in_threadpool(unpacked, body) if packed else body
        finally:
            self._held -= held


def unpacked(body: bytes) -> bytes:
    """What a gzip stream holds, all members of it.

    Raises:
        TooLarge: more than this server holds at once.
        BadData: it is no gzip, or ends too early.
    """
    found: list[bytes] = []
    size = 0
    try:
        for _ in range(_MEMBERS):
            stream = zlib.decompressobj(_GZIP)
            found.append(stream.decompress(body, limits.BODY - size + 1))
            size += len(found[-1])
            if size > limits.BODY:
                raise TooLarge(f"the request unpacks to more than {limits.BODY} bytes")
            if not stream.eof:
                raise BadData("the request's body is gzip without its end")
            body = stream.unused_data
            if not body:
                return b"".join(found)
    except zlib.error as exc:
        raise BadData(f"the request's body is not gzip: {exc}") from exc
    raise BadData(f"the request's gzip stream has more than {_MEMBERS} members")


def _packed(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding == "gzip":
        return True
    raise BadData(f"'{encoding[:40]}' is no Content-Encoding that this server reads", hint="send it plain or with gzip")
