"""Manifests: what a version consists of, file by file.

The client announces files, uploads them, and last uploads a manifest that names them all. The manifest is kept as a blob and
served as that blob, less the uploader's local paths; its entries become rows when the version is committed, so that they can
be paged. Until then a version does not exist for anybody: `settled` is where a manifest must agree with the stored bytes.
A version built on another one says only what is its own; the whole manifest, which clients download, is put together here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import xxhash
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.server import documents, limits, manifest_files
from registry.server.blobs import Blobs
from registry.server.context import now
from registry.server.names import check_path, check_reference, readable
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
    """The version that an incremental upload adds to, its manifest as it is served, and whether the server wrote that."""

    artifact_id: int
    manifest: bytes
    written_here: bool


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
    files = _announced_files(connection, artifact_id)
    md5s = _stored_md5s(connection, own, files)
    sizes = blobs.sizes({*files.values(), *filter(None, md5s.values())})
    absent = [name for name, md5 in files.items() if md5 not in sizes]
    if absent:
        raise BadData(f"{len(absent)} of {len(files)} announced files never arrived, the first is '{absent[0]}'")
    stripped = [entry.pop("local_path", None) for entry in own.values()]
    found = [_entry(artifact_id, path, own[path], md5s[path], sizes) for path in sorted(own)]
    if base is not None:
        return _onto(connection, base, parts[-1], own, found, blobs=blobs, algorithm=algorithm)
    untouched = len(parts) == 1 and not any(stripped)
    return Contents(
        served=blobs.read(announced[-1].md5 or "")
        if untouched
        else manifest_files.written(parts[-1], manifest_files.lines(own)),
        digest=_digest((_line(entry.path, entry.digest) for entry in found), algorithm),
        size=sum(entry.size or 0 for entry in found),
        file_count=len(found),
        merged=announced[-1].kind != "FULL",
        entries=found,
        base_id=None,
    )


def _onto(
    connection: Connection,
    base: Base,
    head: Mapping[str, Any],
    own: Mapping[str, Any],
    found: Sequence[Entry],
    *,
    blobs: Blobs,
    algorithm: str,
) -> Contents:
    """A base with these entries of a version's own in it.

    What was committed once needs no reading with suspicion; its bytes may have been lost since.
    """
    query = layers.of_version(connection, base.artifact_id)
    wanted = (query.selected_columns[name] for name in ("path", "digest", "size", "md5"))
    there = connection.execute(query.with_only_columns(*wanted)).all()
    # By columns: asking each of sixty thousand rows for its fields takes longer than the database needs to find them.
    paths, digests, sizes, md5s = list(zip(*there, strict=True)) or ((), (), (), ())
    lost = blobs.absent(md5 for md5 in md5s if md5 is not None)
    for path, md5 in zip(paths, md5s, strict=True) if lost else ():
        if md5 in lost and path not in own:
            raise BadData(f"the bytes of '{path}' are no longer stored, in the version that this one builds on")
    places = [_place(paths, entry.path) for entry in found]
    replaced = {entry.path: place.start for entry, place in zip(found, places, strict=True) if place}
    lines = manifest_files.read(base.manifest, own_layout=base.written_here)
    if len(lines) != len(there) or not all(manifest_files.is_of(lines[place], path) for path, place in replaced.items()):
        raise BadData("the manifest of the version that this one builds on does not name the files of that version")
    said = [_line(entry.path, entry.digest) for entry in found]
    size = sum(filter(None, sizes)) - sum(sizes[place] or 0 for place in replaced.values())
    return Contents(
        served=manifest_files.written(head, _spliced(lines, places, manifest_files.lines(own))),
        digest=_digest(_spliced(list(map(_line, paths, digests)), places, said), algorithm),
        size=size + sum(entry.size or 0 for entry in found),
        file_count=len(there) + len(found) - len(replaced),
        merged=True,
        entries=found,
        base_id=base.artifact_id,
    )


def _place(paths: Sequence[str], path: str) -> range:
    """Which of the sorted paths it takes the place of: one, or none, before which it belongs."""
    start = bisect_left(paths, path)
    return range(start, start + (start < len(paths) and paths[start] == path))


def _spliced(lines: Sequence[str], places: Sequence[range], own: Sequence[str]) -> list[str]:
    """The lines with some of their own in these places, which are in order."""
    found: list[str] = []
    done = 0
    for place, line in zip(places, own, strict=True):
        found += lines[done : place.start]
        found.append(line)
        done = place.stop
    return [*found, *lines[done:]]


def keep(connection: Connection, artifact_id: int, contents: Contents) -> None:
    """Write the entries of a version that is being committed, and forget what was only announced."""
    own = [(entry.path, entry.digest, entry.size, entry.md5, entry.ref) for entry in contents.entries]
    layers.write(connection, artifact_id, own, base_id=contents.base_id)
    connection.execute(delete(uploads).where(uploads.c.artifact_id == artifact_id))
    multiparts.forget(connection, artifact_id)


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


def _current(announced: Sequence[Manifest]) -> Sequence[Manifest]:
    """All patches of a distributed version, or the last manifest of an ordinary one."""
    patches = [manifest for manifest in announced if manifest.kind == "PATCH"]
    return patches or announced[-1:]


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


def _line(path: str, digest: str) -> str:
    return f"{path}:{digest}\n"


def _digest(lines: Iterable[str], algorithm: str) -> str:
    """The digest by which W&B's client knows an artifact: over all paths and their digests, in path order."""
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
