"""What logging costs a training loop: steps that log to the embedded server against steps that do not, in one process.

    python benchmarks/training_overhead.py [--seconds 60] [--step-ms 10]

One step is a fixed piece of numpy work of about `--step-ms` on one thread, as long as a small network's. Blocks of fifty steps
with and without `run.log` of three numbers follow each other, which of the two comes first is drawn; the cost is the median
over pairs of blocks of (with - without) / without. The same loop, with nothing logged in either half, says what the machine's
own noise is worth.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from logging_rate import server
from rounds import conditions, markdown

_BLOCK = 50


def main() -> None:
    parser = argparse.ArgumentParser(description="What logging costs a training loop.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--step-ms", type=float, default=10)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(measure(given.seconds, given.step_ms)))
        return
    with tempfile.TemporaryDirectory() as work, server(Path(work)) as environment:
        words = [sys.executable, __file__, "--inside", "--seconds", str(given.seconds), "--step-ms", str(given.step_ms)]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "WANDB_SILENT": "true"}
        done = subprocess.run(words, env=environment | one_thread, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    rows = [
        [what, f"{100 * median:+.2f} %", f"{100 * low:+.2f} to {100 * high:+.2f} %", target]
        for (what, target), (median, low, high) in zip(
            (("nothing against nothing", ""), ("logging against nothing", "≤ 1 %")), found["costs"], strict=True
        )
    ]
    print(f"{found['pairs']} pairs of {_BLOCK} steps of {found['step_ms']:.1f} ms; {conditions('reg-lifecycle', 'numpy')}\n")
    print(markdown(("loop", "cost of a step (median)", "95 % interval of the median", "target"), rows))


def measure(seconds: float, step_ms: float) -> dict[str, object]:
    import numpy as np
    import wandb

    matrix = np.random.default_rng(0).normal(size=(128, 128))
    repeats = 1

    def work() -> None:
        for _ in range(repeats):
            matrix @ matrix

    while block(work, 20) / 20 < step_ms / 1000:
        repeats = max(repeats + 1, int(repeats * 1.2))
    settings = wandb.Settings(silent=True, disable_job_creation=True, x_disable_stats=True)
    with wandb.init(project="overhead", settings=settings) as run:

        def work_and_log() -> None:
            work()
            run.log({"loss": 0.1, "accuracy": 0.9, "rate": 0.001})

        costs: tuple[list[float], list[float]] = ([], [])
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for other, found in zip((work, work_and_log), costs, strict=True):
                order = random.sample([(0, work), (1, other)], 2)
                spent = dict(sorted((number, block(step, _BLOCK)) for number, step in order))
                found.append(spent[1] / spent[0] - 1)
    return {
        "pairs": len(costs[0]),
        "step_ms": 1000 * block(work, _BLOCK) / _BLOCK,
        "costs": [(statistics.median(found), *interval(found)) for found in costs],
    }


def block(step: Callable[[], object], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def interval(values: list[float]) -> tuple[float, float]:
    """Distribution-free bounds of the median: order statistics."""
    ordered = sorted(values)
    reach = int(0.98 * len(ordered) ** 0.5) + 1
    middle = len(ordered) // 2
    return ordered[max(0, middle - reach)], ordered[min(len(ordered) - 1, middle + reach)]


if __name__ == "__main__":
    main()
