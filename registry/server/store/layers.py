"""Layers: the rows of entries that versions share, so that a version built on another one stores what is its own.

A version is a stack of layers, and of two rows with the same path the one in the newer layer counts: clients add to a version
and replace in it, they never take away. A new layer swallows those on top of its base until each that is left is some times as
large as what lies on it. So stacks stay as low as the logarithm of their size, and a row is written again about as often,
instead of once for every version; one file more in sixty thousand is a few rows.

No row is kept that no version shows: what is deleted must become garbage. That makes the table itself the list of the bytes
that versions need (`keeping`), and deleting the last version that shows a row deletes the row.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    FromClause,
    Select,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    select,
    union_all,
)

from registry.server.tables import entries, layers, stacks

# How many times as large a layer is as the one on it, at least. Less makes stacks higher, more writes rows more often.
_TIMES = 4

# (path, digest, size, md5, ref), as in the table.
Row: TypeAlias = tuple[str, str, int | None, str | None, str | None]
_COLUMNS = tuple(column for column in entries.c if column is not entries.c.layer_id)


def _hidden(stack: FromClause, entry: FromClause) -> Exists:
    """Whether in the version of this row of `stacks` a newer layer says something else of the path of this entry."""
    over, hiding = stacks.alias(), entries.alias()
    above = (over.c.artifact_id == stack.c.artifact_id) & (over.c.layer_id > stack.c.layer_id)
    same = (hiding.c.layer_id == over.c.layer_id) & (hiding.c.path == entry.c.path)
    return exists().where(above, same).correlate(stack, entry)


# The entries of all versions, with the version's id: for questions that begin with a digest, or are about everything.
shown = (
    select(stacks.c.artifact_id, *_COLUMNS)
    .join(entries, entries.c.layer_id == stacks.c.layer_id)
    .where(~_hidden(stacks, entries))
    .subquery("shown")
)


def shown_without(artifact_ids: Collection[int]) -> ColumnElement[bool]:
    """The condition on `entries` that a version which is none of these shows them."""
    here = (stacks.c.layer_id == entries.c.layer_id) & stacks.c.artifact_id.not_in(listed(artifact_ids))
    return exists().where(here, ~_hidden(stacks, entries)).correlate(entries)


def listed(values: Iterable[int] | Iterable[str]) -> Select[Any]:
    """Values for a condition such as `in_`, which takes only so many of them by themselves."""
    return select(func.json_each(json.dumps(sorted(values))).table_valued("value").c.value)


def of_version(connection: Connection, artifact_id: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    """The entries of one version, with its id, in path order: SQLite walks through all layers at once and sorts nothing.

    Args:
        conditions: on columns of `entries`.
    """
    stack = _stack(connection, artifact_id)
    parts = [_part(artifact_id, layer, stack[:place], conditions) for place, layer in enumerate(stack)]
    if len(parts) < 2:
        only = parts[0] if parts else _part(artifact_id, None, (), (false(),))
        return only.order_by(entries.c.path)
    joined = union_all(*parts).subquery()
    return select(joined).order_by(joined.c.path)


def write(connection: Connection, artifact_id: int, rows: Sequence[Row], *, base_id: int | None) -> None:
    """Give a version its entries.

    Args:
        rows: its own, each path once.
        base_id: the version that has all others.
    """
    below = [] if base_id is None else _stack(connection, base_id)
    size, swallowed = len(rows), []
    while below and rows and (there := _count(connection, below[0], most=_TIMES * size)) < _TIMES * size:
        swallowed.append(below.pop(0))
        size += there
    if rows:
        layer = _new(connection)
        # Spelt for the driver: binding sixty thousand rows by name takes as long as writing them.
        names = ", ".join(column.name for column in _COLUMNS)
        connection.exec_driver_sql(
            f"INSERT INTO {entries.name} (layer_id, {names}) VALUES (?, ?, ?, ?, ?, ?)", [(layer, *row) for row in rows]
        )
        for other in swallowed:
            copied = select(literal(layer), *_COLUMNS).where(entries.c.layer_id == other)
            # Paths that a newer layer speaks of are there already, and stay.
            filling = insert(entries).prefix_with("OR IGNORE")
            connection.execute(filling.from_select(["layer_id", *(column.name for column in _COLUMNS)], copied))
        below.insert(0, layer)
    if below:
        connection.execute(insert(stacks), [{"artifact_id": artifact_id, "layer_id": layer} for layer in below])


def forget(connection: Connection, artifact_id: int) -> None:
    """Drop the entries of a version: layers that no other version has, and of the others the rows that none of them shows."""
    held = _stack(connection, artifact_id)
    connection.execute(delete(stacks).where(stacks.c.artifact_id == artifact_id))
    used = set(connection.execute(select(stacks.c.layer_id).where(stacks.c.layer_id.in_(held)).distinct()).scalars())
    connection.execute(delete(layers).where(layers.c.id.in_(set(held) - used)))
    for layer in used:
        _drop_hidden(connection, layer)


def md5s_beside(connection: Connection, artifact_id: int, base_id: int | None) -> set[str]:
    """The md5s of a version's files, but for layers that it shares with its base: what lies there, the base shows too."""
    beside = set(_stack(connection, artifact_id))
    if base_id is not None:
        beside.difference_update(_stack(connection, base_id))
    query = select(entries.c.md5).where(entries.c.layer_id.in_(beside), entries.c.md5.is_not(None))
    return set(connection.execute(query).scalars())


def without_versions(connection: Connection) -> list[int]:
    """The layers that no version has: there is none unless the database was changed by hand."""
    return list(connection.execute(select(layers.c.id).where(layers.c.id.not_in(select(stacks.c.layer_id)))).scalars())


def _stack(connection: Connection, artifact_id: int) -> list[int]:
    """The layers of a version, the newest first."""
    query = select(stacks.c.layer_id).where(stacks.c.artifact_id == artifact_id)
    return list(connection.execute(query.order_by(stacks.c.layer_id.desc())).scalars())


def _part(artifact_id: int, layer: int | None, newer: Iterable[int], conditions: Iterable[ColumnElement[bool]]) -> Select[Any]:
    """What one layer contributes to a version."""
    query = select(literal(artifact_id).label("artifact_id"), *_COLUMNS).where(entries.c.layer_id == layer, *conditions)
    for other in newer:
        hiding = entries.alias()
        hidden = exists().where(hiding.c.layer_id == other, hiding.c.path == entries.c.path)
        query = query.where(~hidden.correlate(entries))
    return query


def _count(connection: Connection, layer: int, *, most: int) -> int:
    """How many rows a layer has, `most` if there are more."""
    some = select(entries.c.path).where(entries.c.layer_id == layer).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _new(connection: Connection) -> int:
    key = connection.execute(insert(layers)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _drop_hidden(connection: Connection, layer: int) -> None:
    """Delete the rows of a layer that newer layers hide in each of its versions."""
    first = select(func.min(stacks.c.artifact_id)).where(stacks.c.layer_id == layer).scalar_subquery()
    over, hiding = stacks.alias(), entries.alias()
    # What all of them hide, the first one hides; and that is little, since what lies on a layer is smaller than it.
    little = select(hiding.c.path).join(over, over.c.layer_id == hiding.c.layer_id)
    little = little.where(over.c.artifact_id == first, over.c.layer_id > layer)
    holding = stacks.alias()
    shows = exists().where(holding.c.layer_id == layer, ~_hidden(holding, entries)).correlate(entries)
    connection.execute(delete(entries).where(entries.c.layer_id == layer, entries.c.path.in_(little), ~shows))
