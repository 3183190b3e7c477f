"""What earlier looks found in files that have not changed since: an unchanged file is read at its first push, not at each.

A file counts as unchanged when its size, its times of modification and of status change and its inode are the same. The time of
status change cannot be set by a program, so an edit that puts the modification time back is noticed too. A file that was
changed within a moment of being looked at may change again within the same tick of the clock: it is not remembered. What is
remembered is a shortcut to digests and nothing else; a memory that is lost, damaged or of another version is simply made anew.

On disk it is a line of JSON, a table, and the names that its rows are of. Sixty thousand files are read, compared and written
column by column in some hundredths of a second; file by file that takes as long as asking the disk for all of them.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.album import Album, Column, Look
from pipelines.data.files import Files
from pipelines.data.remembered import memory_file

_FORMAT = 4
# The coarsest clock of a file system in use (FAT) ticks every two seconds.
_TICK_NS = 2_000_000_000
_ROW = np.dtype(
    [
        ("stamp", "<i8", (4,)),  # as of `Files`; -1 where it says nothing
        ("md5", "u1", (16,)),
        ("digest", "u1", (16,)),  # of a picture
        ("which", "<i4"),  # of a picture: its look
        ("is_hashed", "?"),
        ("is_pushed", "?"),
    ]
)


@dataclass
class Memory:
    """What is remembered of the files below one folder, and which of them the last push from there made a version of.

    Attributes:
        rendered: how the pictures were read (`pipelines.data.spec.Rendering.key`): read otherwise, they have other digests.
        looks: of all pictures.
        version: the digest of that version, hex; empty where there is none.
        table: a row for each name.
    """

    file: Path
    rendered: str = ""
    looks: Sequence[Look] = ()
    version: str = ""
    names: Sequence[str] = ()
    table: NDArray[Any] = field(default_factory=lambda: np.empty(0, _ROW))

    def pictures(self, files: Files, *, rendered: str) -> Album:
        """What is known of the pictures among those files that are as they were.

        Args:
            rendered: how they are to be read; of images that were read otherwise nothing is known.
        """
        found = Album(files.names, self.looks)
        if rendered == self.rendered:
            rows = self._as_they_were(files)
            same = rows >= 0
            found.digests[same] = self.table["digest"][rows[same]]
            found.which[same] = self.table["which"][rows[same]]
        return found

    def knows(self, files: Files) -> NDArray[np.bool_]:
        """Whether each file is as it was, and its md5 is remembered."""
        return self._hashed(files) >= 0

    def md5s(self, files: Files) -> NDArray[np.uint8]:
        """The md5 of each file, shape (n, 16); nothing but zeros for those that are not known."""
        rows = self._hashed(files)
        found = np.zeros((len(files), 16), np.uint8)
        found[rows >= 0] = self.table["md5"][rows[rows >= 0]]
        return found

    def pushed(self, files: Files, md5s: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether the version has each file with this content, shape (n,)."""
        rows = self._column.rows(files.names)
        same = rows >= 0
        known = self.table[rows[same]]
        same[same] = known["is_pushed"] & (known["md5"] == md5s[same]).all(axis=1)
        return same

    @property
    def count(self) -> int:
        """How many files the version has."""
        return int(self.table["is_pushed"].sum())

    def lacks_none(self, files: Files) -> bool:
        """Whether all files of the version are among these, but for those that were made for it."""
        rows = self._column.rows(files.names)
        here = np.zeros(len(self.table), dtype=bool)
        here[rows[rows >= 0]] = True
        return not (self.table["is_pushed"] & self.table["is_hashed"] & ~here).any()

    def keep(
        self,
        hashed: Files,
        md5s: NDArray[np.uint8],
        others: Files,
        pictures: Album,
        *,
        rendered: str,
        version: str = "",
        made: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Remember for next time, in place of what was remembered; a home that cannot be written to remembers nothing.

        Args:
            hashed: files whose md5s are these, shape (n, 16); the version holds them, if there is one.
            others: files of which only pictures are known.
            rendered: how the pictures were read.
            version: its digest.
            made: the md5 of what else the version holds, by name.
        """
        names, seen = [*hashed.names, *others.names, *made], len(hashed) + len(others)
        table = np.zeros(len(names), _ROW)
        stamps = np.concatenate([hashed.stamps, others.stamps])
        settled = (stamps[:, 1:3] < time.time_ns() - _TICK_NS).all(axis=1, keepdims=True)
        table["stamp"] = -1
        table["stamp"][:seen] = np.where(settled, stamps, -1)
        table["md5"][: len(hashed)], table["is_hashed"][: len(hashed)] = md5s, True
        table["md5"][seen:] = np.frombuffer(b"".join(made.values()), np.uint8).reshape(-1, 16)
        table["is_pushed"][: len(hashed)] = table["is_pushed"][seen:] = bool(version)
        rows = np.concatenate([pictures.rows(hashed.names), pictures.rows(others.names), np.full(len(made), -1)])
        shown = rows >= 0
        table["digest"][shown] = pictures.digests[rows[shown]]
        table["which"] = -1
        table["which"][shown] = pictures.which[rows[shown]]
        with suppress(OSError):
            _write(Memory(self.file, rendered, pictures.looks, version, names, table))

    def _hashed(self, files: Files) -> NDArray[np.int64]:
        """The row of each file that is as it was and whose md5 is remembered, shape (n,), -1 of the others."""
        rows = self._as_they_were(files)
        return np.where(np.append(self.table["is_hashed"], False)[rows], rows, -1)

    def _as_they_were(self, files: Files) -> NDArray[np.int64]:
        """The row of each file that is as it was, shape (n,), -1 of the others."""
        rows = self._column.rows(files.names)
        then = np.append(self.table["stamp"], np.full((1, 4), -1), axis=0)[rows]
        return np.where((then == files.stamps).all(axis=1), rows, -1)

    @cached_property
    def _column(self) -> Column:
        return Column(self.names)


def _write(memory: Memory) -> None:
    body = memory.table.tobytes() + "\0".join(memory.names).encode()
    head = {
        "format": _FORMAT,
        "rendered": memory.rendered,
        "looks": memory.looks,
        "version": memory.version,
        "rows": len(memory.table),
        "check": zlib.crc32(body),
    }
    memory.file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=memory.file.parent)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(json.dumps(head).encode() + b"\n" + body)
    os.replace(draft, memory.file)


def recall(home: Path, root: Path) -> Memory:
    """What is remembered in a home of the files below a folder."""
    file = memory_file(home, root)
    with suppress(OSError, ValueError, KeyError, TypeError):
        head, _, body = file.read_bytes().partition(b"\n")
        said = json.loads(head)
        if said["format"] == _FORMAT and said["check"] == zlib.crc32(body):
            table = np.frombuffer(body, _ROW, count=said["rows"])
            names = body[table.nbytes :].decode().split("\0") if said["rows"] else []
            looks = [((height, width, channels), turned) for (height, width, channels), turned in said["looks"]]
            return Memory(file, said["rendered"], looks, said["version"], names, table)
    return Memory(file)
