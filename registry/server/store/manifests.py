"""Manifests: what a version consists of, file by file.

The client announces files, uploads them, and last uploads a manifest that names them all. The manifest is kept as a blob and
served as that blob, less the uploader's local paths; its entries become rows when the version is committed, so that they can
be paged. Until then a version does not exist for anybody: `contents` is where a manifest must agree with the stored bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.server.context import now
from registry.server.store import layers, multiparts
from registry.server.store.pages import DEFAULT_SIZE, Edge, PageInfo
from registry.server.tables import artifacts, entries, manifests, uploads

Kind = Literal["FULL", "INCREMENTAL", "PATCH"]

# By which digest files and whole versions are known: the client's choice when a sequence begins.
MD5, XXH128 = "MANIFEST_MD5", "MANIFEST_XXH128"
_LARGEST_PAGE = 10_000


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One announced manifest; `md5` (hex) is None until the client knows its bytes."""

    id: int
    artifact_id: int
    base_id: int | None
    kind: Kind
    md5: str | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One path of a version: stored bytes (`md5`, hex) or a reference (`ref`); `digest` is what the manifest says."""

    artifact_id: int
    path: str
    digest: str
    size: int | None
    md5: str | None
    ref: str | None


@dataclass(frozen=True, kw_only=True)
class EntryPage:
    """Entries in path order, continued by path: its attributes are the fields of a GraphQL connection."""

    items: Sequence[Entry]
    total_count: int
    more: bool

    @property
    def edges(self) -> list[Edge[Entry]]:
        return [Edge(node=entry, cursor=entry.path) for entry in self.items]

    @property
    def page_info(self) -> PageInfo:
        return PageInfo(end_cursor=self.items[-1].path if self.items else None, has_next_page=self.more)


def announce(connection: Connection, artifact_id: int, *, kind: Kind, name: str, md5: str | None, base_id: int | None) -> int:
    """Record a manifest that the client is about to upload; returns its id.

    A client announces its one full or incremental manifest twice, before and after it knows the bytes: the second call
    completes the first. Patches come from many writers, each with a manifest of its own.
    """
    present = None
    if kind != "PATCH":
        present = connection.execute(
            select(manifests.c.id).where(manifests.c.artifact_id == artifact_id, manifests.c.kind == kind)
        ).scalar_one_or_none()
    if present is not None:
        complete(connection, present, md5=md5, base_id=base_id)
        return int(present)
    values = {"artifact_id": artifact_id, "kind": kind, "name": name, "md5": md5, "base_id": base_id, "created_at": now()}
    key = connection.execute(insert(manifests).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def complete(connection: Connection, manifest_id: int, *, md5: str | None, base_id: int | None) -> None:
    """Say what bytes an announced manifest will have, and what version it builds on; None leaves what is known."""
    changes = {name: value for name, value in (("md5", md5), ("base_id", base_id)) if value is not None}
    if changes:
        connection.execute(update(manifests).where(manifests.c.id == manifest_id).values(changes))


def by_id(connection: Connection, manifest_id: int) -> Manifest:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(_manifests().where(manifests.c.id == manifest_id)).one_or_none()
    if row is None:
        raise NotFound("the manifest does not exist")
    return Manifest(**row._mapping)


def of_artifact(connection: Connection, artifact_id: int) -> list[Manifest]:
    """The manifests of a version whose bytes are announced, in the order of their announcement."""
    query = _manifests().where(manifests.c.artifact_id == artifact_id, manifests.c.md5.is_not(None))
    return [Manifest(**row._mapping) for row in connection.execute(query.order_by(manifests.c.id))]


def announce_files(connection: Connection, files: Sequence[Mapping[str, Any]]) -> None:
    """Record files `{artifact_id, name, md5}` that the client is about to upload; the last word on a name counts."""
    if files:
        statement = upsert(uploads)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["artifact_id", "name"], set_={"md5": statement.excluded.md5}),
            list(files),
        )


def forget(connection: Connection, artifact_id: int) -> None:
    """Drop all that says what a version consists of; bytes that nothing else names become garbage."""
    layers.forget(connection, artifact_id)
    for table in (uploads, manifests):
        connection.execute(delete(table).where(table.c.artifact_id == artifact_id))
    multiparts.forget(connection, artifact_id)


def entry_page(
    connection: Connection, artifact_id: int, *, names: Sequence[str] | None, after: str | None, first: int | None
) -> EntryPage:
    """The entries of a version in path order.

    Args:
        names: only these paths, exactly; None for all.
        after: the path that ended the previous page.
        first: how many at most; None for 50.
    """
    here = [] if names is None else [entries.c.path.in_(list(names))]
    size = DEFAULT_SIZE if first is None else max(0, min(first, _LARGEST_PAGE))
    query = layers.of_version(connection, artifact_id, *here, entries.c.path > (after or ""))
    rows = connection.execute(query.limit(size + 1)).all()
    items = [Entry(**row._mapping) for row in rows[:size]]
    if names is None:
        total = count(connection, artifact_id)
    else:
        some = layers.of_version(connection, artifact_id, *here).subquery()
        total = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return EntryPage(items=items, total_count=total, more=bool(items) and len(rows) > size)


def count(connection: Connection, artifact_id: int) -> int:
    """How many entries a version has; none before it is one and when it was deleted."""
    said = select(artifacts.c.file_count).where(artifacts.c.id == artifact_id, artifacts.c.manifest_md5.is_not(None))
    return connection.execute(said).scalar_one_or_none() or 0


def hex_digest(text: str, *, algorithm: str = MD5) -> str:
    """The hex form of the base64 digest that the wire carries; both algorithms give 128 bits.

    Raises:
        BadData: it is not one.
    """
    found = _hex(text)
    if found is None:
        raise BadData(f"'{text[:80]}' is not a base64 {'md5' if algorithm == MD5 else 'XXH128'}")
    return found


def base64_digest(text: str) -> str:
    """The wire's form of a hex digest."""
    return base64.b64encode(bytes.fromhex(text)).decode()


def _hex(text: str) -> str | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 16 else None


def _manifests() -> Any:
    return select(manifests.c.id, manifests.c.artifact_id, manifests.c.base_id, manifests.c.kind, manifests.c.md5)
