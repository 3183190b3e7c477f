"""How fast the two models ran: the raw timings of interleaved blocks as densities, with the quantiles that people ask for.

Densities rather than two numbers, because a latency has a shape (a second mode, a tail) that decides what p95 means. Times of
models that were not timed together are a table only: what differs between them may be the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

import registry.verdicts.drawing as drawing
from registry import stats
from registry.scores import Evidence
from registry.verdicts.case import Case
from registry.verdicts.page.numbers import number

_BATCHES = 4
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_MARKED = ("p50", "p95")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model at one batch size: quantiles in ms as texts, empty where there are too few runs for one."""

    model: str
    quantiles: tuple[str, ...]
    runs: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Both models at one batch size; no drawing where they were not timed together."""

    size: int
    plot: Markup | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """`columns` name the quantiles; `note` is what the reader must know about how they came to be."""

    columns: tuple[str, ...]
    batches: tuple[Batch, ...]
    note: str


def latency(case: Case) -> Latency | None:
    """What the evidence knows about time; None where it knows nothing."""
    if case.candidate is None:
        return None
    together = _together(case.candidate, case.baseline)
    if together:
        note = "Both models timed in one process in interleaved blocks. The slowest runs, 5 % at most, lie beyond the axis."
        return Latency(columns=tuple(_QUANTILES), batches=tuple(together), note=note)
    apart = _apart({"candidate": case.candidate, "baseline": case.baseline})
    if not apart:
        return None
    both = case.baseline is not None
    note = (
        "Each model was timed alone, so that a difference may be the machine's." if both else "The candidate was timed alone."
    )
    return Latency(columns=tuple(_QUANTILES), batches=tuple(apart), note=note)


def _together(candidate: Evidence, baseline: Evidence | None) -> list[Batch]:
    timings, against = candidate.timings, candidate.evaluation.against
    if timings is None or baseline is None or against is None or against.digest != baseline.evaluation.model.digest:
        return []
    if not {"role", "batch", "ms"} <= set(timings):
        return []
    role, batch, ms = (np.asarray(timings[name]) for name in ("role", "batch", "ms"))
    usable = np.isfinite(ms) & (ms > 0)
    found = []
    for size in np.unique(batch[usable]).tolist()[:_BATCHES]:
        at = usable & (batch == size)
        values = {name: ms[at & (role == name)].astype(np.float64) for name in ("candidate", "baseline")}
        if all(len(times) for times in values.values()):
            found.append(_batch(int(size), values))
    return found


def _batch(size: int, values: Mapping[str, NDArray[np.float64]]) -> Batch:
    samples, lines = [], []
    for name, times in values.items():
        known = {word: float(np.quantile(times, q)) for word, q in _QUANTILES.items() if len(times) >= stats.fewest_runs(q)}
        marks = [(word, known[word]) for word in _MARKED if word in known]
        samples.append(drawing.Sample(name=name, tone=name, values=times, marks=marks))
        texts = tuple(number(known.get(word)) for word in _QUANTILES)
        lines.append(Line(model=name, quantiles=texts, runs=f"{len(times):,}"))
    said = "; ".join(f"{line.model}: " + ", ".join(map(" ".join, _named(line))) for line in lines)
    plot = drawing.densities(samples, title=f"Latency at batch {size}, ms", description=said)
    return Batch(size=size, plot=plot, lines=tuple(lines))


def _named(line: Line) -> Sequence[tuple[str, str]]:
    return [(word, text) for word, text in zip(_QUANTILES, line.quantiles, strict=True) if text]


def _apart(models: Mapping[str, Evidence | None]) -> list[Batch]:
    lines: dict[int, list[Line]] = {}
    for name, evidence in models.items():
        for one in evidence.evaluation.latency if evidence else ():
            values: list[Any] = [one.p50_ms, one.p95_ms, one.p99_ms]
            texts = tuple(number(value) if np.isfinite(value) else "" for value in values)
            lines.setdefault(one.batch, []).append(Line(model=name, quantiles=texts, runs=f"{one.runs:,}"))
    return [Batch(size=size, plot=None, lines=tuple(lines[size])) for size in sorted(lines)[:_BATCHES]]
