"""A run's history as Parquet: the links that the client downloads, and the files behind them, made when first asked for.

One row per logged row, one column per key. Numbers are 64-bit integers where all of a column are, else 64-bit floats.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.server import transfers
from registry.server.blobs import Blobs
from registry.server.context import Context
from registry.server.home import Home
from registry.server.store import history_exports, history_keys
from registry.server.store.history_exports import Part

_TYPE = "application/vnd.apache.parquet"


def url(context: Context, part: Part) -> str:
    """An absolute link to a part of a run's history."""
    return context.base_url + context.signer.sign("GET", f"/history-exports/{part.id}")


async def get_part(request: Request) -> Response:
    home: Home = request.app.state.home
    transfers.check_signature(request, home)
    md5 = await run_in_threadpool(_file, home, request.path_params["number"])
    return await transfers.content(request, home.blobs, md5, mimetype=_TYPE)


routes = [Route("/history-exports/{number:int}", get_part, methods=["GET", "HEAD"])]


def _file(home: Home, number: int) -> str:
    """The blob of a part."""
    with home.database.reading() as connection:
        part = history_exports.by_id(connection, number)
        if part.md5 is not None and home.blobs.has(part.md5):
            return part.md5
        rows = history_exports.rows(connection, part)
    md5 = _keep(home.blobs, parquet(rows))
    with home.database.writing() as connection:
        history_exports.made(connection, part.id, md5=md5)
    return md5


def _keep(blobs: Blobs, content: bytes) -> str:
    with blobs.incoming() as incoming:
        incoming.add(content)
        return incoming.keep(expected=None).md5


def parquet(rows: Sequence[str]) -> bytes:
    """Rows of the same plain keys as a Parquet file."""
    # Arrow takes as long to load as the rest of the server; few runs are ever exported.
    import pyarrow
    from pyarrow.parquet import write_table

    values = [json.loads(row) for row in rows]
    columns: dict[str, list[Any]] = {key: [row[key] for row in values] for key in values[0]} if values else {}

    def column(items: list[Any]) -> Any:
        if all(type(item) is int and -(1 << 63) <= item < 1 << 63 for item in items):
            return pyarrow.array(items, pyarrow.int64())
        if type(items[0]) in (int, float):
            return pyarrow.array([history_keys.as_float(item) for item in items], pyarrow.float64())
        return pyarrow.array(items)

    file = io.BytesIO()
    write_table(pyarrow.table({key: column(items) for key, items in columns.items()}), file)
    return file.getvalue()
