"""A command ends at once, and not before everything is done: what it printed arrived, what others asked for happened."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

END = "from registry.cli import _leave\n_leave(3)\n"


def ended(before: str, *, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import atexit, sys, threading, time\n{before}\n{END}"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered)


@pytest.mark.parametrize(
    "before",
    [
        "sys.stdout.write('done')",
        "atexit.register(lambda: sys.stdout.write('done'))",
        "threading.Thread(target=lambda: (time.sleep(0.3), sys.stdout.write('done'))).start()",
    ],
    ids=["printed", "at exit", "a thread that is still at work"],
)
def test_everything_is_done_when_the_process_ends(before: str) -> None:
    done = ended(before)
    assert (done.returncode, done.stdout, done.stderr) == (3, "done", "")


def test_nobody_waits_for_a_thread_that_does_not_want_to_be_waited_for() -> None:
    assert ended("threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()").returncode == 3


def test_what_could_not_be_printed_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = ended("sys.stdout.write('done')", stdout=full.fileno())
    assert done.returncode == 120  # Python's own
    assert "No space left on device" in done.stderr
