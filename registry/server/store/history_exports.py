"""Which parts of a run's history are offered as Parquet files.

The client prefers such files to asking for a thousand steps at a time, and reads them as tables: a key that a row lacks comes
back as None, a nested value cannot be asked for, and a file is kept on the client's disk under the run's name and the part's
number and never fetched again. So a history is offered only where a table says exactly what the rows say (every row has the
same plain keys), only once the run has ended, only when it is long enough to be worth it, and never again once a line of it
has changed, be it that the run was rewound, or deleted and another has its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from registry.errors import NotFound
from registry.server.store import history, history_keys, runs
from registry.server.store.runs import Run
from registry.server.tables import history_exports
from registry.server.tables import runs as run_rows

# Ten of the client's pages.
WORTH_ROWS = 10_000
_PLAIN_TYPES = ("number", "string", "boolean")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines [start, stop) of a run's history; `md5` (hex) names the file once it was made."""

    id: int
    project_id: int
    run: str
    part: int
    start: int
    stop: int
    valid: bool
    md5: str | None


def extend(connection: Connection, run: Run) -> None:
    """Offer what an ended run has logged since its last part."""
    if run.history_lines < WORTH_ROWS:
        return
    parts = _parts(connection, run)
    start = parts[-1].stop if parts else 0
    if start < run.history_lines and all(part.valid for part in parts) and _is_a_table(connection, run.id):
        row = {"project_id": run.project_id, "run": run.name, "part": len(parts), "start": start, "stop": run.history_lines}
        connection.execute(insert(history_exports).values(row))


def offered(connection: Connection, run: Run) -> Sequence[Part]:
    """The parts that together are the whole history of a run; none when it has to be read row by row."""
    if run.state in runs.UNFINISHED or run.history_lines < WORTH_ROWS:
        return ()
    parts = _parts(connection, run)
    whole = bool(parts) and parts[-1].stop == run.history_lines and all(part.valid for part in parts)
    return parts if whole else ()


def withdraw(connection: Connection, run: Run) -> None:
    """Never offer the history under this run's name again: what clients may have kept of it is no longer true."""
    mine = (history_exports.c.project_id == run.project_id, history_exports.c.run == run.name)
    connection.execute(update(history_exports).where(*mine).values(valid=False))


def by_id(connection: Connection, part_id: int) -> Part:
    """
    Raises:
        NotFound: there is none, or it is no longer offered.
    """
    row = connection.execute(select(history_exports).where(history_exports.c.id == part_id)).one_or_none()
    if row is None or not row.valid:
        raise NotFound(f"history export {part_id} is not here")
    return _part(row)


def rows(connection: Connection, part: Part) -> list[str]:
    """The rows of a part, in step order."""
    query = select(run_rows.c.id).where(run_rows.c.project_id == part.project_id, run_rows.c.name == part.run)
    return history.between_lines(connection, connection.execute(query).scalar_one(), part.start, part.stop)


def made(connection: Connection, part_id: int, *, md5: str) -> None:
    connection.execute(update(history_exports).where(history_exports.c.id == part_id).values(md5=md5))


def _is_a_table(connection: Connection, run_id: int) -> bool:
    length = history.count(connection, run_id)
    keys = history_keys.of(connection, run_id)
    plain = all(key.count == length and key.type in _PLAIN_TYPES and "." not in key.key for key in keys)
    return plain and any(key.key == "_step" for key in keys)


def _parts(connection: Connection, run: Run) -> list[Part]:
    query = select(history_exports).where(history_exports.c.project_id == run.project_id, history_exports.c.run == run.name)
    return [_part(row) for row in connection.execute(query.order_by(history_exports.c.part))]


def _part(row: Row[Any]) -> Part:
    return Part(**row._mapping)
