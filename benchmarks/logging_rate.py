"""Logged steps per second, to the end of `finish`: the SDK with the embedded server against the SDK with none at all.

    python benchmarks/logging_rate.py [--steps 20000 200000] [--rounds 5]

Each contender is a fresh process that logs three numbers a step as fast as it can and then finishes. The rate is steps / (first
log to the end of finish); starting the run is not counted.

- offline: `WANDB_MODE=offline`, where the SDK only writes its file;
- embedded: the embedded server, running already, and the SDK sending once a second, as `reg` and `reg serve` tell it;
- own pace: the same with the SDK's own pace, every 15 s;
- nothing kept: the SDK's own pace and a server that answers `{}` to rows without a look at them: what no server can beat.

Beside it stand the processor seconds of the script, of the SDK's service and of the server: where they need more than there are
processors, they wait for each other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rounds import as_installed, conditions, markdown

_SCRIPT = """
import json, os, sys, time, wandb

def spent(process):
    with open(f"/proc/{process}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

def service():
    mine = f"{os.getpid()}"
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                words = file.read().split("\\0")
        except OSError:
            continue
        if words[0].endswith("wandb-core") and mine in words:
            return process

steps, server = int(sys.argv[1]), sys.argv[2]
run = wandb.init(project="rate", settings=wandb.Settings(silent=True, disable_job_creation=True, x_disable_stats=True))
processes = (os.getpid(), service(), server)
before, start = [spent(process) for process in processes], time.perf_counter()
for step in range(steps):
    run.log({"loss": 1 / (step + 1), "accuracy": step * 0.5, "rate": 0.1})
logged = time.perf_counter()
run.finish()
end = time.perf_counter()
cpu = [spent(process) - earlier for process, earlier in zip(processes, before)]
print(json.dumps({"rate": steps / (end - start), "finish": end - logged, "cpu": cpu}))
"""
_NOTHING_KEPT = """
import sys
from starlette.responses import JSONResponse
from registry.server import app
from registry.server.__main__ import main

async def answer(request):
    async for _ in request.stream():
        pass
    return JSONResponse({})

app.post_file_stream = answer
sys.exit(main(sys.argv[1:]))
"""
_PACE = "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one run told: steps a second, seconds of `finish`, and processor seconds of script, service and server."""

    rate: float
    finish: float
    cpu: tuple[float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description="Logged steps per second.")
    parser.add_argument("--steps", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    told: dict[tuple[int, str], list[Told]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as work,
        server(Path(work) / "kept") as kept,
        server(Path(work) / "nothing", "-c", _NOTHING_KEPT) as nothing,
    ):
        contenders = {
            "offline": {**kept, "WANDB_MODE": "offline"},
            "embedded": {**kept, _PACE: "1"},
            "own pace": kept,
            "nothing kept": nothing,
        }
        for turn in range(given.rounds):
            for steps in given.steps:
                for name in contenders if turn % 2 == 0 else reversed(contenders):
                    told[steps, name].append(logged(steps, contenders[name]))
                    print(f"round {turn}, {steps}, {name}: {told[steps, name][-1]}", file=sys.stderr, flush=True)
    rows = [
        row(steps, name, told[steps, name], told[steps, "offline"], "≥ 0.95" if name == "embedded" else "")
        for steps in given.steps
        for name in contenders
    ]
    print(f"{given.rounds} rounds; {conditions('reg-lifecycle')}\n")
    print(
        markdown(("steps", "contender", "rate", "finish", "ratio (of pairs)", "target", "CPU: script, service, server"), rows)
    )


def row(steps: int, name: str, mine: Sequence[Told], offline: Sequence[Told], target: str) -> list[str]:
    rate, other = (statistics.median(some.rate for some in those) for those in (mine, offline))
    pairs = [one.rate / against.rate for one, against in zip(mine, offline, strict=True)]
    cpu = (statistics.median(some.cpu[place] for some in mine) for place in range(3))
    return [
        f"{steps:,}",
        name,
        f"{rate:,.0f}/s",
        f"{statistics.median(some.finish for some in mine):.2f} s",
        f"{rate / other:.2f} ({min(pairs):.2f}–{max(pairs):.2f})",
        target,
        ", ".join(f"{seconds:.1f}" for seconds in cpu) + " s",
    ]


def logged(steps: int, environment: dict[str, str]) -> Told:
    words = [sys.executable, "-c", _SCRIPT, str(steps), environment["SERVER_PID"]]
    done = subprocess.run(words, env=environment, cwd=environment["HOME"], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Told(rate=found["rate"], finish=found["finish"], cpu=tuple(found["cpu"]))


@contextmanager
def server(work: Path, *program: str, pace: int | None = None) -> Iterator[dict[str, str]]:
    """The environment of a wandb process on a server of an empty home.

    Args:
        program: what Python runs instead of the server.
        pace: seconds between two requests with rows; None for the SDK's own.
    """
    work.mkdir(exist_ok=True)
    plain = as_installed()
    words = [sys.executable, *(program or ("-m", "registry.server")), "--home", str(work / "home"), "--until-stdin-closes"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        key = (work / "home" / "key").read_text().strip()
        places = {f"WANDB_{name}": str(work) for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR")}
        yield {
            **plain,
            **places,
            "WANDB_BASE_URL": ready["url"],
            "WANDB_API_KEY": key,
            "WANDB_ERROR_REPORTING": "false",
            "HOME": str(work),
            "SERVER_PID": str(ready["pid"]),
            **({} if pace is None else {_PACE: str(pace)}),
        }
    finally:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
