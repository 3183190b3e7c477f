"""Pictures and tables that a run logged, as far as its page shows them: the last of each key.

What was logged stands in the run's summary: files of the run for images, an artifact of the run's own for a table and the
images in it. All of it is a user's: images are shown as `data:` addresses, which cannot run anything, and only the kinds that
every browser draws; a table is read within bounds. What does not fit is a link among the files, as everything else is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import RegError
from registry.server import documents
from registry.server.context import Context
from registry.server.store import artifacts, manifests, run_files
from registry.server.store.runs import Run

_PICTURES, _TABLES, _ROWS = 48, 12, 12
_WIDE = 480  # pixels from which a picture is a figure and no thumbnail
_LARGEST_IMAGE, _LARGEST_TABLE = 256 << 10, 4 << 20
_MOST_BYTES = 4 << 20  # of all images on a page
_KINDS = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_IN_ARTIFACT = re.compile(r"wandb-client-artifact://([^/:]+)/(.+)")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image; `data` is its address, None where it is too large to be shown; `wide` where it needs the page's width."""

    key: str
    caption: str
    data: str | None
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first rows of a table of `total` rows; a cell is a `Picture` or what was logged."""

    key: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    total: int


class Media:
    """What one run logged, with a bound on all that is read for one page."""

    def __init__(self, context: Context, run: Run, summary: Mapping[str, Any]) -> None:
        self._context, self._run = context, run
        self._left = _MOST_BYTES
        shown = {key: value for key, value in sorted(summary.items()) if isinstance(value, dict)}
        self.tables = list(_some(self._tables(shown), _TABLES))
        self.pictures = list(_some(self._pictures(shown), _PICTURES))

    def _pictures(self, shown: Mapping[str, Mapping[str, Any]]) -> Iterator[Picture]:
        for key, value in shown.items():
            if value.get("_type") == "image-file":
                named = [(value.get("path"), value.get("caption"))]
            elif value.get("_type") == "images/separated":
                names, captions = _list(value.get("filenames")), _list(value.get("captions"))
                named = list(zip(names, [*captions, *[None] * len(names)], strict=False))
            else:
                continue
            width = value.get("width")
            wide = isinstance(width, int) and width >= _WIDE
            for name, caption in named:
                found = run_files.listing(self._context.connection, self._run.id, names=[str(name)], first=1).items
                if found and found[0].md5 is not None:
                    data = self._data(found[0].name, found[0].md5, found[0].size)
                    yield Picture(key=key, caption=str(caption or ""), data=data, wide=wide)

    def _tables(self, shown: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
        for key, value in shown.items():
            if value.get("_type") != "table-file":
                continue
            try:
                found = self._table(key, str(value.get("artifact_path")))
            except RegError:
                continue  # no table, or not one that fits the bounds; it stands among the files
            if found is not None:
                yield found

    def _table(self, key: str, address: str) -> Table | None:
        match = _IN_ARTIFACT.fullmatch(address)
        if match is None:
            return None
        connection = self._context.connection
        number = artifacts.by_client_id(connection, match[1])
        if number is None:
            return None
        number = artifacts.canonical(connection, number)
        if artifacts.by_ids(connection, [number])[number].sequence.project.id != self._run.project_id:
            return None  # somebody else's, which this run has only named
        file = self._entry(number, match[2])
        if file is None or (file.size or 0) > _LARGEST_TABLE or file.md5 is None:
            return None
        said = documents.read_object(self._context.blobs.read(file.md5), f"the table '{key[:80]}'")
        columns, rows = _list(said.get("columns")), _list(said.get("data"))
        return Table(
            key=key,
            columns=[str(column) for column in columns],
            rows=[[self._cell(number, cell) for cell in _list(row)[: len(columns)]] for row in rows[:_ROWS]],
            total=len(rows),
        )

    def _cell(self, artifact: int, cell: Any) -> Any:
        if not (isinstance(cell, dict) and cell.get("_type") == "image-file"):
            return cell
        file = self._entry(artifact, str(cell.get("path")))
        data = self._data(file.path, file.md5, file.size or 0) if file is not None and file.md5 is not None else None
        return Picture(key="", caption=str(cell.get("caption") or ""), data=data)

    def _entry(self, artifact: int, path: str) -> manifests.Entry | None:
        found = manifests.entry_page(self._context.connection, artifact, names=[path], after=None, first=1).items
        return found[0] if found else None

    def _data(self, name: str, md5: str, size: int) -> str | None:
        kind = _KINDS.get(name.rpartition(".")[2].lower())
        if kind is None or size > min(_LARGEST_IMAGE, self._left):
            return None
        try:
            content = self._context.blobs.read(md5)
        except RegError:
            return None
        self._left -= len(content)
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _some(found: Iterator[Any], most: int) -> Iterator[Any]:
    for _, one in zip(range(most), found, strict=False):
        yield one
