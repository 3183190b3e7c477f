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

_VERSION = 3
# The coarsest clock of a file system in use (FAT) ticks every two seconds.
_TICK_NS = 2_000_000_000
_UNKNOWN = "-" * 32  # in place of the md5 of a file that was only packed, and of the digest of one that is no picture
_SHORTEST = len(f"0 0 0 0 {_UNKNOWN} {_UNKNOWN} ")
# Written anew when so many lines say what one could.
_MOST_LINES = 50


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
    pushed: dict[str, str] = field(default_factory=dict)
    rendered: str = ""
    # By name one text each, "size modified changed inode md5 digest look": lists of numbers take ten times as long to read.
    _seen: dict[str, str] = field(default_factory=dict)
    # Of those that were found to be as they were, what follows on the stamp: "md5 digest look".
    _same: dict[str, str] = field(default_factory=dict)
    _lines: int = 0

    def recognise(self, files: Iterable[File], *, rendered: str | None = None) -> dict[str, Picture]:
        """Compare files with what is remembered of them; the images among those that are as they were, by name.

        Args:
            rendered: how they are to be read; of images that were read otherwise nothing is known.
        """
        seen, same, looks = self._seen, self._same, _Looks()
        alike = rendered == self.rendered
        found = {}
        for file in files:
            name, _, size, (modified, changed, inode), _ = file
            stamp = f"{size} {modified} {changed} {inode} "
            if (text := seen.get(name)) is not None and text.startswith(stamp):
                known = same[name] = text[len(stamp) :]
                if alike and known[33] != "-":
                    found[name] = Picture(known[33:65], *looks[known[66:]])
        return found

    def md5(self, file: File) -> str | None:
        """The hex md5 of a file, if it is as it was."""
        if file.name not in self._same:
            self.recognise([file])
        known = self._same.get(file.name)
        return known[:32] if known is not None and known[0] != "-" else None

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
        if rendered != self.rendered:  # what is known of the pictures is of others
            self._same = {name: f"{known[:32]} {_UNKNOWN} " for name, known in self._same.items()}
        texts = _Texts()
        new = {}
        for file in files:
            name = file.name
            known, md5 = self._same.get(name), md5s.get(name) or _UNKNOWN
            if known is not None and known[:32] == md5 and (known[33] != "-" or name not in pictures):
                continue
            if file.stamp[0] < before and file.stamp[1] < before:
                picture = pictures.get(name)
                looks = f"{picture.digest} {texts[picture[1:]]}" if picture is not None else f"{_UNKNOWN} "
                modified, changed, inode = file.stamp
                new[name] = f"{file.size} {modified} {changed} {inode} {md5} {looks}"
        gone = self.pushed.keys() - pushed.keys()
        changes = {name: md5 for name, md5 in pushed.items() if self.pushed.get(name) != md5}
        if not (new or gone or changes):
            return
        line = {"version": _VERSION, "rendered": rendered, "seen": new, "pushed": changes | dict.fromkeys(gone)}
        with suppress(OSError):
            goes_on = 0 < self._lines < _MOST_LINES and rendered == self.rendered
            if goes_on and len(new) + len(changes) + len(gone) <= len(self.pushed):
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write(_written(line))
            else:
                kept = {name: self._stamped(name) for name in self._same}
                self._write_anew({**kept, **new}, pushed, rendered)

    def _stamped(self, name: str) -> str:
        """What is remembered of a file that is as it was, with its stamp."""
        return " ".join([*self._seen[name].split(" ", 4)[:4], self._same[name]])

    def _write_anew(self, seen: Mapping[str, str], pushed: Mapping[str, str], rendered: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=self.file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(_written({"version": _VERSION, "rendered": rendered, "seen": seen, "pushed": pushed}))
        os.replace(draft, self.file)


class _Looks(dict[str, tuple[tuple[int, int, int], bool]]):
    """What is known of a picture beside its digest, by its text (`28x28x1`, `28x28x1 turned`); a folder of images has one."""

    def __missing__(self, text: str) -> tuple[tuple[int, int, int], bool]:
        shape, _, turned = text.partition(" ")
        height, width, channels = map(int, shape.split("x"))
        self[text] = ((height, width, channels), bool(turned))
        return self[text]


class _Texts(dict[tuple[Any, ...], str]):
    """The same the other way."""

    def __missing__(self, look: tuple[Any, ...]) -> str:
        shape, turned = look
        self[look] = "x".join(map(str, shape)) + " turned" * turned
        return self[look]


def _written(line: Mapping[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":")) + "\n"


def recall(home: Path, root: Path) -> Memory:
    """What is remembered in a home of the files below a folder."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]
    file = home / "looked" / f"{name}.jsonl"
    lines = 0
    seen: dict[str, str] = {}
    pushed: dict[str, str | None] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        rendered = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            if said["version"] != _VERSION or min(map(len, said["seen"].values()), default=_SHORTEST) < _SHORTEST:
                break
            rendered = str(said["rendered"])
            seen |= said["seen"]
            pushed |= said["pushed"]
            lines += 1
        else:
            known = {name: md5 for name, md5 in pushed.items() if md5 is not None}
            return Memory(file, pushed=known, rendered=rendered, _seen=seen, _lines=lines)
    return Memory(file)
