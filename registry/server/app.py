"""The HTTP edge: routes, who asks, and what happens when something goes wrong.

Endpoints are asynchronous only to receive bytes; the work happens in threads. Everything an endpoint raises is answered and
logged in one place (`Edge`), after the request's body has been read: a server that answers earlier looks to the SDK like a
lost connection. Who asks is settled before a body is kept, so that a stranger can only waste the time of his own connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import __version__
from registry.errors import NotFound, RegError
from registry.server import admin, documents, exports, graphql, limits, refusals, streams, transfers
from registry.server.auth import Keys
from registry.server.bodies import Bodies
from registry.server.home import Home
from registry.server.hosts import Hosts
from registry.server.refusals import Refusal
from registry.server.store import agents, runs

_log = logging.getLogger(__name__)

# A refusal repeats words of the request, an answer those of other people: no browser is to take them for a page.
_PLAIN = {"X-Content-Type-Options": "nosniff"}

# Where a page from elsewhere may send or fetch bytes with a link that carries its permission, and nothing else.
_SIGNED = ("/uploads/", "/parts/", "/blobs/", "/run-files/")


def create_app(
    home: Home,
    *,
    crashed_after: float = limits.CRASHED_AFTER_SECONDS,
    address: str = "127.0.0.1",
    allowed_hosts: Sequence[str] = (),
) -> Starlette:
    """The server of one home; any number of them may share it.

    Args:
        crashed_after: seconds of silence after which a running run counts as crashed.
        address: where the server listens, which decides under which names it answers.
        allowed_hosts: more such names.
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
            *admin.routes,
            *exports.routes,
            Route("/healthz", healthz),
            Route("/ready", ready),
            Mount("/", app=Pages()),
        ],
        middleware=[Middleware(Edge, hosts=Hosts(address, allowed_hosts))],
        lifespan=lifespan,
    )
    app.state.home = home
    app.state.keys = Keys(home.database)
    app.state.bodies = Bodies()
    return app


async def post_graphql(request: Request) -> Response:
    home: Home = request.app.state.home
    user = await run_in_threadpool(request.app.state.keys.user, request.headers.get("authorization"))

    def answer(body: bytes) -> tuple[int, bytes]:
        result = graphql.run(
            documents.read_object(body, "the request's body"),
            database=home.database,
            blobs=home.blobs,
            signer=home.signer,
            user=user,
            base_url=_base_url(request),
            shared=streams.writer(request.headers).shared,
        )
        if result.status >= 400:
            _log_refusal(request.method, request.url.path, result.status, result.body["error"])
        return result.status, graphql.encode(result.body)

    async with request.app.state.bodies.received(request) as body:
        status, content = await run_in_threadpool(answer, body)
    return Response(content, status_code=status, headers=_PLAIN, media_type="application/json")


async def post_file_stream(request: Request) -> Response:
    """`/files/{entity}/{project}/{run}/file_stream`."""
    home: Home = request.app.state.home
    user = await run_in_threadpool(request.app.state.keys.user, request.headers.get("authorization"))
    segments = transfers.path_segments(request)
    if len(segments) != 5 or segments[-1] != "file_stream":
        raise NotFound("the path of a file stream is /files/{entity}/{project}/{run}/file_stream")
    writer = streams.writer(request.headers)

    def answer(body: bytes) -> dict[str, Any]:
        entity, project, run = segments[1:4]
        content = documents.read_envelope(body, "the request's body")
        with refusals.sent_again():
            return streams.receive(
                home.database, user=user, entity=entity, project=project, run=run, body=content, writer=writer
            )

    async with request.app.state.bodies.received(request) as body:
        return JSONResponse(await run_in_threadpool(answer, body))


async def healthz(request: Request) -> Response:
    """This process is alive."""
    return JSONResponse({"status": "ok", "version": __version__})


async def ready(request: Request) -> Response:
    """This process can read its database and write to its home. Otherwise 503, as load balancers expect: no SDK asks here."""
    home: Home = request.app.state.home

    def problem() -> str | None:
        try:
            with home.database.reading() as connection:
                runs.count_all(connection)
        except RegError as error:
            return error.message
        return None if os.access(home.blobs.folder, os.W_OK) else f"cannot write to {home.blobs.folder.name}"

    found = await run_in_threadpool(problem)
    if found is not None:
        return JSONResponse({"status": "not ready", "version": __version__, "error": found}, status_code=503)
    return JSONResponse({"status": "ok", "version": __version__})


async def nothing(request: Request) -> Response:
    if request.method == "OPTIONS" and request.url.path.startswith(_SIGNED):
        # A browser, or `wandb verify`, asks whether a page from elsewhere may use a signed link.
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, PUT"}
        return Response(headers=allowed | {"Access-Control-Allow-Headers": "*"})
    raise NotFound(f"nothing is served at {request.url.path}")


class Pages:
    """The pages for people, loaded when somebody first looks at one: the server of a single command shows none."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = await run_in_threadpool(_pages)
        await self._app(scope, receive, send)


def _pages() -> ASGIApp:
    from registry.server.ui import pages

    others = Route("/{rest:path}", nothing, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    return Router(routes=[*pages.routes, others])


class Edge:
    """Answers for whatever an endpoint raised, and for a request that was meant for another server."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

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
            self._hosts.check(scope["headers"])
            await self._app(scope, hear, say)
        except ClientDisconnect:
            return
        except Exception as error:
            if answering:
                # Too late for a status: cutting the connection is what tells the client that the bytes are not all there.
                raise
            left = limits.BODY
            while not heard_all and left > 0:
                left -= len((await hear()).get("body", b""))
            refusal = refusals.of(error)
            _log_refusal(scope["method"], scope["path"], refusal.status, str(refusal.body["error"]))
            _forget(error)
            await _respond(refusal, scope, receive, send)


def _forget(error: BaseException | None) -> None:
    """An error holds its frames, and these a body, until a cycle of references is noticed: many bodies later."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _log_refusal(method: str, path: str, status: int, reason: str) -> None:
    """One line, without the query of the address: there a signed link carries its permission."""
    # Not to know a key or a name is a day's work for a server; the rest is a client that goes wrong, or wants to.
    level = logging.INFO if status in (401, 404, 422) else logging.WARNING
    _log.log(level, "%s %.200r: %d, %.300r", method, path, status, reason)


async def _respond(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(dict(refusal.body), status_code=refusal.status, headers=_PLAIN)(scope, receive, send)


async def _watch_heartbeats(home: Home, crashed_after: float) -> None:
    """Only the server can see that the process of a run or of an agent was killed: it falls silent."""
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
    with home.database.reading() as connection:
        vanished = agents.vanished(connection, seconds=crashed_after)
    for sweep in vanished:
        with home.database.writing() as connection:
            agents.recover(connection, sweep, seconds=crashed_after)


def _base_url(request: Request) -> str:
    """Where the client reached us, by its own words: links must work through a proxy or under another name."""
    host = request.headers.get("host") or ":".join(str(part) for part in request.scope["server"])
    return f"{request.scope['scheme']}://{host}"
