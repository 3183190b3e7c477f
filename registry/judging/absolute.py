"""`absolute`: the candidate alone. Its confidence bound must lie within the range, not only the value that was measured.

A value whose interval holds a limit is INCONCLUSIVE, not a FAIL: more items could show it on either side. Sizes and
latencies are as measured. A corpus metric is resampled where its formula is known; one of the user's own brings its values on
resamples, and any other its own interval, because its value alone does not make one.
"""

from __future__ import annotations

import math

import numpy as np

from registry import means, stats
from registry.checks import Absolute
from registry.corpus import FORMULAS, formula
from registry.judging.differences import Measured, Subject, subject_alone
from registry.judging.replicated import OwnSubject, own_alone
from registry.judging.sentences import bounds, identity, settled_by, shown
from registry.judging.slices import Slice, cut
from registry.judging.terms import Terms
from registry.records import CheckResult, Metric, Outcome
from registry.scores import Scores, Unanswerable
from registry.stats import Interval

# What `records.Metric.interval` may err on each side, as a two-sided 95 % interval.
_RECORDED_ALPHA = 0.025
_ALL = Slice(None, "", None)


def absolute(check: Absolute, terms: Terms, scores: Scores) -> tuple[list[CheckResult], str | None]:
    """Judge the candidate alone.

    Returns:
        One result, or one per slice; and a note for the verdict, if there is something to say beside them.
    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    if check.quantile is not None:
        value = _latency(check, scores)
        return [_within(check, _ALL, value, Interval(value, value), unit="ms", method="measured")], None
    metric = scores.metric(check.metric)
    scores.vouch(check.metric, check.source)
    if metric.kind == "system":
        point = Interval(metric.value, metric.value)
        return [_within(check, _ALL, metric.value, point, unit=metric.unit, method="measured")], None
    if metric.n < terms.policy.data.min_items:
        raise Unanswerable(f"{metric.n} items, the policy wants {terms.policy.data.min_items} at least")
    subject: Subject | OwnSubject
    if check.metric in scores.evidence.replicates:
        subject = own_alone(scores, check.metric, terms)
    elif metric.kind == "corpus" and (metric.source is not None or formula(metric.formula or check.metric) is None):
        return [_as_recorded(check, metric, terms)], None
    else:
        subject = subject_alone(scores, check.metric, terms)
    parts = cut(check, scores.column, items=subject.items, labels=scores.evaluation.dataset.labels)
    results = [_measured(check, terms, metric, subject.measure(part.rows), part) for part in parts.asked]
    return [*results, *parts.small], parts.note


def _measured(check: Absolute, terms: Terms, metric: Metric, found: Measured, part: Slice) -> CheckResult:
    value, counts = found.candidate, {name: found.counts[name] for name in ("items", "clusters") if name in found.counts}
    if check.use == "point":
        return _within(check, part, value, Interval(value, value), unit=metric.unit, method="point estimate", counts=counts)
    limits = found.bounds(terms.alpha)
    result = _within(
        check, part, value, limits.interval, unit=metric.unit, method=limits.method, counts=counts, alpha=terms.alpha
    )
    result = result.model_copy(update={"resamples": limits.resamples, "seed": means.SEED if limits.resamples else None})
    if result.status is not Outcome.INCONCLUSIVE:
        return result
    needed = _needed(check, metric, found, terms.alpha)
    return result.model_copy(update={"needed_items": needed, "reason": result.reason + settled_by(needed)})


def _as_recorded(check: Absolute, metric: Metric, terms: Terms) -> CheckResult:
    """A corpus metric without a formula: as the evaluation says, of all items, at the level that it says."""
    asked = [key for key, given in (("by", check.by), ("where", check.where), ("cluster", terms.cluster)) if given is not None]
    if asked:
        raise Unanswerable(
            f"{check.metric} has no formula to compute it again, so the policy's {asked[0]} cannot be asked of it;"
            f" known formulas: {', '.join(FORMULAS)}"
        )
    counts = {"items": metric.n}
    if check.use == "point":
        point = Interval(metric.value, metric.value)
        return _within(check, _ALL, metric.value, point, unit=metric.unit, method="point estimate", counts=counts)
    if metric.interval is None:
        raise Unanswerable(f"the evaluation records no interval of {check.metric}; the policy may say use: point")
    if terms.alpha < _RECORDED_ALPHA:
        raise Unanswerable(
            f"the recorded interval of {check.metric} errs 2.5 % on each side, the policy allows {terms.alpha:.3g}"
        )
    if not np.isfinite(metric.interval).all():
        raise Unanswerable(f"the recorded interval of {check.metric} is {list(metric.interval)}")
    method = "interval of the evaluation (2.5 % on each side)"
    interval = Interval(*metric.interval)
    return _within(check, _ALL, metric.value, interval, unit=metric.unit, method=method, counts=counts, alpha=terms.alpha)


def _latency(check: Absolute, scores: Scores) -> float:
    measured = {one.batch: one for one in scores.evaluation.latency}
    if check.batch not in measured:
        known = ", ".join(str(batch) for batch in measured) or "none"
        raise Unanswerable(f"the {scores.role} was not timed at batch {check.batch}; timed batches: {known}")
    value = float(getattr(measured[check.batch], f"{check.quantile}_ms"))
    if not math.isfinite(value):
        raise Unanswerable(f"{check.metric} is {value} after {measured[check.batch].runs} runs at batch {check.batch}")
    return value


def _needed(check: Absolute, metric: Metric, found: Measured, alpha: float) -> int | None:
    """Items after which every limit would be met, if the measured value is the true one."""
    most = 0
    for limit, sign in ((check.min, 1), (check.max, -1)):
        if limit is None:
            continue
        if metric.kind == "correctness" and "clusters" not in found.counts:
            value, bound = (found.candidate, limit) if sign > 0 else (1 - found.candidate, 1 - limit)
            needed = stats.needed_for_proportion(value, bound, alpha=alpha)
        else:
            needed = stats.needed_items(sign * (found.candidate - limit), found.deviation, alpha=alpha)
        if needed is None:
            return None
        most = max(most, needed)
    return most


def _within(
    check: Absolute,
    part: Slice,
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
    said = f"{check.metric}{part.words} {shown(value, unit)}"
    low, high = shown(interval.lower, unit), shown(interval.upper, unit)
    if interval.lower < interval.upper:
        met_from_below = at_min == (status is Outcome.PASS)
        sure = f"at least {low}" if met_from_below else f"at most {high}"
        said += f", between {low} and {high}," if status is Outcome.INCONCLUSIVE else f", surely {sure},"
    return CheckResult(
        **identity(check),
        slice=part.name,
        status=status,
        reason=f"{said} {verb} {'min' if at_min else 'max'} {shown(limit, unit)}",
        candidate=value,
        interval=bounds(interval) if interval.lower < interval.upper else None,
        threshold=limit,
        alpha=alpha,
        method=method,
        counts=counts or {},
    )
