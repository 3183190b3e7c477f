"""Uploads: how an artifact becomes a version.

It begins PENDING, when nobody but its uploader knows it, and is COMMITTED when everything it names is stored; there is nothing
in between. Within a sequence one digest is one version: logging the latest content again needs no upload, and any other upload
whose content turns out to be known, when it commits, becomes the version that has it and gives it its aliases back.

What W&B does is documented at https://docs.wandb.ai/models/artifacts/create-a-new-artifact-version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from registry.errors import BadData, Conflict, NotFound
from registry.references import LATEST
from registry.server import parts
from registry.server.blobs import Blobs
from registry.server.context import now
from registry.server.database import Busy
from registry.server.store import artifacts, collections, contents, lineage, manifests, memberships, multiparts, people
from registry.server.store.artifacts import COMMITTED, DELETED, PENDING
from registry.server.store.collections import Collection
from registry.server.store.contents import Base
from registry.server.tables import artifact_tags, client_ids
from registry.server.tables import artifacts as table


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a client says about an artifact that it is about to upload."""

    type: str
    collection: str
    digest: str
    algorithm: str = manifests.MD5
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: str | None = None
    ttl_seconds: int | None = None
    history_step: int | None = None
    client_id: str | None = None
    distributed_id: str | None = None
    run_id: int | None = None
    user_id: int | None = None


def create(connection: Connection, project: people.Project, draft: Draft) -> int:
    """The id of the artifact that a client is to upload, or need not: a COMMITTED one has this content already.

    Idempotent by client id and, while it is pending, by distributed id. A version that has the content already takes the
    draft's aliases and tags and a further logger; its description and metadata stay.

    Raises:
        Conflict: the collection is a portfolio, or of another type; or the project is a registry.
        BadData: the metadata is not a JSON object, or a name cannot be one.
    """
    if project.is_registry:
        raise Conflict(f"'{project.name}' is a registry: log to a project and link the version")
    sequence = collections.ensure(connection, project, draft.collection, kind="sequence", type_name=draft.type)
    repeated = None if draft.client_id is None else artifacts.by_client_id(connection, draft.client_id)
    if repeated is not None:
        return repeated
    known = _known(connection, sequence, draft)
    artifact_id = _insert(connection, sequence, draft) if known is None else known.id
    if known is not None and known.state == COMMITTED:
        membership = memberships.require(connection, artifact_id, sequence)
        memberships.set_aliases(connection, membership, draft.aliases, user_id=draft.user_id)
    elif known is not None:
        wanted = dict.fromkeys([*json.loads(known.pending_aliases), *draft.aliases])
        connection.execute(update(table).where(table.c.id == artifact_id).values(pending_aliases=json.dumps(list(wanted))))
    artifacts.add_tags(connection, artifact_id, draft.tags)
    if draft.client_id is not None:
        connection.execute(insert(client_ids).values(client_id=draft.client_id, artifact_id=artifact_id))
    if draft.run_id is not None:
        lineage.record_logging(connection, artifact_id, draft.run_id)
    return artifact_id


def commit(connection: Connection, artifact_id: int, *, blobs: Blobs, user_id: int | None) -> int:
    """Make a pending artifact the next version of its sequence; returns the id of what it became.

    Raises:
        NotFound: there is no such artifact.
        BadData: something that was announced is not stored, or the manifest is not that of the announced digest.
        Conflict: the artifact was deleted.
    """
    row = artifacts.row_of(connection, artifact_id)
    if row.state == COMMITTED or row.merged_into is not None:
        return artifacts.canonical(connection, artifact_id)
    if row.state == DELETED:
        raise Conflict("the artifact was deleted while it was being uploaded")
    base = _base(connection, artifact_id, blobs)
    found = contents.settled(connection, artifact_id, blobs=blobs, base=base, algorithm=row.digest_algorithm)
    for token in multiparts.tokens(connection, artifact_id=artifact_id):
        parts.below(blobs.folder).forget(token)
    if not found.merged and found.digest != row.digest:
        raise BadData(f"the manifest's digest is {found.digest}; the artifact was announced with {row.digest}")
    pending: list[str] = json.loads(row.pending_aliases)
    equal = _committed(connection, row.sequence_id, found.digest, row.digest_algorithm)
    if equal is not None:
        _merge(connection, loser=artifact_id, winner=equal)
        membership = memberships.of_artifact(connection, equal, collection_id=row.sequence_id)[0]
        memberships.set_aliases(connection, membership, pending, user_id=user_id)
        return equal
    contents.keep(connection, artifact_id, found)
    membership = memberships.add(connection, row.sequence_id, artifact_id)
    connection.execute(
        update(table)
        .where(table.c.id == artifact_id)
        .values(
            state=COMMITTED,
            version_index=membership.version_index,
            digest=found.digest,
            manifest_md5=blobs.write([found.served]).md5,
            size=found.size,
            file_count=found.file_count,
            pending_aliases="[]",
            updated_at=now(),
        )
    )
    memberships.set_aliases(connection, membership, [*pending, LATEST], user_id=user_id)
    return artifact_id


def complete_parts(connection: Connection, artifact_id: int, token: str, said: Mapping[int, str], *, blobs: Blobs) -> str:
    """Make a blob of a file that came in parts; returns its hex md5. Completing twice is completing once.

    Args:
        said: what the client was answered for each part, by its number: a hex md5.
    Raises:
        NotFound: the artifact has no such upload.
        BadData: a part has not arrived or is another one, or the whole is not what was announced.
        Busy: the parts are still being put together.
    """
    upload = multiparts.by_token(connection, token)
    if upload.artifact_id != artifact_id:
        raise NotFound("this upload in parts belongs to another artifact")
    if upload.blob_md5 is not None:
        return upload.blob_md5
    announced = multiparts.of(connection, upload.id)
    missing = [part.number for part in announced if part.size is None]
    if missing:
        raise BadData(f"{len(missing)} of {len(announced)} parts of '{upload.name}' never arrived, the first is {missing[0]}")
    if {part.number: part.md5 for part in announced} != said:
        raise BadData(f"the parts of '{upload.name}' are not those that were announced")
    assembling = parts.below(blobs.folder)
    whole = assembling.whole(token, multiparts.sizes(connection, upload.id))
    if whole is None:
        raise Busy(f"the parts of '{upload.name}' are being put together; ask again")
    found, wanted = (whole.md5, whole.xxh128), (upload.md5 or whole.md5, upload.xxh128 or whole.xxh128)
    if found != wanted:
        raise BadData(f"'{upload.name}' has md5 {found[0]} and XXH128 {found[1]}; announced were {wanted[0]} and {wanted[1]}")
    assembling.hand_over(whole, blobs)
    multiparts.record_digest(connection, xxh128=whole.xxh128, md5=whole.md5)
    multiparts.completed(connection, upload.id, whole.md5)
    manifests.announce_files(connection, [{"artifact_id": artifact_id, "name": upload.name, "md5": whole.md5}])
    return whole.md5


def base_of(connection: Connection, artifact_id: int) -> int | None:
    """The version that an incremental upload adds to; None for an upload that is whole, or the first."""
    announced = manifests.of_artifact(connection, artifact_id)
    if not announced or announced[-1].kind != "INCREMENTAL" or announced[-1].base_id is None:
        return None
    return artifacts.canonical(connection, announced[-1].base_id)


def require_pending(connection: Connection, artifact_ids: Iterable[int]) -> None:
    """
    Raises:
        NotFound: one of them does not exist.
        Conflict: one of them is a version already, so nothing can be added to it.
    """
    for artifact_id in set(artifact_ids):
        state = artifacts.row_of(connection, artifact_id).state
        if state != PENDING:
            raise Conflict(f"the artifact is {state} already: its content cannot change")


def _known(connection: Connection, sequence: Collection, draft: Draft) -> Row[Any] | None:
    """The pending artifact that several writers share, or the version that has this content already."""
    if draft.distributed_id is None:
        known = _committed(connection, sequence.id, draft.digest, draft.algorithm)
        # An incremental upload looks like any other until its manifest comes, and the digest is that of its own part. Equal to
        # the version it builds on, nothing changes either way; equal to an older one, only the commit can tell.
        if known != collections.latest(connection, sequence.id):
            known = None
    else:
        # The digest of a writer's own part says nothing about the whole.
        known = connection.execute(
            select(table.c.id).where(
                table.c.sequence_id == sequence.id,
                table.c.distributed_id == draft.distributed_id,
                table.c.state == PENDING,
            )
        ).scalar_one_or_none()
    return None if known is None else artifacts.row_of(connection, known)


def _insert(connection: Connection, sequence: Collection, draft: Draft) -> int:
    moment = now()
    result = connection.execute(
        insert(table).values(
            sequence_id=sequence.id,
            state=PENDING,
            digest=draft.digest,
            digest_algorithm=draft.algorithm,
            distributed_id=draft.distributed_id,
            description=draft.description,
            metadata=None if draft.metadata is None else artifacts.checked_metadata(draft.metadata),
            ttl_seconds=artifacts.kept_ttl(draft.ttl_seconds),
            history_step=draft.history_step,
            pending_aliases=json.dumps(draft.aliases),
            run_id=draft.run_id,
            user_id=draft.user_id,
            created_at=moment,
            updated_at=moment,
        )
    )
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def _merge(connection: Connection, *, loser: int, winner: int) -> None:
    """Of two uploads with equal content the later one is the earlier one from now on."""
    lineage.hand_over(connection, loser, winner)
    connection.execute(update(client_ids).where(client_ids.c.artifact_id == loser).values(artifact_id=winner))
    tags = connection.execute(select(artifact_tags.c.name).where(artifact_tags.c.artifact_id == loser)).scalars().all()
    artifacts.add_tags(connection, winner, tags)
    manifests.forget(connection, loser)
    connection.execute(update(table).where(table.c.id == loser).values(state=DELETED, merged_into=winner, updated_at=now()))


def _committed(connection: Connection, sequence_id: int, digest: str, algorithm: str) -> int | None:
    here = (table.c.sequence_id == sequence_id) & (table.c.state == COMMITTED)
    same = (table.c.digest == digest) & (table.c.digest_algorithm == algorithm)
    return connection.execute(select(table.c.id).where(here, same)).scalar_one_or_none()


def _base(connection: Connection, artifact_id: int, blobs: Blobs) -> Base | None:
    """
    Raises:
        Conflict: it was deleted.
    """
    base = base_of(connection, artifact_id)
    if base is None:
        return None
    row = artifacts.row_of(connection, base)
    md5 = row.manifest_md5
    if md5 is None:
        raise Conflict("the version that this incremental upload builds on was deleted meanwhile")
    announced = {manifest.md5 for manifest in manifests.of_artifact(connection, base)}
    return Base(artifact_id=base, size=row.size, manifest=blobs.read(md5), written_here=md5 not in announced)
