"""What a run printed, line by line."""

from __future__ import annotations

from typing import Any

from ariadne import ObjectType, SchemaBindable

from registry.server.resolvers import Info
from registry.server.store import console
from registry.server.store.pages import offset
from registry.server.store.runs import Run

_PAGE = 1_000

run = ObjectType("Run")


@run.field("logLines")
def log_lines(
    parent: Run,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    use_improved_pagination: bool | None = None,
) -> dict[str, Any]:
    context = info.context
    if last is not None:
        lines = console.tail(context.connection, parent.id, count=max(0, last))
        more = False
    else:
        # The cursor is the number of the next line.
        start = offset(after)
        size = _PAGE if first is None else max(0, first)
        lines = console.head(context.connection, parent.id, start=start, count=size + 1)
        more = bool(size) and len(lines) > size
        lines = lines[:size]
    end = str(lines[-1].number + 1) if lines else after
    return {"edges": [{"node": line} for line in lines], "page_info": {"end_cursor": end, "has_next_page": more}}


bindables: list[SchemaBindable] = [run]
