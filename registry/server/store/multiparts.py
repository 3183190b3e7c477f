"""Large files that come in parts: what was announced, what has arrived, and what blob it became.

The bytes themselves are `parts`. A link to a part lives for a day, so an upload that began earlier cannot go on: beginning
another one forgets it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.server.context import now
from registry.server.tables import digests, multiparts, parts

# S3's own limit, which the client keeps.
_MOST_PARTS = 10_000
_LIFETIME = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Multipart:
    """One file on its way; digests in hex, as announced, and `blob_md5` once it is whole."""

    id: int
    artifact_id: int
    name: str
    token: str
    md5: str | None
    xxh128: str | None
    blob_md5: str | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part, counted from 1; `size` is None until it has arrived."""

    number: int
    md5: str
    size: int | None


def begin(
    connection: Connection, artifact_id: int, name: str, *, md5: str | None, xxh128: str | None, part_md5s: Sequence[str]
) -> Multipart:
    """Expect a file in these parts; the present upload when the same was asked before.

    Raises:
        BadData: more parts than anybody sends.
    """
    if not 0 < len(part_md5s) <= _MOST_PARTS:
        raise BadData(f"'{name[:80]}' comes in {len(part_md5s)} parts: this server takes 1 to {_MOST_PARTS}")
    before = (datetime.now(UTC) - _LIFETIME).isoformat(timespec="microseconds").replace("+00:00", "Z")
    connection.execute(delete(multiparts).where(multiparts.c.created_at < before))
    here = (multiparts.c.artifact_id == artifact_id) & (multiparts.c.name == name)
    present = connection.execute(_multiparts().where(here)).one_or_none()
    if present is not None:
        found = Multipart(**present._mapping)
        known = [part.md5 for part in of(connection, found.id)]
        if (found.md5, found.xxh128, known) == (md5, xxh128, list(part_md5s)):
            return found
        connection.execute(delete(multiparts).where(multiparts.c.id == found.id))
    token = secrets.token_hex(16)
    row = {"artifact_id": artifact_id, "name": name, "token": token, "md5": md5, "xxh128": xxh128, "created_at": now()}
    result = connection.execute(insert(multiparts).values(row))
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    connection.execute(
        insert(parts), [{"multipart_id": number, "number": place, "md5": part} for place, part in enumerate(part_md5s, start=1)]
    )
    return by_token(connection, token)


def by_token(connection: Connection, token: str) -> Multipart:
    """
    Raises:
        NotFound: there is none, or it was given up.
    """
    row = connection.execute(_multiparts().where(multiparts.c.token == token)).one_or_none()
    if row is None:
        raise NotFound("this upload in parts is not known, or began too long ago; log the artifact again")
    return Multipart(**row._mapping)


def of(connection: Connection, multipart_id: int) -> list[Part]:
    """The parts of a file, in order."""
    query = select(parts.c.number, parts.c.md5, parts.c.size).where(parts.c.multipart_id == multipart_id)
    return [Part(**row._mapping) for row in connection.execute(query.order_by(parts.c.number))]


def sizes(connection: Connection, multipart_id: int) -> dict[int, int]:
    """Length in bytes of each part that has arrived, by its number."""
    return {part.number: part.size for part in of(connection, multipart_id) if part.size is not None}


def arrived(connection: Connection, multipart_id: int, number: int, *, size: int) -> None:
    """Say that a part is stored; sending it again changes nothing."""
    here = (parts.c.multipart_id == multipart_id) & (parts.c.number == number)
    connection.execute(update(parts).where(here).values(size=size))


def completed(connection: Connection, multipart_id: int, blob_md5: str) -> None:
    """Say what blob a file became."""
    connection.execute(update(multiparts).where(multiparts.c.id == multipart_id).values(blob_md5=blob_md5))


def tokens(connection: Connection, *, artifact_id: int | None = None) -> list[str]:
    """The uploads that are known, of one artifact if named."""
    query = select(multiparts.c.token)
    if artifact_id is not None:
        query = query.where(multiparts.c.artifact_id == artifact_id)
    return list(connection.execute(query).scalars())


def forget(connection: Connection, artifact_id: int) -> None:
    """Give up, or be done with, the uploads of an artifact."""
    connection.execute(delete(multiparts).where(multiparts.c.artifact_id == artifact_id))


def record_digest(connection: Connection, *, xxh128: str, md5: str) -> None:
    """Say that stored bytes have both of these digests, because both were computed from them."""
    connection.execute(upsert(digests).values(xxh128=xxh128, md5=md5).on_conflict_do_nothing())


def md5s_of(connection: Connection, xxh128s: Iterable[str]) -> dict[str, set[str]]:
    """The md5 of the bytes known by each of these XXH128 digests: one, unless somebody made two contents that collide."""
    found: dict[str, set[str]] = {}
    wanted = sorted(set(xxh128s))
    # In slices, because a manifest names more than SQLite takes variables.
    for start in range(0, len(wanted), 10_000):
        rows = connection.execute(select(digests).where(digests.c.xxh128.in_(wanted[start : start + 10_000])))
        for row in rows:
            found.setdefault(row.xxh128, set()).add(row.md5)
    return found


def _multiparts() -> Any:
    named = (multiparts.c[name] for name in ("id", "artifact_id", "name", "token", "md5", "xxh128", "blob_md5"))
    return select(*named)
