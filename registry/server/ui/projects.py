"""The start page and the page of a project: what there is, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.errors import NotFound
from registry.server.access import Level
from registry.server.store import access, overview, people
from registry.server.store.overview import CollectionRow, ProjectRow, RunRow, SweepRow, VersionRow
from registry.server.ui.visit import Listing, Visit


@dataclass(frozen=True, kw_only=True)
class Home:
    """Every project and every registry that the visitor may see."""

    projects: Listing[ProjectRow]
    registries: Listing[ProjectRow]


@dataclass(frozen=True, kw_only=True)
class Project:
    """The runs, sweeps and collections of one project; `made` is what each shown run logged, by the run's id."""

    entity: str
    name: str
    description: str | None
    job_types: Sequence[tuple[str, int]]
    job_type: str | None
    runs: Listing[RunRow]
    made: Mapping[int, Sequence[VersionRow]]
    collections: Listing[CollectionRow]
    sweeps: Listing[SweepRow]


def home(visit: Visit) -> Home:
    connection = visit.context.connection
    seen = access.visible(visit.context.access)
    return Home(
        projects=visit.listing(
            "page",
            lambda after, first: overview.project_page(connection, visible=seen, registries=False, after=after, first=first),
        ),
        registries=visit.listing(
            "registries",
            lambda after, first: overview.project_page(connection, visible=seen, registries=True, after=after, first=first),
        ),
    )


def project(visit: Visit, entity: str, name: str) -> Project:
    connection = visit.context.connection
    found = the_project(visit, entity, name)
    job_type = visit.asked("job_type")
    runs = visit.listing(
        "page", lambda after, first: overview.run_page(connection, found.id, job_type=job_type, after=after, first=first)
    )
    return Project(
        entity=found.entity_name,
        name=found.name,
        description=found.description,
        job_types=overview.job_types(connection, found.id),
        job_type=job_type,
        runs=runs,
        made=overview.versions_of_runs(connection, "logged", [run.id for run in runs.items]),
        collections=visit.listing(
            "collections", lambda after, first: overview.collection_page(connection, found.id, after=after, first=first)
        ),
        sweeps=visit.listing(
            "sweeps", lambda after, first: overview.sweep_page(connection, found.id, after=after, first=first)
        ),
    )


def the_project(visit: Visit, entity: str, name: str) -> people.Project:
    """
    Raises:
        NotFound: there is none that the visitor may see.
    """
    found = people.project(visit.context.connection, entity, name)
    if found is None or visit.context.access.level(found.id) < Level.SEE:
        raise NotFound(f"there is no project {entity}/{name}")
    return found
