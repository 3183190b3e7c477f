"""The page of a registry: which version holds which alias of each collection, since when, by whom, and on what verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.errors import NotFound
from registry.references import REGISTRY_PREFIX
from registry.server.access import Level
from registry.server.store import holders, overview, people
from registry.server.store.holders import Move
from registry.server.store.overview import CollectionRow
from registry.server.ui import artifacts
from registry.server.ui.visit import Listing, Visit


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The collections of a registry; `holders` are the present holders, `moves` the latest moves of their aliases."""

    organization: str
    name: str
    project: str
    description: str | None
    collections: Listing[CollectionRow]
    holders: Mapping[int, Sequence[Move]]
    moves: Listing[Move]


def registry(visit: Visit, organization: str, name: str) -> Registry | artifacts.Collection | artifacts.Version:
    """A registry, or what the address selects in it."""
    connection = visit.context.connection
    owner = people.organization(connection, organization)
    entity = None if owner is None else people.org_entity(connection, owner.id)
    project = None if entity is None else people.project(connection, entity.name, REGISTRY_PREFIX + name)
    if project is None or visit.context.access.level(project.id) < Level.SEE:
        raise NotFound(f"the organisation '{organization}' has no registry '{name}'")
    selected = selection(visit)
    if selected is not None:
        return selected
    collections = visit.listing(
        "page", lambda after, first: overview.collection_page(connection, project.id, after=after, first=first)
    )
    shown = [collection.id for collection in collections.items]
    return Registry(
        organization=organization,
        name=name,
        project=project.name,
        description=project.description,
        collections=collections,
        holders=holders.in_collections(connection, shown),
        moves=visit.listing(
            "moves", lambda after, first: holders.history(connection, shown, alias=None, after=after, first=first)
        ),
    )


def selection(visit: Visit) -> artifacts.Collection | artifacts.Version | None:
    """What `selectionPath=entity/project/collection`, and perhaps `version=vN`, select; None without."""
    path = visit.asked("selectionPath")
    if path is None:
        return None
    entity, _, rest = path.partition("/")
    project, _, collection = rest.partition("/")
    tag = visit.asked("version")
    if tag is not None:
        return artifacts.version(visit, entity, project, collection, tag)
    return artifacts.collection(visit, entity, project, collection)
