"""Whatever line a process is killed at: what it told is there, nothing is there by halves, and doing it again completes it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.crash_points import OPERATIONS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork, no SIGKILL")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_process_killed_at_any_line_breaks_no_promise(operation: str) -> None:
    command = [sys.executable, "-m", "tests.crash_points", operation, "21", "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["lines"] > 80
    assert found["wrong"] == []
