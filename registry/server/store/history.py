"""What a run logged, row by row, and its system metrics.

A row has the line number its client gave it and is stored there: a repeated request overwrites itself. The text is kept as it
came, because it may hold bare NaN and Infinity, which the client reads and JSON columns do not. Reading what lines say takes
longer than storing them, so it is done before anybody has to wait for it: `read`, then `assign` in the transaction.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select

from registry.errors import BadData
from registry.server import documents, limits
from registry.server.store import history_keys
from registry.server.tables import curves, events, history

_log = logging.getLogger(__name__)
_LARGEST = 2**63 - 1
_BATCH = 5_000  # rows bound to one IN (...)
_PLAIN = re.compile(r"[\w ./-]+", re.ASCII)


class Line(NamedTuple):
    """One logged row: its text, what it says, and its step (its number when it names none)."""

    number: int
    step: int
    body: str
    values: Mapping[str, Any]


def read(texts: Sequence[str]) -> list[Mapping[str, Any] | None]:
    """What the lines of a client say; None for one that is not a JSON object, because one would spoil every later reading."""
    return list(documents.read_rows(texts))


def lines(numbered: Iterable[tuple[int, str]], values: Iterable[Mapping[str, Any] | None]) -> list[Line]:
    """The rows among a client's lines, each with what `read` made of it."""
    found = []
    for (number, body), row in zip(numbered, values, strict=True):
        if row is None:
            _log.warning("line %d of a history is not a JSON object: %.80r", number, body)
        else:
            step = row.get("_step")
            if type(step) is not int or abs(step) > _LARGEST:
                step = int(step) if isinstance(step, float) and step.is_integer() and abs(step) <= _LARGEST else number
            found.append(Line(number, step, body, row))
    return found


def assign(connection: Connection, run_id: int, rows: Sequence[Line]) -> bool:
    """Store rows under their line numbers and keep the index of keys.

    A row that is here already is not stored again under another number: a client that syncs an offline run once more
    continues the numbers, and its rows are known by the microsecond they were logged in. Their keys come in any order.

    Returns:
        Whether a line that was here says something else now.
    """
    if not rows:
        return False
    here = select(history.c.line, history.c.body).where(history.c.run_id == run_id)
    numbers = [row.number for row in rows]
    there = set(connection.execute(here.where(history.c.line.between(min(numbers), max(numbers)))).scalars())
    steps = [row.step for row in rows]
    same_steps = here.where(history.c.step.between(min(steps), max(steps)))
    bodies = [row.body for row in connection.execute(same_steps)]
    known = {_canonical(values) for values in read(bodies) if values is not None}
    fresh = [row for row in rows if _canonical(row.values) not in known] if known else list(rows)
    if not fresh:
        return False
    _forget_curve(connection, run_id, since=min(row.step for row in fresh))
    # Spelt for the driver: binding by name would take a third of the time that a row takes in all.
    connection.exec_driver_sql(
        f"INSERT OR REPLACE INTO {history.name} (run_id, line, step, body) VALUES (?, ?, ?, ?)",
        [(run_id, row.number, row.step, row.body) for row in fresh],
    )
    replaced = any(row.number in there for row in fresh)
    if replaced:
        _recount(connection, run_id)
    else:
        history_keys.add(connection, run_id, (row.values for row in fresh))
    return replaced


def assign_events(connection: Connection, run_id: int, numbered: Iterable[tuple[int, str]]) -> None:
    """Store system metrics under their line numbers, those that are JSON objects."""
    numbered = list(numbered)
    said = read([body for _, body in numbered])
    told = [line for line, values in zip(numbered, said, strict=True) if values is not None]
    rows = [{"run_id": run_id, "line": number, "body": body} for number, body in told]
    if rows:
        connection.execute(insert(events).prefix_with("OR REPLACE"), rows)


def clear_events(connection: Connection, run_id: int) -> None:
    connection.execute(delete(events).where(events.c.run_id == run_id))


def last_line(connection: Connection, run_id: int) -> str | None:
    query = select(history.c.body).where(history.c.run_id == run_id).order_by(history.c.line.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def last_event(connection: Connection, run_id: int) -> str | None:
    query = select(events.c.body).where(events.c.run_id == run_id).order_by(events.c.line.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def sampled(connection: Connection, run_id: int, *, samples: int) -> list[str]:
    """Rows in step order, at most `samples` of them, evenly spread, the first and the last among them."""
    query = select(history.c.line).where(history.c.run_id == run_id).order_by(history.c.step, history.c.line)
    return [row.body for row in _fetch(connection, run_id, _spread(list(connection.execute(query).scalars()), samples))]


def window(connection: Connection, run_id: int, *, start: int | None, stop: int | None) -> list[str]:
    """All rows with a step in [start, stop), in step order."""
    query = select(history.c.body).where(history.c.run_id == run_id).order_by(history.c.step, history.c.line)
    if start is not None:
        query = query.where(history.c.step >= start)
    if stop is not None:
        query = query.where(history.c.step < stop)
    return [row.body for row in _bounded(connection.execute(query))]


def with_keys(
    connection: Connection, run_id: int, keys: Sequence[str], *, samples: int, first: int | None, last: int | None
) -> list[dict[str, Any]]:
    """Rows that have all the (dotted) keys, cut down to them, sampled evenly; steps in [first, last]."""
    query = select(history.c.line).where(history.c.run_id == run_id).order_by(history.c.step, history.c.line)
    if first is not None:
        query = query.where(history.c.step >= first)
    if last is not None:
        query = query.where(history.c.step <= last)
    for key in keys:
        query = _naming(query, key)
    numbers = list(connection.execute(query).scalars())
    found = []
    for row in _fetch(connection, run_id, _spread(numbers, samples)):
        flat = {key: _at(json.loads(row.body), key.split(".")) for key in keys}
        if all(present for present, _ in flat.values()):
            found.append({key: value for key, (_, value) in flat.items()})
    return found


def values(connection: Connection, run_id: int, key: str, *, after: int | None) -> Iterator[Any]:
    """What the rows that have a (dotted) key say for it, in step order; of all rows, or those after a step."""
    query = select(history.c.body).where(history.c.run_id == run_id).order_by(history.c.step, history.c.line)
    if after is not None:
        query = query.where(history.c.step > after)
    for bodies in connection.execute(_naming(query, key)).scalars().partitions(_BATCH):
        for row in read(bodies):
            present, value = _at(row, key.split("."))
            if present:
                yield value


def sampled_events(connection: Connection, run_id: int, *, samples: int) -> list[str]:
    query = select(events.c.body).where(events.c.run_id == run_id).order_by(events.c.line)
    return _spread([row.body for row in _bounded(connection.execute(query))], samples)


def last_step(connection: Connection, run_id: int) -> int:
    """The largest step; -1 when nothing was logged."""
    step = connection.execute(select(func.max(history.c.step)).where(history.c.run_id == run_id)).scalar_one()
    return -1 if step is None else step


def first_step(connection: Connection, run_id: int) -> int | None:
    step: int | None = connection.execute(select(func.min(history.c.step)).where(history.c.run_id == run_id)).scalar_one()
    return step


def count(connection: Connection, run_id: int) -> int:
    return connection.execute(select(func.count()).select_from(history).where(history.c.run_id == run_id)).scalar_one()


def between_lines(connection: Connection, run_id: int, start: int, stop: int) -> list[str]:
    """The rows of lines [start, stop), in step order."""
    query = select(history.c.body).where(history.c.run_id == run_id, history.c.line >= start, history.c.line < stop)
    return list(connection.execute(query.order_by(history.c.step, history.c.line)).scalars())


def cut(connection: Connection, run_id: int, *, step: int) -> int:
    """Forget every row after a step; returns how many lines are left."""
    connection.execute(delete(history).where(history.c.run_id == run_id, history.c.step > step))
    _forget_curve(connection, run_id, since=step + 1)
    _recount(connection, run_id)
    return _length(connection, run_id)


def copy(connection: Connection, parent_id: int, child_id: int, *, step: int) -> int:
    """Give a fork its parent's rows up to a step; returns how many lines the fork has now."""
    rows = select(child_id, history.c.line, history.c.step, history.c.body)  # type: ignore[call-overload]
    rows = rows.where(history.c.run_id == parent_id, history.c.step <= step)
    connection.execute(insert(history).from_select(["run_id", "line", "step", "body"], rows))
    _recount(connection, child_id)
    return _length(connection, child_id)


def summary(connection: Connection, run_id: int) -> dict[str, Any]:
    """The last value of every key, as the client would have summarised the rows."""
    merged: dict[str, Any] = {}
    for body in window(connection, run_id, start=None, stop=None):
        merged |= json.loads(body)
    return merged


def _naming(query: Select[Any], key: str) -> Select[Any]:
    """Only rows that may have a key: cheap, and never wrong about one that has it, whose name ends some name in the text."""
    if not _PLAIN.fullmatch(key):
        return query
    return query.where(func.instr(history.c.body, key.rpartition(".")[2] + '"') > 0)


def _forget_curve(connection: Connection, run_id: int, *, since: int) -> None:
    """Rows come or go, the first of them at this step: what was read of it for early termination is no longer true."""
    connection.exec_driver_sql(f"DELETE FROM {curves.name} WHERE run_id = ? AND step >= ?", (run_id, since))


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _at(value: Any, path: Sequence[str]) -> tuple[bool, Any]:
    """(present, value) at a path whose parts may also be joined by dots inside one key."""
    if not path:
        return True, value
    if isinstance(value, dict):
        for length in range(len(path), 0, -1):
            name = ".".join(path[:length])
            if name in value:
                return _at(value[name], path[length:])
    return False, None


def _spread(items: list[Any], samples: int) -> list[Any]:
    if samples >= len(items):
        return items
    if samples <= 1:
        return items[-1:] if samples else []
    return [items[number * (len(items) - 1) // (samples - 1)] for number in range(samples)]


def _fetch(connection: Connection, run_id: int, numbers: Sequence[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for start in range(0, len(numbers), _BATCH):
        chosen = history.c.line.in_(numbers[start : start + _BATCH])
        query = select(history.c.step, history.c.line, history.c.body).where(and_(history.c.run_id == run_id, chosen))
        rows.extend(_bounded(connection.execute(query)))
    return sorted(rows, key=lambda row: (row.step, row.line))


def _bounded(rows: Iterable[Row[Any]]) -> Iterator[Row[Any]]:
    """Rows with a body, as long as one answer can hold them.

    Raises:
        BadData: it cannot; a part of a history would look like all of it.
    """
    text = 0
    for row in rows:
        text += len(row.body)
        if text > limits.ANSWER_TEXT:
            raise BadData(f"these rows have more than {limits.ANSWER_TEXT:,} characters; ask for fewer of them at once")
        yield row


def _length(connection: Connection, run_id: int) -> int:
    last = connection.execute(select(func.max(history.c.line)).where(history.c.run_id == run_id)).scalar_one()
    return 0 if last is None else last + 1


def _recount(connection: Connection, run_id: int) -> None:
    query = select(history.c.body).where(history.c.run_id == run_id).order_by(history.c.line)
    rows = read(list(connection.execute(query).scalars()))
    history_keys.recount(connection, run_id, (row for row in rows if row is not None))
