"""Metrics of your own: a function in a file, `--metric costs.py:cost`, beside those that every evaluation has.

The function is given the items as predictions.parquet has them, a mapping of columns, and answers with one value per item
or with one number. Values per item are kept as a column, so a gate compares two models on them item by item, like on any
metric; one number gets an interval by resampling the items and can be held against a limit, but two models are not compared
on it, because nobody who judges later has the function. It says itself whether more is better, `cost.direction = "lower"`: a
gate that guesses wrongly would promote the worse model. The file's digest is recorded with each value and its text in the
evaluation, and a check may ask for it (`source:`): a metric is only as trustworthy as its code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes import sources
from registry.errors import BadData, BadSettings
from registry.means import student, units
from registry.records import Metric
from registry.stats import Interval, wilson

Columns = Mapping[str, NDArray[Any]]
_SIDE = 0.025  # of a two-sided 95 % interval
_DIRECTIONS = ("higher", "lower")
_RESAMPLES, _FEWEST, _SECONDS = 1000, 200, 10.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """A function that measures; `source` is the digest of its file."""

    name: str
    direction: Literal["higher", "lower"]
    unit: str
    function: Callable[[Columns], Any]
    file: Path
    source: str


def load(name: str) -> OwnMetric:
    """What `path/to/file.py:function` names.

    Raises:
        BadSettings: no such file or function, or the function does not say its direction.
        CodeFailed: the file cannot be run; says where.
    """
    if not sources.in_file(name):
        raise BadSettings(f"--metric {name}: path/to/file.py:function was expected", hint="--metric metrics.py:cost")
    function = sources.load(name)
    called = name.rpartition(":")[2]
    file = sources.source_of(function)
    if not callable(function) or file is None or _NAME.fullmatch(called) is None:
        raise BadSettings(f"--metric {name}: {called} is not a function of that file", hint=f"def {called}(items): ...")
    direction = getattr(function, "direction", None)
    if direction not in _DIRECTIONS:
        found = "does not say whether more is better" if direction is None else f"has direction {direction!r}"
        raise BadSettings(f"--metric {name}: {called} {found}", hint=f'{called}.direction = "higher"  # or "lower"')
    return OwnMetric(
        name=called,
        direction=direction,
        unit=str(getattr(function, "unit", "")),
        function=function,
        file=file,
        source=sources.digest(file),
    )


def measure(metric: OwnMetric, columns: Columns) -> tuple[Metric, NDArray[Any] | None]:
    """The metric on these items, and its value per item where it has one.

    Args:
        columns: those of predictions.parquet; the function gets copies that it cannot change.
    Raises:
        BadData: it gives something else than one number per item or one number, or one that is not finite.
        CodeFailed: it raised; says where.
    """
    given = {name: _locked(values) for name, values in columns.items()}
    items = given["item"]
    found = np.asarray(_ask(metric, given))
    common: dict[str, Any] = {"direction": metric.direction, "unit": metric.unit, "n": len(items), "source": metric.source}
    if found.shape == ():
        value = _number(metric, found)
        return Metric(value=value, kind="corpus", interval=_resampled(metric, given, value), **common), None
    if found.shape != (len(items),) or found.dtype.kind not in "biuf":
        raise BadData(
            f"{metric.name} of {metric.file} gave {found.dtype}{list(found.shape)} for {len(items)} items",
            hint=f"one number or bool per item, shape ({len(items)},), or one number",
        )
    if metric.name in columns:
        raise BadData(f"there is a column '{metric.name}' already", hint=f"call the function of {metric.file} something else")
    if found.dtype.kind == "b":
        hits = int(found.sum())
        value = hits / len(items)
        share = _both(wilson(hits, len(items), alpha=_SIDE))
        return Metric(value=value, kind="correctness", column=metric.name, interval=share, **common), found
    values = found.astype(np.float64)
    broken = ~np.isfinite(values)
    if broken.any():
        row = int(broken.argmax())
        raise BadData(f"{metric.name} of {metric.file} is {values[row]} for item '{items[row]}' ({int(broken.sum())} items)")
    mean = float(values.mean())
    around = _both(student(units(values), alpha=_SIDE)) if len(values) > 1 else None
    return Metric(value=mean, kind="mean", column=metric.name, interval=around, **common), values


def keep(metrics: Sequence[OwnMetric], folder: Path) -> None:
    """Put the text of each metric into an evaluation's folder, under its name."""
    for metric in metrics:
        (folder / f"metric-{metric.name}.py").write_bytes(metric.file.read_bytes())


def _both(interval: Interval) -> tuple[float, float]:
    return interval.lower, interval.upper


def _ask(metric: OwnMetric, columns: Columns) -> Any:
    with sources.blamed(metric.function):
        return metric.function(columns)


def _number(metric: OwnMetric, found: NDArray[Any]) -> float:
    if found.dtype.kind not in "biuf" or not np.isfinite(found):
        raise BadData(f"{metric.name} of {metric.file} gave {found!s}, a finite number was expected")
    return float(found)


def _resampled(metric: OwnMetric, columns: Columns, value: float) -> tuple[float, float] | None:
    """Percentile bootstrap over items; None where the function is too slow for enough resamples or fails on them."""
    random, n = np.random.default_rng(0), len(columns["item"])
    values: list[float] = []
    end = time.monotonic() + _SECONDS
    while len(values) < _RESAMPLES and (time.monotonic() < end or not values):
        rows = random.integers(0, n, n)
        values.append(float(np.asarray(_ask(metric, {name: _locked(column[rows]) for name, column in columns.items()}))))
    if len(values) < _FEWEST or not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    # Resampling shifts what is no mean (a minimum only falls); an interval that leaves its own value out helps nobody.
    return min(float(low), value), max(float(high), value)


def _locked(values: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(values)
    copy.flags.writeable = False
    return copy
