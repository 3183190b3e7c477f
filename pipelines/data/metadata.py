"""Images with numbers to predict: image files beside a table that names them, or arrays.

The table is `metadata.csv` with a column `file_name`, as Hugging Face's image folders have it, one for all splits or one in
each of their folders. Its other columns are facts about the items: no model sees them, evaluations slice and cluster by them.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.data import image_folders
from pipelines.data.columns import TARGETS
from pipelines.data.contents import Advance, Split
from pipelines.data.files import File
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.spec import ImageInput, Rendering
from pipelines.data.splits import TRAIN, in_order, split_named, split_within
from pipelines.data.stacking import Stack, digests_of
from pipelines.data.table_names import claims_csv
from pipelines.data.tables import read_table, written
from pipelines.data.targets import finite
from registry.errors import BadData

_FILE_NAMES = ("file_name", "filename", "file", "path", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One image, its id within the split, and where its row is: the table and the row's number."""

    file: File
    id: str
    table: int
    number: int


def open_metadata(files: Sequence[File], options: Options, stack: Stack) -> MetadataSource:
    """Read the tables and find the images that they name.

    Raises:
        BadData: a table without a column of file names or without the targets, a named file that is not there or named twice.
    """
    images = {file.name: file for file in files if image_folders.claims(file)}
    tables = [file for file in files if claims_csv(file)]
    contents = [read_table(file) for file in tables]
    found: dict[str, list[_Row]] = {}
    named: set[str] = set()
    for at, (file, table) in enumerate(zip(tables, contents, strict=True)):
        own = next((split for part in file.parts[:-1] if (split := split_named(part))), None) or split_within(_stem(file))
        for number, name in enumerate(_names(file, table)):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file.name), name))
            if path not in images or path in named:
                near = difflib.get_close_matches(path, images, n=1)
                what = "named twice" if path in named else f"not there{f', did you mean {near[0]}?' if near else ''}"
                raise BadData(
                    f"{file.name}, row {number}: the image '{name}' is {what}", hint="paths are relative to the table"
                )
            named.add(path)
            parts = [part for part in path.split("/") if own or not split_named(part)]
            split = own or next((split for part in path.split("/") if (split := split_named(part))), None) or TRAIN
            parts = [part for part in parts if split_named(part) != split]
            found.setdefault(split, []).append(_Row(file=images[path], id="/".join(parts), table=at, number=number))
    columns = _target_columns(tables[0], contents[0], options)
    for file, table in zip(tables, contents, strict=True):
        for column in columns:
            if column not in table.column_names or not _is_number(table[column].type):
                kind = f"holds {table[column].type}" if column in table.column_names else "is not there"
                numbers = [name for name in table.column_names if _is_number(table[name].type)]
                raise BadData(
                    f"{file.name}: the target '{column}' {kind}, numbers were expected",
                    hint=f"--target {numbers[0]}" if numbers else "add a column of numbers",
                )
    return MetadataSource(found, tables=dict(zip(tables, contents, strict=True)), columns=columns, stack=stack)


class MetadataSource:
    """Splits of image files with one or more numbers each."""

    task: Task = "image-regression"
    target = None
    labels: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    division = None

    def __init__(
        self,
        rows: Mapping[str, Sequence[_Row]],
        *,
        tables: Mapping[File, Any],
        columns: tuple[str, ...],
        stack: Stack,
    ) -> None:
        self._rows = {name: rows[name] for name in in_order(rows)}
        self._tables = list(tables.values())
        self._images = stack
        self.targets = columns
        self.splits = tuple(self._rows)
        self.files = (*tables, *(row.file for some in self._rows.values() for row in some))

    @property
    def input(self) -> ImageInput:
        return self._images.input

    @property
    def rendering(self) -> Rendering | None:
        return self._images.rendering

    def read(self, split: str, advance: Advance) -> Split:
        rows = self._rows[split]
        files = [row.file for row in rows]
        images, digests = self._images.read(files, advance)
        values = np.stack([self._column(name, rows) for name in self.targets], axis=1)
        return Split(
            name=split,
            items=np.array([f"{split}/{row.id}" for row in rows], dtype=np.str_),
            inputs=images,
            targets=finite(values, self.targets, place=f"the split '{split}'"),
            digests=digests,
            digests_as=partial(digests_of, files),
            marks=self._images.marks(files),
            facts={name: self._column(name, rows) for name in self._facts},
        )

    @cached_property
    def _facts(self) -> list[str]:
        names = [name for name in self._tables[0].column_names if name not in self.targets]
        known = [name for name in names if all(name in table.column_names for table in self._tables)]
        return [
            name for name in known if name.lower() not in _FILE_NAMES and not pa.types.is_nested(self._tables[0][name].type)
        ]

    def _column(self, name: str, rows: Sequence[_Row]) -> NDArray[Any]:
        columns = [written(table[name].combine_chunks()) for table in self._tables]
        if len(columns) == 1:
            return np.asarray(columns[0][[row.number for row in rows]])
        return np.array([columns[row.table][row.number] for row in rows], dtype=np.result_type(*columns))


def _names(file: File, table: Any) -> list[str]:
    found = [name for name in table.column_names if name.lower() in _FILE_NAMES]
    if not found:
        columns = ", ".join(table.column_names[:20])
        raise BadData(f"{file.name} has no column 'file_name'; its columns are {columns}", hint="name the column file_name")
    names = pc.cast(table[found[0]], pa.string()).to_pylist()
    if not all(names):
        raise BadData(f"{file.name}, row {next(at for at, name in enumerate(names) if not name)}: no file is named")
    return [str(name) for name in names]


def _target_columns(file: File, table: Any, options: Options) -> tuple[str, ...]:
    """The columns that were said, else the one with the name of a target, else the only one of numbers."""
    if options.wanted is not None:
        return options.wanted
    others = [name for name in table.column_names if name.lower() not in _FILE_NAMES]
    numbers = [name for name in others if _is_number(table[name].type)]
    named = [name for name in numbers if name.lower() in TARGETS]
    if len(named) == 1 or len(numbers) == 1:
        return tuple(named if len(named) == 1 else numbers)
    raise BadData(
        f"{file.name} does not say which column is to be predicted; those with numbers are {', '.join(numbers[:20]) or 'none'}",
        hint=f"--target {numbers[0]}" if numbers else "add a column of numbers",
    )


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _stem(file: File) -> str:
    return file.parts[-1].partition(".")[0]
