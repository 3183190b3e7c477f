"""What earlier looks found in files that have not changed since: an unchanged file is read at its first push, not at each.

A file counts as unchanged when its size, its times of modification and of status change and its inode are the same. The time of
status change cannot be set by a program, so an edit that puts the modification time back is noticed too. A file that was
changed within a moment of being looked at may change again within the same tick of the clock: it is not remembered. What is
remembered is a shortcut to digests and nothing else; a memory that is lost, damaged or of another version is simply made anew.

On disk it is lines of JSON, of which each adds to the ones before: what a push finds new is appended, for writing down sixty
thousand files takes longer than looking at them. Now and then it is written anew, without what is gone.
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
# Written anew when so many lines say what one could.
_MOST_LINES = 50


class Picture(NamedTuple):
    """What a decoded image is known by: its content digest (hex) and its shape (height, width, channels)."""

    digest: str
    shape: tuple[int, int, int]


@dataclass
class Memory:
    """What is remembered of the files below one folder, and which of them the last push from there made a version of.

    `pushed` holds the hex md5 of every file of that version, by name.
    """

    file: Path
    pushed: dict[str, str] = field(default_factory=dict)
    # By name: size and the three numbers of the stamp; hex md5 (null of a file that was only packed); of an image its digest
    # and its shape as text. Plain lists, as JSON has them: there are tens of thousands.
    _seen: dict[str, list[Any]] = field(default_factory=dict)
    # Those of them that were found to be as they were, so that they are compared once.
    _same: dict[str, list[Any]] = field(default_factory=dict)
    _lines: int = 0

    def recognise(self, files: Iterable[File]) -> dict[str, Picture]:
        """Compare files with what is remembered of them; the images among those that are as they were, by name."""
        seen, same, shapes = self._seen, self._same, _Shapes()
        found = {}
        for file in files:
            name, _, size, stamp, _ = file
            known = seen.get(name)
            if known is not None and known[0] == [size, *stamp]:
                same[name] = known
                if known[2] is not None:
                    found[name] = Picture(known[2], shapes[known[3]])
        return found

    def md5(self, file: File) -> str | None:
        """The hex md5 of a file, if it is as it was."""
        if file.name not in self._same:
            self.recognise([file])
        known = self._same.get(file.name)
        return known[1] if known is not None else None

    def keep(
        self, md5s: Mapping[str, str], files: Iterable[File], pictures: Mapping[str, Picture], *, pushed: Mapping[str, str]
    ) -> None:
        """Remember for next time; a home that cannot be written to remembers nothing.

        Args:
            md5s, pictures: what was found in the files, by name.
            pushed: what the version holds now.
        """
        before = time.time_ns() - _TICK_NS
        texts = _Texts()
        new = {}
        for file in files:
            known = self._same.get(file.name)
            said = md5s.get(file.name)
            if file.name in new:
                continue
            if known is not None and known[1] == said and (known[2] is not None or file.name not in pictures):
                continue
            if file.stamp[0] < before and file.stamp[1] < before:
                digest, shape = pictures.get(file.name, (None, ()))
                new[file.name] = [[file.size, *file.stamp], said, digest, texts[shape]]
        gone = self.pushed.keys() - pushed.keys()
        changes = {name: md5 for name, md5 in pushed.items() if self.pushed.get(name) != md5}
        if not (new or gone or changes):
            return
        line = {"version": _VERSION, "seen": new, "pushed": changes | dict.fromkeys(gone)}
        with suppress(OSError):
            if 0 < self._lines < _MOST_LINES and len(new) + len(changes) + len(gone) <= len(self.pushed):
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write(_written(line))
            else:
                self._write_anew({**self._same, **new}, pushed)

    def _write_anew(self, seen: Mapping[str, list[Any]], pushed: Mapping[str, str]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=self.file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_written({"version": _VERSION, "seen": seen, "pushed": pushed}))
        os.replace(draft, self.file)


class _Shapes(dict[str, tuple[int, int, int]]):
    """Shapes by their text; a folder of images has one."""

    def __missing__(self, text: str) -> tuple[int, int, int]:
        height, width, channels = map(int, text.split("x"))
        self[text] = (height, width, channels)
        return self[text]


class _Texts(dict[tuple[int, ...], str]):
    """The same the other way."""

    def __missing__(self, shape: tuple[int, ...]) -> str:
        self[shape] = "x".join(map(str, shape))
        return self[shape]


def _written(line: Mapping[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":")) + "\n"


def recall(home: Path, root: Path) -> Memory:
    """What is remembered in a home of the files below a folder."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]
    file = home / "looked" / f"{name}.jsonl"
    lines = 0
    seen: dict[str, list[Any]] = {}
    pushed: dict[str, str | None] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in file.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            if said["version"] != _VERSION:
                break
            seen |= said["seen"]
            pushed |= said["pushed"]
            lines += 1
        else:
            return Memory(file, pushed={name: md5 for name, md5 in pushed.items() if md5 is not None}, _seen=seen, _lines=lines)
    return Memory(file)
