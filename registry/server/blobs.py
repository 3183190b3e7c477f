"""Content-addressed bytes: a file per md5, complete by construction.

The md5 is the SDK's choice, not ours. A blob is written under a temporary name, hashed on the way, compared with the
digest that was promised, synced and renamed: a file under its final name is whole, so its existence is the only record.
It is renamed over one that is there already, so that bytes the disk has spoilt are mended by sending them again.

Several processes write to one folder, and each may be killed. A temporary file is locked by the process that writes it, the
kernel ends the lock with the process, and whoever opens the home next removes the files that nobody holds.

Many small files that came together lie in one `packs` file; nobody outside this module and `packs` can tell.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.errors import BadData, NotFound
from registry.server.packs import Packs, Slice

if sys.platform != "win32":
    import fcntl

_MD5 = re.compile(r"[0-9a-f]{32}")
CHUNK = 1 << 20

# The folders blobs are spread over: the first two digits of their md5.
PREFIXES = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Stored bytes: hex md5 and length."""

    md5: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One file of the blob folder: its length, and when it was last written (seconds since the epoch)."""

    md5: str
    size: int
    written: float


class Blobs:
    """The blob folder of one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / "incoming"
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._durable: set[Path] = set()
        self.packs = Packs(folder / "packs")

    def path(self, md5: str) -> Path:
        """Where the blob lies or would lie; two levels, so that no folder grows past what file systems like.

        Raises:
            NotFound: `md5` is not 32 lower-case hex digits.
        """
        if not _MD5.fullmatch(md5):
            raise NotFound(f"'{md5[:80]}' is not an md5")
        return self.folder / md5[:2] / md5[2:]

    def has(self, md5: str) -> bool:
        return self.path(md5).exists() or self.packs.find(md5) is not None

    def size(self, md5: str) -> int:
        """Length in bytes.

        Raises:
            NotFound: the blob is not here.
        """
        try:
            return self.path(md5).stat().st_size
        except FileNotFoundError:
            return self._packed(md5).size

    def sizes(self, md5s: Iterable[str]) -> dict[str, int]:
        """Length in bytes of each of these blobs that is here; a manifest names tens of thousands, so paths are plain text."""
        root = os.fspath(self.folder)
        wanted = {md5 for md5 in md5s if _MD5.fullmatch(md5)}
        found = self.packs.sizes(wanted)
        for md5 in wanted.difference(found):
            with suppress(FileNotFoundError):
                found[md5] = os.stat(f"{root}/{md5[:2]}/{md5[2:]}").st_size
        return found

    def absent(self, md5s: Iterable[str]) -> set[str]:
        """Those of the blobs that are not here."""
        root = os.fspath(self.folder)
        return {md5 for md5 in self.packs.absent(md5s) if not os.path.exists(f"{root}/{md5[:2]}/{md5[2:]}")}

    def write(self, chunks: Iterable[bytes], *, expected: str | None = None) -> Blob:
        """Store a stream of bytes.

        Args:
            chunks: the content, in any pieces.
            expected: hex md5 that was promised, or None to accept what comes.
        Raises:
            BadData: the content has another md5; nothing is kept.
            OSError: the disk refuses; nothing is kept.
        """
        with self.incoming() as incoming:
            for chunk in chunks:
                incoming.add(chunk)
            return incoming.keep(expected=expected)

    def incoming(self) -> Incoming:
        """A blob in the making, for writers that receive pieces rather than pull them."""
        return Incoming(self)

    def adopt(self, path: Path, *, md5: str) -> None:
        """Make a blob of a file of this disk that is whole, has this md5 and was synced, by renaming it."""
        final = self.path(md5)
        self._ready(final.parent)
        os.replace(path, final)
        _sync_folder(final.parent)

    def adopt_all(self, files: Iterable[tuple[str, Path]]) -> None:
        """Make blobs of many such files, each with its md5; one wait for the names in each folder."""
        folders = set()
        for md5, path in files:
            final = self.path(md5)
            self._ready(final.parent)
            os.replace(path, final)
            folders.add(final.parent)
        for folder in folders:
            _sync_folder(folder)

    def staging_folder(self) -> tuple[str, int | None]:
        """A new folder for temporary files, and the descriptor that locks it as long as it is open (None on Windows)."""
        while True:
            folder = self._temporary / secrets.token_hex(16)
            folder.mkdir()
            if sys.platform == "win32":
                return str(folder), None
            with suppress(FileNotFoundError):  # somebody took it for abandoned before we came to lock it
                lock = os.open(folder, os.O_RDONLY)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if folder.exists():
                    return str(folder), lock
                os.close(lock)

    def read(self, md5: str) -> bytes:
        """The whole content.

        Raises:
            NotFound: the blob is not here.
        """
        with self._opened(md5) as (file, size):
            return file.read(size)

    def pieces(self, md5: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in pieces."""
        with self._opened(md5) as (file, size):
            file.seek(start, os.SEEK_CUR)
            left = (size if stop is None else stop) - start
            while left > 0 and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece

    def digest(self, md5: str) -> str:
        """The md5 that the stored bytes really have, read in pieces.

        Raises:
            NotFound: the blob is not here.
            OSError: the disk cannot read it.
        """
        hasher = hashlib.md5(usedforsecurity=False)
        for piece in self.pieces(md5):
            hasher.update(piece)
        return hasher.hexdigest()

    def listing(self, prefix: str) -> list[Stored]:
        """The blobs of one of the `PREFIXES`, by md5; a file that cannot be a blob is not among them."""
        packed = self.packs.listing(prefix)
        found = {md5: Stored(md5=md5, size=size, written=written) for md5, size, written in packed}
        with suppress(FileNotFoundError), os.scandir(self.folder / prefix) as entries:
            for entry in entries:
                md5 = prefix + entry.name
                if _MD5.fullmatch(md5) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # removed since it was listed
                        known = entry.stat(follow_symlinks=False)
                        found[md5] = Stored(md5=md5, size=known.st_size, written=known.st_mtime)
        return sorted(found.values(), key=lambda blob: blob.md5)

    def written(self, md5: str) -> float | None:
        """When a blob was last written, in seconds since the epoch; None when it is not here."""
        packed = self.packs.find(md5)
        moments = [] if packed is None else [packed.written]
        with suppress(FileNotFoundError):
            moments.append(self.path(md5).stat().st_mtime)
        return max(moments, default=None)

    def discard(self, md5s: Iterable[str]) -> list[Path]:
        """Take blobs out of sight at once, however large they are; `unlink` what is returned when nobody waits.

        What a crash leaves of them is an abandoned temporary file like any other.
        """
        doomed = self.packs.remove(md5s := list(md5s))
        for md5 in md5s:
            aside = self._temporary / secrets.token_hex(16)
            with suppress(FileNotFoundError):
                os.replace(self.path(md5), aside)
                doomed.append(aside)
        return doomed

    def quarantine(self, md5: str) -> Path | None:
        """Move a damaged blob aside and keep it, so that the right bytes can be sent again.

        It is judged once more where nobody can replace it: a blob that was mended meanwhile goes back.

        Returns:
            Where it is now; None when the blob turned out to be right, or gone.
        """
        folder = self.folder / "quarantine"
        self._ready(folder)
        aside = folder / f"{md5}.{secrets.token_hex(4)}"
        try:
            os.replace(self.path(md5), aside)
        except FileNotFoundError:
            return self._quarantine_packed(md5, aside)
        with suppress(OSError):  # bytes that cannot be read are damaged
            if _digest(aside) == md5:
                os.replace(aside, self.path(md5))
                return None
        _sync_folder(folder)
        return aside

    def abandoned(self) -> list[Path]:
        """The temporary files, and folders of such files, that no living process is writing."""
        with os.scandir(self._temporary) as entries:
            found = sorted(path for entry in entries if _nobody_writes(path := Path(entry.path)))
        return found + self.packs.abandoned()

    def remove_abandoned(self) -> int:
        """Remove what killed processes left; safe while others write. Returns how many files it was."""
        left = self.abandoned()
        self.packs.abandoned(remove=True)
        for path in left:
            with suppress(OSError):  # another process was quicker, or (Windows) still has it open
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return len(left)

    def compact(self) -> None:
        """Give back the room of packed blobs that were discarded, where it is more than half of a file."""
        for path in self.packs.compact():
            path.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, md5: str) -> Iterator[tuple[BinaryIO, int]]:
        """A file, placed at the blob's first byte, and the blob's length.

        Raises:
            NotFound: the blob is not here.
        """
        try:
            file = self.path(md5).open("rb")
            start, size = 0, os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            packed = self._packed(md5)
            try:
                file = packed.path.open("rb")
            except FileNotFoundError:  # copied into another pack since we asked
                packed = self._packed(md5)
                file = packed.path.open("rb")
            start, size = packed.start, packed.size
        with file:
            file.seek(start)
            yield file, size

    def _packed(self, md5: str) -> Slice:
        packed = self.packs.find(md5)
        if packed is None:
            raise NotFound(f"no blob with md5 {md5}")
        return packed

    def _quarantine_packed(self, md5: str, aside: Path) -> Path | None:
        try:
            content = self.read(md5)
        except NotFound:
            return None
        except OSError:
            content = b""  # cannot be read: damaged
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            return None
        aside.write_bytes(content)
        for path in self.packs.remove([md5]):
            path.unlink(missing_ok=True)
        _sync_folder(aside.parent)
        return aside

    def _ready(self, folder: Path) -> None:
        """Make a folder whose own name survives a power cut."""
        if folder not in self._durable:
            folder.mkdir(exist_ok=True)
            # Even when another process made it: that one may not have come to this line yet.
            _sync_folder(folder.parent)
            self._durable.add(folder)


class Incoming:
    """One temporary file on its way to becoming a blob; removed unless kept."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._path = blobs._temporary / secrets.token_hex(16)
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def __enter__(self) -> Incoming:
        self._file = self._path.open("xb")
        while not _claim(self._file, self._path):
            # Somebody took it for abandoned between our making it and our locking it.
            self._file.close()
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
        if expected is not None and md5 != expected:
            raise BadData(f"the upload has md5 {md5}, {expected} was announced; nothing was stored")
        self._file.flush()
        os.fsync(self._file.fileno())
        if sys.platform == "win32":
            self._file.close()  # or it cannot be renamed; elsewhere this would end the lock too early
        self._blobs.adopt(self._path, md5=md5)
        return Blob(md5=md5, size=self._size)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _claim(file: BinaryIO, path: Path) -> bool:
    """Lock a new temporary file for as long as it is open; whether it is still there then."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)
        return os.fstat(file.fileno()).st_nlink > 0 and path.exists()
    return True


def _nobody_writes(path: Path) -> bool:
    if sys.platform != "win32":
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(descriptor)
        except OSError:  # locked, or gone
            return False
    return True  # Windows does not remove a file that is open


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is synced; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
