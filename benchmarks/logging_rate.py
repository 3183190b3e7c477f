"""Logged steps per second, to the end of `finish`: the SDK with the embedded server against the SDK with none at all.

    python benchmarks/logging_rate.py [--steps 20000 200000] [--rounds 5]

Each contender is a fresh process that logs three numbers a step as fast as it can and then finishes: once with
`WANDB_MODE=offline`, where the SDK only writes its file, and once online against a server that is running already. The rate is
steps / (first log to the end of finish); starting the run is not counted in either.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rounds import conditions, markdown

_SCRIPT = """
import sys, time, wandb
steps = int(sys.argv[1])
run = wandb.init(project="rate", settings=wandb.Settings(silent=True, disable_job_creation=True, x_disable_stats=True))
start = time.perf_counter()
for step in range(steps):
    run.log({"loss": 1 / (step + 1), "accuracy": step * 0.5, "rate": 0.1})
logged = time.perf_counter()
run.finish()
print(steps / (time.perf_counter() - start), time.perf_counter() - logged)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Logged steps per second.")
    parser.add_argument("--steps", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rates: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work, server(Path(work)) as online:
        offline = {**online, "WANDB_MODE": "offline"}
        for turn in range(given.rounds):
            for steps in given.steps:
                contenders = {"offline": offline, "embedded": online}
                for name in contenders if turn % 2 == 0 else reversed(contenders):
                    rates[steps, name].append(rate(steps, contenders[name], work))
                    print(f"round {turn}, {steps}, {name}: {rates[steps, name][-1]}", file=sys.stderr, flush=True)
    rows = []
    for steps in given.steps:
        without, with_ = (statistics.median(r for r, _ in rates[steps, name]) for name in ("offline", "embedded"))
        pairs = [b[0] / a[0] for a, b in zip(rates[steps, "offline"], rates[steps, "embedded"], strict=True)]
        finish = statistics.median(f for _, f in rates[steps, "embedded"])
        around = f"{min(pairs):.2f}–{max(pairs):.2f}"
        rows.append(
            [
                f"{steps:,}",
                f"{without:,.0f}/s",
                f"{with_:,.0f}/s",
                f"{finish:.2f} s",
                f"{with_ / without:.2f}",
                around,
                "≥ 0.95",
            ]
        )
    print(f"{given.rounds} rounds; {conditions('reg-lifecycle')}\n")
    print(markdown(("steps", "offline", "embedded server", "of which finish", "ratio", "of pairs", "target"), rows))


def rate(steps: int, environment: dict[str, str], work: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(steps)], env=environment, cwd=work, capture_output=True, text=True, check=True
    )
    per_second, finish = done.stdout.split()[-2:]
    return float(per_second), float(finish)


@contextmanager
def server(work: Path) -> Iterator[dict[str, str]]:
    """The environment of a wandb process on a server of an empty home."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_"))}
    words = [sys.executable, "-m", "registry.server", "--home", str(work / "home"), "--until-stdin-closes"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        key = (work / "home" / "key").read_text().strip()
        places = {f"WANDB_{name}": str(work) for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR")}
        yield {
            **plain,
            **places,
            "WANDB_BASE_URL": url,
            "WANDB_API_KEY": key,
            "WANDB_ERROR_REPORTING": "false",
            "HOME": str(work),
        }
    finally:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
