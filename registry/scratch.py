"""A folder for work under way, and whose it is: gone when its owner is done, and cleared by others if the owner was killed.

The owner holds a lock on a file inside, which the kernel frees however a process ends, so that nobody has to guess from an age
or a process id whether somebody still works there. The folder gets its name only when the lock is held: what has a name and no
lock is nobody's. Whoever makes a folder clears what was left behind beside it; `reg gc` clears a whole home. Where there are no
such locks (Windows) nothing is cleared, because nobody can tell.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_OWNER, _FILES = "owner", "files"
_KINDS = ("packing", "incoming")


@dataclass(frozen=True)
class Left:
    """A folder whose owner was killed; `size` in bytes."""

    path: Path
    size: int


@contextmanager
def scratch(place: Path, kind: str, *, hidden: bool = False) -> Iterator[Path]:
    """An empty folder below `place`, which exists, for the time of the block.

    Args:
        kind: what it is for, one of `_KINDS`.
        hidden: it lies where people look, so its name begins with a dot.
    Raises:
        OSError: it cannot be made.
    """
    assert kind in _KINDS
    prefix = f".{kind}-" if hidden else f"{kind}-"
    clear(left_behind([place]))
    name = secrets.token_hex(6)
    folder = place / f".new-{prefix.lstrip('.')}{name}"
    folder.mkdir(mode=0o700)
    try:
        (folder / _FILES).mkdir()
        held = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(held)
            folder = folder.rename(place / f"{prefix}{name}")
            yield folder / _FILES
        finally:
            os.close(held)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left_behind(places: Iterable[Path]) -> list[Left]:
    """The folders directly below `places` whose owners were killed, sorted by path; changes nothing."""
    names = tuple(f"{dot}{kind}-" for kind in _KINDS for dot in ("", "."))
    found = []
    for place in places:
        with suppress(OSError):
            found += [place / entry.name for entry in os.scandir(place) if entry.name.startswith(names)]
    return [Left(path, _size(path)) for path in sorted(found) if _is_nobodys(path)]


def of_home(home: Path) -> list[Path]:
    """Where in a home such folders lie."""
    return [home, *sorted(home.glob("downloads/*"))]


def clear(left: Iterable[Left]) -> None:
    """Remove folders that were left behind."""
    for one in left:
        shutil.rmtree(one.path, ignore_errors=True)


def _is_nobodys(folder: Path) -> bool:
    try:
        held = os.open(folder / _OWNER, os.O_RDWR)
    except OSError:  # no folder of ours, or somebody else's
        return False
    try:
        return _lock(held)
    finally:
        os.close(held)


def _lock(held: int) -> bool:
    """Take the lock of an owner; whether nobody else has it."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size
