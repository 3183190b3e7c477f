"""Bytes of large files, which come in parts: put together while they arrive, so that nobody waits when the last one is there.

Each part is written under its number, compared with the md5 that was announced for it, and synced. Whoever finished a part
then appends every part that is next in line to `whole`, hashing on the way: when the client completes the upload, the digests
of the file are known and it only changes its name. A crash costs no part. What was appended is known from the sizes, a piece
of a part that was being appended is cut off again, and the hashes are computed anew from `whole`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import xxhash

from registry.errors import BadData
from registry.server.blobs import CHUNK, Blob, Blobs

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A file that has come together: where it lies, its length and its digests in hex."""

    path: Path
    size: int
    md5: str
    xxh128: str


@dataclass
class _Progress:
    """How far one file has been put together; without `hashes` this process does not know. `sizes` are those arrived."""

    appended: int = 0
    size: int = 0
    hashes: tuple[Any, Any] | None = None
    sizes: dict[int, int] = field(default_factory=dict)
    problem: OSError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def more(self) -> bool:
        return self.hashes is None or self.appended + 1 in self.sizes


@cache
def below(folder: Path) -> Parts:
    """The parts kept below a blob folder; one object per process, because it remembers hashes between requests."""
    return Parts(folder / "parts")


class Parts:
    """A folder with a folder for each file that is on its way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._progress: dict[str, _Progress] = {}
        self._guard = threading.Lock()

    def incoming(self, token: str, number: int) -> IncomingPart:
        """A part in the making; the bytes of an earlier attempt at the same part stay until it is whole."""
        return IncomingPart(self._folder / token, number)

    def advance(self, token: str, sizes: Mapping[int, int]) -> None:
        """Append what is next in line; nothing to do when another request is at it, which goes on until nothing is.

        Args:
            sizes: length in bytes of each part that has arrived, by its number from 1.
        """
        progress = self._progress_of(token)
        progress.sizes.update(sizes)
        while progress.more and progress.lock.acquire(blocking=False):
            try:
                self._advance(token, progress)
                progress.problem = None
            except OSError as error:
                progress.hashes, progress.problem = None, error
                raise
            finally:
                progress.lock.release()

    def whole(self, token: str, sizes: Mapping[int, int]) -> Whole | None:
        """The file, when all of these parts are in it; None while they are not, and then somebody is at it.

        Never waits: hashing what an earlier process put together goes on beside the request.

        Raises:
            OSError: the disk refused when it was put together.
        """
        progress = self._progress_of(token)
        if progress.lock.acquire(blocking=False):
            try:
                if progress.problem is not None:
                    raise progress.problem
                if progress.hashes is not None and progress.appended == len(sizes):
                    md5, xxh128 = progress.hashes
                    path = self._folder / token / "whole"
                    return Whole(path=path, size=progress.size, md5=md5.hexdigest(), xxh128=xxh128.hexdigest())
            finally:
                progress.lock.release()
            threading.Thread(target=self._advance_quietly, args=(token, dict(sizes)), daemon=True).start()
        return None

    def _advance_quietly(self, token: str, sizes: Mapping[int, int]) -> None:
        with suppress(OSError):  # kept for whoever asks next
            self.advance(token, sizes)

    def hand_over(self, whole: Whole, blobs: Blobs) -> None:
        """Make a blob of the file. It keeps its place here as well: the transaction that says so may yet fail.

        Raises:
            OSError: the disk refuses.
        """
        second = whole.path.with_name(secrets.token_hex(16))
        os.link(whole.path, second)
        blobs.adopt(second, md5=whole.md5)

    def forget(self, token: str) -> None:
        """Remove what is left of an upload."""
        with self._guard:
            self._progress.pop(token, None)
        shutil.rmtree(self._folder / token, ignore_errors=True)

    def tokens(self, *, untouched_for: float) -> set[str]:
        """The uploads of which something is here, and whose folder did not change for so many seconds."""
        if not self._folder.exists():
            return set()
        before = time.time() - untouched_for
        found = set()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed since it was listed
                    if entry.stat().st_mtime <= before:
                        found.add(entry.name)
        return found

    def forget_all_but(self, tokens: Collection[str], *, untouched_for: float) -> int:
        """Remove the uploads that nobody can go on with; returns how many they were."""
        doomed = self.tokens(untouched_for=untouched_for) - set(tokens)
        for token in doomed:
            self.forget(token)
        return len(doomed)

    def _progress_of(self, token: str) -> _Progress:
        with self._guard:
            return self._progress.setdefault(token, _Progress())

    def _advance(self, token: str, progress: _Progress) -> None:
        folder = self._folder / token
        with (folder / "whole").open("a+b") as file:
            _claim(file)
            written = file.seek(0, os.SEEK_END)
            if progress.hashes is None or written != progress.size:
                _take_up(file, written, progress)
            assert progress.hashes is not None
            while (number := progress.appended + 1) in progress.sizes:
                with (folder / str(number)).open("rb") as part:
                    for piece in _pieces(part):
                        file.write(piece)
                        _hash(progress.hashes, piece)
                file.flush()
                os.fsync(file.fileno())
                progress.appended = number
                progress.size += progress.sizes[number]
                (folder / str(number)).unlink()


class IncomingPart:
    """One part on its way; takes the place of what came under its number before, once it is what was announced."""

    def __init__(self, folder: Path, number: int) -> None:
        self._final = folder / str(number)
        self._path = folder / f"{number}.{secrets.token_hex(8)}"
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def __enter__(self) -> IncomingPart:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self._size += len(chunk)

    def keep(self, *, expected: str | None) -> Blob:
        """Verify, sync, rename.

        Raises:
            BadData: the content does not have the expected md5.
        """
        md5 = self._hash.hexdigest()
        if md5 != expected:
            raise BadData(f"this part has md5 {md5}, {expected} was announced; it was not stored")
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._path, self._final)
        return Blob(md5=md5, size=self._size)


def _claim(file: Any) -> None:
    """Another process of this home may append to the same file."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)


def _take_up(file: Any, written: int, progress: _Progress) -> None:
    """Find out how far another process came, and hash that far."""
    progress.appended = progress.size = 0
    while progress.size + progress.sizes.get(progress.appended + 1, written + 1) <= written:
        progress.appended += 1
        progress.size += progress.sizes[progress.appended]
    file.truncate(progress.size)
    file.seek(0)
    hashes = (hashlib.md5(usedforsecurity=False), xxhash.xxh128())
    for piece in _pieces(file):
        _hash(hashes, piece)
    progress.hashes = hashes


def _pieces(file: Any) -> Iterator[bytes]:
    while piece := file.read(CHUNK):
        yield piece


def _hash(hashes: tuple[Any, Any], piece: bytes) -> None:
    for known in hashes:
        known.update(piece)
