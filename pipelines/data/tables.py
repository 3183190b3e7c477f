"""CSV and Parquet: rows of numbers and categories with one column to predict.

The train split decides what a column is: its kind, its categories and their order, the class names. Everything else is read
in those terms, because that is what a model trained on it will do. In CSV an empty field is a missing value; so are `NA`,
`NaN` and their kin where the other values are numbers, while among words they stay words (Namibia is `NA`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.columns import (
    Place,
    canonical,
    class_names,
    class_order,
    encoded,
    feature,
    known_column,
    number_of,
    target_column,
    task_of,
)
from pipelines.data.contents import DIGEST_SIZE, Advance, Digests, Split, strata
from pipelines.data.files import File, first_line, unreadable
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.spec import Column, Division, TableInput
from pipelines.data.splits import TEST, TRAIN, divide, in_order, lacks_test, split_named, split_within
from pipelines.data.table_names import claims_parquet
from registry.errors import BadData

INDEX = "__index_level_"  # what pandas calls an index without a name; no feature
_MOST_FACTS = 64
_LONGEST_HEADER = 1 << 20  # bytes, a block of Arrow's reader


def by_split(files: Sequence[File]) -> dict[str, list[File]]:
    """Sort files into splits by a word of their names: `train.csv`, `test-00000-of-00002.parquet`; one file alone is the whole.

    Raises:
        BadData: several files, and one that says not which split it is.
    """
    if len(files) == 1:
        return {split_named(_stem(files[0])) or TRAIN: list(files)}
    found: dict[str, list[File]] = {}
    for file in files:
        split = split_within(_stem(file))
        if split is None:
            train = PurePosixPath(file.name).with_name(f"train{PurePosixPath(file.name).suffix}")
            raise BadData(
                f"{file.name} is one of {len(files)} tables, and its name says not which split it is",
                hint=f"mv '{file.name}' '{train}'",
            )
        found.setdefault(split, []).append(file)
    return found


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The rows of one split, or some of them, as Arrow read them, from these files in this order."""

    table: Any
    files: tuple[File, ...]
    place: Place

    def column(self, name: str) -> Any:
        """The values of a column as one Arrow array."""
        return self.table[name].combine_chunks()


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The split that `reg` made of one table: positions by split, and the digests that they were drawn by."""

    positions: Mapping[str, NDArray[np.int64]]
    digests: Digests


class TableSource:
    """Splits of rows. A split may be spread over several files; its rows are counted on through them."""

    mask_values: tuple[int, ...] = ()
    rendering = None

    def __init__(self, files: Mapping[str, Sequence[File]], options: Options, division: Division) -> None:
        self._files = {name: tuple(files[name]) for name in in_order(files)}
        self._options = options
        self.division = division if lacks_test(self._files) and division.test_fraction else None
        self.splits = (TRAIN, TEST) if self.division else tuple(self._files)
        self.files = tuple(file for some in self._files.values() for file in some)
        self._told: set[File] = set()

    @cached_property
    def _wanted(self) -> tuple[str, ...]:
        """The columns to predict."""
        names, file = [name for name in self._first.table.column_names if name not in self._dropped], self._first.files[0].name
        if self._options.targets is not None:
            return tuple(known_column(names, name, file=file) for name in self._options.targets)
        return (target_column(names, self._options.target, file=file),)

    @cached_property
    def task(self) -> Task:
        if self._options.task is not None or self._options.targets is not None:
            return "tabular-classification" if self._options.task == "tabular-classification" else "tabular-regression"
        return "tabular-classification" if self._options.labels else task_of(self._train_column(self._wanted[0]))

    @property
    def target(self) -> str | None:
        return self._wanted[0] if self.task == "tabular-classification" else None

    @property
    def targets(self) -> tuple[str, ...]:
        return self._wanted if self.task == "tabular-regression" else ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        if self.target is None:
            return ()
        names = class_names(self._train_column(self.target), column=self.target, place=self._first.place)
        return self._options.labels or class_order(names, column=self.target, place=self._first.place)

    def _train_column(self, name: str) -> Any:
        """All values of a column of the first split's files."""
        return self._first.column(name)

    @cached_property
    def input(self) -> TableInput:
        table = self._first.table
        return TableInput(columns=self._columns(table.take(self._sides.positions[TRAIN]) if self._sides else table))

    def read(self, split: str, advance: Advance) -> Split:
        rows = self._first if split == self.splits[0] or self._sides else self._rows(split)
        advance(sum(file.size for file in rows.files if file not in self._told))
        self._told.update(rows.files)
        targets, inputs = self._targets(rows), matrix(self.input.columns, rows)
        numbers, digests = np.arange(len(targets)), partial(row_digests, self.input.columns, rows, inputs)
        if self._sides:
            numbers = self._sides.positions[split]
            targets, inputs, digests = targets[numbers], inputs[numbers], partial(self._sides.digests.at, numbers)
        return Split(
            name=split,
            items=np.array([f"{split}/{number}" for number in numbers], dtype=np.str_),
            inputs=inputs,
            targets=targets,
            digests=digests,
            facts=self._facts(rows, numbers),
        )

    def _facts(self, rows: Batch, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The columns as they were written, of these rows; of a very wide table only those that no model sees."""
        return {name: written(rows.column(name))[numbers] for name in self.fact_names(rows)}

    def fact_names(self, rows: Batch) -> tuple[str, ...]:
        """The columns that evaluations carry along: all but the targets, and of a very wide table those that no model sees."""
        names = [name for name in rows.table.column_names if name not in self._wanted]
        kept = names if len(names) <= _MOST_FACTS else self._dropped
        return tuple(name for name in kept if not pa.types.is_nested(rows.table[name].type))

    @cached_property
    def _first(self) -> Batch:
        return _read(next(iter(self._files.values())), texts=())

    @cached_property
    def _dropped(self) -> tuple[str, ...]:
        names, file = self._first.table.column_names, self._first.files[0].name
        return tuple(known_column(names, name, file=file, key="drop") for name in self._options.drop or ())

    @cached_property
    def _sides(self) -> _Sides | None:
        if self.division is None:
            return None
        columns = self._columns(self._first.table)
        digests = row_digests(columns, self._first, matrix(columns, self._first))
        cut = strata(self._targets(self._first))
        sides = divide(digests, cut, test_fraction=self.division.test_fraction, seed=self.division.seed)
        return _Sides(positions=sides, digests=digests)

    def _columns(self, train: Any) -> tuple[Column, ...]:
        """The features of the first split's table; `train` is the part of it that decides the categories."""
        table, place = self._first.table, self._first.place
        names = [name for name in table.column_names if name not in self._wanted and name not in self._dropped]
        if not names:
            raise BadData(f"{self._first.files[0].name} has no column besides the target '{self._wanted[0]}'")
        return tuple(feature(name, table[name].type, train[name], place=place) for name in names)

    def _rows(self, split: str) -> Batch:
        texts = [field.name for field in self._first.table.schema if pa.types.is_string(field.type)]
        rows = _read(self._files[split], texts=texts)
        self._check_columns(rows)
        return rows

    def _check_columns(self, rows: Batch) -> None:
        wanted, found = set(self._first.table.column_names), set(rows.table.column_names)
        if wanted != found:
            missing, extra = sorted(wanted - found), sorted(found - wanted)
            what = f"lacks the column '{missing[0]}' of" if missing else f"has the column '{extra[0]}', which is not in"
            raise BadData(f"{rows.files[0].name} {what} {self._first.files[0].name}", hint="give all splits the same columns")

    def _targets(self, rows: Batch) -> NDArray[Any]:
        if self.target is None:
            columns = [number_of(rows.column(name), column=name, place=rows.place) for name in self.targets]
            return np.stack(columns, axis=1)
        names = class_names(rows.column(self.target), column=self.target, place=rows.place)
        unique, codes = np.unique(names, return_inverse=True)
        index = {label: position for position, label in enumerate(self.labels)}
        for position, name in enumerate(unique):
            if str(name) not in index:
                row = int(np.flatnonzero(codes == position)[0])
                known = "classes given" if self._options.labels else f"classes of {self._first.files[0].name}"
                raise BadData(
                    f"{rows.place.row(row)}: the target '{self.target}' is '{name}', which is none of the {len(index)} {known}",
                    hint="name every class under 'labels:' in dataset.yaml",
                )
        return np.array([index[str(name)] for name in unique], dtype=np.int64)[codes]


def written(values: Any) -> NDArray[Any]:
    """Numbers and bools as they are (NaN for missing), anything else as text (None for missing)."""
    plain = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)
    if plain and values.null_count:
        values = values.cast(pa.float64())
    return np.asarray((values if plain else values.cast(pa.string())).to_numpy(zero_copy_only=False))


def matrix(columns: Sequence[Column], rows: Batch) -> NDArray[np.float32]:
    """The features of rows as a model sees them, shape (n, features)."""
    return np.stack([encoded(column, rows.column(column.name), place=rows.place) for column in columns], axis=1)


def row_digests(columns: Sequence[Column], rows: Batch, inputs: NDArray[np.float32]) -> Digests:
    """Content digests of rows: names and values of the features, in the order of their names."""
    order = sorted(range(len(columns)), key=lambda position: columns[position].name)
    names = "\0".join(columns[position].name for position in order).encode()
    person = blake2b(names, digest_size=DIGEST_SIZE).digest()
    parts = [canonical(columns[position], rows.column(columns[position].name), inputs[:, position]) for position in order]
    content = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return Digests.of(blake2b(row, digest_size=DIGEST_SIZE, person=person).digest() for row in content)


def read_table(file: File) -> Any:
    """The Arrow table of a CSV or Parquet file.

    Raises:
        BadData: it cannot be read, has no rows, or two columns of one name.
    """
    return _read([file], texts=()).table


def _read(files: Sequence[File], *, texts: Sequence[str]) -> Batch:
    """Read the files of one split, one after the other.

    Args:
        texts: columns that the train split holds as texts; CSV would take `12` for a number where all values look like it.
    """
    tables = [_read_parquet(file) if claims_parquet(file) else _read_csv(file, texts=texts) for file in files]
    for file, table in zip(files, tables, strict=True):
        check_names(table.column_names, file=file, rows=table.num_rows)
    try:
        whole = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as exc:
        raise BadData(f"{', '.join(file.name for file in files)} do not fit together: {first_line(exc)}") from exc
    ends = np.cumsum([table.num_rows for table in tables]).tolist()
    return Batch(table=whole, files=tuple(files), place=Place(tuple(file.name for file in files), tuple(ends)))


def check_names(names: Sequence[str], *, file: File, rows: int) -> None:
    """
    Raises:
        BadData: a name twice or missing, or no rows.
    """
    if doubled := [name for name in names if names.count(name) > 1]:
        raise BadData(f"{file.name} has {names.count(doubled[0])} columns named '{doubled[0]}'")
    if "" in names:
        raise BadData(f"{file.name}: column {names.index('')} has no name", hint="frame.to_csv('data.csv', index=False)")
    if not rows:
        raise BadData(f"{file.name} has no rows below its header", hint="put one item in each row, or remove the file")


def _check_header(file: File, content: bytes) -> None:
    """Arrow reads blocks of 1 MiB, and would say of a header beyond one that the file is empty."""
    end = content.find(b"\n", 0, _LONGEST_HEADER)
    if end < 0 and len(content) >= _LONGEST_HEADER:
        columns = content.partition(b"\n")[0].count(_delimiter(file, content[:_LONGEST_HEADER]).encode()) + 1
        raise BadData(
            f"{file.name}: the first line is longer than {_LONGEST_HEADER:,} bytes: {columns:,} columns, or no line ends",
            hint="write one row per item and one column per feature, or the array as .npz",
        )


def _read_csv(file: File, *, texts: Sequence[str]) -> Any:
    try:
        with pa.input_stream(file.path, compression="gzip" if file.name.lower().endswith(".gz") else None) as stream:
            content = stream.read()
        _check_header(file, content)
        return pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(file, content), newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
        )
    except (pa.ArrowException, OSError, EOFError) as exc:
        raise BadData(f"{file.name} cannot be read as CSV: {first_line(exc)}", hint=f"head -c 300 '{file.path}'") from exc


def _read_parquet(file: File) -> Any:
    try:
        with pq.ParquetFile(file.path) as parquet:
            table = parquet.read()
    except (pa.ArrowException, OSError, EOFError) as exc:
        raise unreadable(file.name, exc) from exc
    return table.drop_columns([name for name in table.column_names if name.startswith(INDEX)])


def _delimiter(file: File, content: bytes) -> str:
    if file.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    header = content[: content.find(b"\n") + 1 or None]
    return ";" if b";" in header and b"," not in header else ","


def _stem(file: File) -> str:
    return file.parts[-1].partition(".")[0]
