"""Garbage collection: what no version, alias, lineage edge or time to live keeps, found and removed while others write.

Blobs have no reference counts; what the database names is kept, and it changes while we look. Two rules make it safe:

1. A blob is removed inside a write transaction that finds, in that transaction, that no row names it. SQLite has one writer
   at a time, in all processes of a home, so nobody can begin to name it between the question and the removal.
2. Whoever relies on stored bytes writes the row that names them in the same write transaction in which they see that the
   bytes are there: `createArtifactFiles` answers "no upload needed" only then, a commit checks its manifest only then, and a
   run file is recorded only then (or refused with a status on which the client sends it again). So either they come first,
   and rule 1 sees their row, or we do, and they see that the blob is gone and ask for it.

Therefore no row ever names a blob that was collected, whatever the timing. The grace period is for courtesy: bytes that came
within it are left alone, so that a client rarely has to send anything twice. Rows go first and their transaction is durable
before any blob goes: a crash in the middle leaves garbage, which the next collection finds.

Under the lock a blob is only renamed, because unlinking a large file takes a file system long; it is deleted afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from registry.server import parts
from registry.server.blobs import PREFIXES, Blobs, Stored
from registry.server.context import now
from registry.server.database import Database
from registry.server.store import garbage, keeping, multiparts
from registry.server.store.garbage import Doomed

OnProgress = Callable[[int, int], None]

# Blobs renamed in one write transaction: some milliseconds for which other writers wait.
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to leave alone what looks like garbage: bytes that just came, and uploads that nobody went on with."""

    grace: timedelta = timedelta(hours=1)
    abandoned: timedelta = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What can be removed, or was: versions, uploads, files of the blob folder and their bytes.

    `young` counts blobs that nothing names and that are within the grace period.
    """

    expired: tuple[Doomed, ...]
    abandoned: tuple[Doomed, ...]
    blobs: int
    size: int
    parts: int
    young: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.expired or self.abandoned or self.blobs or self.parts)


def find(database: Database, blobs: Blobs, patience: Patience, on_progress: OnProgress) -> Garbage:
    """What `remove` would remove now; changes nothing and makes nobody wait."""
    with database.reading(patient=True) as connection:
        expired = garbage.expired(connection, moment=now())
        abandoned = garbage.abandoned(connection, before=_ago(patience.abandoned))
    doomed = [artifact.id for artifact in (*expired, *abandoned)]
    count = size = young = 0
    for done, prefix in enumerate(PREFIXES):
        on_progress(done, len(PREFIXES))
        old, fresh = _candidates(database, blobs, prefix, patience, without=doomed)
        count, size, young = count + len(old), size + sum(blob.size for blob in old), young + fresh
    on_progress(len(PREFIXES), len(PREFIXES))
    left = len(_lost_parts(database, blobs, patience))
    return Garbage(expired=tuple(expired), abandoned=tuple(abandoned), blobs=count, size=size, parts=left, young=young)


def remove(database: Database, blobs: Blobs, plan: Garbage, patience: Patience, on_progress: OnProgress) -> Garbage:
    """Remove the versions and uploads of a plan that are still garbage, and then every blob that nothing names.

    Returns:
        What was really removed.
    Raises:
        Busy: other processes kept the database for too long; what was removed until then stays removed.
    """
    with database.writing() as connection:
        expired = garbage.remove_expired(connection, {artifact.id for artifact in plan.expired}, moment=now())
        before = _ago(patience.abandoned)
        abandoned = garbage.remove_abandoned(connection, {artifact.id for artifact in plan.abandoned}, before=before)
    count = size = young = 0
    for done, prefix in enumerate(PREFIXES):
        on_progress(done, len(PREFIXES))
        old, fresh = _candidates(database, blobs, prefix, patience)
        young += fresh
        for batch in _batches(old):
            removed = _remove_blobs(database, blobs, batch, patience)
            count, size = count + len(removed), size + sum(blob.size for blob in removed)
    on_progress(len(PREFIXES), len(PREFIXES))
    blobs.compact()
    left = _lost_parts(database, blobs, patience)
    for token in left:
        parts.below(blobs.folder).forget(token)
    return Garbage(expired=tuple(expired), abandoned=tuple(abandoned), blobs=count, size=size, parts=len(left), young=young)


def _candidates(
    database: Database, blobs: Blobs, prefix: str, patience: Patience, *, without: Sequence[int] = ()
) -> tuple[list[Stored], int]:
    """The blobs that nothing names and that are past the grace period, and how many are within it."""
    listed = blobs.listing(prefix)
    if not listed:
        return [], 0
    with database.reading(patient=True) as connection:
        kept = keeping.kept(connection, prefix, without=without)
    unnamed = [blob for blob in listed if blob.md5 not in kept]
    old = [blob for blob in unnamed if _past(blob.written, patience)]
    return old, len(unnamed) - len(old)


def _remove_blobs(database: Database, blobs: Blobs, batch: Sequence[Stored], patience: Patience) -> list[Stored]:
    with database.writing() as connection:
        free = keeping.unkept(connection, [blob.md5 for blob in batch])
        free = {md5 for md5 in free if (written := blobs.written(md5)) is not None and _past(written, patience)}
        garbage.forget_digests(connection, free)
        aside = blobs.discard(free)
    for path in aside:
        with suppress(FileNotFoundError):  # a server that just started took it for its predecessor's
            path.unlink()
    return [blob for blob in batch if blob.md5 in free]


def _lost_parts(database: Database, blobs: Blobs, patience: Patience) -> list[str]:
    """The parts of large files that nobody can put together: listed before asking, because the row comes before the parts."""
    there = parts.below(blobs.folder).tokens(untouched_for=patience.grace.total_seconds())
    with database.reading(patient=True) as connection:
        return sorted(there - set(multiparts.tokens(connection)))


def _past(written: float, patience: Patience) -> bool:
    return written <= time.time() - patience.grace.total_seconds()


def _ago(time: timedelta) -> str:
    return (datetime.now(UTC) - time).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _batches(blobs: Sequence[Stored]) -> Iterator[Sequence[Stored]]:
    for start in range(0, len(blobs), _BATCH):
        yield blobs[start : start + _BATCH]
