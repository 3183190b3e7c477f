"""What earlier looks found in files that have not changed since: an unchanged file is read at its first push, not at each.

A file counts as unchanged when its size, its times of modification and of status change and its inode are the same. The time of
status change cannot be set by a program, so an edit that puts the modification time back is noticed too. A file that was
changed within a moment of being looked at may change again within the same tick of the clock: it is not remembered. What is
remembered is a shortcut to digests and nothing else; a memory that is lost, damaged or of another version is simply made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipelines.data.folder import File

_VERSION = 1
# The coarsest clock of a file system in use (FAT) ticks every two seconds.
_TICK_NS = 2_000_000_000


class Picture(NamedTuple):
    """What a decoded image is known by: its content digest (hex) and its shape (height, width, channels)."""

    digest: str
    shape: tuple[int, int, int]


class _Seen(NamedTuple):
    size: int
    stamp: tuple[int, int, int]
    md5: str
    picture: Picture | None


@dataclass
class Memory:
    """What is remembered of the files below one folder, and which of them the last push from there made a version of.

    `pushed` holds the hex md5 of every file of that version, by name.
    """

    file: Path
    pushed: Mapping[str, str] = field(default_factory=dict)
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def md5(self, file: File) -> str | None:
        """The hex md5 of a file, if it is as it was."""
        seen = self._unchanged(file)
        return seen.md5 if seen else None

    def pictures(self, files: Iterable[File]) -> dict[str, Picture]:
        """The images among files that are as they were, by name."""
        found = ((file.name, self._unchanged(file)) for file in files)
        return {name: seen.picture for name, seen in found if seen is not None and seen.picture is not None}

    def keep(
        self, md5s: Mapping[str, str], files: Iterable[File], pictures: Mapping[str, Picture], *, pushed: Mapping[str, str]
    ) -> None:
        """Remember for next time; a home that cannot be written to remembers nothing.

        Args:
            md5s, pictures: what was found in the files, by name.
            pushed: what the version holds now.
        """
        before = time.time_ns() - _TICK_NS
        seen = [
            (file.name, file.size, file.stamp, md5s[file.name], pictures.get(file.name))
            for file in files
            if file.stamp[0] < before and file.stamp[1] < before
        ]
        text = json.dumps({"version": _VERSION, "seen": seen, "pushed": dict(pushed)}, separators=(",", ":"))
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self.file.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(draft, self.file)

    def _unchanged(self, file: File) -> _Seen | None:
        seen = self._seen.get(file.name)
        return seen if seen is not None and seen.size == file.size and seen.stamp == file.stamp else None


def recall(home: Path, root: Path) -> Memory:
    """What is remembered in a home of the files below a folder."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]
    file = home / "looked" / f"{name}.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["version"] != _VERSION:
            return Memory(file)
        seen = {
            name: _Seen(size, (modified, changed, inode), md5, Picture(picture[0], tuple(picture[1])) if picture else None)
            for name, size, (modified, changed, inode), md5, picture in said["seen"]
        }
        return Memory(file, pushed=dict(said["pushed"]), _seen=seen)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return Memory(file)
