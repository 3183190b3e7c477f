"""What the benchmarks share: contenders take turns, and the table says what was really seen.

The machines at hand are small, noisy and shared, so absolute times mean little from one day to the next. Contenders run one
after the other in each round, in alternating order, each after a `sync` (nobody pays for another's unwritten pages); what
counts is the ratio of medians within one run, and next to it stand the spread and the load of the machine.
"""

from __future__ import annotations

import compileall
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One run: seconds on the clock, and seconds of processors by the process and all it waited for."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Cost:
    """Run something that may start processes, and say what it cost."""
    os.sync()
    before, start = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, os.times()
    return Cost(wall=wall, cpu=sum(after[:4]) - sum(before[:4]))


def as_installed() -> dict[str, str]:
    """The environment of a program that was installed: no settings of anybody, and its modules compiled, as pip leaves them."""
    for package in ("registry", "pipelines"):
        for place in import_module(package).__path__:
            compileall.compile_dir(place, quiet=2)
    names = (name for name in os.environ if not name.startswith(("WANDB_", "REG_", "DVC_", "PYTHONDONTWRITE")))
    return {name: os.environ[name] for name in names}


def command(words: Sequence[str], *, folder: str | os.PathLike[str], environment: Mapping[str, str]) -> Callable[[], object]:
    """A process to be timed; it must end well."""

    def run() -> None:
        subprocess.run(words, cwd=folder, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)

    return run


def in_turn(contenders: Mapping[str, Callable[[], object]], *, turn: int) -> dict[str, Cost]:
    """Each once; who begins alternates with `turn`."""
    names = list(contenders)
    return {name: timed(contenders[name]) for name in (names if turn % 2 == 0 else reversed(names))}


def ratio_row(what: str, ours: Sequence[Cost], theirs: Sequence[Cost], *, target: str) -> list[str]:
    """Medians, spread and ratios of two contenders over the rounds."""
    mine, other = ([cost.wall for cost in costs] for costs in (ours, theirs))
    wall = statistics.median(mine) / statistics.median(other)
    cpu = statistics.median(c.cpu for c in ours) / statistics.median(c.cpu for c in theirs)
    return [what, spread(other), spread(mine), f"{wall:.2f}", target, f"{cpu:.2f}"]


def spread(values: Sequence[float]) -> str:
    """Median and range, in seconds."""
    if len(values) == 1:
        return f"{values[0]:.1f} s"
    return f"{statistics.median(values):.1f} s ({min(values):.1f}–{max(values):.1f})"


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    lines.insert(1, "|" + "---|" * lines[0].count(" | ") + "---|")
    return "\n".join(lines)


def conditions(*packages: str) -> str:
    """Where and with what this was measured, and how busy the machine was with other things."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("wandb", *packages))
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    python = f"CPython {platform.python_version()}"
    return f"{os.cpu_count()} CPUs ({platform.machine()}), {python}, {versions}; load {load} (1/5/15 min)"
