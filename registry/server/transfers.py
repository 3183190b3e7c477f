"""Bytes in and out: signed links for blobs and run files, and the authenticated fallbacks the SDK tries when a link fails.

Links are made here (`upload_url`, `download_url`, ...) and honoured here. An upload streams to disk while it is hashed and is
refused when its md5 is not the announced one; a download answers `Range`, because the SDK fetches large files in parallel
pieces and a server that ignores the header corrupts them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from registry.errors import BadData
from registry.server.blobs import CHUNK, Blob, Blobs
from registry.server.context import Context
from registry.server.home import Home
from registry.server.store import run_files

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_DEFAULT_TYPE = "application/octet-stream"


def upload_url(context: Context, md5: str) -> str:
    """An absolute link that accepts one PUT of exactly the bytes with this hex md5."""
    return context.base_url + context.signer.sign("PUT", f"/uploads/{md5}")


def download_url(context: Context, md5: str, name: str) -> str:
    """An absolute link to a blob; `name` (its last part is enough) is what a browser would save it as."""
    return context.base_url + context.signer.sign("GET", f"/blobs/{md5}/{PurePosixPath(name).name or 'file'}")


def run_file_upload_url(context: Context, run_file_id: int) -> str:
    """An absolute link that accepts the content of a run file; a later PUT replaces it."""
    return context.base_url + context.signer.sign("PUT", f"/run-files/{run_file_id}")


def run_file_url(context: Context, run_file_id: int) -> str:
    """An absolute link to the present content of a run file."""
    return context.base_url + context.signer.sign("GET", f"/run-files/{run_file_id}")


async def put_blob(request: Request) -> Response:
    home = _home(request)
    _check_signature(request, home)
    blob = await _receive(request, home.blobs, expected=request.path_params["md5"])
    return _stored(blob)


async def get_blob(request: Request) -> Response:
    home = _home(request)
    _check_signature(request, home)
    return await _content(request, home.blobs, request.path_params["md5"], mimetype=_DEFAULT_TYPE)


async def put_run_file(request: Request) -> Response:
    home = _home(request)
    _check_signature(request, home)
    number: int = request.path_params["number"]
    blob = await _receive(request, home.blobs, expected=None)

    def record() -> None:
        with home.database.writing() as connection:
            run_files.store(connection, number, md5=blob.md5, size=blob.size)

    await run_in_threadpool(record)
    return _stored(blob)


async def get_run_file(request: Request) -> Response:
    home = _home(request)
    _check_signature(request, home)
    number: int = request.path_params["number"]

    def look_up() -> run_files.RunFile:
        with home.database.reading() as connection:
            return run_files.stored(connection, number)

    file = await run_in_threadpool(look_up)
    return await _content(request, home.blobs, file.md5 or "", mimetype=file.mimetype or _DEFAULT_TYPE)


async def get_by_path(request: Request) -> Response:
    """`/artifactsV2/.../{md5}/{name}` and `/artifacts/{entity}/{md5}`; clients differ only in what comes before."""
    home = _home(request)
    await run_in_threadpool(request.app.state.keys.user, request.headers.get("authorization"))
    parts = path_segments(request)
    return await _content(request, home.blobs, parts[-2] if parts[0] == "artifactsV2" else parts[-1], mimetype=_DEFAULT_TYPE)


def path_segments(request: Request) -> list[str]:
    """The path cut at its slashes and only then decoded: a name may hold an encoded slash."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return [unquote(part) for part in raw.decode("ascii", "replace").strip("/").split("/")]


routes = [
    Route("/uploads/{md5}", put_blob, methods=["PUT"]),
    Route("/blobs/{md5}/{name:path}", get_blob, methods=["GET", "HEAD"]),
    Route("/run-files/{number:int}", put_run_file, methods=["PUT"]),
    Route("/run-files/{number:int}", get_run_file, methods=["GET", "HEAD"]),
    Route("/artifactsV2/{rest:path}", get_by_path, methods=["GET", "HEAD"]),
    Route("/artifacts/{rest:path}", get_by_path, methods=["GET", "HEAD"]),
]


def _home(request: Request) -> Home:
    home: Home = request.app.state.home
    return home


def _check_signature(request: Request, home: Home) -> None:
    query = request.query_params
    # A HEAD asks for less than the GET that was signed.
    method = "GET" if request.method == "HEAD" else request.method
    expires, signature = query.get("expires", ""), query.get("signature", "")
    home.signer.check(method, request.scope["path"], expires=expires, signature=signature)


async def _receive(request: Request, blobs: Blobs, *, expected: str | None) -> Blob:
    """Stream the body to disk in pieces worth a thread's while."""
    incoming = await run_in_threadpool(blobs.incoming().__enter__)
    try:
        pieces: list[bytes] = []
        waiting = 0
        async for piece in request.stream():
            pieces.append(piece)
            waiting += len(piece)
            if waiting >= CHUNK:
                await run_in_threadpool(incoming.add, b"".join(pieces))
                pieces, waiting = [], 0
        if pieces:
            await run_in_threadpool(incoming.add, b"".join(pieces))
        return await run_in_threadpool(lambda: incoming.keep(expected=expected))
    finally:
        incoming.__exit__(None, None, None)


def _stored(blob: Blob) -> Response:
    return Response(status_code=200, headers={"ETag": f'"{blob.md5}"'})


async def _content(request: Request, blobs: Blobs, md5: str, *, mimetype: str) -> Response:
    size = blobs.size(md5)
    headers = {
        "ETag": f'"{md5}"',
        "Accept-Ranges": "bytes",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "private, no-cache",
        # A logged HTML file is somebody's text, not a page of ours: it may not act with our origin's rights.
        "Content-Security-Policy": "sandbox allow-scripts",
        "X-Content-Type-Options": "nosniff",
    }
    asked = request.headers.get("range")
    start, stop = _window(asked, size) if asked else (0, size)
    headers["Content-Length"] = str(stop - start)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 206 if asked else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=mimetype)
    return StreamingResponse(_pieces(blobs, md5, start, stop), status_code=status, headers=headers, media_type=mimetype)


def _pieces(blobs: Blobs, md5: str, start: int, stop: int) -> AsyncIterator[bytes]:
    return iterate_in_threadpool(blobs.pieces(md5, start=start, stop=stop))


def _window(header: str, size: int) -> tuple[int, int]:
    """[start, stop) of a single-range header.

    Raises:
        BadData: several ranges, or none of its bytes exist.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match and any(match.groups()):
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start < stop:
            return start, stop
    raise BadData(f"Range '{header[:80]}' has no bytes in a file of {size}")
