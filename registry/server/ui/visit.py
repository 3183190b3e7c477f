"""One request for a page, and the lists it may turn over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from registry.errors import BadData
from registry.server.context import Context
from registry.server.store.pages import Page
from registry.server.ui import links

T = TypeVar("T")

PER_PAGE = 50


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[T]):
    """A page of a list: `number` of `pages`, and the addresses of the pages beside it."""

    items: Sequence[T]
    total: int
    number: int
    pages: int
    previous: str | None
    next: str | None


@dataclass(frozen=True)
class Redirect:
    """Instead of a page: look there."""

    to: str


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Who asks (in `context`) for which address; `path` is encoded and without the `.json` of a twin."""

    context: Context
    path: str
    query: Mapping[str, str]

    def asked(self, name: str) -> str | None:
        """A word of the query, or None when it is absent or empty."""
        return self.query.get(name) or None

    def listing(self, name: str, fetch: Callable[[str, int], Page[T]], *, size: int = PER_PAGE) -> Listing[T]:
        """The page of a list whose number the query has under `name`; the first one without.

        Args:
            fetch: reads a page of the store, given its cursor and how many items.
            size: how many items a page has.
        Raises:
            BadData: the query holds something else than a page number.
        """
        asked = self.query.get(name) or "1"
        if not (asked.isascii() and asked.isdecimal() and len(asked) <= 9 and int(asked) > 0):
            raise BadData(f"{name}={asked[:40]} is not the number of a page")
        number = int(asked)
        found = fetch(str((number - 1) * size), size)
        pages = max(1, -(-found.total_count // size))

        def turned(to: int) -> str | None:
            return links.varied(self.path, self.query, **{name: str(to)}) if 1 <= to <= pages else None

        return Listing(
            items=found.items,
            total=found.total_count,
            number=number,
            pages=pages,
            previous=turned(min(number - 1, pages)),
            next=turned(number + 1),
        )
