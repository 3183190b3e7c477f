"""`absolute`: the candidate alone. Its confidence bound must lie within the range, not only the value that was measured.

A value whose interval holds a limit is INCONCLUSIVE, not a FAIL: more items could show it on either side. Sizes and
latencies are as measured; corpus metrics (F1, AUC) bring their own interval, because items alone do not make one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import stats
from registry.checks import Absolute
from registry.judging.sentences import bounds, identity, settled_by, shown
from registry.pairing import Scores, Unanswerable
from registry.policy import Policy
from registry.records import CheckResult, Metric, Outcome
from registry.stats import Interval

# What `records.Metric.interval` may err on each side, as a two-sided 95 % interval.
_RECORDED_ALPHA = 0.025


def absolute(check: Absolute, policy: Policy, scores: Scores) -> CheckResult:
    """Judge the candidate alone.

    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    if check.quantile is not None:
        value = _latency(check, scores)
        return _within(check, value, Interval(value, value), unit="ms", method="measured")
    metric = scores.metric(check.metric)
    point = Interval(metric.value, metric.value)
    if metric.kind == "system":
        return _within(check, metric.value, point, unit=metric.unit, method="measured")
    if metric.n < policy.data.min_items:
        raise Unanswerable(f"{metric.n} items, the policy wants {policy.data.min_items} at least")
    values = scores.values(check.metric) if metric.column is not None else None
    counts = {"items": metric.n}
    if check.use == "point":
        return _within(check, metric.value, point, unit=metric.unit, method="point estimate", counts=counts)
    interval, method = _bounds(check, metric, values, policy.alpha)
    found = _within(check, metric.value, interval, unit=metric.unit, method=method, counts=counts, alpha=policy.alpha)
    if found.status is not Outcome.INCONCLUSIVE:
        return found
    needed = _needed(check, metric, values, policy.alpha)
    return found.model_copy(update={"needed_items": needed, "reason": found.reason + settled_by(needed)})


def _latency(check: Absolute, scores: Scores) -> float:
    measured = {one.batch: one for one in scores.evaluation.latency}
    if check.batch not in measured:
        known = ", ".join(str(batch) for batch in measured) or "none"
        raise Unanswerable(f"the {scores.role} was not timed at batch {check.batch}; timed batches: {known}")
    value = float(getattr(measured[check.batch], f"{check.quantile}_ms"))
    if not math.isfinite(value):
        raise Unanswerable(f"{check.metric} is {value} after {measured[check.batch].runs} runs at batch {check.batch}")
    return value


def _bounds(check: Absolute, metric: Metric, values: NDArray[Any] | None, alpha: float) -> tuple[Interval, str]:
    if values is not None and metric.kind == "correctness":
        return stats.wilson(int(values.sum()), len(values), alpha=alpha), "Wilson interval"
    if values is not None and metric.kind == "mean":
        if len(values) < 2:
            raise Unanswerable(f"{len(values)} items have no confidence bound")
        found = stats.mean_interval(values, alpha=alpha)
        return found.interval, found.method
    if metric.interval is None:
        raise Unanswerable(f"the evaluation records no interval of {check.metric}; the policy may say use: point")
    if alpha < _RECORDED_ALPHA:
        raise Unanswerable(f"the recorded interval of {check.metric} errs 2.5 % on each side, the policy allows {alpha:.3g}")
    if not np.isfinite(metric.interval).all():
        raise Unanswerable(f"the recorded interval of {check.metric} is {list(metric.interval)}")
    return Interval(*metric.interval), "interval of the evaluation (2.5 % on each side)"


def _needed(check: Absolute, metric: Metric, values: NDArray[Any] | None, alpha: float) -> int | None:
    """Items after which every limit would be met, if the measured value is the true one."""
    if values is None:
        return None
    most = 0
    for limit, sign in ((check.min, 1), (check.max, -1)):
        if limit is None:
            continue
        if metric.kind == "correctness":
            value, bound = (metric.value, limit) if sign > 0 else (1 - metric.value, 1 - limit)
            needed = stats.needed_for_proportion(value, bound, alpha=alpha)
        else:
            needed = stats.needed_items(sign * (metric.value - limit), float(values.std()), alpha=alpha)
        if needed is None:
            return None
        most = max(most, needed)
    return most


def _within(
    check: Absolute,
    value: float,
    interval: Interval,
    *,
    unit: str,
    method: str,
    counts: dict[str, int] | None = None,
    alpha: float | None = None,
) -> CheckResult:
    """Place an interval in the range; the sentence is about the limit that the value is nearer to."""
    lowest = -math.inf if check.min is None else check.min
    highest = math.inf if check.max is None else check.max
    if interval.lower >= lowest and interval.upper <= highest:
        status, verb = Outcome.PASS, "meets"
    elif interval.upper < lowest or interval.lower > highest:
        status, verb = Outcome.FAIL, "misses"
    else:
        status, verb = Outcome.INCONCLUSIVE, "cannot be told from"
    at_min = value - lowest <= highest - value
    limit = lowest if at_min else highest
    said = f"{check.metric} {shown(value, unit)}"
    low, high = shown(interval.lower, unit), shown(interval.upper, unit)
    if interval.lower < interval.upper:
        met_from_below = at_min == (status is Outcome.PASS)
        sure = f"at least {low}" if met_from_below else f"at most {high}"
        said += f", between {low} and {high}," if status is Outcome.INCONCLUSIVE else f", surely {sure},"
    return CheckResult(
        **identity(check),
        status=status,
        reason=f"{said} {verb} {'min' if at_min else 'max'} {shown(limit, unit)}",
        candidate=value,
        interval=bounds(interval) if interval.lower < interval.upper else None,
        threshold=limit,
        alpha=alpha,
        method=method,
        counts=counts or {},
    )
