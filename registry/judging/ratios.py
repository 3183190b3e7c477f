"""`ratio`: how many times the baseline's latency or size the candidate's is.

Latencies come from both models timed in one process in interleaved blocks: a block is one observation, the logarithm of
the ratio of the two quantiles in it, so that a slow minute of the machine hits both sides. Sizes are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry import stats
from registry.checks import Ratio
from registry.judging.sentences import bounds, identity, shown
from registry.judging.terms import Terms
from registry.pairing import Pair
from registry.records import CheckResult, Outcome
from registry.scores import Unanswerable
from registry.stats import Interval

_FEWEST_BLOCKS = 8  # as many as `reg evaluate` makes of the slowest models

Times = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Wall times in ms of both models at one batch size, block by block."""

    blocks: list[tuple[Times, Times]]

    def all_of(self, side: int) -> Times:
        return np.concatenate([block[side] for block in self.blocks])

    @property
    def runs(self) -> int:
        """Runs of the model that has fewer."""
        return min(len(self.all_of(0)), len(self.all_of(1)))


def ratio(check: Ratio, terms: Terms, pair: Pair) -> CheckResult:
    """Judge a latency by its blocks, a size exactly.

    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    if check.quantile is None:
        return _of_sizes(check, pair)
    # No look at the data is spent on a latency: the runs are new ones.
    alpha = terms.policy.alpha
    timed = _timed(check, pair)
    quantile = int(check.quantile.removeprefix("p")) / 100
    fewest = stats.fewest_runs(quantile)
    if timed.runs < fewest:
        raise Unanswerable(f"{timed.runs} runs of each model at batch {check.batch}; {check.quantile} needs {fewest} at least")
    if len(timed.blocks) < _FEWEST_BLOCKS:
        raise Unanswerable(f"{len(timed.blocks)} blocks of runs at batch {check.batch}; {_FEWEST_BLOCKS} are needed at least")
    logs = np.array([math.log(np.quantile(one, quantile) / np.quantile(other, quantile)) for one, other in timed.blocks])
    found = stats.block_mean(logs, alpha=alpha)
    return _result(
        check,
        candidate=float(np.quantile(timed.all_of(0), quantile)),
        baseline=float(np.quantile(timed.all_of(1), quantile)),
        times=math.exp(float(logs.mean())),
        interval=Interval(math.exp(found.lower), math.exp(found.upper)),
        unit="ms",
        method="t interval of log ratios of interleaved blocks",
        counts={"blocks": len(timed.blocks), "runs": timed.runs},
        alpha=alpha,
    )


def _of_sizes(check: Ratio, pair: Pair) -> CheckResult:
    candidate, baseline = pair.metrics(check.metric)
    if candidate.kind != "system":
        raise Unanswerable(f"{check.metric} is a {candidate.kind} metric; a ratio compares latencies and sizes")
    if not (candidate.value > 0 and baseline.value > 0):
        raise Unanswerable(f"{check.metric} is {candidate.value:g} against {baseline.value:g}, which have no ratio")
    times = candidate.value / baseline.value
    return _result(
        check,
        candidate=candidate.value,
        baseline=baseline.value,
        times=times,
        interval=Interval(times, times),
        unit=candidate.unit,
        method="measured",
    )


def _timed(check: Ratio, pair: Pair) -> Timed:
    timings, against = pair.candidate.evidence.timings, pair.candidate.evaluation.against
    other = pair.baseline.evaluation.model
    if timings is None or against is None:
        raise Unanswerable("candidate and baseline were not timed together (reg evaluate CANDIDATE --against BASELINE)")
    if against.digest != other.digest:
        raise Unanswerable(f"the candidate was timed together with {against.reference}, the baseline is {other.reference}")
    missing = {"role", "batch", "block", "ms"} - set(timings)
    if missing:
        raise Unanswerable(f"the timings have no column {', '.join(sorted(missing))}")
    role, batch, block, ms = (np.asarray(timings[name]) for name in ("role", "batch", "block", "ms"))
    at = batch == check.batch
    if not at.any():
        known = ", ".join(str(size) for size in np.unique(batch).tolist()) or "none"
        raise Unanswerable(f"the two were not timed together at batch {check.batch}; timed batches: {known}")
    if not (np.isfinite(ms[at]).all() and (ms[at] > 0).all()):
        raise Unanswerable(f"the timings at batch {check.batch} hold values that are no durations")
    blocks = []
    for one in np.unique(block[at]).tolist():
        mine, others = (ms[at & (block == one) & (role == side)] for side in ("candidate", "baseline"))
        if not (len(mine) and len(others)):
            raise Unanswerable(f"block {one} at batch {check.batch} timed only one of the two models")
        blocks.append((mine, others))
    return Timed(blocks=blocks)


def _result(
    check: Ratio,
    *,
    candidate: float,
    baseline: float,
    times: float,
    interval: Interval,
    unit: str,
    method: str,
    counts: dict[str, int] | None = None,
    alpha: float | None = None,
) -> CheckResult:
    if interval.upper <= check.max:
        status, sure, verb = Outcome.PASS, f", surely at most {interval.upper:.4g},", "within"
    elif interval.lower > check.max:
        status, sure, verb = Outcome.FAIL, f", surely at least {interval.lower:.4g},", "above"
    else:
        status, sure = Outcome.INCONCLUSIVE, f", between {interval.lower:.4g} and {interval.upper:.4g},"
        verb = "which more blocks on a quieter machine could tell from"
    exact = interval.lower == interval.upper
    values = f"{check.metric} {shown(candidate, unit)} against {shown(baseline, unit)}"
    return CheckResult(
        **identity(check),
        status=status,
        reason=f"{values}: {times:.4g} times{'' if exact else sure} {verb} max {check.max:.4g}",
        candidate=candidate,
        baseline=baseline,
        delta=times,
        interval=None if exact else bounds(interval),
        threshold=check.max,
        alpha=alpha,
        method=method,
        counts=counts or {},
    )
