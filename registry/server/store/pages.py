"""A slice of a list and how to ask for the next one.

A cursor is the number of items already seen: opaque to the client, and right for any order the client may ask for. Lists that
can shrink under a reader are short here, so a shifted offset costs less than a keyed cursor for each order would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, CursorResult, Row, Select, func, select

from registry.errors import BadData
from registry.server import limits

T = TypeVar("T")
DEFAULT_SIZE = 50
_LARGEST = 10_000
_CURSOR = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Edge(Generic[T]):
    """One item and the cursor that continues after it."""

    node: T
    cursor: str


@dataclass(frozen=True, kw_only=True)
class PageInfo:
    """Where to go on, and whether there is anything there."""

    end_cursor: str | None
    has_next_page: bool


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Items [start, start + len(items)) of `total_count`; its attributes are the fields of a GraphQL connection."""

    items: Sequence[T]
    start: int
    total_count: int

    @property
    def edges(self) -> list[Edge[T]]:
        return [Edge(node=item, cursor=str(number)) for number, item in enumerate(self.items, start=self.start + 1)]

    @property
    def page_info(self) -> PageInfo:
        end = self.start + len(self.items)
        # An empty page ends the list whatever the count says: the client asks for as long as this is true.
        return PageInfo(end_cursor=str(end), has_next_page=bool(self.items) and end < self.total_count)


def page(
    connection: Connection,
    query: Select[Any],
    make: Callable[[Row[Any]], T],
    *,
    after: str | None,
    first: int | None,
    backwards: Select[Any] | None = None,
    total: int | None = None,
) -> Page[T]:
    """Fetch one page of an ordered query.

    Args:
        make: turns a row into an item.
        total: how many rows there are; None where they have to be counted.
        backwards: the same in the opposite order. What comes before a page is walked through: a late one is reached from there.
        after: a cursor of an earlier page, or None (or an empty text) for the start.
        first: how many items at most; None for 50.
    Raises:
        BadData: `after` is not a cursor of ours, or `first` is negative.
    """
    if first is not None and first < 0:
        raise BadData(f"first is {first}: ask for no fewer than 0 items")
    start = offset(after)
    size = DEFAULT_SIZE if first is None else min(first, _LARGEST)
    if total is None:
        total = connection.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    left = max(0, total - start)
    if backwards is None or left >= start:
        rows = _fitting(connection.execute(query.limit(size).offset(start)))
    else:
        late = connection.execute(backwards.limit(min(size, left)).offset(max(0, left - size))).all()
        rows = _fitting(reversed(late))
    return Page(items=[make(row) for row in rows], start=start, total_count=total)


def offset(after: str | None) -> int:
    """How many items a cursor has seen.

    Raises:
        BadData: it is not a cursor of ours.
    """
    if after and not _CURSOR.fullmatch(after):
        raise BadData(f"'{after[:80]}' is not a cursor of this server")
    return int(after or 0)


def _fitting(result: Iterable[Row[Any]]) -> list[Row[Any]]:
    """The first rows, at least one, whose text fits into memory; the cursor goes on behind them."""
    rows: list[Row[Any]] = []
    text = 0
    for row in result:
        text += sum(len(value) for value in row if isinstance(value, str))
        if rows and text > limits.PAGE_TEXT:
            break
        rows.append(row)
    if isinstance(result, CursorResult):
        result.close()
    return rows
