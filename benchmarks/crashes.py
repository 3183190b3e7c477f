"""Kills servers and clients at many seeded points and reports what was found wrong; `tests/wire/test_crashes.py` runs a few.

    python -m benchmarks.crashes --seeds 40 --points 5

Each seed is a workload of the real SDK (a history in many requests, two versions, links, an alias that moves) against a fresh
home. Of four seeds, three kill the server `--points` times and one kills the client once, after which `wandb sync` completes
the run. After each kill of a server, before the client can send anything, every reply that it ever got must still be true and
`reg doctor --fsck` must be content; so it must be at the end, with every row of the history once and in order, dense version
numbers, one holder of the alias after the other, and the files as they were.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.wire.crashing import crashing, faults, faults_of, history, holders, numbers, run_workload, sync

_STEPS = 20
_REQUESTS = 40


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill servers and clients at seeded points.")
    parser.add_argument("--seeds", type=int, default=40, help="workloads to run")
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--points", type=int, default=5, help="kills of the server in each of its workloads")
    given = parser.parse_args()
    began, points, findings = time.monotonic(), collections.Counter[str](), 0
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory(prefix="crashes") as folder:
            struck, wrong = one(seed, given.points, Path(folder), client=seed % 4 == 3)
        points.update(struck)
        findings += bool(wrong)
        for line in wrong:
            print(f"seed {seed}: {line}", flush=True)
    seconds = time.monotonic() - began
    for where, count in sorted(points.items()):
        print(f"{count:5}  {where}")
    print(f"{given.seeds} workloads, {points.total()} kills, {findings} workloads with findings, {seconds:.0f} s")
    return 1 if findings else 0


def one(seed: int, count: int, folder: Path, *, client: bool) -> tuple[list[str], list[str]]:
    """The points at which a workload was killed, in words, and what was wrong."""
    home = folder / "home"
    points = faults(seed, count=1 if client else count, requests=_REQUESTS, whom="client" if client else "server")
    with crashing(home, points, seed=seed) as (crashes, server):
        done = run_workload(crashes, server, folder / "work", "it", _STEPS)
        wrong = list(crashes.wrong)
        if client:
            wrong += [*crashes.acknowledged.lost(home), *faults_of(home)]
            done = sync(server, folder / "work")
        if done.returncode:
            wrong.append(f"the client ended with {done.returncode}: {done.stderr[-2000:]}")
        elif not client and json.loads(done.stdout) != {"a": "one", "b": 60_000}:
            wrong.append(f"the files came back as {done.stdout}")
        wrong += crashes.acknowledged.lost(home)
    rows, versions = history(home, "it"), numbers(home, "data")
    wrong += faults_of(home)
    if rows != [(step, step) for step in range(len(rows))] or versions != list(range(len(versions))):
        wrong.append(f"rows {rows}, versions {versions}")
    if not client and (len(rows), versions, numbers(home, "held"), holders(home, "held", "production")) != (
        _STEPS,
        [0, 1],
        [0, 1],
        [0, 1],
    ):
        wrong.append(f"{len(rows)} rows, versions {versions}, holders {holders(home, 'held', 'production')}")
    side = "client" if client else "server"
    struck = [f"{side} killed {fault.moment}, at {operation}" for fault, operation in crashes.struck]
    return struck, [f"{line} (after {struck})" for line in wrong]


if __name__ == "__main__":
    sys.exit(main())
