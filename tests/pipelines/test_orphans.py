"""A program and what it started end with the command that ran them, even by `kill -9`; whoever lives holds a pipe open."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

WAITS = """\
import os, signal
signal.signal(signal.SIGALRM, lambda *_: (os.write(0, b"outlived it"), os._exit(1)))
signal.alarm(20)
print("there", flush=True)
while True:
    signal.pause()
"""
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITS}"
RUNS = """\
import os, sys
from pipelines.programs import run
run(["sh", "-c", '"$0" -c "$1"; :', sys.executable, sys.argv[1]],
    environment=dict(os.environ), on_lines=lambda lines: None, out=sys.stdout, err=sys.stderr)
"""
WATCHES = """\
import subprocess, sys
from pipelines import orphans
with orphans.watch(grace=0.2) as watch:
    child = subprocess.Popen(["sh", "-c", '"$0" -c "$1"; :', sys.executable, sys.argv[1]])
    watch.over(child.pid)
    child.wait()
"""
LEAVES = """\
import subprocess, sys
from pipelines import orphans
with orphans.watch(grace=0.2) as watch:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
    watch.over(child.pid)
"""


def started(code: str, program: str) -> tuple[subprocess.Popen[str], int]:
    """A command whose program said that it is there, and a descriptor that ends when all that it started has ended."""
    ends, held = os.pipe()
    command = subprocess.Popen([sys.executable, "-c", code, program], stdin=held, stdout=subprocess.PIPE, text=True)
    os.close(held)
    assert command.stdout is not None
    assert command.stdout.readline() == "there\n"
    return command, ends


@pytest.mark.parametrize(("code", "program"), [(RUNS, WAITS), (WATCHES, STUBBORN)], ids=["at once", "against its will"])
def test_all_that_a_killed_command_started_ends(code: str, program: str) -> None:
    command, ends = started(code, program)
    command.kill()
    with command, os.fdopen(ends) as alive:
        assert alive.read() == ""


def test_what_a_command_leaves_behind_on_purpose_goes_on() -> None:
    command, ends = started(LEAVES, "print('there', flush=True); import os; os.write(0, b'still here'); os.close(0)")
    with command, os.fdopen(ends) as alive:
        assert (command.wait(), alive.read()) == (0, "still here")
