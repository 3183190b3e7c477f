"""Versions of artifacts: found, linked, edited, deleted. How they come to be stands in `uploads`.

Everything that a reply can hold about a page of versions is fetched in a fixed number of queries (`by_ids`), because a client
lists hundreds at a time. A deleted version keeps its number and its edges of lineage, and loses its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound
from registry.references import LATEST
from registry.server import documents
from registry.server.context import now
from registry.server.filters import Fields, Values, condition, json_at, ordering
from registry.server.store import collections, manifests, memberships, people, protection
from registry.server.store.collections import Collection, Tag
from registry.server.store.memberships import Alias, Membership
from registry.server.store.pages import Page, page
from registry.server.tables import aliases, artifact_tags, artifact_types, artifacts, client_ids, projects
from registry.server.tables import collections as collections_table
from registry.server.tables import memberships as memberships_table

PENDING, COMMITTED, DELETED = "PENDING", "COMMITTED", "DELETED"

# What the client says for "as the team has it", which here is for ever, and for "for ever whatever the team has".
_TTL_INHERITED, _TTL_NONE = -1, -2


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One version where it was logged, with its aliases in every collection (`collections`, by id)."""

    id: int
    sequence: Collection
    state: str
    version_index: int | None
    digest: str
    digest_algorithm: str
    description: str | None
    metadata: str | None
    ttl_seconds: int | None
    history_step: int | None
    size: int
    file_count: int
    manifest_md5: str | None
    run_id: int | None
    user_id: int | None
    created_at: str
    updated_at: str
    tags: tuple[Tag, ...]
    aliases: tuple[Alias, ...]
    collections: Mapping[int, Collection]

    def __str__(self) -> str:
        return f"{self.sequence.path}:v{self.version_index}"


@dataclass(frozen=True, kw_only=True)
class Version:
    """An artifact as a member of one collection: what a name and a tag lead to."""

    membership: Membership
    collection: Collection
    artifact: Artifact


def by_id(connection: Connection, artifact_id: int) -> Artifact:
    """The artifact, or the equal one it was merged into.

    Raises:
        NotFound: there is none.
    """
    found = by_ids(connection, [canonical(connection, artifact_id)])
    return next(iter(found.values()))


def by_ids(connection: Connection, artifact_ids: Iterable[int]) -> dict[int, Artifact]:
    """Those of the artifacts that exist, by id, in a fixed number of queries however many they are."""
    rows = connection.execute(select(artifacts).where(artifacts.c.id.in_(sorted(set(artifact_ids))))).all()
    held = memberships.aliases_of(connection, (row.id for row in rows))
    wanted = {row.sequence_id for row in rows} | {alias.collection_id for some in held.values() for alias in some}
    around = collections.by_ids(connection, wanted)
    tags: dict[int, list[Tag]] = {row.id: [] for row in rows}
    query = select(artifact_tags).where(artifact_tags.c.artifact_id.in_(list(tags))).order_by(artifact_tags.c.id)
    for tag in connection.execute(query):
        tags[tag.artifact_id].append(Tag(id=tag.id, name=tag.name))
    return {row.id: _made(row, tags[row.id], held[row.id], around) for row in rows}


def by_client_id(connection: Connection, client_id: str) -> int | None:
    """The artifact that a client knows under an id of its own."""
    return connection.execute(select(client_ids.c.artifact_id).where(client_ids.c.client_id == client_id)).scalar_one_or_none()


def algorithm_in(connection: Connection, sequence_id: int) -> str | None:
    """The digest algorithm of a sequence's newest version; None while it has none."""
    query = (
        select(artifacts.c.digest_algorithm)
        .where(artifacts.c.sequence_id == sequence_id, artifacts.c.state == COMMITTED)
        .order_by(artifacts.c.version_index.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def canonical(connection: Connection, artifact_id: int) -> int:
    """The id under which an artifact lives on: its own, unless its content was a version already.

    Raises:
        NotFound: there is none.
    """
    row = row_of(connection, artifact_id)
    return artifact_id if row.merged_into is None else canonical(connection, row.merged_into)


def versions(connection: Connection, members: Sequence[Membership]) -> list[Version]:
    """The versions behind memberships, in their order."""
    return _joined(connection, members, by_ids(connection, (member.artifact_id for member in members)))


def _joined(connection: Connection, members: Sequence[Membership], found: Mapping[int, Artifact]) -> list[Version]:
    around = {number: some for artifact in found.values() for number, some in artifact.collections.items()}
    around |= collections.by_ids(connection, {member.collection_id for member in members} - around.keys())
    return [
        Version(membership=member, collection=around[member.collection_id], artifact=found[member.artifact_id])
        for member in members
    ]


def named(connection: Connection, project_id: int, name: str) -> Version | None:
    """What `collection`, `collection:alias`, `collection:vN` or `collection:<digest>` names, or None."""
    collection_name, _, tag = name.partition(":")
    collection = collections.find(connection, project_id, collection_name)
    if collection is None:
        return None
    member = memberships.resolve(connection, collection.id, tag or LATEST)
    return None if member is None else versions(connection, [member])[0]


_tags = Values(source=artifact_tags, column=artifact_tags.c.name, joined=artifact_tags.c.artifact_id == artifacts.c.id)
_aliases = Values(source=aliases, column=aliases.c.name, joined=aliases.c.membership_id == memberships_table.c.id)
FIELDS = Fields(
    named={
        "id": artifacts.c.id,
        "version": memberships_table.c.version_index,
        "state": artifacts.c.state,
        "digest": artifacts.c.digest,
        "description": artifacts.c.description,
        "size": artifacts.c.size,
        "tag": _tags,
        "tags": _tags,
        "alias": _aliases,
        "aliases": _aliases,
        "created_at": artifacts.c.created_at,
        "updated_at": artifacts.c.updated_at,
        "linked_at": memberships_table.c.created_at,
    },
    dotted={"metadata": lambda path: json_at(artifacts.c.metadata, path)},
)


def listing(
    connection: Connection,
    collection_id: int,
    *,
    filters: str | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Version]:
    """The committed versions in a collection, newest first by default.

    Raises:
        BadData: an unknown name or operator in `filters` or `order`.
    """
    query = (
        select(memberships_table)
        .join(artifacts, artifacts.c.id == memberships_table.c.artifact_id)
        .where(
            memberships_table.c.collection_id == collection_id,
            artifacts.c.state == COMMITTED,
            condition(filters, FIELDS),
        )
    )
    # Within one collection the number tells the same order as the id, and an index has it in that order.
    number = memberships_table.c.version_index
    ordered = query.order_by(*_order(order), number.desc())
    return _versions_of(connection, ordered, after=after, first=first, backwards=None if order else query.order_by(number))


def version_page(
    connection: Connection,
    *conditions: ColumnElement[bool],
    order: str | None,
    after: str | None,
    first: int | None,
) -> Page[Version]:
    """Committed versions that meet all conditions (on artifacts, memberships, collections and their types, projects).

    Newest membership first by default.

    Raises:
        BadData: `order` names an unknown field.
    """
    query = (
        select(memberships_table)
        .join(artifacts, artifacts.c.id == memberships_table.c.artifact_id)
        .join(collections_table, collections_table.c.id == memberships_table.c.collection_id)
        .join(artifact_types, artifact_types.c.id == collections_table.c.type_id)
        .join(projects, projects.c.id == collections_table.c.project_id)
        .where(artifacts.c.state == COMMITTED, *conditions)
        .order_by(*_order(order), memberships_table.c.id.desc())
    )
    return _versions_of(connection, query, after=after, first=first)


def _order(order: str | None) -> list[ColumnElement[Any]]:
    return ordering(order, FIELDS, default="") if order else []


def _versions_of(
    connection: Connection,
    query: Select[Any],
    *,
    after: str | None,
    first: int | None,
    backwards: Select[Any] | None = None,
) -> Page[Version]:
    """A page of the versions behind a query of memberships."""
    found = page(connection, query, lambda row: row, after=after, first=first, backwards=backwards)
    known = by_ids(connection, (row.artifact_id for row in found.items))
    members = [memberships.of_row(row, known[row.artifact_id].aliases) for row in found.items]
    items = _joined(connection, members, known)
    return Page(items=items, start=found.start, total_count=found.total_count)


def link(
    connection: Connection,
    artifact: Artifact,
    project: people.Project,
    portfolio_name: str,
    *,
    names: Sequence[str],
    user_id: int | None,
) -> Version:
    """Make a version a member of a portfolio, made when absent, and the holder of `latest` and the other aliases named there.

    Raises:
        Conflict: the version is not committed; the registry does not take its type; or the name is taken by a sequence or
            by a portfolio of another type.
    """
    if artifact.state != COMMITTED:
        raise Conflict(f"an artifact that is {artifact.state} cannot be linked")
    kind = artifact.sequence.type.name
    if project.is_registry and not project.all_types and collections.type_named(connection, project.id, kind) is None:
        allowed = ", ".join(f"'{some.name}'" for some in collections.types(connection, project.id).items)
        raise Conflict(f"the registry '{project.name}' takes artifacts of type {allowed or '(none yet)'}, not '{kind}'")
    portfolio = collections.ensure(connection, project, portfolio_name, kind="portfolio", type_name=kind)
    membership = memberships.add(connection, portfolio.id, artifact.id)
    memberships.set_aliases(connection, membership, [*names, LATEST], user_id=user_id)
    return versions(connection, memberships.of_artifact(connection, artifact.id, collection_id=portfolio.id))[0]


def unlink(connection: Connection, artifact_id: int, portfolio: Collection, *, user_id: int | None) -> None:
    """End a link; the version itself stays.

    Raises:
        Conflict: the collection is the sequence where the version was logged.
        NotFound: the version is not linked there.
    """
    if portfolio.kind != "portfolio":
        raise Conflict(f"{portfolio.path} is where the version was logged: delete the version, it cannot be unlinked")
    memberships.remove(connection, memberships.require(connection, artifact_id, portfolio), user_id=user_id)


def edit(
    connection: Connection,
    artifact_id: int,
    *,
    description: str | None,
    metadata: str | None,
    ttl_seconds: int | None,
    tags_to_add: Sequence[str],
    tags_to_delete: Sequence[str],
) -> None:
    """Change what is said about a version; None leaves it. Metadata is replaced whole.

    Raises:
        BadData: the metadata is not a JSON object, or a tag cannot be one.
    """
    changes: dict[str, Any] = {"updated_at": now()}
    if description is not None:
        changes["description"] = description
    if metadata is not None:
        changes["metadata"] = checked_metadata(metadata)
    if ttl_seconds is not None:
        changes["ttl_seconds"] = kept_ttl(ttl_seconds)
    connection.execute(update(artifacts).where(artifacts.c.id == artifact_id).values(changes))
    add_tags(connection, artifact_id, tags_to_add)
    connection.execute(
        delete(artifact_tags).where(artifact_tags.c.artifact_id == artifact_id, artifact_tags.c.name.in_(tags_to_delete))
    )


def remove(connection: Connection, artifact: Artifact, *, with_aliases: bool, user_id: int | None) -> None:
    """Delete a version everywhere: its memberships, its aliases, and what it consists of.

    Raises:
        Conflict: it holds an alias in some collection and `with_aliases` is false.
    """
    if artifact.aliases and not with_aliases:
        places = sorted(f"{artifact.collections[alias.collection_id].path}:{alias.alias}" for alias in artifact.aliases)
        raise Conflict(f"{artifact} is {', '.join(places)}; delete these aliases first, or with it (delete_aliases=True)")
    for membership in memberships.of_artifact(connection, artifact.id):
        memberships.remove(connection, membership, user_id=user_id)
    manifests.forget(connection, artifact.id)
    connection.execute(
        update(artifacts).where(artifacts.c.id == artifact.id).values(state=DELETED, manifest_md5=None, updated_at=now())
    )


def remove_collection(connection: Connection, collection: Collection, *, user_id: int | None) -> None:
    """Delete a collection: a portfolio's links, or a sequence with its versions.

    Raises:
        Conflict: a version of the sequence holds an alias in a registry: what was promoted does not vanish by the way.
    """
    if collection.kind == "sequence":
        here = select(artifacts.c.id).where(artifacts.c.sequence_id == collection.id, artifacts.c.state == COMMITTED)
        doomed = by_ids(connection, connection.execute(here).scalars())
        for artifact in doomed.values():
            for alias in artifact.aliases:
                if alias.collection_id != collection.id and alias.alias != LATEST:
                    place = artifact.collections[alias.collection_id].path
                    raise Conflict(f"{artifact} holds '{alias.alias}' in {place}; unlink it there first")
        for artifact in doomed.values():
            remove(connection, artifact, with_aliases=True, user_id=user_id)
    protection.require_collection(connection, collection.id, user_id)
    collections.remove(connection, collection)


def remove_logged_by(connection: Connection, run_id: int, *, user_id: int | None) -> None:
    """Delete the versions that a run made, with their aliases."""
    made = select(artifacts.c.id).where(artifacts.c.run_id == run_id, artifacts.c.state == COMMITTED)
    for artifact in by_ids(connection, connection.execute(made).scalars()).values():
        remove(connection, artifact, with_aliases=True, user_id=user_id)


def add_tags(connection: Connection, artifact_id: int, names: Iterable[str]) -> None:
    for name in names:
        values = {"artifact_id": artifact_id, "name": collections.check_tag(name)}
        connection.execute(upsert(artifact_tags).values(values).on_conflict_do_nothing())


def kept_ttl(seconds: int | None) -> int | None:
    """A time to live as the client says it, with None for one that is inherited.

    Raises:
        BadData: it is no time.
    """
    if seconds is not None and seconds <= 0 and seconds not in (_TTL_INHERITED, _TTL_NONE):
        raise BadData(f"a version cannot live for {seconds} seconds: {_TTL_INHERITED} is as its team, {_TTL_NONE} for ever")
    return None if seconds == _TTL_INHERITED else seconds


def said_ttl(seconds: int | None) -> int:
    """A time to live as the client says it."""
    return _TTL_INHERITED if seconds is None else seconds


def checked_metadata(text: str) -> str:
    """
    Raises:
        BadData: the metadata is not a JSON object.
    """
    documents.read_object(text, "the metadata")
    return text


def row_of(connection: Connection, artifact_id: int) -> Row[Any]:
    """The artifact alone, in whatever state.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(artifacts).where(artifacts.c.id == artifact_id)).one_or_none()
    if row is None:
        raise NotFound("the artifact does not exist")
    return row


def _made(row: Row[Any], tags: Sequence[Tag], held: Sequence[Alias], around: Mapping[int, Collection]) -> Artifact:
    return Artifact(
        id=row.id,
        sequence=around[row.sequence_id],
        state=row.state,
        version_index=row.version_index,
        digest=row.digest,
        digest_algorithm=row.digest_algorithm,
        description=row.description,
        metadata=row.metadata,
        ttl_seconds=row.ttl_seconds,
        history_step=row.history_step,
        size=row.size,
        file_count=row.file_count,
        manifest_md5=row.manifest_md5,
        run_id=row.run_id,
        user_id=row.user_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        tags=tuple(tags),
        aliases=tuple(held),
        collections=around,
    )
