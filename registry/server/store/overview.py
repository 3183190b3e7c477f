"""What the pages for people list: rows narrow enough to show fifty at a time, each list in a fixed number of queries.

The wire's objects are whole (a run with its config, a version with all its collections); a page wants names, counts and times
of many. These reads take from several nouns at once, which is why they stand apart from them, and they change nothing.
Who holds an alias, and on what evidence, stands in `holders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, case, func, select

from registry.references import REGISTRY_PREFIX
from registry.server.context import User
from registry.server.filters import json_at
from registry.server.store.artifacts import COMMITTED
from registry.server.store.manifests import Entry
from registry.server.store.pages import Page, page
from registry.server.tables import (
    aliases,
    api_keys,
    artifact_types,
    artifacts,
    collections,
    entities,
    entries,
    loggings,
    memberships,
    organizations,
    projects,
    runs,
    usages,
    users,
)

VERDICT_TYPE = "verdict"

# Types of the versions that the client logs by itself, for tables and code; what people made comes before them in lists.
_BY_ITSELF = artifact_types.c.name.in_(("job", "run_table", "wandb-history"))

# What a row shows of a list that may be long: the page of the thing itself has the rest.
_FEW = 8

Way = Literal["logged", "used"]
_EDGES = {"logged": loggings, "used": usages}


@dataclass(frozen=True, kw_only=True)
class ProjectRow:
    """A project and how much is in it; `active_at` is when something in it last changed or gave a sign of life."""

    entity: str
    organization: str | None
    name: str
    description: str | None
    runs: int
    collections: int
    active_at: str

    @property
    def is_registry(self) -> bool:
        return self.name.startswith(REGISTRY_PREFIX)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in a list."""

    id: int
    entity: str
    project: str
    name: str
    display_name: str | None
    job_type: str | None
    state: str
    created_at: str
    heartbeat_at: str
    by: str | None


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


@dataclass(frozen=True, kw_only=True)
class CollectionRow:
    """A collection in a list, with a few of its aliases and the number of the version each points at."""

    id: int
    entity: str
    organization: str | None
    project: str
    name: str
    type: str
    kind: str
    description: str | None
    versions: int
    newest: int | None
    updated_at: str
    aliases: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class MemberRow:
    """A version in the list of its collection; `origin` is where it was logged, `added_at` when it came here."""

    version: VersionRow
    origin: VersionRow
    aliases: tuple[str, ...]
    digest: str
    size: int
    file_count: int
    added_at: str
    made_by: RunRow | None


def project_page(connection: Connection, *, registries: bool, after: str | None, first: int) -> Page[ProjectRow]:
    """All projects that are registries, or all that are not; the one that was active last first."""
    mine, within = runs.c.project_id == projects.c.id, collections.c.project_id == projects.c.id
    count_runs = select(func.count()).select_from(runs).where(mine).scalar_subquery()
    count_collections = select(func.count()).select_from(collections).where(within).scalar_subquery()
    heard = select(func.max(runs.c.heartbeat_at)).where(mine).scalar_subquery()
    changed = select(func.max(collections.c.updated_at)).where(within).scalar_subquery()
    active = func.max(projects.c.updated_at, func.coalesce(heard, ""), func.coalesce(changed, ""))
    prefixed = projects.c.name.startswith(REGISTRY_PREFIX, autoescape=True)
    query = (
        _in_projects(
            projects.c.name,
            projects.c.description,
            count_runs.label("runs"),
            count_collections.label("collections"),
            active.label("active_at"),
        )
        .where(prefixed if registries else ~prefixed)
        .order_by(active.desc(), projects.c.id.desc())
    )
    return page(connection, query, _project, after=after, first=first)


def job_types(connection: Connection, project_id: int) -> list[tuple[str, int]]:
    """The job types of a project's runs and how many runs each has, most first."""
    number = func.count()
    query = (
        select(runs.c.job_type, number)
        .where(runs.c.project_id == project_id, runs.c.job_type.is_not(None), runs.c.job_type != "")
        .group_by(runs.c.job_type)
        .order_by(number.desc(), runs.c.job_type)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def run_page(connection: Connection, project_id: int, *, job_type: str | None, after: str | None, first: int) -> Page[RunRow]:
    """The runs of a project, of one job type if named; newest first."""
    query = _runs().where(runs.c.project_id == project_id).order_by(runs.c.id.desc())
    if job_type is not None:
        query = query.where(runs.c.job_type == job_type)
    return page(connection, query, _run, after=after, first=first)


def run_rows(connection: Connection, run_ids: Iterable[int]) -> dict[int, RunRow]:
    """Those of the runs that exist, by id."""
    query = _runs().where(runs.c.id.in_(sorted(set(run_ids))))
    return {row.id: _run(row) for row in connection.execute(query)}


def runs_of_version(connection: Connection, way: Way, artifact_id: int, *, after: str | None, first: int) -> Page[RunRow]:
    """The runs that logged a version (its maker first), or that used it (latest first)."""
    edge = _EDGES[way]
    query = _runs().join(edge, edge.c.run_id == runs.c.id).where(edge.c.artifact_id == artifact_id)
    query = query.order_by(edge.c.id if way == "logged" else edge.c.id.desc())
    return page(connection, query, _run, after=after, first=first)


def versions_of_run(connection: Connection, way: Way, run_id: int, *, after: str | None, first: int) -> Page[VersionRow]:
    """The versions that a run logged or used, in the order in which it did; those the client made by itself last."""
    edge = _EDGES[way]
    query = _versions(_outcome()).join(edge, edge.c.artifact_id == artifacts.c.id)
    query = query.where(edge.c.run_id == run_id, artifacts.c.state == COMMITTED).order_by(_BY_ITSELF, edge.c.id)
    return page(connection, query, _version, after=after, first=first)


def versions_of_runs(connection: Connection, way: Way, run_ids: Iterable[int]) -> dict[int, list[VersionRow]]:
    """The first few versions that each of the runs logged or used."""
    edge = _EDGES[way]
    place = func.row_number().over(partition_by=edge.c.run_id, order_by=(_BY_ITSELF, edge.c.id)).label("place")
    numbered = (
        _versions(_outcome(), edge.c.run_id, place)
        .join(edge, edge.c.artifact_id == artifacts.c.id)
        .where(edge.c.run_id.in_(sorted(set(run_ids))), artifacts.c.state == COMMITTED)
        .subquery()
    )
    found: dict[int, list[VersionRow]] = {number: [] for number in run_ids}
    query = select(numbered).where(numbered.c.place <= _FEW).order_by(numbered.c.run_id, numbered.c.place)
    for row in connection.execute(query):
        found[row.run_id].append(_version(row))
    return found


def version_rows(connection: Connection, artifact_ids: Iterable[int]) -> dict[int, VersionRow]:
    """Versions where they were logged, by artifact."""
    query = _versions(_outcome()).where(artifacts.c.id.in_(sorted(set(artifact_ids))))
    return {row.artifact_id: _version(row) for row in connection.execute(query)}


def collection_page(connection: Connection, project_id: int, *, after: str | None, first: int) -> Page[CollectionRow]:
    """The collections of a project by type and name, with counts and a few aliases."""
    query = _collections().where(projects.c.id == project_id).order_by(_BY_ITSELF, artifact_types.c.name, collections.c.name)
    found = page(connection, query, lambda row: row, after=after, first=first)
    return Page(items=_with_aliases(connection, found.items), start=found.start, total_count=found.total_count)


def collection(connection: Connection, project_id: int, name: str) -> CollectionRow | None:
    rows = connection.execute(_collections().where(projects.c.id == project_id, collections.c.name == name)).all()
    return next(iter(_with_aliases(connection, rows)), None)


def member_page(connection: Connection, collection_id: int, *, after: str | None, first: int) -> Page[MemberRow]:
    """The versions in a collection, newest first."""
    query = (
        select(
            memberships.c.id,
            memberships.c.artifact_id,
            memberships.c.version_index,
            memberships.c.created_at,
            artifacts.c.digest,
            artifacts.c.size,
            artifacts.c.file_count,
            artifacts.c.run_id,
        )
        .join(artifacts, artifacts.c.id == memberships.c.artifact_id)
        .where(memberships.c.collection_id == collection_id, artifacts.c.state == COMMITTED)
        .order_by(memberships.c.version_index.desc())
    )
    found = page(connection, query, lambda row: row, after=after, first=first)
    here = [row.id for row in found.items]
    origins = version_rows(connection, [row.artifact_id for row in found.items])
    makers = run_rows(connection, [row.run_id for row in found.items if row.run_id is not None])
    placed = members(connection, [(collection_id, row.version_index) for row in found.items])
    held: dict[int, list[str]] = {number: [] for number in here}
    for alias in connection.execute(select(aliases).where(aliases.c.membership_id.in_(here)).order_by(aliases.c.id)):
        held[alias.membership_id].append(alias.name)
    items = [
        MemberRow(
            version=placed[collection_id, row.version_index],
            origin=origins[row.artifact_id],
            aliases=tuple(held[row.id]),
            digest=row.digest,
            size=row.size,
            file_count=row.file_count,
            added_at=row.created_at,
            made_by=makers.get(row.run_id),
        )
        for row in found.items
    ]
    return Page(items=items, start=found.start, total_count=found.total_count)


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
    query = select(entries).where(entries.c.artifact_id == artifact_id).order_by(entries.c.path)
    return page(connection, query, lambda row: Entry(**row._mapping), after=after, first=first)


def username(connection: Connection, user_id: int | None) -> str | None:
    return connection.execute(select(users.c.username).where(users.c.id == user_id)).scalar_one_or_none()


def user_of_key(connection: Connection, key_id: int) -> User | None:
    """Whose the API key with this id is; None once it was deleted."""
    row = connection.execute(
        select(users.c.id, users.c.username, users.c.admin, users.c.entity_id, entities.c.name.label("entity"))
        .join(api_keys, api_keys.c.user_id == users.c.id)
        .join(entities, entities.c.id == users.c.entity_id)
        .where(api_keys.c.id == key_id)
    ).one_or_none()
    return None if row is None else User(**row._mapping)


def _in_projects(*columns: Any) -> Select[Any]:
    """Columns of a thing in a project, with the names of its place; join the thing to `projects`."""
    names = (entities.c.name.label("entity"), organizations.c.name.label("organization"))
    own = () if any(column is projects.c.name for column in columns) else (projects.c.name.label("project"),)
    return (
        select(*columns, *own, *names)
        .select_from(projects)
        .join(entities, entities.c.id == projects.c.entity_id)
        .join(organizations, organizations.c.id == entities.c.organization_id, isouter=True)
    )


def _runs() -> Select[Any]:
    shown = ("id", "name", "display_name", "job_type", "state", "created_at", "heartbeat_at")
    return (
        _in_projects(*(runs.c[name] for name in shown), users.c.username.label("by"))
        .join(runs, runs.c.project_id == projects.c.id)
        .join(users, users.c.id == runs.c.user_id, isouter=True)
    )


def _outcome() -> Any:
    # Read from the metadata only where it is one: other metadata may be long.
    said = json_at(artifacts.c.metadata, "outcome")
    return case((artifact_types.c.name == VERDICT_TYPE, said)).label("outcome")


def _versions(*columns: Any) -> Select[Any]:
    """Versions in the sequences where they were logged."""
    return (
        _in_projects(
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


def _collections() -> Select[Any]:
    inside = memberships.c.collection_id == collections.c.id
    return (
        _in_projects(
            collections.c.id,
            collections.c.name,
            collections.c.kind,
            collections.c.description,
            collections.c.updated_at,
            artifact_types.c.name.label("type"),
            select(func.count()).select_from(memberships).where(inside).scalar_subquery().label("versions"),
            select(func.max(memberships.c.version_index)).where(inside).scalar_subquery().label("newest"),
        )
        .join(collections, collections.c.project_id == projects.c.id)
        .join(artifact_types, artifact_types.c.id == collections.c.type_id)
    )


def _with_aliases(connection: Connection, rows: Sequence[Row[Any]]) -> list[CollectionRow]:
    place = func.row_number().over(partition_by=aliases.c.collection_id, order_by=aliases.c.id).label("place")
    numbered = (
        select(aliases.c.collection_id, aliases.c.name, memberships.c.version_index, place)
        .join(memberships, memberships.c.id == aliases.c.membership_id)
        .where(aliases.c.collection_id.in_([row.id for row in rows]))
        .subquery()
    )
    held: dict[int, list[tuple[str, int]]] = {row.id: [] for row in rows}
    for alias in connection.execute(select(numbered).where(numbered.c.place <= _FEW).order_by(numbered.c.place)):
        held[alias.collection_id].append((alias.name, alias.version_index))
    return [CollectionRow(**row._mapping, aliases=tuple(held[row.id])) for row in rows]


def _members(*columns: Any) -> Select[Any]:
    """Versions in any of their collections."""
    return (
        _in_projects(
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


def _project(row: Row[Any]) -> ProjectRow:
    return ProjectRow(**row._mapping)


def _run(row: Row[Any]) -> RunRow:
    known = {name: value for name, value in row._mapping.items() if name != "organization"}
    return RunRow(**known)


def _version(row: Row[Any]) -> VersionRow:
    return VersionRow(**{name: row._mapping[name] for name in VersionRow.__dataclass_fields__})
