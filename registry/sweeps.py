"""Sweeps as a server describes them: what is searched, what was tried, and which trial is the best.

Pure facts and readings of them. A parameter has a dotted name (`model.width`), whether the sweep's file nests it in groups or
writes the dots itself, because that is how `reg train --set` names the same thing. The best trial is the one whose run
summarises the best value of the sweep's metric; a trial without a value is never the best, and a sweep without a metric has
none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.records import RunFact

OPEN = ("PENDING", "RUNNING")
UNENDED = ("pending", "running", "preempting", "preempted")
# Names the file that exists as long as the command that wants an agent does (`registry.backend_agent`).
LEASH = "REG_SWEEP_LEASH"
_GOALS = ("minimize", "maximize")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a sweep improves; `goal` is minimize or maximize."""

    name: str
    goal: str

    def better(self, one: float, than: float) -> bool:
        return one > than if self.goal == "maximize" else one < than

    @property
    def arrow(self) -> str:
        return "↑" if self.goal == "maximize" else "↓"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep; `id` is the last part of its path, `expected` how many runs it makes (None: until somebody stops it)."""

    id: str
    entity: str
    project: str
    name: str
    state: str
    config: Mapping[str, Any]
    url: str
    expected: int | None

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def open(self) -> bool:
        """Whether an agent that asks may be given something."""
        return self.state in OPEN

    @property
    def method(self) -> str:
        return str(self.config.get("method", ""))

    @property
    def metric(self) -> Metric | None:
        return metric(self.config)

    @property
    def parameters(self) -> dict[str, Mapping[str, Any]]:
        """What is said of each parameter, by its dotted name, in the order written."""
        return dict(parameters(self.config.get("parameters") or {}))

    @property
    def varied(self) -> list[str]:
        """The parameters that may take more than one value."""
        return [name for name, spec in self.parameters.items() if not is_constant(spec)]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep: its number from 1 in the order started, its parameters by dotted name, and the metric's value."""

    number: int
    run: RunFact
    parameters: Mapping[str, Any]
    value: float | None

    @property
    def ended(self) -> bool:
        return self.run.state not in UNENDED


def metric(config: Mapping[str, Any]) -> Metric | None:
    said = config.get("metric")
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return None
    goal = said.get("goal", "minimize")
    return Metric(name=said["name"], goal=goal if goal in _GOALS else "minimize")


def parameters(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every parameter of a sweep configuration by its dotted name, groups opened."""
    for key, spec in group.items():
        name = f"{prefix}{key}"
        if isinstance(spec, dict) and isinstance(spec.get("parameters"), dict):
            yield from parameters(spec["parameters"], f"{name}.")
        elif isinstance(spec, dict):
            yield name, spec


def is_constant(spec: Mapping[str, Any]) -> bool:
    return "value" in spec or spec.get("distribution") == "constant" or len(spec.get("values") or (1, 2)) == 1


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested groups of values by dotted names: `{"model": {"width": 3}}` → `{"model.width": 3}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def trials(sweep: Sweep, runs: Sequence[RunFact]) -> list[Trial]:
    """The trials of a sweep.

    Args:
        runs: its runs, oldest first.
    """
    names = sweep.parameters
    found = []
    for number, run in enumerate(runs, start=1):
        # Dots that the file writes itself are in the key, dots of a group lead into it.
        known = {**flat(run.config), **run.config}
        value = summarised(run.summary, sweep.metric) if sweep.metric else None
        tried = {name: known[name] for name in names if name in known}
        found.append(Trial(number=number, run=run, parameters=tried, value=value))
    return found


def best(sweep: Sweep, tried: Sequence[Trial]) -> Trial | None:
    """The trial with the best value, the earliest of equals; None when none has a value."""
    return ranked(sweep, tried)[0] if any(trial.value is not None for trial in tried) else None


def ranked(sweep: Sweep, tried: Sequence[Trial]) -> list[Trial]:
    """The trials, best first; those without a value last, in the order started."""
    sign = -1.0 if sweep.metric is not None and sweep.metric.goal == "maximize" else 1.0
    return sorted(tried, key=lambda trial: (trial.value is None, sign * (trial.value or 0.0), trial.number))


def summarised(summary: Mapping[str, Any], wanted: Metric) -> float | None:
    """The value of a metric in a run's summary: a number, or the object that `define_metric(summary=…)` makes of it."""
    value = summary.get(wanted.name)
    if value is None and "." in wanted.name:
        value = flat(summary).get(wanted.name)
    if isinstance(value, Mapping):
        kinds = ("best", "max" if wanted.goal == "maximize" else "min", "last")
        value = next((value[kind] for kind in kinds if kind in value), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
