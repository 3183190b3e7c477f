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
from typing import Any, NamedTuple

from pipelines.data.folder import File

_VERSION = 2
# The coarsest clock of a file system in use (FAT) ticks every two seconds.
_TICK_NS = 2_000_000_000
_NO_PICTURE = (None, None, False)


class Picture(NamedTuple):
    """What a decoded image is known by: its content digest (hex), its shape (height, width, channels), and whether EXIF has
    it lie otherwise in its file.
    """

    digest: str
    shape: tuple[int, int, int]
    turned: bool = False


@dataclass
class Memory:
    """What is remembered of the files below one folder, and which of them the last push from there made a version of.

    `pushed` holds the hex md5 of every file of that version, by name. `rendered` is how the pictures were read
    (`pipelines.data.spec.Rendering.key`): read otherwise, they have other digests.
    """

    file: Path
    pushed: Mapping[str, str] = field(default_factory=dict)
    rendered: str = ""
    # By name: size, the three numbers of the stamp, hex md5 (null of a file that was only packed), and of an image what it is
    # known by. Plain lists, as JSON has them: there are tens of thousands.
    _seen: Mapping[str, list[Any]] = field(default_factory=dict)

    def md5(self, file: File) -> str | None:
        """The hex md5 of a file, if it is as it was."""
        seen = self._seen.get(file.name)
        return str(seen[4]) if seen is not None and seen[4] and seen[:4] == [file.size, *file.stamp] else None

    def pictures(self, files: Iterable[File], *, rendered: str) -> dict[str, Picture]:
        """The images among files that are as they were, by name; none if they were read otherwise."""
        found: dict[str, Picture] = {}
        if rendered != self.rendered:
            return found
        for file in files:
            seen = self._seen.get(file.name)
            if seen is not None and seen[:4] == [file.size, *file.stamp] and seen[5] is not None:
                height, width, channels = seen[6]
                found[file.name] = Picture(seen[5], (height, width, channels), seen[7])
        return found

    def keep(
        self,
        md5s: Mapping[str, str],
        files: Iterable[File],
        pictures: Mapping[str, Picture],
        *,
        pushed: Mapping[str, str],
        rendered: str,
    ) -> None:
        """Remember for next time; a home that cannot be written to remembers nothing.

        Args:
            md5s, pictures: what was found in the files, by name.
            pushed: what the version holds now.
            rendered: how the pictures were read.
        """
        before = time.time_ns() - _TICK_NS
        seen = {
            file.name: [file.size, *file.stamp, md5s.get(file.name), *pictures.get(file.name, _NO_PICTURE)]
            for file in files
            if file.stamp[0] < before and file.stamp[1] < before
        }
        said = {"version": _VERSION, "rendered": rendered, "seen": seen, "pushed": dict(pushed)}
        text = json.dumps(said, separators=(",", ":"))
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self.file.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(draft, self.file)


def recall(home: Path, root: Path) -> Memory:
    """What is remembered in a home of the files below a folder."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]
    file = home / "looked" / f"{name}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(file.read_text(encoding="utf-8"))
        if said["version"] == _VERSION and isinstance(said["seen"], dict) and isinstance(said["pushed"], dict):
            return Memory(file, pushed=said["pushed"], rendered=str(said["rendered"]), _seen=said["seen"])
    return Memory(file)
