"""What logging costs a training loop: steps that log against steps that do not, with a server and without, in one process.

    python benchmarks/training_overhead.py [--seconds 60] [--step-ms 10]
    python benchmarks/training_overhead.py --loop [--seconds 60]

One step is a fixed piece of numpy work of about `--step-ms` on one thread, as long as a small network's. Blocks of 25 steps
follow each other in drawn order: with nothing logged, nothing again (what the machine's own noise is worth), `run.log` of three
numbers to a run without a server (`mode="offline"`), and the same to the embedded server. The cost is the median over blocks of
(with - without) / without, by the processor time of the training process. What the server adds is the last line: the rest is
the SDK's own price, which every server and none have in common.

`--loop` measures `reg train`'s own loop instead: a small convolutional network on 28 x 28 images, which logs a row every 20
steps and with `--watch` histograms of all weights and gradients every 100. Blocks of 100 steps with neither, with rows, and
with both follow each other in drawn order. What is compared is the processor time of the training process, which others
on the machine cannot use up; that of the SDK's own process runs beside it.
"""

from __future__ import annotations

import argparse
import contextlib
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

_BLOCK = 25
_WATCH_BLOCK = 100  # a block holds one histogram


def main() -> None:
    parser = argparse.ArgumentParser(description="What logging costs a training loop.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--step-ms", type=float, default=10)
    parser.add_argument("--loop", action="store_true", help="measure the loop of reg train")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(measure_loop(given.seconds) if given.loop else measure(given.seconds, given.step_ms)))
        return
    with tempfile.TemporaryDirectory() as work, server(Path(work), pace=1) as environment:
        words = [sys.executable, __file__, "--inside", "--seconds", str(given.seconds), "--step-ms", str(given.step_ms)]
        words += ["--loop"] if given.loop else []
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "WANDB_SILENT": "true"}
        done = subprocess.run(words, env=environment | one_thread, cwd=work, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    told = (("rows against nothing", "≤ 1 %"), ("rows and --watch against nothing", "≤ 5 %"))
    if not given.loop:
        told = (
            ("nothing against nothing", ""),
            ("run.log offline against nothing", ""),
            ("run.log to the server against nothing", "≤ 1 %"),
            ("run.log to the server against offline", "≤ 1 %"),
        )
    rows = [
        [what, f"{100 * median:+.2f} %", f"{100 * low:+.2f} to {100 * high:+.2f} %", target]
        for (what, target), (median, low, high) in zip(told, found["costs"], strict=True)
    ]
    steps = _WATCH_BLOCK if given.loop else _BLOCK
    print(f"{found['pairs']} pairs of {steps} steps of {found['step_ms']:.1f} ms; {conditions('reg-lifecycle', 'numpy')}\n")
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
    settings = wandb.Settings(silent=True, disable_job_creation=True, x_disable_stats=True, reinit="create_new")
    with (
        wandb.init(project="overhead", mode="online", settings=settings) as online,
        wandb.init(project="overhead", mode="offline", settings=settings) as offline,
    ):

        def logging_to(run: wandb.Run) -> Callable[[], None]:
            def work_and_log() -> None:
                work()
                run.log({"loss": 0.1, "accuracy": 0.9, "rate": 0.001})

            return work_and_log

        steps = {"nothing": work, "again": work, "offline": logging_to(offline), "online": logging_to(online)}
        spent: dict[str, list[float]] = {name: [] for name in steps}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for name in random.sample(list(steps), len(steps)):
                spent[name].append(block(steps[name], _BLOCK))
    compared = (("again", "nothing"), ("offline", "nothing"), ("online", "nothing"), ("online", "offline"))
    costs = [[one / other - 1 for one, other in zip(spent[mine], spent[theirs], strict=True)] for mine, theirs in compared]
    return {
        "pairs": len(spent["nothing"]),
        "step_ms": 1000 * statistics.median(spent["nothing"]) / _BLOCK,
        "costs": [(statistics.median(found), *interval(found)) for found in costs],
    }


def measure_loop(seconds: float) -> dict[str, object]:
    import numpy as np
    import torch
    import wandb

    from pipelines import config as configuration
    from pipelines.histograms import Histogram
    from pipelines.loop import Items, Loop
    from pipelines.recipes import Problem, find
    from pipelines.team import Team

    config = configuration.resolve(
        task="image-classification",
        assignments=["device=cpu", "epochs=100000", "patience=null", "model.width=8", "batch_size=32"],
    )
    recipe = find(config.recipe)
    problem = Problem(task=config.recipe, labels=tuple("0123456789"), image=(28, 28, 1))
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, size=(12_800, 28, 28, 1), dtype=np.uint8))
    items = Items(inputs=images, targets=torch.from_numpy(draw.integers(0, 10, size=12_800)))
    few = Items(inputs=images[:128], targets=items.targets[:128])
    torch.set_num_threads(1)
    variants = ("nothing", "rows", "watch")
    spent: dict[str, list[float]] = {name: [] for name in variants}
    with wandb.init(project="overhead", settings=wandb.Settings(silent=True, disable_job_creation=True)) as run:
        order, now, since = list(variants), "nothing", time.process_time()
        end = time.perf_counter() + seconds

        def log(row: object, step: int) -> None:
            if now == "nothing":
                return
            assert isinstance(row, dict)
            shown = {
                key: wandb.Histogram(np_histogram=(np.array(value.counts), np.array(value.edges)))
                if isinstance(value, Histogram)
                else value
                for key, value in row.items()
            }
            run.log(shown, step=step)

        def on_progress(done: int, total: int) -> None:
            nonlocal order, now, since
            if done % _WATCH_BLOCK:
                return
            if done > _WATCH_BLOCK:  # the first warms up
                spent[now].append(time.process_time() - since)
            if time.perf_counter() > end and len({len(found) for found in spent.values()}) == 1:
                raise StopIteration
            order = order or random.sample(variants, len(variants))
            now = order.pop()
            loop.config = config.model_copy(update={"watch": now == "watch"})
            since = time.process_time()

        loop = Loop(
            recipe=recipe,
            config=config,
            network=recipe.network(problem, config.model),
            train=items,
            validation=few,
            device=torch.device("cpu"),
            amp="off",
            log=log,
            on_progress=on_progress,
            save=lambda state, better: None,
            team=Team(),
        )
        with contextlib.suppress(StopIteration):
            loop.run()
    nothing = spent["nothing"]
    ratios = [[other / alone - 1 for other, alone in zip(spent[name], nothing, strict=True)] for name in variants[1:]]
    return {
        "pairs": len(nothing),
        "step_ms": 1000 * statistics.median(nothing) / _WATCH_BLOCK,
        "costs": [(statistics.median(found), *interval(found)) for found in ratios],
    }


def block(step: Callable[[], object], steps: int) -> float:
    """Processor seconds of this process: others on the machine cannot use them up."""
    start = time.process_time()
    for _ in range(steps):
        step()
    return time.process_time() - start


def interval(values: list[float]) -> tuple[float, float]:
    """Distribution-free bounds of the median: order statistics."""
    ordered = sorted(values)
    reach = int(0.98 * len(ordered) ** 0.5) + 1
    middle = len(ordered) // 2
    return ordered[max(0, middle - reach)], ordered[min(len(ordered) - 1, middle + reach)]


if __name__ == "__main__":
    main()
