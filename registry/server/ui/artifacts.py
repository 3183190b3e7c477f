"""The pages of a collection and of a version: what it is, where it comes from, where it went, and who vouches for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import BadData, NotFound, Unauthorised
from registry.server import transfers
from registry.server.store import artifacts, collections, holders, manifests, memberships, overview
from registry.server.store.artifacts import Artifact
from registry.server.store.holders import Move
from registry.server.store.manifests import Entry
from registry.server.store.overview import CollectionRow, MemberRow, RunRow, VersionRow
from registry.server.ui import evidence, formats
from registry.server.ui.projects import the_project
from registry.server.ui.visit import Listing, Redirect, Visit

# Far beyond any verdict or evaluation of ours; more would not make a readable page.
_LARGEST_EVIDENCE = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The versions of a collection, who holds its aliases, and how these moved (all but `latest`, or `alias` alone)."""

    collection: CollectionRow
    holders: Sequence[Move]
    versions: Listing[MemberRow]
    alias: str | None
    moves: Listing[Move]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A version as a member of one collection, with the aliases it holds there."""

    version: VersionRow
    holds: Sequence[Move]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version: `version` as it was asked for, `origin` where it was logged, `places` all its collections.

    `took` and `gave` are the inputs of the runs that made it and the outputs of the runs that used it, by the run's id.
    """

    version: VersionRow
    origin: VersionRow
    description: str | None
    digest: str
    size: int
    file_count: int
    tags: Sequence[str]
    ttl_seconds: int | None
    created_at: str
    by: str | None
    metadata: dict[str, Any]
    places: Sequence[Place]
    made_by: Listing[RunRow]
    took: Mapping[int, Sequence[VersionRow]]
    used_by: Listing[RunRow]
    gave: Mapping[int, Sequence[VersionRow]]
    verdict: evidence.Verdict | None
    evaluation: evidence.Evaluation | None
    unreadable: str | None
    files: Listing[Entry]


def collection(visit: Visit, entity: str, project: str, name: str) -> Collection:
    connection = visit.context.connection
    found = overview.collection(connection, the_project(visit, entity, project).id, name)
    if found is None:
        raise NotFound(f"there is no collection {entity}/{project}/{name}")
    alias = visit.asked("alias")
    return Collection(
        collection=found,
        holders=holders.in_collections(connection, [found.id])[found.id],
        versions=visit.listing(
            "page", lambda after, first: overview.member_page(connection, found.id, after=after, first=first)
        ),
        alias=alias,
        moves=visit.listing(
            "moves", lambda after, first: holders.history(connection, [found.id], alias=alias, after=after, first=first)
        ),
    )


def version(visit: Visit, entity: str, project: str, name: str, tag: str) -> Version:
    """
    Args:
        tag: `vN`, an alias, or a digest.
    """
    connection = visit.context.connection
    found = _named(visit, entity, project, name, tag)
    artifact = found.artifact
    here = overview.memberships_of(connection, artifact.id)
    held = holders.in_collections(connection, artifact.collections, artifact_id=artifact.id)
    by_path = {artifact.collections[number].path: moves for number, moves in held.items()}
    made_by = visit.listing(
        "made_by", lambda after, first: overview.runs_of_version(connection, "logged", artifact.id, after=after, first=first)
    )
    used_by = visit.listing(
        "used_by", lambda after, first: overview.runs_of_version(connection, "used", artifact.id, after=after, first=first)
    )
    verdict, evaluation, unreadable = _evidence(visit, artifact)
    return Version(
        version=next(row for row in here if row.collection_path == found.collection.path),
        origin=here[0],
        description=artifact.description,
        digest=artifact.digest,
        size=artifact.size,
        file_count=artifact.file_count,
        tags=[tag.name for tag in artifact.tags],
        ttl_seconds=artifact.ttl_seconds,
        created_at=artifact.created_at,
        by=overview.username(connection, artifact.user_id),
        metadata=formats.parsed(artifact.metadata),
        places=[Place(version=row, holds=by_path.get(row.collection_path, ())) for row in here],
        made_by=made_by,
        took=overview.versions_of_runs(connection, "used", [run.id for run in made_by.items]),
        used_by=used_by,
        gave=overview.versions_of_runs(connection, "logged", [run.id for run in used_by.items]),
        verdict=verdict,
        evaluation=evaluation,
        unreadable=unreadable,
        files=visit.listing(
            "files", lambda after, first: overview.entry_page(connection, artifact.id, after=after, first=first)
        ),
    )


def file(visit: Visit, entity: str, project: str, name: str, tag: str, path: str) -> Redirect:
    """The content of a file of a version."""
    found = _named(visit, entity, project, name, tag)
    visit.context.access.read_artifact(found.artifact.id)
    entry = _entry(visit, found.artifact, path)
    if entry is None or entry.md5 is None:
        stored = "is a reference, it is not stored here" if entry else "is not a file"
        raise NotFound(f"'{path}' {stored} of {found.collection.path}:v{found.membership.version_index}")
    return Redirect(transfers.download_url(visit.context, entry.md5, path))


def _named(visit: Visit, entity: str, project: str, name: str, tag: str) -> artifacts.Version:
    connection = visit.context.connection
    found = collections.find(connection, the_project(visit, entity, project).id, name)
    if found is None:
        raise NotFound(f"there is no collection {entity}/{project}/{name}")
    member = memberships.resolve(connection, found.id, tag)
    if member is None:
        raise NotFound(f"nothing in {found.path} is named '{tag}'")
    return artifacts.versions(connection, [member])[0]


def _evidence(visit: Visit, artifact: Artifact) -> tuple[evidence.Verdict | None, evidence.Evaluation | None, str | None]:
    """The verdict or evaluation in a version of such a type, or why there is none to show."""
    kind = artifact.sequence.type.name
    name = {"verdict": evidence.VERDICT_FILE, "evaluation": evidence.EVALUATION_FILE}.get(kind)
    if name is None:
        return None, None, None
    entry = _entry(visit, artifact, name)
    try:
        visit.context.access.read_artifact(artifact.id)
        if entry is None or entry.md5 is None:
            raise BadData(f"this version has no file {name}")
        if (entry.size or 0) > _LARGEST_EVIDENCE:
            raise BadData(f"{name} has {formats.size(entry.size)}: too much for a page")
        content = visit.context.blobs.read(entry.md5)
        if kind == "verdict":
            return evidence.read_verdict(content), None, None
        return None, evidence.read_evaluation(content), None
    except (BadData, NotFound, Unauthorised) as error:
        return None, None, error.message


def _entry(visit: Visit, artifact: Artifact, path: str) -> Entry | None:
    page = manifests.entry_page(visit.context.connection, artifact.id, names=[path], after=None, first=1)
    return page.items[0] if page.items else None
