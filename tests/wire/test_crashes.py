"""Nothing is lost: a server or a client killed with SIGKILL anywhere leaves what was acknowledged, and nothing by halves.

The points are drawn from a seed; `benchmarks/crashes.py` runs as many seeds as one has time for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.wire.crashing import crashing, faults, faults_of, history, holders, numbers, run_workload, sync

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the client's processes are found in /proc")

_STEPS = 20
# The workload makes 44 requests; those near the end are about another run's system metrics.
_REQUESTS = 40


def test_a_server_killed_anywhere_keeps_what_it_acknowledged_and_the_client_completes(tmp_path: Path) -> None:
    points = faults(3, count=7, requests=_REQUESTS)
    with crashing(tmp_path / "home", points, seed=3) as (crashes, server):
        done = run_workload(crashes, server, tmp_path / "work", "it", _STEPS)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"a": "one", "b": 60_000}
        assert len(crashes.struck) == len(points)
        # Each time when a server had been started again, before the client could send anything.
        assert crashes.wrong == []
        assert crashes.acknowledged.lost(crashes.home) == []
    home = tmp_path / "home"
    assert faults_of(home) == []
    assert history(home, "it") == [(step, step) for step in range(_STEPS)]
    assert (numbers(home, "data"), numbers(home, "held"), holders(home, "held", "production")) == ([0, 1], [0, 1], [0, 1])
    assert list((home / "blobs" / "incoming").iterdir()) == []


@pytest.mark.parametrize("again", ["wandb sync", "the script"])
def test_what_a_killed_client_began_is_completed_by(tmp_path: Path, again: str) -> None:
    seed = {"wandb sync": 1, "the script": 2}[again]
    with crashing(tmp_path / "home", faults(seed, count=1, requests=_REQUESTS, whom="client"), seed=seed) as (crashes, server):
        assert run_workload(crashes, server, tmp_path / "work", "it", _STEPS).returncode < 0
        assert crashes.acknowledged.lost(crashes.home) == []
        assert faults_of(crashes.home) == []
        if again == "wandb sync":
            done = sync(server, tmp_path / "work")
        else:
            done = run_workload(crashes, server, tmp_path / "again", "another", _STEPS)
        assert done.returncode == 0, done.stderr
        assert crashes.acknowledged.lost(crashes.home) == []
    home = tmp_path / "home"
    assert faults_of(home) == []
    rows = history(home, "it")
    assert rows == [(step, step) for step in range(len(rows))]
    assert numbers(home, "data") == list(range(len(numbers(home, "data"))))
    if again == "the script":
        assert history(home, "another") == [(step, step) for step in range(_STEPS)]
        assert (numbers(home, "data"), numbers(home, "held"), holders(home, "held", "production")[-1]) == ([0, 1], [0, 1], 1)
