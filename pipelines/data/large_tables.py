"""Parquet larger than memory: read batch by batch, with the same words for the same rows as a table in memory has.

Twice, because what a column is has to be known before its first value can be written down: once through the train split for
classes and categories, then through each split for its rows, which go as float32 into one unnamed file. What is kept is what is
known of each row: target, id and digest. Columns beside the features are read when an evaluation asks for them, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.data.arrays import positions
from pipelines.data.columns import Place, feature
from pipelines.data.contents import Advance, Digests, Split
from pipelines.data.files import File, unreadable
from pipelines.data.inputs import OnDisk, Room, chunks, select
from pipelines.data.options import Options
from pipelines.data.spec import Column, Division, TableInput
from pipelines.data.splits import TRAIN, divide
from pipelines.data.tables import INDEX, Batch, TableSource, check_names, matrix, row_digests, written
from registry.errors import BadData

_AT_ONCE = 65_536


def too_large(files: Sequence[File], room: Room) -> bool:
    """Whether these Parquet files are more than there is room for once decoded; what cannot be read is not."""
    try:
        sizes = (pq.ParquetFile(file.path).metadata for file in files)
        return not room.keeps(sum(m.row_group(k).total_byte_size for m in sizes for k in range(m.num_row_groups)))
    except (pa.ArrowException, OSError):
        return False


class LargeTableSource(TableSource):
    """A `TableSource` whose rows stay on disk."""

    def __init__(self, files: Mapping[str, Sequence[File]], options: Options, division: Division, room: Room) -> None:
        super().__init__(files, options, division)
        self._room = room

    @cached_property
    def _first(self) -> Batch:
        """No rows of the first split, only its columns and their types."""
        return self._empty(self.splits[0] if self.division is None else TRAIN)

    def _train_column(self, name: str) -> Any:
        parts = [batch.column(name) for batch in self._batches(self.splits[0] if self.division is None else TRAIN, [name])]
        return pa.concat_arrays(parts)

    @cached_property
    def input(self) -> TableInput:
        return TableInput(columns=self._all_columns if self.division is None else self._divided.columns)

    @cached_property
    def _all_columns(self) -> tuple[Column, ...]:
        """The features, with the categories of all rows of the first split's files."""
        table = self._first.table
        names = [name for name in table.column_names if name not in self._wanted and name not in self._dropped]
        if not names:
            raise BadData(f"{self._first.files[0].name} has no column besides the target '{self._wanted[0]}'")
        return tuple(feature(name, table[name].type, self._texts.get(name), place=self._first.place) for name in names)

    @cached_property
    def _divided(self) -> _Divided:
        """The split that `reg` makes: only its train part decides the categories, as where the files came split."""
        assert self.division is not None
        whole = self._read(TRAIN, TRAIN, self._all_columns)
        fraction, seed = self.division.test_fraction, self.division.seed
        sides = divide(whole.digests(), whole.strata, test_fraction=fraction, seed=seed)
        held = [np.zeros(len(column.categories) + 1, dtype=bool) for column in self._all_columns]
        for rows in chunks(select(whole.inputs, sides[TRAIN])):
            for place, seen in enumerate(held):
                if len(seen) > 1:
                    codes = rows[:, place]
                    seen[codes[~np.isnan(codes)].astype(np.int64)] = True
        columns = tuple(
            column.model_copy(update={"categories": tuple(np.array(column.categories)[seen[:-1]].tolist())})
            for column, seen in zip(self._all_columns, held, strict=True)
        )
        return _Divided(whole=whole, sides=sides, columns=columns)

    @cached_property
    def _texts(self) -> Mapping[str, Any]:
        """The distinct texts of each column of texts, in the first split's files."""
        texts: dict[str, Any] = {}
        for batch in self._batches(TRAIN):
            for name in batch.table.column_names:
                kind = batch.table[name].type
                if name not in self._dropped and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    more = pc.unique(batch.column(name).cast(pa.string()))
                    texts[name] = pc.unique(pa.concat_arrays([texts[name], more])) if name in texts else more
        return texts

    def read(self, split: str, advance: Advance) -> Split:
        if self.division is None:
            found = self._read(split, split, self.input.columns)
        else:
            whole, numbers = self._divided.whole, self._divided.sides[split]
            found = Split(
                name=split,
                items=np.array([f"{split}/{number}" for number in numbers], dtype=np.str_),
                inputs=select(self._recoded, numbers),
                targets=whole.targets[numbers],
                digests=lambda: whole.digests().at(numbers),
                facts=_Facts(self, TRAIN, numbers),
            )
        files = self._files[split if self.division is None else TRAIN]
        advance(sum(file.size for file in files if file not in self._told))
        self._told.update(files)
        return found

    @cached_property
    def _recoded(self) -> OnDisk:
        """The rows of all files with the categories of the train part: the others become unknown."""
        whole, columns = self._divided.whole.inputs, self._divided.columns
        assert isinstance(whole, OnDisk)
        if columns == self._all_columns:
            return whole
        codes = [_codes(before, after) for before, after in zip(self._all_columns, columns, strict=True)]
        parts = (_recode(rows, codes) for rows in chunks(whole))
        return self._room.unpacked(parts, shape=whole.shape, dtype=whole.dtype, name=self._first.files[0].name)

    def _read(self, name: str, files_of: str, columns: Sequence[Column]) -> Split:
        targets: list[NDArray[Any]] = []
        digests = bytearray()

        def encoded() -> Iterator[NDArray[np.float32]]:
            for batch in self._batches(files_of):
                inputs = np.ascontiguousarray(matrix(columns, batch))
                targets.append(self._targets(batch))
                digests.extend(row_digests(columns, batch, inputs).array.tobytes())
                yield inputs

        count = sum(pq.ParquetFile(file.path).metadata.num_rows for file in self._files[files_of])
        shape = (count, len(columns))
        rows = self._room.unpacked(encoded(), shape=shape, dtype=np.dtype(np.float32), name=self._files[files_of][0].name)
        found = Digests(digests)
        return Split(
            name=name,
            items=positions(name, count),
            inputs=rows,
            targets=np.concatenate(targets),
            digests=lambda: found,
            facts=_Facts(self, files_of, np.arange(count)),
        )

    def _empty(self, split: str) -> Batch:
        files = self._files[split]
        schemas, ends = [], []
        for file in files:
            try:
                with pq.ParquetFile(file.path) as parquet:
                    schema, count = parquet.schema_arrow, parquet.metadata.num_rows
            except (pa.ArrowException, OSError) as exc:
                raise unreadable(file.name, exc) from exc
            kept = [field for field in schema if not field.name.startswith(INDEX)]
            check_names([field.name for field in kept], file=file, rows=count)
            schemas.append(pa.schema(kept))
            ends.append(count)
        try:
            whole = pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except pa.ArrowException as exc:
            raise BadData(f"{', '.join(file.name for file in files)} do not fit together: {exc}") from exc
        place = Place(tuple(file.name for file in files), tuple(np.cumsum(ends).tolist()))
        return Batch(table=whole.empty_table(), files=files, place=place)

    def _batches(self, split: str, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The rows of a split, some at a time, each as a table with all its columns, or with these."""
        empty = self._empty(split)
        self._check_columns(empty)
        wanted = empty.table.select(list(columns or empty.table.column_names))
        before = 0
        for file in empty.files:
            try:
                with pq.ParquetFile(file.path) as parquet:
                    for batch in parquet.iter_batches(batch_size=_AT_ONCE, columns=wanted.column_names):
                        some = pa.Table.from_batches([batch]).replace_schema_metadata()
                        table = pa.concat_tables([wanted, some], promote_options="permissive")
                        yield Batch(table=table, files=empty.files, place=empty.place.after(before))
                        before += table.num_rows
            except (pa.ArrowException, OSError, EOFError) as exc:
                raise unreadable(file.name, exc) from exc


@dataclass(frozen=True, kw_only=True)
class _Divided:
    whole: Split
    sides: Mapping[str, NDArray[np.int64]]
    columns: tuple[Column, ...]


def _codes(before: Column, after: Column) -> NDArray[np.float32] | None:
    """The code of each category after, by its code before (the last place is for unknown); None where nothing changes."""
    if before == after:
        return None
    known = {name: code for code, name in enumerate(after.categories)}
    return np.array([*(known.get(name, -1) for name in before.categories), -1], dtype=np.float32)


def _recode(rows: NDArray[np.float32], codes: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
    for place, table in enumerate(codes):
        if table is not None:
            missing = np.isnan(rows[:, place])
            rows[:, place] = np.where(missing, rows[:, place], table[np.where(missing, -1, rows[:, place]).astype(np.int64)])
    return rows


class _Facts(Mapping[str, NDArray[Any]]):
    """Columns as they were written, read when they are asked for."""

    def __init__(self, source: LargeTableSource, split: str, numbers: NDArray[np.int64]) -> None:
        self._source, self._split, self._numbers = source, split, numbers
        self._names = source.fact_names(source._empty(split))

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        parts = [batch.column(name) for batch in self._source._batches(self._split, [name])]
        return written(pa.concat_arrays(parts))[self._numbers]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
