"""That who names a content has it: a digest is no secret, and not to be exchanged for the bytes.

Equal content is stored once, so an upload may be told that its bytes are here already. To somebody who can read a version with
these bytes it is; to anybody else they are *contested*: the upload gets a link that names its artifact, the bytes have to come
once more, and until they did the artifact cannot be committed. An instance admin reads everything anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, select, union
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData
from registry.server.access import Access, Level
from registry.server.blobs import Blobs
from registry.server.store import layers
from registry.server.store.layers import shown
from registry.server.tables import artifacts, collections, contested, memberships, uploads

# SQLite takes some thousands of values in one statement.
_AT_ONCE = 900


def unreadable(connection: Connection, access: Access, md5s: Iterable[str]) -> set[str]:
    """Those of the contents that are in no version whose content the user may read."""
    left = set() if access.admin else set(md5s)
    for some in _pieces(sorted(left)):
        where = (
            select(shown.c.md5, collections.c.project_id)
            .join(memberships, memberships.c.artifact_id == shown.c.artifact_id)
            .join(collections, collections.c.id == memberships.c.collection_id)
            .where(shown.c.md5.in_(some))
        )
        described = (
            select(artifacts.c.manifest_md5, collections.c.project_id)
            .join(memberships, memberships.c.artifact_id == artifacts.c.id)
            .join(collections, collections.c.id == memberships.c.collection_id)
            .where(artifacts.c.manifest_md5.in_(some))
        )
        for md5, project_id in connection.execute(union(where, described)).all():
            if access.level(project_id) >= Level.READ:
                left.discard(md5)
    return left


def contest(connection: Connection, access: Access, blobs: Blobs, artifact_id: int, md5s: Collection[str]) -> set[str]:
    """Those of the contents an artifact names that are stored and not the user's to read; they have to be brought."""
    if access.admin:
        return set()
    found = unreadable(connection, access, blobs.sizes(md5s))
    for md5 in found:
        connection.execute(upsert(contested).values(artifact_id=artifact_id, md5=md5).on_conflict_do_nothing())
    return found


def is_contested(connection: Connection, artifact_id: int, md5: str) -> bool:
    named = select(contested.c.md5).where(contested.c.artifact_id == artifact_id, contested.c.md5 == md5)
    return connection.execute(named).first() is not None


def bring(connection: Connection, artifact_id: int, md5: str) -> None:
    """The bytes came with the artifact's own link."""
    connection.execute(delete(contested).where(contested.c.artifact_id == artifact_id, contested.c.md5 == md5))


def announced(connection: Connection, artifact_id: int) -> set[str]:
    """The contents that an artifact said it would bring, once they were asked for."""
    return set(connection.execute(select(uploads.c.md5).where(uploads.c.artifact_id == artifact_id)).scalars())


def require(connection: Connection, access: Access, artifact_id: int, brought: Collection[str], *, base_id: int | None) -> None:
    """That an artifact, just committed, is made of what was brought with it and of what the user can read elsewhere.

    Args:
        brought: what was `announced` before.
        base_id: the version that it builds on; what that has needs no asking about, if the user can read it.
    Raises:
        BadData: it names other content, or some that never came.
    """
    if access.admin:
        return
    missing = list(connection.execute(select(contested.c.md5).where(contested.c.artifact_id == artifact_id)).scalars())
    if not missing:
        readable = base_id is not None and access.artifact_level(base_id) >= Level.READ
        named = layers.md5s_beside(connection, artifact_id, base_id if readable else None) - set(brought)
        before = _elsewhere(connection, access, artifact_id, named)
        missing = sorted(named - before)
    if missing:
        raise BadData(f"{len(missing)} files of this artifact never arrived from {access.username}, and are not theirs to name")


def _elsewhere(connection: Connection, access: Access, artifact_id: int, md5s: Collection[str]) -> set[str]:
    """Those of the contents that the user can read in another version than this one."""
    found: set[str] = set()
    for some in _pieces(sorted(md5s)):
        query = (
            select(shown.c.md5, collections.c.project_id)
            .join(memberships, memberships.c.artifact_id == shown.c.artifact_id)
            .join(collections, collections.c.id == memberships.c.collection_id)
            .where(shown.c.md5.in_(some), shown.c.artifact_id != artifact_id)
            .distinct()
        )
        found |= {md5 for md5, project in connection.execute(query).all() if access.level(project) >= Level.READ}
    return found


def _pieces(md5s: list[str]) -> Iterable[list[str]]:
    return (md5s[start : start + _AT_ONCE] for start in range(0, len(md5s), _AT_ONCE))
