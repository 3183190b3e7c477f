"""Manifests: what a version consists of, file by file.

The client announces files, uploads them, and last uploads a manifest that names them all. The manifest is kept as a blob and
served as that blob, less the uploader's local paths; its entries become rows when the version is committed, so that they can
be paged. Until then a version does not exist for anybody: `settled` is where a manifest must agree with the stored bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import xxhash
from sqlalchemy import Connection, delete, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.server import documents, limits
from registry.server.blobs import Blobs
from registry.server.context import now
from registry.server.names import check_path, check_reference, readable
from registry.server.store import multiparts
from registry.server.store.pages import DEFAULT_SIZE, Edge, PageInfo
from registry.server.tables import entries, manifests, uploads

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
class Contents:
    """A manifest that agrees with what is stored: the bytes to serve and the rows to keep.

    `merged` where the server put it together, from patches or onto a base: then no client knows its digest beforehand.
    `entries` are those of its own; the version `base_id` has all others.
    """

    served: bytes
    digest: str
    size: int
    file_count: int
    merged: bool
    entries: Sequence[Entry]
    base_id: int | None


@dataclass(frozen=True, kw_only=True)
class Base:
    """The version that an incremental upload adds to, and its manifest as it is served."""

    artifact_id: int
    manifest: bytes


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


def settled(connection: Connection, artifact_id: int, *, blobs: Blobs, base: Base | None, algorithm: str) -> Contents:
    """The contents of a version about to be committed, checked against the stored bytes.

    Args:
        base: what an incremental version builds on.
        algorithm: of the version's own digest; each entry says for itself by which it is known.
    Raises:
        BadData: a manifest or an announced file has not arrived, a manifest cannot be read, or an entry names bytes that are
            not stored or have another size; the message names the first.
    """
    announced = of_artifact(connection, artifact_id)
    if not announced:
        raise BadData("no manifest was uploaded for this artifact")
    missing = [manifest for manifest in announced if not blobs.has(manifest.md5 or "")]
    if missing:
        raise BadData(f"the manifest with md5 {missing[0].md5} was announced and never arrived")
    current = _current(announced)
    if (size := sum(blobs.size(manifest.md5 or "") for manifest in current)) > limits.MANIFEST:
        raise BadData(f"the manifest has {size:,} bytes, this server takes {limits.MANIFEST:,}")
    parts = [_parsed(blobs.read(manifest.md5 or "")) for manifest in current]
    own: dict[str, Any] = {}
    for part in parts:
        own |= part["contents"]
    # What was committed once needs no reading with suspicion; its bytes may have been lost since.
    contents = own if base is None else json.loads(base.manifest)["contents"] | own
    document = parts[-1] | {"contents": {path: contents[path] for path in sorted(contents)}}
    files = _announced_files(connection, artifact_id)
    md5s = _stored_md5s(connection, own, files)
    others = {} if base is None else _md5s_of_version(connection, base.artifact_id)
    sizes = blobs.sizes({*files.values(), *filter(None, md5s.values()), *others.values()})
    absent = [name for name, md5 in files.items() if md5 not in sizes]
    if absent:
        raise BadData(f"{len(absent)} of {len(files)} announced files never arrived, the first is '{absent[0]}'")
    lost = [path for path, md5 in others.items() if path not in own and md5 not in sizes]
    if lost:
        raise BadData(f"the bytes of '{lost[0]}' are no longer stored, in the version that this one builds on")
    stripped = [entry.pop("local_path", None) for entry in own.values()]
    untouched = base is None and len(parts) == 1 and not any(stripped)
    served = blobs.read(announced[-1].md5 or "") if untouched else json.dumps(document, ensure_ascii=False).encode()
    found = [_entry(artifact_id, path, entry, md5s[path], sizes) for path, entry in own.items()]
    kept = sum([entry.get("size") or 0 for path, entry in contents.items() if path not in own])
    return Contents(
        served=served,
        digest=_digest(document["contents"], algorithm),
        size=kept + sum(entry.size or 0 for entry in found),
        file_count=len(contents),
        merged=announced[-1].kind != "FULL",
        entries=found,
        base_id=None if base is None else base.artifact_id,
    )


def keep(connection: Connection, artifact_id: int, contents: Contents) -> None:
    """Write the entries of a version that is being committed, and forget what was only announced."""
    if contents.entries:
        # Spelt for the driver: binding sixty thousand rows by name takes as long as writing them.
        connection.exec_driver_sql(
            f"INSERT INTO {entries.name} (artifact_id, path, digest, size, md5, ref) VALUES (?, ?, ?, ?, ?, ?)",
            [(artifact_id, entry.path, entry.digest, entry.size, entry.md5, entry.ref) for entry in contents.entries],
        )
    if contents.base_id is not None:
        others = [column for column in entries.c if column is not entries.c.artifact_id]
        copied = select(literal(artifact_id), *others).where(entries.c.artifact_id == contents.base_id)
        # Paths that the version says itself are there already, and stay.
        names = ["artifact_id", *(column.name for column in others)]
        connection.execute(insert(entries).prefix_with("OR IGNORE").from_select(names, copied))
    connection.execute(delete(uploads).where(uploads.c.artifact_id == artifact_id))
    multiparts.forget(connection, artifact_id)


def forget(connection: Connection, artifact_id: int) -> None:
    """Drop all that says what a version consists of; bytes that nothing else names become garbage."""
    for table in (entries, uploads, manifests):
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
    here = [entries.c.artifact_id == artifact_id]
    if names is not None:
        here.append(entries.c.path.in_(list(names)))
    total = connection.execute(select(func.count()).select_from(entries).where(*here)).scalar_one()
    size = DEFAULT_SIZE if first is None else max(0, min(first, _LARGEST_PAGE))
    query = select(entries).where(*here, entries.c.path > (after or "")).order_by(entries.c.path).limit(size + 1)
    rows = connection.execute(query).all()
    items = [Entry(**row._mapping) for row in rows[:size]]
    return EntryPage(items=items, total_count=total, more=bool(items) and len(rows) > size)


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


def _current(announced: Sequence[Manifest]) -> Sequence[Manifest]:
    """All patches of a distributed version, or the last manifest of an ordinary one."""
    patches = [manifest for manifest in announced if manifest.kind == "PATCH"]
    return patches or announced[-1:]


def _md5s_of_version(connection: Connection, artifact_id: int) -> dict[str, str]:
    """The hex md5 of each stored file of a version, by path."""
    query = select(entries.c.path, entries.c.md5).where(entries.c.artifact_id == artifact_id, entries.c.md5.is_not(None))
    return dict(connection.execute(query).tuples().all())


def _announced_files(connection: Connection, artifact_id: int) -> dict[str, str]:
    """The hex md5 of each announced file, by name."""
    rows = connection.execute(
        select(uploads.c.name, uploads.c.md5).where(uploads.c.artifact_id == artifact_id).order_by(uploads.c.name)
    )
    return {row.name: row.md5 for row in rows}


def _parsed(raw: bytes) -> dict[str, Any]:
    # An entry is an object, and so is its extra.
    document = documents.read(raw, "the manifest", containers=2 * limits.MANIFEST_ENTRIES + limits.JSON_DEPTH)
    if not isinstance(document, dict) or document.get("version") != 1 or not isinstance(document.get("contents"), dict):
        raise BadData("the manifest has no version 1 and contents: {path: entry}")
    if len(document["contents"]) > limits.MANIFEST_ENTRIES:
        raise BadData(f"the manifest has {len(document['contents']):,} entries, this server takes {limits.MANIFEST_ENTRIES:,}")
    for path, entry in document["contents"].items():
        check_path(path, "the manifest's entry")
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            raise BadData(f"the manifest's entry '{path}' has no digest")
        if len(entry["digest"]) > limits.REFERENCE or not readable(entry["digest"]):
            raise BadData(f"the manifest's entry '{path}' has a digest that is no line of text")
        size, ref = entry.get("size"), entry.get("ref")
        if not (size is None or (type(size) is int and 0 <= size < 1 << 63)) or not (ref is None or isinstance(ref, str)):
            raise BadData(f"the manifest's entry '{path}' needs size: number of bytes, and may have ref: text")
        if ref is not None:
            check_reference(ref, f"the reference of the manifest's entry '{path}'")
        if not isinstance(entry.get("extra") or {}, dict):
            raise BadData(f"the manifest's entry '{path}' has an extra that is not an object")
    return document


def _digest(contents: Mapping[str, Mapping[str, Any]], algorithm: str) -> str:
    """The digest by which W&B's client knows an artifact: over all paths and their digests, in path order."""
    lines = [f"{path}:{entry['digest']}\n" for path, entry in contents.items()]
    said = "wandb-artifact-manifest-v1\n{}".format("".join(lines)).encode()
    hasher = hashlib.md5(said, usedforsecurity=False) if algorithm == MD5 else xxhash.xxh128(said)
    return hasher.hexdigest()


def _stored_md5s(
    connection: Connection, contents: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]
) -> dict[str, str | None]:
    """Under which md5 the bytes of each path are stored; None for what a reference names, whose digest may be anything.

    Args:
        files: the md5s announced for this version, by path.
    """
    found: dict[str, str | None] = {}
    others: dict[str, str] = {}
    for path, entry in contents.items():
        if entry.get("ref") is not None:
            found[path] = None
        elif (entry.get("extra") or {}).get("alg") == "XXH128":
            others[path] = hex_digest(entry["digest"], algorithm=XXH128)
        else:
            found[path] = hex_digest(entry["digest"])
    known = multiparts.md5s_of(connection, others.values())
    for path, xxh128 in others.items():
        candidates = known.get(xxh128, set())
        if not candidates:
            raise BadData(f"the manifest names '{path}' with XXH128 {xxh128}, and no such bytes are stored")
        # XXH128 can be made to collide: then only the version's own upload says which content is meant.
        if len(candidates) > 1 and files.get(path) not in candidates:
            raise BadData(f"different contents are stored under the XXH128 {xxh128} of '{path}'; upload the file itself")
        found[path] = files[path] if files.get(path) in candidates else min(candidates)
    return found


def _entry(artifact_id: int, path: str, entry: Mapping[str, Any], md5: str | None, sizes: Mapping[str, int]) -> Entry:
    digest, size, ref = entry["digest"], entry.get("size"), entry.get("ref")
    if md5 is None:
        return Entry(artifact_id=artifact_id, path=path, digest=digest, size=size, md5=None, ref=ref)
    if md5 not in sizes:
        raise BadData(f"the manifest names '{path}' with digest {digest}, and no such bytes are stored")
    if size is not None and size != sizes[md5]:
        raise BadData(f"the manifest says that '{path}' has {size} bytes; those stored under its digest are {sizes[md5]}")
    return Entry(artifact_id=artifact_id, path=path, digest=digest, size=sizes[md5], md5=md5, ref=None)
