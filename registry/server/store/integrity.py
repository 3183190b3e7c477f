"""What must be true in the database whatever was killed when, asked of the database itself.

Constraints already forbid much of it (two holders of an alias, one number twice). These are the laws they cannot state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from registry.server.store import artifacts as versions
from registry.server.store import collections as named
from registry.server.store import layers
from registry.server.store.artifacts import COMMITTED, PENDING
from registry.server.tables import aliases, artifacts, collections, memberships

_MOST_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A law that does not hold: where, in words, and what is there instead."""

    where: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Described:
    """A committed version and the manifest it is served with; `algorithm` is that of its digest."""

    id: int
    name: str
    digest: str
    algorithm: str
    manifest_md5: str | None


def file_is_sound(connection: Connection) -> list[Breach]:
    """SQLite's own check of its file."""
    lines = connection.execute(text(f"PRAGMA integrity_check({_MOST_LINES})")).scalars()
    return [Breach(where="reg.db", says=line) for line in lines if line != "ok"]


def references_hold(connection: Connection) -> list[Breach]:
    """Every row that another one refers to is there."""
    # A whole table may be wrong; the first hundred rows tell the story.
    rows = connection.execute(text("PRAGMA foreign_key_check")).fetchmany(_MOST_LINES)
    return [Breach(where=row[0], says=f"row {row[1]} refers to a row of {row[2]} that is not there") for row in rows]


def numbers_are_dense(connection: Connection) -> list[Breach]:
    """In a sequence every number below the next one was given to exactly one version, whether it still exists or not."""
    given, last = func.count(artifacts.c.version_index), func.max(artifacts.c.version_index)
    query = (
        select(collections.c.id, collections.c.next_index, given, last)
        .join(artifacts, artifacts.c.sequence_id == collections.c.id, isouter=True)
        .where(collections.c.kind == "sequence")
        .group_by(collections.c.id)
        .having((given != collections.c.next_index) | (func.coalesce(last, -1) >= collections.c.next_index))
    )

    found = []
    for number, following, count, highest in connection.execute(query).all():
        says = (
            f"{count} versions have numbers up to {'none' if highest is None else f'v{highest}'}, and the next is v{following}"
        )
        found.append(Breach(where=_path(connection, number), says=says))
    return found


def memberships_agree(connection: Connection) -> list[Breach]:
    """A committed version is a member of its sequence under its own number; nothing else is a member of anything."""
    home = memberships.c.collection_id == artifacts.c.sequence_id
    query = (
        select(artifacts.c.id, artifacts.c.state, artifacts.c.version_index, memberships.c.version_index)
        .join(memberships, (memberships.c.artifact_id == artifacts.c.id) & home, isouter=True)
        .where(
            ((artifacts.c.state == COMMITTED) & func.coalesce(memberships.c.version_index != artifacts.c.version_index, True))
            | ((artifacts.c.state != COMMITTED) & memberships.c.id.is_not(None))
        )
        .limit(_MOST_LINES)
    )
    found = []
    for number, state, own, there in connection.execute(query):
        says = f"is {state} with number {own}, and {'no member' if there is None else f'member v{there}'} of its collection"
        found.append(Breach(where=f"artifact {number}", says=says))
    beyond = (
        select(memberships.c.collection_id, memberships.c.version_index, collections.c.next_index)
        .join(collections, collections.c.id == memberships.c.collection_id)
        .where(memberships.c.version_index >= collections.c.next_index)
        .limit(_MOST_LINES)
    )
    for number, index, following in connection.execute(beyond):
        found.append(Breach(where=_path(connection, number), says=f"has a v{index}, and its next number is v{following}"))
    return found


def aliases_agree(connection: Connection) -> list[Breach]:
    """An alias of a collection points at a member of that collection."""
    query = (
        select(aliases.c.name, aliases.c.collection_id, memberships.c.collection_id)
        .join(memberships, memberships.c.id == aliases.c.membership_id)
        .where(memberships.c.collection_id != aliases.c.collection_id)
        .limit(_MOST_LINES)
    )
    return [
        Breach(where=_path(connection, here), says=f"its alias '{name}' points into {_path(connection, there)}")
        for name, here, there in connection.execute(query)
    ]


def contents_agree(connection: Connection) -> list[Breach]:
    """The size and number of files of a version are those of its entries; what is not a version has none."""
    counted = (
        select(layers.shown.c.artifact_id, func.count().label("files"), func.sum(layers.shown.c.size).label("size"))
        .group_by(layers.shown.c.artifact_id)
        .subquery()
    )
    count, size = func.coalesce(counted.c.files, 0), func.coalesce(counted.c.size, 0)
    query = (
        select(artifacts.c.id, artifacts.c.state, artifacts.c.file_count, artifacts.c.size, count, size)
        .join(counted, counted.c.artifact_id == artifacts.c.id, isouter=True)
        .where(
            ((artifacts.c.state == COMMITTED) & ((artifacts.c.file_count != count) | (artifacts.c.size != size)))
            | ((artifacts.c.state != COMMITTED) & (count > 0))
            | ((artifacts.c.state == COMMITTED) & artifacts.c.manifest_md5.is_(None))
            | ((artifacts.c.state == PENDING) & artifacts.c.manifest_md5.is_not(None))
        )
        .limit(_MOST_LINES)
    )
    found = []
    for number, state, files, size_said, there, bytes_there in connection.execute(query):
        says = f"is {state} and says {files} files of {size_said} bytes; it has {there} of {bytes_there}"
        found.append(Breach(where=_name(connection, number), says=says))
    return found


def layers_are_used(connection: Connection) -> list[Breach]:
    """Every layer is of a version: the bytes that it names would be kept for nobody."""
    found = layers.without_versions(connection)[:_MOST_LINES]
    return [Breach(where=f"layer {number}", says="its files are of no version") for number in found]


def committed(connection: Connection, *, after: int, first: int) -> list[Described]:
    """A page of the committed versions, by id."""
    columns = (artifacts.c.id, artifacts.c.digest, artifacts.c.digest_algorithm.label("algorithm"), artifacts.c.manifest_md5)
    query = select(*columns).where(artifacts.c.state == COMMITTED, artifacts.c.id > after).order_by(artifacts.c.id)
    rows = connection.execute(query.limit(first)).all()
    names = versions.by_ids(connection, (row.id for row in rows))
    return [Described(name=str(names[row.id]), **row._mapping) for row in rows]


def lines(connection: Connection, artifact_id: int) -> Iterator[tuple[str, str]]:
    """The paths of a version and their digests, in path order, without holding them all."""
    query = layers.of_version(connection, artifact_id)
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield row.path, row.digest


def _name(connection: Connection, artifact_id: int) -> str:
    return str(versions.by_ids(connection, [artifact_id])[artifact_id])


def _path(connection: Connection, collection_id: int) -> str:
    return named.by_id(connection, collection_id).path
