"""Metrics of your own: a function in a file, `--metric costs.py:cost`, beside those that every evaluation has.

The function is given the items as predictions.parquet has them, a mapping of columns, and answers with one value per item
or with one number. Values per item are kept as a column, so a gate compares two models on them item by item, like on any
metric. One number is asked for again on a thousand resamples of the items, the same for every model that is scored on them,
and what it was there is kept: a gate pairs these values, because nobody who judges later has the function
(`registry.replicates`). It says itself whether more is better, `cost.direction = "lower"`: a gate that guesses wrongly would
promote the worse model. The file's digest is recorded with each value and its text in the evaluation, and a check may ask for
it (`source:`): a metric is only as trustworthy as its code.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes import sources
from pipelines.recipes.sources import CodeFailed
from registry.errors import BadData, BadSettings
from registry.means import student, units
from registry.records import OWN_METRIC, Metric
from registry.replicates import Draws, Replicates
from registry.resampling import Unstable
from registry.spreads import FEWEST, spread
from registry.stats import Interval, wilson

Columns = Mapping[str, NDArray[Any]]
_SIDE = 0.025  # of a two-sided 95 % interval
_DIRECTIONS = ("higher", "lower")
_RESAMPLES = 1000
_SECONDS, _MOST_SECONDS = 10.0, 60.0  # for all resamples; for as many as a gate needs at least
_HOPELESS = 20  # so many without a value at the start, and there is no use in more


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
    if not callable(function) or file is None or OWN_METRIC.fullmatch(called) is None:
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


def measure(metric: OwnMetric, columns: Columns, *, cluster: str | None = None) -> tuple[Metric, NDArray[Any] | Replicates]:
    """The metric on these items, and its value per item, or on resamples of them where it is one number for all.

    Args:
        columns: those of predictions.parquet; the function gets copies that it cannot change.
        cluster: the column by which items belong together; resamples hold all of a cluster or nothing.
    Raises:
        BadData: it gives something else than one number per item or one number, or one that is not finite; no such column.
        CodeFailed: it raised; says where.
    """
    given = {name: _locked(np.array(values)) for name, values in columns.items()}
    items = given["item"]
    found = np.asarray(_ask(metric, given))
    common: dict[str, Any] = {"direction": metric.direction, "unit": metric.unit, "n": len(items), "source": metric.source}
    if found.shape == ():
        value = _number(metric, found)
        replicates = _resampled(metric, given, _draws(columns, cluster))
        return Metric(value=value, kind="corpus", interval=_around(value, replicates), **common), replicates
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


def _draws(columns: Columns, cluster: str | None) -> Draws:
    if cluster is None:
        return Draws(columns["item"])
    values = columns.get(cluster)
    if values is None or values.ndim != 1:
        known = ", ".join(name for name, column in columns.items() if column.ndim == 1)
        raise BadData(
            f"there is no column '{cluster}' to cluster by; there are {known}",
            hint="columns of tables and of a metadata.csv, and the folder of an image, are columns of its evaluation",
        )
    missing = np.array([value is None or value == "" or value != value for value in values.tolist()])
    if missing.any():
        row = int(missing.argmax())
        raise BadData(f"item '{columns['item'][row]}' has no {cluster} ({int(missing.sum())} of {len(values)} items)")
    return Draws(columns["item"], clusters=values, cluster=cluster)


def _resampled(metric: OwnMetric, columns: Columns, draws: Draws) -> Replicates:
    """The metric on resamples, NaN where it fails on one; fewer where it is slow."""
    values: list[float] = []
    begin = time.monotonic()
    for rows in islice(draws, _RESAMPLES):
        values.append(_value(metric, {name: _locked(column.take(rows, axis=0)) for name, column in columns.items()}))
        spent = time.monotonic() - begin
        if spent > _MOST_SECONDS or (spent > _SECONDS and len(values) >= FEWEST):
            break
        if len(values) == _HOPELESS and not np.isfinite(values).any():
            break
    return Replicates(values=np.array(values), drawn=draws.drawn)


def _value(metric: OwnMetric, columns: Columns) -> float:
    """The metric on a resample, which may lack a class or vary in nothing; NaN where it has no value then."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = np.asarray(_ask(metric, columns))
        except CodeFailed:
            return float("nan")
    return float(found) if found.shape == () and found.dtype.kind in "biuf" else float("nan")


def _around(value: float, replicates: Replicates) -> tuple[float, float] | None:
    """A 95 % interval; None where there are too few resamples with a value."""
    try:
        found = spread(value, replicates.values, units=replicates.drawn.units)
    except Unstable:
        return None
    low, high = _both(found.bounds(_SIDE).interval)
    # Resampling shifts what is no mean (a minimum only falls); an interval that leaves its own value out helps nobody.
    return min(low, value), max(high, value)


def _locked(copy: NDArray[Any]) -> NDArray[Any]:
    """A copy, which the function may read and not write."""
    copy.flags.writeable = False
    return copy
