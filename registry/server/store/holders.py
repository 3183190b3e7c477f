"""Who holds an alias, since when, by whom, and on what evidence: the history of aliases as people ask about it.

A move is written down when it happens (`memberships`); here it is read back with its predecessor. The verdict behind a move is
found by lineage, not by trust: the last verdict logged before the move by a run of job type `promote` that used this very
version, and whose label names it as the candidate for this very alias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from registry.references import LATEST
from registry.server.filters import json_at
from registry.server.store import overview
from registry.server.store.overview import VERDICT_TYPE, VersionRow
from registry.server.store.pages import Page, page
from registry.server.tables import (
    alias_moves,
    aliases,
    artifact_types,
    artifacts,
    collections,
    loggings,
    memberships,
    projects,
    runs,
    usages,
    users,
)

# Aliases of one collection that a page shows: a pipeline may set one per commit.
_MOST = 50

_earlier = alias_moves.alias()


@dataclass(frozen=True, kw_only=True)
class Behind:
    """A verdict as its label tells it."""

    version: VersionRow
    outcome: str | None
    reason: str | None
    override: str | None


@dataclass(frozen=True, kw_only=True)
class Move:
    """One change of holder, from version `before` to version `index`: numbers in the collection, None for nobody.

    `target` is `project/collection:alias`. `holder` and `previous` are the two versions if they still are in the collection,
    `origin` is the new holder where it was logged.
    """

    id: int
    collection_id: int
    alias: str
    target: str
    before: int | None
    index: int | None
    previous: VersionRow | None
    holder: VersionRow | None
    origin: VersionRow | None
    by: str | None
    at: str
    verdict: Behind | None


def in_collections(
    connection: Connection, collection_ids: Iterable[int], *, artifact_id: int | None = None
) -> dict[int, list[Move]]:
    """The move that made each present holder one, by collection; only what one version holds when `artifact_id` is given."""
    wanted = sorted(set(collection_ids))
    place = func.row_number().over(partition_by=aliases.c.collection_id, order_by=aliases.c.id).label("place")
    held = select(aliases.c.collection_id, aliases.c.name, place).where(aliases.c.collection_id.in_(wanted))
    if artifact_id is not None:
        mine = memberships.c.artifact_id == artifact_id
        held = held.join(memberships, memberships.c.id == aliases.c.membership_id).where(mine)
    numbered = held.subquery()
    latest = (
        select(func.max(_earlier.c.id))
        .where(_earlier.c.collection_id == numbered.c.collection_id, _earlier.c.alias == numbered.c.name)
        .scalar_subquery()
    )
    query = (
        _moves()
        .join(numbered, alias_moves.c.id == latest)
        .where(numbered.c.place <= _MOST)
        .order_by(alias_moves.c.alias == LATEST, alias_moves.c.alias)
    )
    found: dict[int, list[Move]] = {number: [] for number in wanted}
    for move in _made(connection, connection.execute(query).all()):
        found[move.collection_id].append(move)
    return found


def history(
    connection: Connection, collection_ids: Iterable[int], *, alias: str | None, after: str | None, first: int
) -> Page[Move]:
    """The moves of one alias, or of all but `latest` (which moves whenever something is logged); newest first."""
    wanted = alias_moves.c.alias == alias if alias is not None else alias_moves.c.alias != LATEST
    query = _moves().where(alias_moves.c.collection_id.in_(sorted(set(collection_ids))), wanted)
    found = page(connection, query.order_by(alias_moves.c.id.desc()), lambda row: row, after=after, first=first)
    return Page(items=_made(connection, found.items), start=found.start, total_count=found.total_count)


def _moves() -> Select[Any]:
    """Moves, each with the one before it of the same alias."""
    before = (
        select(_earlier.c.version_index)
        .where(
            _earlier.c.collection_id == alias_moves.c.collection_id,
            _earlier.c.alias == alias_moves.c.alias,
            _earlier.c.id < alias_moves.c.id,
        )
        .order_by(_earlier.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            alias_moves,
            users.c.username.label("by"),
            projects.c.name.concat("/").concat(collections.c.name).concat(":").concat(alias_moves.c.alias).label("target"),
            before.label("before"),
        )
        .join(collections, collections.c.id == alias_moves.c.collection_id)
        .join(projects, projects.c.id == collections.c.project_id)
        .join(users, users.c.id == alias_moves.c.user_id, isouter=True)
    )


def _made(connection: Connection, rows: Sequence[Row[Any]]) -> list[Move]:
    origins = overview.version_rows(connection, [row.artifact_id for row in rows if row.artifact_id is not None])
    named = {(row.collection_id, index) for row in rows for index in (row.version_index, row.before) if index is not None}
    there = overview.members(connection, named)
    verdicts = _verdicts(connection, rows, origins)
    return [
        Move(
            id=row.id,
            collection_id=row.collection_id,
            alias=row.alias,
            target=row.target,
            before=row.before,
            index=row.version_index,
            previous=there.get((row.collection_id, row.before)),
            holder=there.get((row.collection_id, row.version_index)),
            origin=origins.get(row.artifact_id),
            by=row.by,
            at=row.moved_at,
            verdict=verdicts.get(row.id),
        )
        for row in rows
    ]


def _verdicts(connection: Connection, moves: Sequence[Row[Any]], origins: Mapping[int, VersionRow]) -> dict[int, Behind]:
    """The verdicts behind moves, by move."""
    candidates = {number: f"{at.entity}/{at.project}/{at}" for number, at in origins.items()}
    said = {name: json_at(artifacts.c.metadata, name) for name in ("outcome", "reason", "target", "candidate", "override")}
    query = (
        select(
            artifacts.c.id,
            loggings.c.created_at,
            usages.c.artifact_id.label("candidate_id"),
            *(value.label(name) for name, value in said.items()),
        )
        .select_from(usages)
        .join(runs, runs.c.id == usages.c.run_id)
        .join(loggings, loggings.c.run_id == runs.c.id)
        .join(artifacts, artifacts.c.id == loggings.c.artifact_id)
        .join(collections, collections.c.id == artifacts.c.sequence_id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
        .where(
            usages.c.artifact_id.in_(list(candidates)),
            runs.c.job_type == "promote",
            artifact_types.c.name == VERDICT_TYPE,
            said["candidate"].in_(sorted(set(candidates.values()))),
            said["target"].in_(sorted({move.target for move in moves})),
        )
        .order_by(loggings.c.id.desc())
    )
    logged = connection.execute(query).all() if candidates else []
    versions = overview.version_rows(connection, [row.id for row in logged])
    found: dict[int, Behind] = {}
    for move in moves:
        for row in logged:
            asked = (row.candidate_id, row.candidate, row.target)
            # There is no order between the two tables but time, which both take from this server's clock.
            if asked == (move.artifact_id, candidates.get(move.artifact_id), move.target) and row.created_at <= move.moved_at:
                found[move.id] = Behind(
                    version=versions[row.id],
                    outcome=_text(row.outcome),
                    reason=_text(row.reason),
                    override=_text(row.override),
                )
                break
    return found


def _text(value: Any) -> str | None:
    """Metadata is whatever a client said."""
    return None if value is None else str(value)
