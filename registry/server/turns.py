"""Whose turn it is to write: first come, first served, among the threads of a process and the processes of a home.

SQLite lets one write at a time, and those who find it busy look again after a while, up to a tenth of a second later. A
process that writes all the time begins again in between, and the others wait for seconds. So writers stand in a line here
before they ask SQLite. Between processes the line is two bytes of a file, locked by the kernel, which frees them however a
process ends: whoever holds `_NEXT` is next, holds it until it has `_NOW`, and nobody else can step in between.

This is courtesy, not safety: SQLite still decides, for programs that know nothing of the line and where there are no such
locks (Windows).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_NEXT, _NOW = 0, 1
_LOOK_AGAIN_SECONDS = 0.001


class TooLong(Exception):
    """The others took longer than we wait."""


class Turns:
    """The line of one file's writers.

    Args:
        path: the file of the locks; created when absent, never has content.
    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._within = _Line()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    @contextmanager
    def turn(self, *, patience: float) -> Iterator[None]:
        """For the time of the block nobody else in line writes.

        Args:
            patience: seconds.
        Raises:
            TooLong: it was not our turn by then.
        """
        until = time.monotonic() + patience
        self._within.enter(patience)
        try:
            self._lock(_NEXT, until)
            try:
                self._lock(_NOW, until)
            finally:
                self._unlock(_NEXT)
            try:
                yield
            finally:
                self._unlock(_NOW)
        finally:
            self._within.leave()

    def close(self) -> None:
        os.close(self._file)

    def _lock(self, place: int, until: float) -> None:
        if sys.platform == "win32":
            return
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                return
            except (BlockingIOError, PermissionError):
                if time.monotonic() > until:
                    raise TooLong from None
                time.sleep(_LOOK_AGAIN_SECONDS)

    def _unlock(self, place: int) -> None:
        if sys.platform != "win32":
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)


class _Line:
    """A lock that goes to whoever has waited longest; Python's goes to whoever is quickest, which may never be you."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    def enter(self, patience: float) -> None:
        """
        Raises:
            TooLong: it was not our turn after so many seconds.
        """
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if not mine.wait(patience):
            with self._mutex:
                if not mine.is_set():
                    self._waiting.remove(mine)
                    raise TooLong
            # It became ours in the last moment.

    def leave(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
