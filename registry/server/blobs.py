"""Content-addressed bytes: a file per md5, complete by construction.

The md5 is the SDK's choice, not ours. A blob is written under a temporary name, hashed on the way, compared with the
digest that was promised, synced and renamed: a file under its final name is whole, so its existence is the only record.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.errors import BadData, NotFound

_MD5 = re.compile(r"[0-9a-f]{32}")
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Stored bytes: hex md5 and length."""

    md5: str
    size: int


class Blobs:
    """The blob folder of one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / "incoming"
        self._temporary.mkdir(parents=True, exist_ok=True)

    def path(self, md5: str) -> Path:
        """Where the blob lies or would lie; two levels, so that no folder grows past what file systems like.

        Raises:
            NotFound: `md5` is not 32 lower-case hex digits.
        """
        if not _MD5.fullmatch(md5):
            raise NotFound(f"'{md5[:80]}' is not an md5")
        return self.folder / md5[:2] / md5[2:]

    def has(self, md5: str) -> bool:
        return self.path(md5).exists()

    def size(self, md5: str) -> int:
        """Length in bytes.

        Raises:
            NotFound: the blob is not here.
        """
        try:
            return self.path(md5).stat().st_size
        except FileNotFoundError as exc:
            raise NotFound(f"no blob with md5 {md5}") from exc

    def sizes(self, md5s: Iterable[str]) -> dict[str, int]:
        """Length in bytes of each of these blobs that is here; a manifest names tens of thousands, so paths are plain text."""
        root = os.fspath(self.folder)
        found: dict[str, int] = {}
        for md5 in {md5 for md5 in md5s if _MD5.fullmatch(md5)}:
            with suppress(FileNotFoundError):
                found[md5] = os.stat(f"{root}/{md5[:2]}/{md5[2:]}").st_size
        return found

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

    def read(self, md5: str) -> bytes:
        """The whole content.

        Raises:
            NotFound: the blob is not here.
        """
        try:
            return self.path(md5).read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"no blob with md5 {md5}") from exc

    def pieces(self, md5: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in pieces."""
        with self.path(md5).open("rb") as file:
            file.seek(start)
            left = (self.size(md5) if stop is None else stop) - start
            while left > 0 and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece


class Incoming:
    """One temporary file on its way to becoming a blob; removed unless kept."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._path = blobs._temporary / secrets.token_hex(16)
        self._hash = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def __enter__(self) -> Incoming:
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
        final = self._blobs.path(md5)
        self._file.flush()
        if not final.exists():
            os.fsync(self._file.fileno())
            final.parent.mkdir(exist_ok=True)
            os.replace(self._path, final)
            _sync_folder(final.parent)
        return Blob(md5=md5, size=self._size)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is synced; Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
