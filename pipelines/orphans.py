"""Ends a program when the command that runs it is killed: `kill -9` leaves no time for anything, so somebody else has to.

That is a second process, of a few modules of the standard library, which holds the other end of a pipe. It is told what program
to look after, and later that all is well; if the pipe ends without that word, the program and all that it started get SIGTERM,
and SIGKILL if they are still there some seconds later. Linux can bind a child to its parent's death by itself
(PR_SET_PDEATHSIG), but that reaches the first process only: of a shell script it would end the shell and leave the training.
Nor is a process group of its own the way: the program shares ours so that the terminal's keys reach it. Where there are no
POSIX signals, a program goes on without its command, as it always did.

    python -I -S orphans.py SECONDS < the pipe
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_GRACE_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_DONE = "done"


class Watch:
    """The process that looks after a program; it knows of none until it is told.

    Args:
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, *, grace: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(grace)],
            stdin=subprocess.PIPE,
            # Ours, held open by somebody who outlives us, would keep whoever reads them waiting.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the program.
            start_new_session=True,
        )

    def over(self, pid: int) -> None:
        """Look after this process from now on."""
        self._say(str(pid))

    def end(self) -> None:
        """All is well: nothing needs to be ended any more."""
        self._say(_DONE)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed it: then the program is as alone as it would be without it
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()


@contextmanager
def watch(*, grace: float = _GRACE_SECONDS) -> Iterator[Watch | None]:
    """Have the programs that are started in the block end if this process is killed; None where that cannot be done."""
    if os.name != "posix":
        yield None
        return
    watch = Watch(grace=grace)
    try:
        yield watch
    finally:
        watch.end()


Processes = dict[int, tuple[int, str]]
"""By process id: the parent's, and when the process began, so that a number that was given again is not mistaken."""


def _wait(grace: float) -> None:
    watched: list[int] = []
    for line in sys.stdin:
        if line.strip() == _DONE:
            return
        watched.append(int(line))
    there = _processes()
    family = {pid: there[pid] for pid in _descendants(there, watched)}
    _signal(family, signal.SIGTERM)
    until = time.monotonic() + grace
    while family and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        there = _processes()
        # What is still there has perhaps started something since; parents change when they die, beginnings do not.
        family = {pid: facts for pid, facts in family.items() if pid in there and there[pid][1] == facts[1]}
        family |= {pid: there[pid] for pid in _descendants(there, list(family))}
    _signal(family, signal.SIGKILL)


def _descendants(there: Processes, roots: list[int]) -> set[int]:
    """The roots that are there and everything below them."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in there.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in there]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def _signal(family: Processes, number: int) -> None:
    for pid in family:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _processes() -> Processes:
    if not os.path.isdir("/proc/self"):
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,lstart="], capture_output=True, text=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        return {int(pid): (int(parent), began) for pid, parent, began in rows}
    found: Processes = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                # pid (name) state parent …, the 22nd is the beginning; a name may hold anything, so count from its end
                fields = stat.read().rpartition(")")[2].split()
                if fields[0] != "Z":
                    found[int(name)] = (int(fields[1]), fields[19])
    return found


if __name__ == "__main__":
    _wait(float(sys.argv[1]))
    os._exit(0)
