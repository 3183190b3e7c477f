"""Artifacts: reading. Versions, collections, types, memberships, files, and the lineage between versions and runs."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from typing import Any

from ariadne import InterfaceType, ObjectType, QueryType, SchemaBindable, UnionType

from registry.errors import NotFound
from registry.server import guards, ids, transfers
from registry.server.context import Context
from registry.server.resolvers import Info, artifact_edits, uploads
from registry.server.store import access, artifacts, collections, lineage, manifests, memberships, people, runs
from registry.server.store.artifacts import Artifact, Version
from registry.server.store.collections import ArtifactType, Collection, Tag
from registry.server.store.manifests import Entry
from registry.server.store.memberships import Alias
from registry.server.store.pages import Page
from registry.server.store.runs import Run

_PAGE_OF_FILES = 50
_ALL_TYPES = 10_000
_INHERITED = -1

query = QueryType()
project = ObjectType("Project")
run = ObjectType("Run")
artifact = ObjectType("Artifact")
artifact_type = ObjectType("ArtifactType")
collection = InterfaceType("ArtifactCollection")
sequence = ObjectType("ArtifactSequence")
membership = ObjectType("ArtifactCollectionMembership")
creator = UnionType("ArtifactCreator")
tag = ObjectType("Tag")
file = ObjectType("File")


@query.field("artifact")
def artifact_by_id(_: None, info: Info, id: str) -> Artifact | None:
    """A pending artifact is nobody's business but its uploader's, who does not ask."""
    try:
        found = artifacts.by_id(info.context.connection, ids.decode("Artifact", id))
    except NotFound:
        return None
    return None if found.state == artifacts.PENDING else found


@query.field("artifactCollection")
def collection_by_id(_: None, info: Info, id: str) -> Collection:
    return collections.by_id(info.context.connection, ids.decode("ArtifactCollection", id))


@query.field("clientIDMapping")
def client_id_mapping(_: None, info: Info, client_id: str) -> dict[str, str] | None:
    found = artifacts.by_client_id(info.context.connection, client_id)
    return None if found is None else {"server_id": ids.encode("Artifact", found)}


@project.field("artifact")
def artifact_by_name(parent: people.Project, info: Info, name: str) -> Artifact | None:
    found = artifacts.named(info.context.connection, parent.id, name)
    return None if found is None else found.artifact


@project.field("artifactCollectionMembership")
def membership_by_name(parent: people.Project, info: Info, name: str) -> Version | None:
    return artifacts.named(info.context.connection, parent.id, name)


@project.field("artifactType")
def type_by_name(parent: people.Project, info: Info, name: str) -> ArtifactType | None:
    return collections.type_named(info.context.connection, parent.id, name)


@project.field("artifactTypes")
def types(
    parent: people.Project,
    info: Info,
    include_all: bool | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[ArtifactType]:
    # Who asks for a registry's types means all of them and does not page.
    size = _ALL_TYPES if include_all else first
    return collections.types(info.context.connection, parent.id, after=after, first=size)


@project.field("artifactCollection")
def collection_by_name(parent: people.Project, info: Info, name: str) -> Collection | None:
    return collections.find(info.context.connection, parent.id, name)


@project.field("artifactCollections")
def project_collections(parent: people.Project, info: Info, **asked: Any) -> Page[Collection]:
    return collections.listing(info.context.connection, parent.id, **asked)


@artifact_type.field("id")
def type_id(parent: ArtifactType, info: Info) -> str:
    return ids.encode("ArtifactType", parent.id)


@artifact_type.field("artifactCollection")
def collection_of_type(parent: ArtifactType, info: Info, name: str) -> Collection | None:
    found = collections.find(info.context.connection, parent.project_id, name)
    return found if found is not None and found.type.id == parent.id else None


@artifact_type.field("artifactCollections")
def collections_of_type(parent: ArtifactType, info: Info, **asked: Any) -> Page[Collection]:
    return collections.listing(info.context.connection, parent.project_id, type_name=parent.name, **asked)


@collection.type_resolver
def collection_kind(parent: Collection, *_: Any) -> str:
    return {"sequence": "ArtifactSequence", "portfolio": "ArtifactPortfolio"}[parent.kind]


@collection.field("id")
def collection_id(parent: Collection, info: Info) -> str:
    return ids.encode("ArtifactCollection", parent.id)


@collection.field("tags")
def collection_tags(parent: Collection, info: Info) -> dict[str, Any]:
    return {"edges": [{"node": tag} for tag in parent.tags]}


@collection.field("aliases")
def collection_aliases(parent: Collection, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    held = memberships.aliases_in(info.context.connection, parent.id)
    edges = [{"node": _alias(alias, parent)} for alias in held]
    return {"edges": edges, "page_info": {"end_cursor": None, "has_next_page": False}}


@collection.field("artifactMembership")
def collection_member(parent: Collection, info: Info, alias_name: str) -> Version | None:
    context = info.context
    found = memberships.resolve(context.connection, parent.id, alias_name)
    return None if found is None else artifacts.versions(context.connection, [found])[0]


@collection.field("artifacts")
def collection_versions(parent: Collection, info: Info, **asked: Any) -> dict[str, Any]:
    found = artifacts.listing(info.context.connection, parent.id, **asked)
    edges = [
        {"version": f"v{edge.node.membership.version_index}", "node": edge.node.artifact, "cursor": edge.cursor}
        for edge in found.edges
    ]
    return {"edges": edges, "page_info": found.page_info, "total_count": found.total_count}


@sequence.field("latestArtifact")
def latest(parent: Collection, info: Info) -> Artifact | None:
    context = info.context
    found = collections.latest(context.connection, parent.id)
    return None if found is None else artifacts.by_id(context.connection, found)


@sequence.field("digestAlgorithm")
def algorithm_of_sequence(parent: Collection, info: Info) -> str | None:
    """By which its newest version is known; a client that begins a sequence chooses."""
    return artifacts.algorithm_in(info.context.connection, parent.id)


@artifact.field("id")
def artifact_id(parent: Artifact, info: Info) -> str:
    return ids.encode("Artifact", parent.id)


@artifact.field("aliases")
def artifact_aliases(parent: Artifact, info: Info) -> list[dict[str, Any]]:
    return [_alias(alias, parent.collections[alias.collection_id]) for alias in parent.aliases]


@artifact.field("artifactType")
def type_of_artifact(parent: Artifact, info: Info) -> ArtifactType:
    return parent.sequence.type


@artifact.field("ttlDurationSeconds")
def ttl(parent: Artifact, info: Info) -> int:
    return _INHERITED if parent.ttl_seconds is None else parent.ttl_seconds


@artifact.field("currentManifest")
def current_manifest(parent: Artifact, info: Info) -> dict[str, Any] | None:
    context = info.context
    if parent.manifest_md5 is None:
        return None
    url = transfers.download_url(context, parent.manifest_md5, "wandb_manifest.json")
    announced = manifests.of_artifact(context.connection, parent.id)[-1]
    number = ids.encode("ArtifactManifest", announced.id)
    return {"id": number, "file": {"id": number, "name": "wandb_manifest.json", "direct_url": url, "size_bytes": 0}}


@artifact.field("createdBy")
def created_by(parent: Artifact, info: Info) -> Run | people.Person | None:
    """The run that made it; of what was made without one, the user. Of a run that was deleted nothing is left to tell."""
    context = info.context
    loggers = lineage.loggers_of(context.connection, parent.id)
    if parent.run_id is not None:
        return runs.by_id(context.connection, parent.run_id)
    if loggers or parent.user_id is None:
        return None
    return people.person(context.connection, parent.user_id)


@creator.type_resolver
def creator_kind(parent: Run | people.Person, *_: Any) -> str:
    return "Run" if isinstance(parent, Run) else "User"


@artifact.field("usedBy")
def used_by(parent: Artifact, info: Info) -> dict[str, Any]:
    context = info.context
    users = lineage.users_of(context.connection, parent.id)
    found = runs.by_ids(context.connection, users)
    return _whole(context, [found[number] for number in users])


@artifact.field("artifactMemberships")
def artifact_memberships(parent: Artifact, info: Info) -> dict[str, Any]:
    context = info.context
    found = artifacts.versions(context.connection, memberships.of_artifact(context.connection, parent.id))
    return _whole(context, found)


@artifact.field("filesByManifestEntries")
def files_by_entries(parent: Artifact, info: Info, entries: list[dict[str, Any]] | None = None, **_: Any) -> dict[str, Any]:
    names = [entry["name"] for entry in entries or ()]
    return _files(info.context, parent, names=names, after=None, first=len(names))


@membership.field("id")
def membership_id(parent: Version, info: Info) -> str:
    return ids.encode("ArtifactCollectionMembership", parent.membership.id)


@membership.field("versionIndex")
def version_index(parent: Version, info: Info) -> int:
    return parent.membership.version_index


@membership.field("createdAt")
def membership_created_at(parent: Version, info: Info) -> str:
    return parent.membership.created_at


@membership.field("aliases")
def membership_aliases(parent: Version, info: Info) -> list[dict[str, Any]]:
    return [_alias(alias, parent.collection) for alias in parent.membership.aliases]


@membership.field("files")
def membership_files(
    parent: Version,
    info: Info,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    return _files(info.context, parent.artifact, names=names, after=after, first=first)


@tag.field("id")
def tag_id(parent: Tag, info: Info) -> str:
    return ids.encode("Tag", parent.id)


@run.field("outputArtifacts")
def output_artifacts(parent: Run, info: Info, after: str | None = None, first: int | None = None) -> Page[Artifact]:
    context = info.context
    seen = access.visible(context.access)
    return _loaded(context, lineage.logged_by_run(context.connection, parent.id, visible=seen, after=after, first=first))


@run.field("inputArtifacts")
def input_artifacts(parent: Run, info: Info, after: str | None = None, first: int | None = None) -> Page[Artifact]:
    context = info.context
    seen = access.visible(context.access)
    return _loaded(context, lineage.used_by_run(context.connection, parent.id, visible=seen, after=after, first=first))


artifact.set_alias("artifactSequence", "sequence")
artifact.set_alias("commitHash", "digest")
artifact.set_field("ttlIsInherited", lambda parent, _info: parent.ttl_seconds is None)
collection.set_alias("defaultArtifactType", "type")
membership.set_alias("artifactCollection", "collection")
# The default would look for `md_5`.
file.set_alias("md5", "md5")

bindables: list[SchemaBindable] = [
    query,
    project,
    run,
    artifact,
    artifact_type,
    sequence,
    collection,
    membership,
    creator,
    tag,
    file,
    *uploads.bindables,
    *artifact_edits.bindables,
]


def _alias(alias: Alias, where: Collection) -> dict[str, Any]:
    return {"id": ids.encode("ArtifactAlias", alias.id), "alias": alias.alias, "artifact_collection": where}


def _whole(context: Context, found: Sequence[Any]) -> dict[str, Any]:
    """A list that is never paged: what the user may see of it, and as many."""
    edges = [{"node": one} for one in found if guards.sees(context, one)]
    return {"edges": edges, "page_info": {"end_cursor": None, "has_next_page": False}, "total_count": len(edges)}


def _loaded(context: Context, numbers: Page[int]) -> Page[Artifact]:
    found = artifacts.by_ids(context.connection, numbers.items)
    return Page(items=[found[number] for number in numbers.items], start=numbers.start, total_count=numbers.total_count)


def _files(
    context: Context, parent: Artifact, *, names: list[str] | None, after: str | None, first: int | None
) -> dict[str, Any]:
    """Every entry is a file, references included: the client skips, without a word, what is not listed."""
    size = _PAGE_OF_FILES if first is None else first
    found = manifests.entry_page(context.connection, parent.id, names=names, after=after, first=size)
    edges = [{"node": _file(context, parent, entry), "cursor": entry.path} for entry in found.items]
    return {"edges": edges, "page_info": found.page_info, "total_count": found.total_count}


def _file(context: Context, parent: Artifact, entry: Entry) -> dict[str, Any]:
    # The manifest tells the client to follow the reference; here it only needs to see something.
    link = entry.ref or "" if entry.md5 is None else transfers.download_url(context, entry.md5, entry.path)
    return {
        "id": f"{ids.encode('Artifact', parent.id)}:{entry.path}",
        "name": entry.path,
        "display_name": entry.path,
        "url": link,
        "direct_url": link,
        "size_bytes": entry.size or 0,
        "storage_path": None if entry.md5 is None else f"wandb_artifacts/{parent.id}/{entry.md5}",
        "mimetype": mimetypes.guess_type(entry.path)[0],
        "updated_at": parent.updated_at,
        "digest": entry.digest,
        "md5": None if entry.md5 is None else manifests.base64_digest(entry.md5),
    }
