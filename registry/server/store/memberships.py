"""Memberships and aliases: which version stands under which number in which collection, and which names point at it.

A version is a member of the sequence it was logged to and of every portfolio it was linked to; each membership has a number
of its own. Aliases belong to memberships, so `production` in a registry says nothing about `production` in the sequence.
An alias has one holder per collection and every change of holder is written down: the database's constraint, and the
`alias_moves` that are added in the same transaction, are what a promotion stands on.

What W&B does is documented at https://docs.wandb.ai/models/registry/aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.references import LATEST
from registry.server.context import now
from registry.server.names import readable
from registry.server.store import protection
from registry.server.store.collections import Collection
from registry.server.tables import alias_moves, aliases, artifacts, collections, memberships

_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_LONGEST_ALIAS = 128


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A name that points at one version of its collection."""

    id: int
    alias: str
    collection_id: int
    artifact_id: int


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One version in one collection, with the aliases it holds there."""

    id: int
    collection_id: int
    artifact_id: int
    version_index: int
    created_at: str
    aliases: tuple[Alias, ...]


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One change of holder; `version_index` is None where the alias was taken away."""

    id: int
    collection_id: int
    alias: str
    version_index: int | None
    artifact_id: int | None
    user_id: int | None
    moved_at: str


def add(connection: Connection, collection_id: int, artifact_id: int) -> Membership:
    """Make a version a member under the collection's next number; the present membership if it is one already."""
    present = of_artifact(connection, artifact_id, collection_id=collection_id)
    if present:
        return present[0]
    index = connection.execute(
        update(collections)
        .where(collections.c.id == collection_id)
        .values(next_index=collections.c.next_index + 1, updated_at=now())
        .returning(collections.c.next_index)
    ).scalar_one()
    connection.execute(
        insert(memberships).values(
            collection_id=collection_id, artifact_id=artifact_id, version_index=index - 1, created_at=now()
        )
    )
    return of_artifact(connection, artifact_id, collection_id=collection_id)[0]


def remove(connection: Connection, membership: Membership, *, user_id: int | None) -> None:
    """End a membership; its aliases go, and `latest` moves on to the newest version that remains."""
    had_latest = any(alias.alias == LATEST for alias in membership.aliases)
    for alias in membership.aliases:
        drop_alias(connection, membership, alias.alias, user_id=user_id)
    connection.execute(delete(memberships).where(memberships.c.id == membership.id))
    newest = _one(
        connection,
        memberships.c.collection_id == membership.collection_id,
        memberships.c.version_index
        == select(memberships.c.version_index)
        .where(memberships.c.collection_id == membership.collection_id)
        .order_by(memberships.c.version_index.desc())
        .limit(1)
        .scalar_subquery(),
    )
    if had_latest and newest is not None:
        set_alias(connection, newest, LATEST, user_id=user_id)


def resolve(connection: Connection, collection_id: int, tag: str) -> Membership | None:
    """The member that `vN`, an alias or a digest names; None when nothing does."""
    here = memberships.c.collection_id == collection_id
    if version := _VERSION.fullmatch(tag):
        return _one(connection, here, memberships.c.version_index == int(version.group(1)))
    held = select(aliases.c.membership_id).where(aliases.c.collection_id == collection_id, aliases.c.name == tag)
    found = _one(connection, memberships.c.id == held.scalar_subquery())
    if found is None and _DIGEST.fullmatch(tag):
        same = select(artifacts.c.id).where(artifacts.c.digest == tag)
        found = _one(connection, here, memberships.c.artifact_id.in_(same))
    return found


def of_row(row: Row[Any], held: Iterable[Alias]) -> Membership:
    """The membership of a row of its table.

    Args:
        held: aliases of its version, those in other collections too.
    """
    return Membership(
        id=row.id,
        collection_id=row.collection_id,
        artifact_id=row.artifact_id,
        version_index=row.version_index,
        created_at=row.created_at,
        aliases=tuple(alias for alias in held if alias.collection_id == row.collection_id),
    )


def of_artifact(connection: Connection, artifact_id: int, *, collection_id: int | None = None) -> list[Membership]:
    """Every membership of a version, the one of its sequence first."""
    conditions = [memberships.c.artifact_id == artifact_id]
    if collection_id is not None:
        conditions.append(memberships.c.collection_id == collection_id)
    return _made(connection, *conditions)


def aliases_of(connection: Connection, artifact_ids: Iterable[int]) -> dict[int, list[Alias]]:
    """The aliases of versions in all their collections, by artifact."""
    found: dict[int, list[Alias]] = {number: [] for number in artifact_ids}
    rows = connection.execute(_aliases().where(memberships.c.artifact_id.in_(sorted(found))).order_by(aliases.c.id))
    for row in rows:
        found[row.artifact_id].append(_alias(row))
    return found


def aliases_in(connection: Connection, collection_id: int) -> list[Alias]:
    """Every alias of a collection, in the order in which they were first set."""
    rows = connection.execute(_aliases().where(aliases.c.collection_id == collection_id).order_by(aliases.c.id))
    return [_alias(row) for row in rows]


def set_aliases(connection: Connection, membership: Membership, names: Iterable[str], *, user_id: int | None) -> None:
    """Point aliases at a membership; see `set_alias`."""
    for name in dict.fromkeys(names):
        set_alias(connection, membership, name, user_id=user_id)


def set_alias(connection: Connection, membership: Membership, name: str, *, user_id: int | None) -> None:
    """Point an alias at a membership, taking it from whoever held it.

    `vN` is not set by anybody: the server numbers versions, and a client that repeats a number means no harm.

    Raises:
        BadData: the name cannot be an alias.
    """
    if _VERSION.fullmatch(name):
        return
    if not name.strip() or len(name) > _LONGEST_ALIAS or any(letter in "/:" for letter in name) or not readable(name):
        raise BadData(f"'{name[:80]}' cannot be an alias: 1 to {_LONGEST_ALIAS} characters without '/' and ':'")
    held = select(aliases.c.membership_id).where(aliases.c.collection_id == membership.collection_id, aliases.c.name == name)
    if connection.execute(held).scalar_one_or_none() == membership.id:
        return
    protection.require(connection, membership.collection_id, name, user_id)
    connection.execute(
        upsert(aliases)
        .values(collection_id=membership.collection_id, membership_id=membership.id, name=name)
        .on_conflict_do_update(index_elements=["collection_id", "name"], set_={"membership_id": membership.id})
    )
    _record(connection, membership, name, taken_away=False, user_id=user_id)


def drop_alias(connection: Connection, membership: Membership, name: str, *, user_id: int | None) -> None:
    """Take an alias away from a membership; nothing happens when it holds no such alias, or no longer."""
    dropped = connection.execute(delete(aliases).where(aliases.c.membership_id == membership.id, aliases.c.name == name))
    if dropped.rowcount:
        protection.require(connection, membership.collection_id, name, user_id)
        _record(connection, membership, name, taken_away=True, user_id=user_id)


def moves(connection: Connection, collection_id: int, alias: str | None = None) -> list[AliasMove]:
    """The history of a collection's aliases, oldest first."""
    query = select(alias_moves).where(alias_moves.c.collection_id == collection_id).order_by(alias_moves.c.id)
    if alias is not None:
        query = query.where(alias_moves.c.alias == alias)
    return [AliasMove(**row._mapping) for row in connection.execute(query)]


def require(connection: Connection, artifact_id: int, collection: Collection) -> Membership:
    """The membership of a version in a collection.

    Raises:
        NotFound: it is no member.
    """
    found = of_artifact(connection, artifact_id, collection_id=collection.id)
    if not found:
        raise NotFound(f"the artifact is not a version of {collection.path}")
    return found[0]


def _record(connection: Connection, membership: Membership, name: str, *, taken_away: bool, user_id: int | None) -> None:
    connection.execute(
        insert(alias_moves).values(
            collection_id=membership.collection_id,
            alias=name,
            version_index=None if taken_away else membership.version_index,
            artifact_id=None if taken_away else membership.artifact_id,
            user_id=user_id,
            moved_at=now(),
        )
    )


def _aliases() -> Any:
    return select(aliases, memberships.c.artifact_id).join(memberships, memberships.c.id == aliases.c.membership_id)


def _alias(row: Row[Any]) -> Alias:
    return Alias(id=row.id, alias=row.name, collection_id=row.collection_id, artifact_id=row.artifact_id)


def _one(connection: Connection, *conditions: Any) -> Membership | None:
    found = _made(connection, *conditions)
    return found[0] if found else None


def _made(connection: Connection, *conditions: Any) -> list[Membership]:
    rows = connection.execute(select(memberships).where(*conditions).order_by(memberships.c.id)).all()
    held: dict[int, list[Alias]] = {row.id: [] for row in rows}
    for row in connection.execute(_aliases().where(aliases.c.membership_id.in_(list(held))).order_by(aliases.c.id)):
        held[row.membership_id].append(_alias(row))
    return [of_row(row, held[row.id]) for row in rows]
