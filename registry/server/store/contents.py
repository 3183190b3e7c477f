"""Contents: where the manifest of a version about to be committed must agree with the stored bytes.

Nothing is a version before that: no entry without its bytes, of the size that is said. A version built on another one says
only what is its own; the whole manifest, which clients download, is put together here.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import xxhash
from sqlalchemy import Connection, delete, select

from registry.errors import BadData
from registry.server import documents, limits, manifest_files
from registry.server.blobs import Blobs
from registry.server.names import check_path, check_reference, readable
from registry.server.store import layers, multiparts
from registry.server.store.manifests import MD5, XXH128, Entry, Manifest, hex_digest, of_artifact
from registry.server.tables import entries, uploads


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
    """The version that an incremental upload adds to, its size in bytes, its manifest as it is served, and whether the server
    wrote that.
    """

    artifact_id: int
    size: int
    manifest: bytes
    written_here: bool


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
    path, digest, md5 = (query.selected_columns[name] for name in ("path", "digest", "md5"))
    # Put together by the database: sixty thousand rows take longer to become Python's than to be found.
    there = connection.execute(query.with_only_columns(path + ":" + digest + "\n", md5)).all()
    with ThreadPoolExecutor(1) as beside:  # most of this is the work of SQLite, which needs nothing of Python's
        absent = beside.submit(blobs.absent, {md5 for _, md5 in there if md5 is not None})
        lines = manifest_files.read(base.manifest, own_layout=base.written_here)
        places = [_place(lines, entry.path) for entry in found]
        replaced = layers.of_version(connection, base.artifact_id, entries.c.path.in_(layers.listed(own)))
        sizes = {row.path: row.size or 0 for row in connection.execute(replaced)}
        if len(lines) != len(there) or sizes.keys() != {entry.path for entry, at in zip(found, places, strict=True) if at}:
            raise BadData("the manifest of the version that this one builds on does not name the files of that version")
        said = [_line(entry.path, entry.digest) for entry in found]
        merged = Contents(
            served=manifest_files.written(head, _spliced(lines, places, manifest_files.lines(own))),
            digest=_digest(_spliced([line for line, _ in there], places, said), algorithm),
            size=base.size - sum(sizes.values()) + sum(entry.size or 0 for entry in found),
            file_count=len(there) + len(found) - len(sizes),
            merged=True,
            entries=found,
            base_id=base.artifact_id,
        )
        lost = absent.result()
    if lost:
        missing = layers.of_version(connection, base.artifact_id, entries.c.md5.in_(layers.listed(lost)))
        for gone in (row.path for row in connection.execute(missing) if row.path not in own):
            raise BadData(f"the bytes of '{gone}' are no longer stored, in the version that this one builds on")
    return merged


def _place(lines: Sequence[str], path: str) -> range:
    """Which of the lines of a manifest is of this path: one, or none, before which it belongs."""
    start = bisect_left(lines, path, key=manifest_files.path_of)
    return range(start, start + (start < len(lines) and manifest_files.path_of(lines[start]) == path))


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
