"""Which items a check is asked of: all, those of which an expression is true, and each slice of them on its own.

A slice is a value of a column, or an expression that the policy names; slices by expressions may overlap. What describes an
item must be the same in both evaluations, so that both models have the same slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import expressions
from registry.checks import OfItems
from registry.judging.sentences import identity
from registry.records import CheckResult, Outcome
from registry.scores import Unanswerable

Rows = NDArray[np.intp]
Column = Callable[[str], NDArray[Any]]

_NAMED = 10  # of many small slices


@dataclass(frozen=True, eq=False)
class Slice:
    """Some items: `name` for the record, `words` for a sentence ("on label 7"); `rows` None means all."""

    name: str | None
    words: str
    rows: Rows | None


@dataclass(frozen=True, eq=False)
class Cut:
    """The slices that are asked, what the small ones became, and a note about them."""

    asked: list[Slice]
    small: list[CheckResult]
    note: str | None


def cut(check: OfItems, column: Column, *, items: int, labels: tuple[str, ...]) -> Cut:
    """
    Args:
        column: gives a column that describes items, one value per item.
        items: how many there are.
        labels: names of the classes.
    Raises:
        Unanswerable: there is no such column, an expression cannot be asked of it, or every slice is too small.
    """
    left = None if check.where is None else _matching(check.where, column, labels)
    among = f" where {check.where}" if check.where else ""
    if check.by is None:
        n = items if left is None else len(left)
        if n < check.min_items:
            raise Unanswerable(f"{n} items{among}, the check wants {check.min_items} at least")
        return Cut([Slice(among.strip() or None, among, left)], [], None)
    if isinstance(check.by, str):
        found = _by_column(check.by, column(check.by), labels, left, among)
    else:
        found = [
            Slice(f"{name}{among}", f" on {name} ({text}){among}", _both(_matching(text, column, labels), left))
            for name, text in check.by.items()
        ]
    if not found:
        raise Unanswerable(f"there are no items{among} to cut by {check.slice_names}")
    return _sized(check, found)


def _sized(check: OfItems, found: list[Slice]) -> Cut:
    sizes = {id(part): 0 if part.rows is None else len(part.rows) for part in found}
    asked = [part for part in found if sizes[id(part)] >= check.min_items]
    small = [part for part in found if sizes[id(part)] < check.min_items]
    if not asked:
        largest = max(sizes.values())
        raise Unanswerable(f"no slice by {check.slice_names} has {check.min_items} items, the largest has {largest}")
    if not small:
        return Cut(asked, [], None)
    if check.on_small == "skip":
        few = ", ".join(_value(check, part) for part in small[:_NAMED]) + (", …" if len(small) > _NAMED else "")
        count = f"{len(small)} of {len(found)} slices by {check.slice_names}"
        return Cut(asked, [], f"{check.id}: {count} have fewer than {check.min_items} items and were not asked: {few}")
    wrong = check.on_small == "error"
    results = [
        CheckResult(
            **(identity(check) | ({} if wrong else {"severity": "warn"})),
            slice=part.name,
            status=Outcome.ERROR if wrong else Outcome.INCONCLUSIVE,
            reason=f"{check.metric}{part.words} has {sizes[id(part)]} items, the check wants {check.min_items} at least",
            counts={"items": sizes[id(part)]},
        )
        for part in small
    ]
    return Cut(asked, results, None)


def _value(check: OfItems, part: Slice) -> str:
    return str(part.name).removeprefix(f"{check.by}=") if isinstance(check.by, str) else str(part.name)


def _by_column(by: str, column: NDArray[Any], labels: tuple[str, ...], left: Rows | None, among: str) -> list[Slice]:
    if column.dtype.kind not in "iubUSO":
        raise Unanswerable(f"column '{by}' holds {column.dtype}; slices need names or whole numbers, or an expression each")
    if column.dtype.kind == "O":
        column = np.array(["missing" if value is None or value == "" else str(value) for value in column.tolist()])
    values, which = np.unique(column if left is None else column[left], return_inverse=True)
    # Sorting small numbers as such is ten times as fast.
    small = which.astype(np.uint16) if len(values) <= np.iinfo(np.uint16).max else which
    rows = np.split(np.argsort(small, kind="stable"), np.cumsum(np.bincount(which, minlength=len(values)))[:-1])
    names = [str(value) for value in values.tolist()]
    if by == "label" and len(values) and column.dtype.kind in "iu" and values[0] >= 0 and values[-1] < len(labels):
        names = [labels[value] for value in values.tolist()]
    return [
        Slice(f"{by}={name}{among}", f" on {by} {name}{among}", some if left is None else left[some])
        for name, some in zip(names, rows, strict=True)
        if len(some)
    ]


def _matching(text: str, column: Column, labels: tuple[str, ...]) -> Rows:
    try:
        return np.flatnonzero(expressions.parse(text).rows(column, classes=labels))
    except expressions.BadExpression as exc:
        raise Unanswerable(f"'{text}' cannot be asked of these items: {exc}") from exc


def _both(rows: Rows, left: Rows | None) -> Rows:
    return rows if left is None else np.intersect1d(rows, left, assume_unique=True)
