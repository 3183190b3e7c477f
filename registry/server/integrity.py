"""`reg doctor --fsck`: whether everything the database names is stored as it says, and the other way round.

Every blob is hashed again, in parallel and a piece at a time; what is needed and what is there are compared folder by folder,
so that memory stays flat. It may run beside servers: a blob that seems to be missing is looked for a second time, when what
was collected meanwhile is no longer needed. It changes nothing, unless it is asked to move damaged blobs aside: then their
bytes can be sent again, because a client is told that they are not here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import xxhash

from registry.errors import NotFound
from registry.server.blobs import PREFIXES, Blobs, Stored
from registry.server.database import Database, StorageProblem
from registry.server.store import integrity, keeping
from registry.server.store.integrity import Described
from registry.server.store.manifests import XXH128

OnProgress = Callable[[int, int], None]
Kind = Literal["damaged", "missing", "length", "manifest", "database"]

_VERSIONS_AT_ONCE = 200
_MOST_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong: what kind, where, in words, and which versions and run files it spoils."""

    kind: Kind
    where: str
    says: str
    affects: tuple[str, ...] = ()
    quarantined: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was looked at and what is wrong; `unnamed` blobs are what `reg gc` may remove, and no fault."""

    blobs: int
    size: int
    unnamed: int
    unnamed_size: int
    versions: int
    faults: tuple[Fault, ...]


def check(database: Database, blobs: Blobs, *, quarantine: bool, on_progress: OnProgress) -> Report:
    """Look at everything, or at nothing but the database and the index of packs where one of these files is damaged.

    Args:
        quarantine: move damaged blobs aside.
        on_progress: called with (done, total) now and then.
    """
    unsound = _files(database, blobs)
    if unsound:
        return Report(blobs=0, size=0, unnamed=0, unnamed_size=0, versions=0, faults=tuple(unsound))
    faults = _laws(database)
    count = size = unnamed = unnamed_size = 0
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for done, prefix in enumerate(PREFIXES):
            on_progress(done, len(PREFIXES) + 1)
            with database.reading(patient=True) as connection:
                needs = keeping.needs(connection, prefix)
            listed = {blob.md5: blob for blob in blobs.listing(prefix)}
            with database.reading(patient=True) as connection:
                kept = keeping.kept(connection, prefix)
            damaged = [md5 for md5 in pool.map(partial(_damaged, blobs), listed) if md5 is not None]
            faults += [_spoilt(database, blobs, md5, quarantine=quarantine) for md5 in damaged]
            faults += _unmet(database, blobs, needs, listed, set(damaged))
            count, size = count + len(listed), size + sum(blob.size for blob in listed.values())
            left = [blob.size for blob in listed.values() if blob.md5 not in kept]
            unnamed, unnamed_size = unnamed + len(left), unnamed_size + sum(left)
    on_progress(len(PREFIXES), len(PREFIXES) + 1)
    versions, misdescribed = _manifests(database, blobs)
    on_progress(len(PREFIXES) + 1, len(PREFIXES) + 1)
    return Report(
        blobs=count,
        size=size,
        unnamed=unnamed,
        unnamed_size=unnamed_size,
        versions=versions,
        faults=(*faults, *misdescribed),
    )


def _files(database: Database, blobs: Blobs) -> list[Fault]:
    index = [Fault(kind="database", where="blobs/packs/index.db", says=line) for line in blobs.packs.problems()]
    try:
        with database.reading(patient=True) as connection:
            breaches = integrity.file_is_sound(connection)
    except StorageProblem as problem:  # so damaged that SQLite cannot list what is wrong
        return [*index, Fault(kind="database", where=database.path.name, says=problem.message)]
    return [*index, *(Fault(kind="database", where=breach.where, says=breach.says) for breach in breaches)]


def _laws(database: Database) -> list[Fault]:
    with database.reading(patient=True) as connection:
        breaches = [
            *integrity.references_hold(connection),
            *integrity.numbers_are_dense(connection),
            *integrity.memberships_agree(connection),
            *integrity.aliases_agree(connection),
            *integrity.contents_agree(connection),
            *integrity.layers_are_used(connection),
        ]
    return [Fault(kind="database", where=breach.where, says=breach.says) for breach in breaches]


def _damaged(blobs: Blobs, md5: str) -> str | None:
    try:
        return None if blobs.digest(md5) == md5 else md5
    except NotFound:  # collected since it was listed
        return None
    except OSError:
        return md5


def _spoilt(database: Database, blobs: Blobs, md5: str, *, quarantine: bool) -> Fault:
    with database.reading(patient=True) as connection:
        affects = tuple(keeping.owners(connection, md5))
    aside = blobs.quarantine(md5) if quarantine else None
    says = "the stored bytes have another md5, or cannot be read"
    return Fault(kind="damaged", where=md5, says=says, affects=affects, quarantined=None if aside is None else str(aside))


def _unmet(
    database: Database, blobs: Blobs, needs: Iterable[keeping.Need], listed: Mapping[str, Stored], damaged: set[str]
) -> list[Fault]:
    """What is needed and not there, or there in another length."""
    faults: list[Fault] = []
    for need in sorted(needs, key=lambda need: need.md5):
        if need.md5 in damaged:
            continue
        there = listed.get(need.md5)
        if there is not None and need.size in (None, there.size):
            continue
        with database.reading(patient=True) as connection:
            if need not in keeping.needs(connection, need.md5):
                continue
            affects = tuple(keeping.owners(connection, need.md5))
        if there is not None:
            says = f"{there.size} bytes are stored, and {need.size} are named"
            faults.append(Fault(kind="length", where=need.md5, says=says, affects=affects))
        elif not blobs.has(need.md5):
            faults.append(Fault(kind="missing", where=need.md5, says="no such bytes are stored", affects=affects))
    return faults


def _manifests(database: Database, blobs: Blobs) -> tuple[int, list[Fault]]:
    """How many versions there are, and those whose manifest does not say what the database says."""
    count = last = 0
    faults: list[Fault] = []
    while True:
        with database.reading(patient=True) as connection:
            page = integrity.committed(connection, after=last, first=_VERSIONS_AT_ONCE)
            for version in page:
                said = _read_manifest(blobs, version)
                if said is None:  # missing or damaged, which was said above
                    continue
                hasher = xxhash.xxh128() if version.algorithm == XXH128 else hashlib.md5(usedforsecurity=False)
                hasher.update(b"wandb-artifact-manifest-v1\n")
                differs = 0
                for path, digest in integrity.lines(connection, version.id):
                    hasher.update(f"{path}:{digest}\n".encode())
                    differs += said.pop(path, None) != digest
                if differs or said:
                    says = f"{differs + len(said)} of its files are not those of its manifest"
                    faults.append(Fault(kind="manifest", where=version.name, says=says, affects=(version.name,)))
                elif hasher.hexdigest() != version.digest:
                    says = f"its files have the digest {hasher.hexdigest()}, it is known by {version.digest}"
                    faults.append(Fault(kind="manifest", where=version.name, says=says, affects=(version.name,)))
        if not page:
            return count, faults
        count, last = count + len(page), page[-1].id


def _read_manifest(blobs: Blobs, version: Described) -> dict[str, str] | None:
    """The digests in the manifest of a version, by path."""
    try:
        document: Any = json.loads(blobs.read(version.manifest_md5 or ""))
        return {path: entry["digest"] for path, entry in document["contents"].items()}
    except (NotFound, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
