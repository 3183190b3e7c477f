"""The way of bytes between this command's files and the embedded server's home when both are on one disk: past HTTP.

A child process of the server's half (`registry.server.sharing`) copies and hashes with this user's own rights, so that it can
do nothing that the user could not; the blob folder's layout stays the server's own business. It starts while the data are still
being looked at, because on sixty thousand files each of the two takes seconds. Nothing it copied is visible before `keep`. The
SDK then learns from the server, which it asks as always, that these bytes are there; where this way is closed (a home that
belongs to somebody else), it sends them as it would to any server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from registry.embedded import refused
from registry.errors import EnvironmentProblem, RemoteProblem

_FEW_FILES, _FEW_BYTES = 64, 16 << 20
_FILES_A_WORKER = 4_000
_MOST_WORKERS = 4


class Closed(EnvironmentProblem):
    """This user cannot write to the home: the bytes have to go by HTTP."""


class Intake:
    """Files on their way into a home's blob folder, from `begin` on; a `with` block that ends before `keep` leaves nothing."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._workers: list[_Worker] = []
        self._answers: list[Future[Mapping[str, Any]]] = []
        self._paths: list[str] = []

    def __enter__(self) -> Intake:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        for worker in self._workers:
            worker.close()

    def begin(self, paths: Sequence[str], *, size: int) -> None:
        """Start to copy and hash, in the background; does nothing where sending them by HTTP is as quick.

        Args:
            size: of all files together, bytes.
        """
        if not worth_it(len(paths), size=size):
            return
        # Absolute, because the child has this process's folder only by chance.
        here = os.getcwd()
        self._paths = [os.path.join(here, path) for path in paths]
        self._workers = _workers(self._home, len(self._paths))
        self._answers = [
            worker.order({"put": share})
            for worker, share in zip(self._workers, _shares(self._paths, self._workers), strict=True)
        ]

    def keep(self) -> list[tuple[str, int]]:
        """Wait until every file is a blob of the home; the md5 and the size of each, in the order of `begin`.

        Returns:
            Nothing when this way was not taken, or is closed.
        Raises:
            RegError: a file cannot be read, or changed meanwhile; the home has no room.
        """
        try:
            shares = [answer.result()["blobs"] for answer in self._answers]
            for kept in [worker.order({"keep": True}) for worker in self._workers]:
                kept.result()
        except Closed:
            return []
        found: list[tuple[str, int]] = [("", 0)] * len(self._paths)
        for number, share in enumerate(shares):
            found[number :: len(shares)] = [(md5, size) for md5, size in share]
        return found


def deliver(home: Path, folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write blobs of a home as the files of an empty folder.

    Args:
        files: the hex md5 of each, by its name relative to the folder.
    Returns:
        The names whose bytes are gone from the home or do not have their digest.
    Raises:
        Closed: this user cannot read the home.
        RegError: a file cannot be written.
    """
    root = os.path.abspath(folder)
    paths = {name: os.path.normpath(os.path.join(root, name)) for name in sorted(files)}
    for name, path in paths.items():
        if not path.startswith(root + os.sep):
            raise RemoteProblem(f"'{name}' would be written outside of {folder}", hint="reg doctor --fsck")
    for place in sorted({os.path.dirname(path) for path in paths.values()}):
        os.makedirs(place, exist_ok=True)
    workers = _workers(home, len(paths))
    try:
        orders = [
            worker.order({"get": [(files[name], paths[name]) for name in share]})
            for worker, share in zip(workers, _shares(list(paths), workers), strict=True)
        ]
        damaged = {path for order in orders for path in order.result()["damaged"]}
    finally:
        for worker in workers:
            worker.close()
    return [name for name, path in paths.items() if path in damaged]


def worth_it(files: int, *, size: int) -> bool:
    """Whether starting a process costs less than it saves."""
    return files >= _FEW_FILES or size >= _FEW_BYTES


class _Worker:
    """One child process; it ends with its standard input, and so with this process."""

    def __init__(self, home: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "registry.server.sharing", "--home", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C belongs to the command, which then ends the child
        )
        self._talking = ThreadPoolExecutor(1)
        self._orders: list[Future[Mapping[str, Any]]] = []

    def order(self, order: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
        self._orders.append(self._talking.submit(self._obeyed, order))
        return self._orders[-1]

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        if not all(order.done() for order in self._orders):
            self._child.terminate()  # nobody wants the rest any more
        self._talking.shutdown()
        with suppress(OSError):
            self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()

    def _obeyed(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(order) + "\n")
            self._child.stdin.flush()
            answer: Mapping[str, Any] = json.loads(self._child.stdout.readline())
        except (OSError, ValueError) as exc:
            raise Closed(f"the process that copies into the home ended with status {self._child.poll()}") from exc
        if "error" in answer:
            raise refused(answer)
        return answer


def _workers(home: Path, files: int) -> list[_Worker]:
    wanted = max(1, min(_MOST_WORKERS, os.cpu_count() or 1, files // _FILES_A_WORKER))
    return [_Worker(home) for _ in range(wanted)]


def _shares(paths: Sequence[str], workers: Sequence[_Worker]) -> list[Sequence[str]]:
    return [paths[number :: len(workers)] for number in range(len(workers))]
