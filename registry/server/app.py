"""The HTTP edge: routes, who asks, and what happens when something goes wrong.

Endpoints are asynchronous only to receive bytes; the work happens in threads. Everything an endpoint raises is answered in
one place (`Edge`), after the request's body has been read: a server that answers earlier looks to the SDK like a lost
connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import __version__
from registry.errors import BadData, NotFound
from registry.server import graphql, refusals, streams, transfers
from registry.server.auth import Keys
from registry.server.home import Home
from registry.server.refusals import Refusal, TooLarge
from registry.server.store import runs
from registry.server.ui import pages

_log = logging.getLogger(__name__)

# A run's process sends something every 30 s while it lives.
CRASHED_AFTER_SECONDS = 180.0

# The SDK splits what it sends at 10 MB, `wandb verify` sends a little more at once; blobs are streamed and have no limit.
_LARGEST_BODY = 64 << 20

# Where the pages for people go.
_UI: list[BaseRoute] = [*pages.routes]


def create_app(home: Home, *, crashed_after: float = CRASHED_AFTER_SECONDS) -> Starlette:
    """The server of one home; any number of them may share it.

    Args:
        crashed_after: seconds of silence after which a running run counts as crashed.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(graphql.schema)
        # Runs that died while no server watched are known as crashed before the first question about them.
        await run_in_threadpool(_mark_silent_runs, home, crashed_after)
        watch = asyncio.create_task(_watch_heartbeats(home, crashed_after))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    app = Starlette(
        routes=[
            Route("/graphql", post_graphql, methods=["POST"]),
            Route("/files/{rest:path}", post_file_stream, methods=["POST"]),
            *transfers.routes,
            Route("/healthz", healthz),
            Route("/ready", ready),
            *_UI,
            Route("/{rest:path}", nothing, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        ],
        middleware=[Middleware(Edge)],
        lifespan=lifespan,
    )
    app.state.home = home
    app.state.keys = Keys(home.database)
    return app


async def post_graphql(request: Request) -> Response:
    home: Home = request.app.state.home
    body = await _body(request)

    def answer() -> tuple[int, bytes]:
        user = request.app.state.keys.user(request.headers.get("authorization"))
        result = graphql.run(
            _json_object(body),
            database=home.database,
            blobs=home.blobs,
            signer=home.signer,
            user=user,
            base_url=_base_url(request),
        )
        return result.status, graphql.encode(result.body)

    status, content = await run_in_threadpool(answer)
    return Response(content, status_code=status, media_type="application/json")


async def post_file_stream(request: Request) -> Response:
    """`/files/{entity}/{project}/{run}/file_stream`."""
    home: Home = request.app.state.home
    body = await _body(request)
    segments = transfers.path_segments(request)
    if len(segments) != 5 or segments[-1] != "file_stream":
        raise NotFound("the path of a file stream is /files/{entity}/{project}/{run}/file_stream")
    # Several writers of one run each count their own lines; the header says that this is one of them.
    shared = request.headers.get("x-wandb-use-async-filestream") == "true"

    def answer() -> dict[str, Any]:
        request.app.state.keys.user(request.headers.get("authorization"))
        entity, project, run = segments[1:4]
        content = _json_object(body)
        return streams.receive(home.database, entity=entity, project=project, run=run, body=content, append=shared)

    return JSONResponse(await run_in_threadpool(answer))


async def healthz(request: Request) -> Response:
    """This process is alive."""
    return JSONResponse({"status": "ok", "version": __version__})


async def ready(request: Request) -> Response:
    """This process can read its database."""
    home: Home = request.app.state.home

    def touch() -> None:
        with home.database.reading() as connection:
            runs.count_all(connection)

    await run_in_threadpool(touch)
    return JSONResponse({"status": "ok", "version": __version__})


async def nothing(request: Request) -> Response:
    if request.method == "OPTIONS":
        # A browser, or `wandb verify`, asks whether a page from elsewhere may use a signed link.
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, PUT"}
        return Response(headers=allowed | {"Access-Control-Allow-Headers": "*"})
    raise NotFound(f"nothing is served at {request.url.path}")


class Edge:
    """Answers for whatever an endpoint raised."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        heard_all = answering = False

        async def hear() -> Message:
            nonlocal heard_all
            message = await receive()
            heard_all = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def say(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, hear, say)
        except ClientDisconnect:
            return
        except Exception as error:
            if answering:
                # Too late for a status: cutting the connection is what tells the client that the bytes are not all there.
                raise
            left = _LARGEST_BODY
            while not heard_all and left > 0:
                left -= len((await hear()).get("body", b""))
            await _respond(refusals.of(error), scope, receive, send)


async def _respond(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(dict(refusal.body), status_code=refusal.status)(scope, receive, send)


async def _watch_heartbeats(home: Home, crashed_after: float) -> None:
    """Only the server can see that a run's process was killed: it falls silent."""
    while True:
        await asyncio.sleep(crashed_after / 6)
        try:
            await run_in_threadpool(_mark_silent_runs, home, crashed_after)
        except Exception:
            _log.exception("looking for crashed runs failed")


def _mark_silent_runs(home: Home, crashed_after: float) -> None:
    with home.database.reading() as connection:
        silent = runs.silent(connection, seconds=crashed_after)
    if silent:
        with home.database.writing() as connection:
            runs.mark_silent(connection, seconds=crashed_after)


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= _LARGEST_BODY:
            pieces.append(piece)
        else:
            pieces.clear()
    if size > _LARGEST_BODY:
        raise TooLarge(f"the request has {size} bytes, this server takes {_LARGEST_BODY} at once")
    return b"".join(pieces)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as exc:
        raise BadData(f"the request's body is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadData(f"the request's body is a JSON {type(value).__name__}, not an object")
    return value


def _base_url(request: Request) -> str:
    """Where the client reached us, by its own words: links must work through a proxy or under another name."""
    host = request.headers.get("host") or ":".join(str(part) for part in request.scope["server"])
    return f"{request.scope['scheme']}://{host}"
