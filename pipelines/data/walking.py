"""The files below a folder and the status of each: the one thing that has to be asked of the disk anew at every look.

It takes longer than all else that is done with files which did not change, so where they are many it is done beside other work
(`pipelines.data.walker`): by `python walking.py FOLDER`, which is why nothing is loaded here that takes a while.
"""

from __future__ import annotations

import marshal
import os
import sys
from array import array
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_LARGEST = (1 << 63) - 1


class Found(NamedTuple):
    """What lies below a folder.

    Attributes:
        names: of all files, relative to the folder, with `/`, sorted by code point.
        stamps: four signed numbers of 64 bits for each: size in bytes, times of modification and of status change (ns), inode.
        links: names of links, wherever they lead; they are not among the files.
    """

    names: list[str]
    stamps: bytes
    links: list[str]


def walk(root: str) -> Found:
    """What lies below a folder, but for hidden files and those that a system drops there.

    Raises:
        OSError: a folder or the status of a file cannot be read; `filename` says which.
    """
    names: list[str] = []
    links: list[str] = []
    stamps = array("q")
    _walk(root, "", names, stamps, links)
    return Found(names, stamps.tobytes(), links)


def _walk(place: str, inside: str, names: list[str], stamps: array[int], links: list[str]) -> None:
    with os.scandir(place) as found:
        entries = [entry for entry in found if entry.name[0] != "." and entry.name.lower() not in _JUNK]
    has_folders = any(entry.is_dir(follow_symlinks=False) for entry in entries)
    entries.sort(key=_order if has_folders else attrgetter("name"))
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            names.append(inside + entry.name)
            stamps.extend(stamp(entry.stat()))
        elif entry.is_symlink():
            links.append(inside + entry.name)
        elif entry.is_dir():
            _walk(entry.path, f"{inside}{entry.name}/", names, stamps, links)


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """By what a file is known without reading it, four signed numbers of 64 bits; see `Found.stamps`."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _LARGEST


def _order(entry: os.DirEntry[str]) -> str:
    """With its slash a folder stands where the names of all that is in it belong."""
    return entry.name + "/" * entry.is_dir(follow_symlinks=False)


if __name__ == "__main__":
    with suppress(OSError):
        sys.stdout.buffer.write(marshal.dumps(tuple(walk(sys.argv[1]))))
        sys.stdout.flush()
        os._exit(0)
    os._exit(1)
