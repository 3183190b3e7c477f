"""Versions as lists show them: where they were logged, in their collections, and by the runs that logged or used them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, select

from registry.server.filters import json_at
from registry.server.store import layers, manifests
from registry.server.store.artifacts import COMMITTED
from registry.server.store.manifests import Entry
from registry.server.store.overview.places import in_projects
from registry.server.store.overview.runs import EDGES, Way
from registry.server.store.pages import Page, page
from registry.server.tables import artifact_types, artifacts, collections, memberships, projects

VERDICT_TYPE = "verdict"

# Types of the versions that the client logs by itself, for tables and code; what people made comes before them in lists.
BY_ITSELF = artifact_types.c.name.in_(("job", "run_table", "wandb-history"))

# What a row shows of a list that may be long: the page of the thing itself has the rest.
FEW = 8


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version in a list, under its number in one collection; `outcome` is what a verdict's label says."""

    artifact_id: int
    entity: str
    organization: str | None
    project: str
    collection: str
    type: str
    index: int
    outcome: str | None

    @property
    def collection_path(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}"

    def __str__(self) -> str:
        return f"{self.collection}:v{self.index}"


def versions_of_run(connection: Connection, way: Way, run_id: int, *, after: str | None, first: int) -> Page[VersionRow]:
    """The versions that a run logged or used, in the order in which it did; those the client made by itself last."""
    edge = EDGES[way]
    query = _versions(_outcome()).join(edge, edge.c.artifact_id == artifacts.c.id)
    query = query.where(edge.c.run_id == run_id, artifacts.c.state == COMMITTED).order_by(BY_ITSELF, edge.c.id)
    return page(connection, query, _version, after=after, first=first)


def versions_of_runs(connection: Connection, way: Way, run_ids: Iterable[int]) -> dict[int, list[VersionRow]]:
    """The first few versions that each of the runs logged or used."""
    edge = EDGES[way]
    place = func.row_number().over(partition_by=edge.c.run_id, order_by=(BY_ITSELF, edge.c.id)).label("place")
    numbered = (
        _versions(_outcome(), edge.c.run_id, place)
        .join(edge, edge.c.artifact_id == artifacts.c.id)
        .where(edge.c.run_id.in_(sorted(set(run_ids))), artifacts.c.state == COMMITTED)
        .subquery()
    )
    found: dict[int, list[VersionRow]] = {number: [] for number in run_ids}
    query = select(numbered).where(numbered.c.place <= FEW).order_by(numbered.c.run_id, numbered.c.place)
    for row in connection.execute(query):
        found[row.run_id].append(_version(row))
    return found


def version_rows(connection: Connection, artifact_ids: Iterable[int]) -> dict[int, VersionRow]:
    """Versions where they were logged, by artifact."""
    query = _versions(_outcome()).where(artifacts.c.id.in_(sorted(set(artifact_ids))))
    return {row.artifact_id: _version(row) for row in connection.execute(query)}


def members(connection: Connection, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], VersionRow]:
    """Those of the versions, named by collection and number in it, that are still there."""
    wanted = set(places)
    query = _members(memberships.c.collection_id).where(
        memberships.c.collection_id.in_(sorted({number for number, _ in wanted})),
        memberships.c.version_index.in_(sorted({index for _, index in wanted})),
    )
    found = {(row.collection_id, version.index): version for row in connection.execute(query) for version in [_version(row)]}
    return {place: version for place, version in found.items() if place in wanted}


def memberships_of(connection: Connection, artifact_id: int) -> list[VersionRow]:
    """A version under its number in each of its collections, the one where it was logged first."""
    query = _members().where(memberships.c.artifact_id == artifact_id).order_by(memberships.c.id)
    return [_version(row) for row in connection.execute(query)]


def entry_page(connection: Connection, artifact_id: int, *, after: str | None, first: int) -> Page[Entry]:
    """The files of a version in path order."""
    query, total = layers.of_version(connection, artifact_id), manifests.count(connection, artifact_id)
    return page(connection, query, lambda row: Entry(**row._mapping), after=after, first=first, total=total)


def _outcome() -> Any:
    # Read from the metadata only where it is one: other metadata may be long.
    said = json_at(artifacts.c.metadata, "outcome")
    return case((artifact_types.c.name == VERDICT_TYPE, said)).label("outcome")


def _versions(*columns: Any) -> Select[Any]:
    """Versions in the sequences where they were logged."""
    return (
        in_projects(
            artifacts.c.id.label("artifact_id"),
            artifacts.c.version_index.label("index"),
            collections.c.name.label("collection"),
            artifact_types.c.name.label("type"),
            *columns,
        )
        .join(collections, collections.c.project_id == projects.c.id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
        .join(artifacts, and_(artifacts.c.sequence_id == collections.c.id, artifacts.c.version_index.is_not(None)))
    )


def _members(*columns: Any) -> Select[Any]:
    """Versions in any of their collections."""
    return (
        in_projects(
            memberships.c.artifact_id,
            memberships.c.version_index.label("index"),
            collections.c.name.label("collection"),
            artifact_types.c.name.label("type"),
            _outcome(),
            *columns,
        )
        .join(collections, collections.c.project_id == projects.c.id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
        .join(memberships, memberships.c.collection_id == collections.c.id)
        .join(artifacts, artifacts.c.id == memberships.c.artifact_id)
    )


def _version(row: Row[Any]) -> VersionRow:
    return VersionRow(**{name: row._mapping[name] for name in VersionRow.__dataclass_fields__})
