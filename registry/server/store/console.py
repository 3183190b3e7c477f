"""What a run printed: one row per console line, under its line number, because progress bars rewrite lines already sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from registry.errors import BadData
from registry.server import documents
from registry.server.tables import console

_PLAIN = re.compile(r"(?P<level>ERROR )?(?P<timestamp>\d{4}-\d\d-\d\dT\S+)(?: \[(?P<label>[^\]]*)\])? (?P<line>.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ConsoleLine:
    """One line; `number` counts from 0."""

    number: int
    line: str
    timestamp: str | None = None
    level: str | None = None
    label: str | None = None


def assign(connection: Connection, run_id: int, numbered: Iterable[tuple[int, str]]) -> None:
    """Store lines under their numbers."""
    rows = [{"run_id": run_id, "line": number, "body": body} for number, body in numbered]
    if rows:
        connection.execute(insert(console).prefix_with("OR REPLACE"), rows)


def clear(connection: Connection, run_id: int) -> None:
    connection.execute(delete(console).where(console.c.run_id == run_id))


def head(connection: Connection, run_id: int, *, start: int, count: int) -> list[ConsoleLine]:
    """Up to `count` lines from number `start` on."""
    query = select(console).where(console.c.run_id == run_id, console.c.line >= start).order_by(console.c.line).limit(count)
    return [_read(row.line, row.body) for row in connection.execute(query)]


def tail(connection: Connection, run_id: int, *, count: int) -> list[ConsoleLine]:
    """The last `count` lines, in order."""
    query = select(console).where(console.c.run_id == run_id).order_by(console.c.line.desc()).limit(count)
    return [_read(row.line, row.body) for row in connection.execute(query)][::-1]


def _read(number: int, body: str) -> ConsoleLine:
    """A line is a JSON object or, from clients that do not know the feature, text that begins with its time."""
    try:
        value = documents.read(body, "the line") if body.startswith("{") else None
    except BadData:
        value = None
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        return ConsoleLine(
            number=number,
            line=value["content"],
            timestamp=_text(value.get("ts")),
            level=_text(value.get("level")),
            label=_text(value.get("label")),
        )
    match = _PLAIN.fullmatch(body)
    if match is None:
        return ConsoleLine(number=number, line=body)
    return ConsoleLine(
        number=number,
        line=match["line"],
        timestamp=match["timestamp"],
        level="error" if match["level"] else None,
        label=match["label"],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
