"""One column of a table: which one is the target, what kind a feature is, and how Arrow's values become numbers.

Messages name the row as item ids do: counted from 0, the header not included.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types
from numpy.typing import NDArray

from pipelines.data.contents import DIGEST_SIZE
from pipelines.data.kinds import Task
from pipelines.data.spec import Column
from registry.errors import BadData

TARGETS = ("target", "label", "class", "y")
MOST_CATEGORIES = 1000
MOST_CLASSES = 1000
_FEW_CLASSES = 20  # beyond which numbers are suspected to be no classes


@dataclass(frozen=True)
class Place:
    """Where the rows of a split stand: the names of its files, and the number of the row at which each of them ends."""

    files: tuple[str, ...]
    ends: tuple[int, ...]
    first: int = 0  # the row of the split that is number 0 here, where only a part of it is looked at

    def after(self, rows: int) -> Place:
        """The place of what comes after so many rows."""
        return replace(self, first=rows)

    def row(self, number: int) -> str:
        """A row of the split in the words of a message: its file, and its number there."""
        number += self.first
        position = int(np.searchsorted(self.ends, number, side="right"))
        return f"{self.files[position]}, row {number - (self.ends[position - 1] if position else 0)}"

    def __str__(self) -> str:
        return self.files[0]


def target_column(names: Sequence[str], said: str | None, *, file: str) -> str:
    """The column to predict: the one that was said, else the only one named `target`, `label`, `class` or `y`.

    Raises:
        BadData: there is no such column, or several could be it.
    """
    if said is not None:
        return known_column(names, said, file=file)
    found = [name for name in names if name.lower() in TARGETS]
    if len(found) == 1:
        return found[0]
    problem = f"columns {', '.join(found)} could all be the target" if found else f"no column is named {', '.join(TARGETS)}"
    columns = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise BadData(f"{file}: {problem}; its columns are {columns}", hint=f"--target {found[0] if found else names[-1]}")


def known_column(names: Sequence[str], name: str, *, file: str, key: str = "target") -> str:
    """`name`, when it is one of the columns; `key` is the option that asks for it."""
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        nearest = near[0] if near else names[-1]  # the target is usually the last one
        hint = f"--target {shlex.quote(nearest)}" if key == "target" else f"drop: [{nearest}]"
        columns = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise BadData(f"{file} has no column '{name}'; its columns are {columns}", hint=hint)
    return name


def task_of(values: Any) -> Task:
    """What predicting a column is: of fractions, or of more different whole numbers than classes can be, a regression.

    Whole numbers written as `151.0` are classes while they are few, as when another column made a program write floats.
    """
    if not _is_number(values.type):
        return "tabular-classification"
    numbers = pc.cast(values, pa.float64()).drop_null().to_numpy(zero_copy_only=False)
    numbers = numbers[np.isfinite(numbers)]
    different = len(np.unique(numbers))
    measured = different > _FEW_CLASSES if types.is_floating(values.type) else _too_many(different, len(values))
    if measured or (numbers != np.floor(numbers)).any():
        return "tabular-regression"
    return "tabular-classification"


def number_of(values: Any, *, column: str, place: Place) -> NDArray[np.float64]:
    """A target of a regression, float64 (n,).

    Raises:
        BadData: a value that is missing, infinite, or no number.
    """
    if not (_is_number(values.type) or types.is_boolean(values.type)):
        raise BadData(
            f"{place}: the target '{column}' holds {values.type}, a regression predicts numbers",
            hint="--task tabular-classification",
        )
    numbers: NDArray[np.float64] = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    broken = np.flatnonzero(~np.isfinite(numbers))
    if broken.size:
        what = "missing" if np.isnan(numbers[broken[0]]) else "infinite"
        raise BadData(
            f"{place.row(int(broken[0]))}: the target '{column}' is {what} ({broken.size} of {len(values)} rows)",
            hint="remove these rows",
        )
    return numbers


def class_names(values: Any, *, column: str, place: Place) -> NDArray[np.str_]:
    """The target as texts: whole numbers as their digits, so that `3` in one file is `3.0` in another.

    Raises:
        BadData: a missing value, or numbers that are no classes.
    """
    missing = np.flatnonzero(pc.fill_null(_is_missing(values), True).to_numpy(zero_copy_only=False))
    if missing.size:
        raise BadData(
            f"{place.row(int(missing[0]))}: the target '{column}' is missing ({missing.size} of {len(values)} rows)",
            hint="remove these rows",
        )
    kind = values.type
    if types.is_boolean(kind) or types.is_integer(kind) or _is_text(kind):
        return np.asarray(pc.cast(values, pa.string()).to_numpy(zero_copy_only=False), dtype=np.str_)
    if _is_number(kind):
        numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        broken = np.flatnonzero(numbers != np.floor(numbers))
        if not broken.size and np.isfinite(numbers).all():
            return np.asarray([str(int(number)) for number in numbers], dtype=np.str_)
        first = int(broken[0]) if broken.size else int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise BadData(
            f"{place.row(first)}: the target '{column}' is {numbers[first]}, which is no class (a regression target?)",
            hint="--task tabular-regression",
        )
    raise BadData(f"{place}: the target '{column}' holds {kind}, texts or whole numbers were expected")


def class_order(names: NDArray[np.str_], *, column: str, place: Place) -> tuple[str, ...]:
    """All class names, in numeric order when they are numbers, else sorted.

    Raises:
        BadData: so many that the column cannot be a class.
    """
    unique = [str(name) for name in np.unique(names)]
    if _too_many(len(unique), len(names)):
        found = f"{len(unique)} different values in {len(names)} rows"
        raise BadData(
            f"{place}: the target '{column}' has {found}, too many for classes (a regression target?)",
            hint="--target another_column",
        )
    return tuple(sorted(unique, key=int if all(_is_integer(name) for name in unique) else str))


def feature(name: str, kind: Any, train: Any, *, place: Place) -> Column:
    """What a feature column is.

    Args:
        kind: its Arrow type.
        train: its values in the train split, which decide the categories.
    Raises:
        BadData: an empty column, a type that is neither number nor category, too many categories.
    """
    drop = f"drop: [{name}]   # in dataset.yaml"
    if pa.types.is_null(kind):
        raise BadData(f"{place}: column '{name}' is empty in every row", hint=drop)
    if _is_number(kind):
        return Column(name=name, kind="numeric")
    if not _is_text(kind):
        known = "bytes that are not UTF-8" if types.is_binary(kind) else str(kind)
        raise BadData(f"{place}: column '{name}' holds {known}, numbers or texts were expected", hint=drop)
    unique = pc.unique(pc.cast(train, pa.string())).drop_null().to_pylist()
    categories = tuple(sorted(text for text in unique if text))
    if len(categories) > MOST_CATEGORIES:
        raise BadData(f"{place}: column '{name}' has {len(categories)} different texts, too many for categories", hint=drop)
    return Column(name=name, kind="categorical", categories=categories)


def encoded(column: Column, values: Any, *, place: Place) -> NDArray[np.float32]:
    """A column as the model sees it, shape (n,): NaN for missing, -1 for a category that train does not have.

    Raises:
        BadData: a text among numbers, or a number that float32 cannot hold.
    """
    if column.kind == "categorical":
        texts = pc.cast(values, pa.string())
        known = pc.index_in(texts, value_set=pa.array(column.categories, pa.string()))
        codes = pc.fill_null(known, -1).to_numpy(zero_copy_only=False)
        missing = pc.fill_null(_is_missing(texts), True).to_numpy(zero_copy_only=False)
        return np.where(missing, np.float32("nan"), codes.astype(np.float32))
    if not (_is_number(values.type) or types.is_null(values.type)):
        row, text = next((row, text) for row, text in enumerate(values.to_pylist()) if not _is_float(text))
        raise BadData(f"{place.row(row)}: column '{column.name}' is '{text}', a number was expected as in the train split")
    with np.errstate(over="ignore"):
        numbers: NDArray[np.float32] = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        found = values[int(infinite[0])].as_py()
        raise BadData(
            f"{place.row(int(infinite[0]))}: column '{column.name}' is {found}, a finite float32 was expected",
            hint="leave the field empty if it is missing",
        )
    return numbers


def canonical(column: Column, values: Any, numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A column's part of the content of each row, shape (n, width): the number, or the text itself rather than its index."""
    if column.kind == "numeric":
        exact = np.where(np.isnan(numbers), np.float32("nan"), numbers + np.float32(0))  # one NaN, and no -0.0
        return exact.astype("<f4").view(np.uint8).reshape(len(numbers), -1)
    coded = pc.fill_null(pc.cast(values, pa.string()), "").dictionary_encode()
    texts = b"".join(blake2b(text.encode(), digest_size=DIGEST_SIZE).digest() for text in coded.dictionary.to_pylist())
    table = np.frombuffer(texts, dtype=np.uint8).reshape(-1, DIGEST_SIZE)
    rows: NDArray[np.uint8] = table[coded.indices.to_numpy(zero_copy_only=False)]
    return rows


def _too_many(different: int, rows: int) -> bool:
    return different > MOST_CLASSES or (different > _FEW_CLASSES and 2 * different > rows)


def _is_missing(values: Any) -> Any:
    if _is_text(values.type):
        return pc.equal(pc.cast(values, pa.string()), "")
    return pc.is_null(values, nan_is_null=True)


def _is_number(kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _is_text(kind: Any) -> bool:
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def _is_float(value: Any) -> bool:
    try:
        float(value if value not in (None, "") else 0)
    except (TypeError, ValueError):
        return False
    return True
