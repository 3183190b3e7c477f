"""Many files of this disk become blobs together: copied and hashed one by one, synced and renamed all at once.

One upload waits for the disk before it is acknowledged; sixty thousand small ones would wait sixty thousand times. Here
nobody is told anything before the end, so that one wait does for all. Small files go into a pack, which exists once it is
synced and indexed; larger ones are complete under a temporary name, then synced, then renamed, then the names are synced. Pack
and temporary folder are locked by this process: killed at any point it leaves what `Blobs.remove_abandoned` clears away.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from registry.errors import BadData
from registry.server.blobs import Blob, Blobs
from registry.server.packs import Pack

# Up to here a file is read at once; a larger one is hashed and written at the same time, piece by piece.
_AT_ONCE = 4 << 20
# Linux 6 may take ten times as long for a write of two mebibytes and more, which goes into pages of that size.
_PIECE = 1 << 20
# So many pieces may be read and hashed and not be written yet: the two are to wait for each other seldom.
_BEHIND = 16
# What goes into a pack: beyond this a file of its own costs little, and can be read at once without an index.
_SMALL = 64 << 10
# Beyond this many files one sync of the file system is quicker than one for each.
_FEW = 64
# Pages that wait for the disk: so many bytes of a large file are on their way to it while the next are copied.
_IN_FLIGHT = 8 << 20

READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Batch:
    """Blobs in the making; a `with` block that does not reach `keep` leaves nothing."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._staged: dict[str, str] = {}
        self._folder = ""
        self._pack: Pack | None = None

    def __enter__(self) -> Batch:
        self._folder, self._lock = self._blobs.staging_folder()
        return self

    def __exit__(self, *error: object) -> None:
        if self._pack is not None:
            self._pack.__exit__(*error)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def add(self, path: str) -> Blob:
        """Copy a file and say what it holds; bytes that are stored already are not copied again.

        Raises:
            BadData: the file changed while it was read.
            OSError: it cannot be read, or the copy cannot be written.
        """
        source = os.open(path, READ)
        try:
            before = os.fstat(source)
            blob = self._add_small(source) if before.st_size < _AT_ONCE else self._add_large(source)
            after = os.fstat(source)
        finally:
            os.close(source)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or blob.size != after.st_size:
            raise BadData(f"{path} changed while it was being read", hint="push again when nothing writes to it")
        return blob

    def keep(self) -> None:
        """Sync, rename, sync the names: afterwards every file that was added is a blob, and stays one after a power cut."""
        if self._pack is not None:
            self._pack.sync()
            self._blobs.packs.keep(self._pack)
            self._pack.__exit__()
            self._pack = None
        self._sync()
        self._blobs.adopt_all((md5, Path(copy)) for md5, copy in self._staged.items())
        self._staged.clear()

    def _add_small(self, source: int) -> Blob:
        content = b""
        while piece := os.read(source, _AT_ONCE):
            content = content + piece if content else piece
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        blob = Blob(md5=md5, size=len(content))
        if self._is_known(blob):
            return blob
        if blob.size < _SMALL:
            self._pack = self._pack or self._blobs.packs.begin()
            self._pack.add(md5, content)
        else:
            with self._copy(md5) as copy:
                write_all(copy, content)
            self._staged[md5] = f"{self._folder}/{md5}"
        return blob

    def _add_large(self, source: int) -> Blob:
        """Hash and copy at the same time: both work outside Python's lock, and each takes a second for a gibibyte."""
        hasher, size = hashlib.md5(usedforsecurity=False), 0
        with self._copy("large") as copy, Behind(copy) as copying:
            while piece := os.read(source, _PIECE):
                copying.add(piece)
                hasher.update(piece)
                size += len(piece)
        blob = Blob(md5=hasher.hexdigest(), size=size)
        if self._is_known(blob):
            os.unlink(f"{self._folder}/large")
        else:
            os.rename(f"{self._folder}/large", f"{self._folder}/{blob.md5}")
            self._staged[blob.md5] = f"{self._folder}/{blob.md5}"
        return blob

    def _is_known(self, blob: Blob) -> bool:
        if blob.md5 in self._staged or (self._pack is not None and blob.md5 in self._pack.contents):
            return True
        return self._blobs.sizes([blob.md5]).get(blob.md5) == blob.size

    @contextmanager
    def _copy(self, name: str) -> Iterator[int]:
        copy = os.open(f"{self._folder}/{name}", CREATE, 0o666)
        try:
            yield copy
        finally:
            os.close(copy)

    def _sync(self) -> None:
        if len(self._staged) > _FEW and sync_file_system(self._folder):
            return
        for path in self._staged.values():
            copy = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                os.fsync(copy)
            finally:
                os.close(copy)


class Behind:
    """Writes pieces to a file behind whoever has them, and begins early to move them to the disk; complete when the block ends.

    Raises:
        OSError: a piece cannot be written; perhaps only some pieces later.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = self._moving = 0
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def add(self, piece: bytes) -> None:
        self._waiting.append(self._thread.submit(self._write, piece))
        if len(self._waiting) > _BEHIND:
            self._waiting.popleft().result()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            for writing in self._waiting:
                writing.result()

    def _write(self, piece: bytes) -> None:
        write_all(self._descriptor, piece)
        self._written += len(piece)
        if self._written - self._moving >= _IN_FLIGHT:
            _start_writing_back(self._descriptor, self._moving, self._written - self._moving)
            self._moving = self._written


def sync_file_system(path: str) -> bool:
    """Wait until all that was written to the file system of a path is on its disk; False where that cannot be asked for."""
    call = getattr(_library(), "syncfs", None)
    if call is None:
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if call(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(descriptor)
    return True


def _start_writing_back(descriptor: int, offset: int, size: int) -> None:
    """Ask the system to begin to write to the disk what it would otherwise collect until the sync at the end."""
    call = getattr(_library(), "sync_file_range", None)
    if call is not None:
        write = 2  # SYNC_FILE_RANGE_WRITE
        call(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), write)


def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left[:_PIECE]) :]
