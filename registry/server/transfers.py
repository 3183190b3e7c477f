"""Bytes in and out: signed links for blobs and run files, and the authenticated fallbacks the SDK tries when a link fails.

Links are made here (`upload_url`, `download_url`, ...) and honoured here. An upload streams to disk while it is hashed and is
refused when its md5 is not the announced one; a download answers `Range`, because the SDK fetches large files in parallel
pieces and a server that ignores the header corrupts them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import quote, unquote

import xxhash
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from registry.errors import BadData, NotFound
from registry.server import limits, parts
from registry.server.blobs import CHUNK, Blob, Blobs
from registry.server.context import Context
from registry.server.database import Busy, StorageProblem
from registry.server.home import Home
from registry.server.refusals import TooLarge, sent_again
from registry.server.store import access, multiparts, possession, run_files

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_DEFAULT_TYPE = "application/octet-stream"


def upload_url(context: Context, md5: str, *, xxh128: str | None = None, artifact_id: int | None = None) -> str:
    """An absolute link that accepts one PUT of exactly the bytes with this hex md5, and this XXH128 if given.

    Args:
        artifact_id: for which the bytes are brought although they are stored already; see `store.possession`.
    """
    path = f"/uploads/{md5}" + (f"/{xxh128}" if xxh128 else "") + (f"/of/{artifact_id}" if artifact_id else "")
    return context.base_url + context.signer.sign("PUT", path)


def part_url(context: Context, token: str, number: int) -> str:
    """An absolute link that accepts one part, counted from 1, of a file that comes in parts."""
    return context.base_url + context.signer.sign("PUT", f"/parts/{token}/{number}")


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
    check_signature(request, home)
    blob = await _receive(request, home.blobs.incoming(), expected=request.path_params["md5"])
    await _brought(request, blob.md5)
    return _stored(blob)


async def put_blob_with_both_digests(request: Request) -> Response:
    """Only where both were computed from the bytes does the one stand for the other."""
    home = _home(request)
    check_signature(request, home)
    md5, xxh128 = request.path_params["md5"], request.path_params["xxh128"]
    incoming = _Doubly(home.blobs.incoming(), xxh128)
    blob = await _receive(request, incoming, expected=md5)

    def record() -> None:
        with home.database.writing() as connection:
            multiparts.record_digest(connection, xxh128=xxh128, md5=blob.md5)

    await run_in_threadpool(record)
    await _brought(request, blob.md5)
    return _stored(blob)


async def _brought(request: Request, md5: str) -> None:
    """Note that the bytes came, where the link says for which artifact they had to."""
    artifact_id = request.path_params.get("artifact_id")
    if artifact_id is None:
        return

    def note() -> None:
        with _home(request).database.writing() as connection:
            possession.bring(connection, artifact_id, md5)

    await run_in_threadpool(note)


async def put_part(request: Request) -> Response:
    home = _home(request)
    check_signature(request, home)
    token, number = request.path_params["token"], request.path_params["number"]
    assembling = parts.below(home.blobs.folder)

    def look_up() -> tuple[multiparts.Multipart, str | None]:
        with home.database.reading() as connection:
            found = multiparts.by_token(connection, token)
            return found, next((part.md5 for part in multiparts.of(connection, found.id) if part.number == number), None)

    def record(size: int) -> dict[int, int]:
        with home.database.writing() as connection:
            multiparts.arrived(connection, upload.id, number, size=size)
            return multiparts.sizes(connection, upload.id)

    upload, md5 = await run_in_threadpool(look_up)
    if md5 is None:
        raise NotFound(f"this upload has no part {number}")
    part = await _receive(request, assembling.incoming(token, number), expected=md5)
    if upload.blob_md5 is None:
        known = await run_in_threadpool(record, part.size)
        await run_in_threadpool(assembling.advance, token, known)
    return _stored(part)


async def get_blob(request: Request) -> Response:
    home = _home(request)
    check_signature(request, home)
    return await content(request, home.blobs, request.path_params["md5"], mimetype=_DEFAULT_TYPE)


async def put_run_file(request: Request) -> Response:
    home = _home(request)
    check_signature(request, home)
    number: int = request.path_params["number"]

    def record() -> None:
        with home.database.writing() as connection:
            if not home.blobs.has(blob.md5):
                # Nothing named it until now; asked in this transaction, so that from here on it is kept (see `collecting`).
                raise Busy("these bytes were collected before they were recorded; send them again")
            run_files.store(connection, number, md5=blob.md5, size=blob.size)

    with sent_again():
        blob = await _receive(request, home.blobs.incoming(), expected=None)
        await run_in_threadpool(record)
    return _stored(blob)


async def get_run_file(request: Request) -> Response:
    home = _home(request)
    check_signature(request, home)
    number: int = request.path_params["number"]

    def look_up() -> run_files.RunFile:
        with home.database.reading() as connection:
            return run_files.stored(connection, number)

    file = await run_in_threadpool(look_up)
    return await content(request, home.blobs, file.md5 or "", mimetype=file.mimetype or _DEFAULT_TYPE)


async def get_by_path(request: Request) -> Response:
    """`/artifactsV2/.../{md5}/{name}` and `/artifacts/{entity}/{md5}`; clients differ only in what comes before."""
    home = _home(request)
    user = await run_in_threadpool(request.app.state.keys.user, request.headers.get("authorization"))
    segments = path_segments(request)
    digest = segments[-2:][0] if segments[0] == "artifactsV2" else segments[-1]  # of one segment that is no digest: unknown

    def look_up() -> str:
        with home.database.reading() as connection:
            known = {digest} if home.blobs.has(digest) else multiparts.md5s_of(connection, [digest]).get(digest, {digest})
            may = access.of(connection, user)
            readable = [md5 for md5 in sorted(known) if access.may_read_blob(connection, may, md5)]
        if not readable:
            raise may.unknown()
        return readable[0]

    return await content(request, home.blobs, await run_in_threadpool(look_up), mimetype=_DEFAULT_TYPE)


def path_segments(request: Request) -> list[str]:
    """The path cut at its slashes and only then decoded: a name may hold an encoded slash."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return [unquote(part) for part in raw.decode("ascii", "replace").strip("/").split("/")]


class _Id(Convertor[int]):
    """A number of the database; the framework's own takes numbers of any length."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", _Id())

routes = [
    Route("/uploads/{md5}", put_blob, methods=["PUT"]),
    Route("/uploads/{md5}/of/{artifact_id:id}", put_blob, methods=["PUT"]),
    Route("/uploads/{md5}/{xxh128}", put_blob_with_both_digests, methods=["PUT"]),
    Route("/uploads/{md5}/{xxh128}/of/{artifact_id:id}", put_blob_with_both_digests, methods=["PUT"]),
    Route("/parts/{token}/{number:id}", put_part, methods=["PUT"]),
    Route("/blobs/{md5}/{name:path}", get_blob, methods=["GET", "HEAD"]),
    Route("/run-files/{number:id}", put_run_file, methods=["PUT"]),
    Route("/run-files/{number:id}", get_run_file, methods=["GET", "HEAD"]),
    Route("/artifactsV2/{rest:path}", get_by_path, methods=["GET", "HEAD"]),
    Route("/artifacts/{rest:path}", get_by_path, methods=["GET", "HEAD"]),
]


def _home(request: Request) -> Home:
    home: Home = request.app.state.home
    return home


def check_signature(request: Request, home: Home) -> None:
    query = request.query_params
    # A HEAD asks for less than the GET that was signed.
    method = "GET" if request.method == "HEAD" else request.method
    expires, signature = query.get("expires", ""), query.get("signature", "")
    home.signer.check(method, request.scope["path"], expires=expires, signature=signature)


class _Incoming(Protocol):
    """Bytes on their way to the disk, kept once they are what was announced."""

    def __enter__(self) -> _Incoming: ...
    def __exit__(self, *_: object) -> None: ...
    def add(self, chunk: bytes) -> None: ...
    def keep(self, *, expected: str | None) -> Blob: ...


class _Doubly:
    """Bytes that must have a second digest as well."""

    def __init__(self, incoming: _Incoming, xxh128: str) -> None:
        self._incoming = incoming
        self._announced = xxh128
        self._hash = xxhash.xxh128()

    def __enter__(self) -> _Doubly:
        self._incoming.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._incoming.__exit__()

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._incoming.add(chunk)

    def keep(self, *, expected: str | None) -> Blob:
        found = self._hash.hexdigest()
        if found != self._announced:
            raise BadData(f"the upload has XXH128 {found}, {self._announced} was announced; nothing was stored")
        return self._incoming.keep(expected=expected)


async def _receive(request: Request, incoming: _Incoming, *, expected: str | None) -> Blob:
    """Stream the body to disk in pieces worth a thread's while.

    Raises:
        TooLarge: more than any file may have.
        StorageProblem: the disk would be full.
    """
    await run_in_threadpool(incoming.__enter__)
    try:
        pieces: list[bytes] = []
        waiting = size = looked = 0
        async for piece in request.stream():
            pieces.append(piece)
            waiting += len(piece)
            if waiting >= CHUNK:
                await run_in_threadpool(incoming.add, b"".join(pieces))
                size += waiting
                pieces, waiting = [], 0
                if size >= looked + limits.DISK_LOOK:
                    looked = size
                    await run_in_threadpool(_check_room, _home(request), size)
        if pieces:
            await run_in_threadpool(incoming.add, b"".join(pieces))
        return await run_in_threadpool(lambda: incoming.keep(expected=expected))
    finally:
        incoming.__exit__(None, None, None)


def _check_room(home: Home, size: int) -> None:
    """An upload without an end stops before it has taken the room that the database needs to go on."""
    if size > limits.UPLOAD:
        raise TooLarge(f"the upload has more than the {limits.UPLOAD} bytes that a file may have")
    if shutil.disk_usage(home.path).free < limits.DISK_RESERVE:
        raise StorageProblem("the server's disk is full", hint="free some space, then try again")


def _stored(blob: Blob) -> Response:
    return Response(status_code=200, headers={"ETag": f'"{blob.md5}"'})


async def content(request: Request, blobs: Blobs, md5: str, *, mimetype: str) -> Response:
    size = blobs.size(md5)
    headers = {
        "ETag": f'"{md5}"',
        "Accept-Ranges": "bytes",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "private, no-cache",
        # A logged HTML file is somebody's text, not a page of ours: it may not act with our origin's rights.
        "Content-Security-Policy": "sandbox allow-scripts",
        "X-Content-Type-Options": "nosniff",
        # The address holds the permission to read.
        "Referrer-Policy": "no-referrer",
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
