"""`not-worse`: block only when the candidate is shown to be worse, over all items or in any slice of them.

The burden of proof is reversed here, so this test has no INCONCLUSIVE: what is not shown does not block. With k slices one
false alarm among them would block, hence Holm's correction over the slices that were asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import stats
from registry.checks import NotWorse
from registry.judging.gains import disagreements, enough, oriented
from registry.judging.sentences import bounds, identity, shown, signed
from registry.pairing import Pair, Unanswerable
from registry.policy import Policy
from registry.records import CheckResult, Metric, Outcome

_NAMED = 10  # of many small slices


def not_worse(check: NotWorse, policy: Policy, pair: Pair) -> tuple[list[CheckResult], str | None]:
    """Judge whether the candidate is shown to be worse anywhere.

    Returns:
        One result per slice (one in all without `by`), and a note on slices that were too small to ask, if any.
    Raises:
        Unanswerable: the evidence does not hold what the check asks for, or every slice is too small.
    """
    metric, _ = pair.metrics(check.metric)
    candidate, baseline = pair.values(check.metric)
    enough(len(candidate), policy)
    found = {"all": np.arange(len(candidate))} if check.by is None else _slices(check.by, pair)
    asked = {name: rows for name, rows in found.items() if len(rows) >= check.min_items}
    if not asked:
        largest = max(len(rows) for rows in found.values())
        raise Unanswerable(f"no slice by {check.by} has {check.min_items} items, the largest has {largest}")
    p_values = [_p_value(candidate[rows], baseline[rows], metric, check.margin) for rows in asked.values()]
    levels = stats.holm(p_values, alpha=policy.alpha)
    results = [
        _result(check, metric, name, candidate[rows], baseline[rows], p_value=p_value, level=level, of=len(asked))
        for (name, rows), p_value, level in zip(asked.items(), p_values, levels, strict=True)
    ]
    small = [name for name in found if name not in asked]
    if not small:
        return results, None
    few = ", ".join(small[:_NAMED]) + (", …" if len(small) > _NAMED else "")
    count = f"{len(small)} of {len(found)} slices by {check.by}"
    return results, f"{check.id}: {count} have fewer than {check.min_items} items and were not asked: {few}"


def _slices(by: str, pair: Pair) -> dict[str, NDArray[np.intp]]:
    """The rows of each slice, by its name."""
    column = pair.shared(by)
    if column.dtype.kind not in "iubUSO":
        raise Unanswerable(f"column '{by}' holds {column.dtype}; slices need names or whole numbers")
    if column.dtype.kind == "O":
        column = column.astype(str)
    values, which = np.unique(column, return_inverse=True)
    rows = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    names = [str(value) for value in values.tolist()]
    labels = pair.candidate.evaluation.dataset.labels
    if by == "label" and column.dtype.kind in "iu" and values[0] >= 0 and values[-1] < len(labels):
        names = [labels[value] for value in values.tolist()]
    return dict(zip(names, rows, strict=True))


def _p_value(candidate: NDArray[Any], baseline: NDArray[Any], metric: Metric, margin: float) -> float:
    if metric.kind == "correctness":
        gained, lost = disagreements(candidate, baseline, metric)
        return stats.paired_loss_p(gained, lost, len(candidate), margin=margin)
    return stats.mean_loss_p(oriented(candidate, baseline, metric), margin=margin)


def _result(
    check: NotWorse,
    metric: Metric,
    name: str,
    candidate: NDArray[Any],
    baseline: NDArray[Any],
    *,
    p_value: float,
    level: float,
    of: int,
) -> CheckResult:
    n = len(candidate)
    if metric.kind == "correctness":
        gained, lost = disagreements(candidate, baseline, metric)
        counts = {"items": n, "gained": gained, "lost": lost}
        delta, interval = (gained - lost) / n, stats.paired_gain(gained, lost, n, alpha=level)
        method = "Bonett-Price paired interval"
    else:
        gains = oriented(candidate, baseline, metric)
        counts = {"items": n}
        delta, interval = float(gains.mean()), stats.skewed_mean_interval(gains, alpha=level)
        method = "paired t with skewness correction (Hall 1992)"
    fails = p_value < level
    margin = f"the margin {shown(check.margin)}"
    beyond = f"worse by at least {shown(-interval.upper)}, beyond {margin}"
    where = f" on {check.by} {name}" if check.by else ""
    values = f"{shown(float(candidate.mean()))} against {shown(float(baseline.mean()))}"
    return CheckResult(
        **identity(check),
        slice=f"{check.by}={name}" if check.by else None,
        status=Outcome.FAIL if fails else Outcome.PASS,
        reason=f"{check.metric}{where} {values}: "
        + (beyond if fails else f"a gain of {signed(delta)}, not shown to be a loss beyond {margin}"),
        candidate=float(candidate.mean()),
        baseline=float(baseline.mean()),
        delta=delta,
        interval=bounds(interval),
        threshold=-check.margin,
        alpha=level,
        p_value=p_value,
        method=method + (f", Holm over {of} slices" if of > 1 else ""),
        counts=counts,
    )
