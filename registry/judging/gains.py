"""`superiority` and `non-inferiority`: candidate and baseline on the same items, item by item.

A relative margin is itself measured, on the same items. For means its uncertainty is part of the interval: the mean of
d + x·baseline is what is tested against 0. For proportions it is negligible beside the disagreements and left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import stats
from registry.checks import Margin, NonInferiority, Superiority
from registry.judging.sentences import against, bounds, identity, settled_by, shown, signed, undecided
from registry.pairing import Pair, Unanswerable
from registry.policy import Policy
from registry.records import CheckResult, Metric, Outcome
from registry.stats import Interval


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The oriented difference of two models in one metric; `margin` is the absolute one, `deviation` that of one item."""

    candidate: float
    baseline: float
    delta: float
    margin: float
    interval: Interval
    deviation: float
    method: str
    counts: dict[str, int]

    @property
    def n(self) -> int:
        return self.counts["items"]


def superiority(check: Superiority, policy: Policy, pair: Pair) -> CheckResult:
    """Judge whether the candidate is better by more than `min_gain`."""
    gain = _measure(check, policy, pair, Margin(absolute=0.0))
    interval, wanted = gain.interval, f"min_gain {shown(check.min_gain)}"
    needed = None
    if interval.lower > check.min_gain:
        status, says = Outcome.PASS, f"a gain of at least {signed(interval.lower)}, more than {wanted}"
    elif interval.upper <= check.min_gain:
        status, says = Outcome.FAIL, f"a gain of at most {signed(interval.upper)}, not more than {wanted}"
    else:
        status, says = Outcome.INCONCLUSIVE, undecided(gain.delta, interval, wanted)
        needed = stats.needed_items(gain.delta - check.min_gain, gain.deviation, alpha=policy.alpha)
        smallest = check.min_gain + stats.smallest_visible(gain.deviation, gain.n, alpha=policy.alpha)
        says += settled_by(needed) or f"; {gain.n:,} items rarely show a gain under {shown(smallest)}"
    found = _result(check, gain, status, says, policy, threshold=check.min_gain, needed=needed)
    if check.min_gain > 0 or "gained" not in gain.counts:
        return found
    p_value = stats.mcnemar_mid_p(gain.counts["gained"], gain.counts["lost"])
    return found.model_copy(update={"p_value": p_value, "method": f"{gain.method}; p by McNemar's test, mid-p"})


def non_inferiority(check: NonInferiority, policy: Policy, pair: Pair) -> CheckResult:
    """Judge whether the candidate is worse by the margin at most."""
    gain = _measure(check, policy, pair, check.margin)
    interval, margin = gain.interval, gain.margin
    allowed = f"the margin {shown(margin)}"
    if check.margin.relative is not None:
        allowed += f" ({100 * check.margin.relative:.3g} % of the baseline)"
    needed = None
    if interval.lower >= -margin:
        low = interval.lower
        says = f"better by at least {shown(low)}" if low > 0 else f"worse by at most {shown(abs(low))}"
        status, says = Outcome.PASS, f"{says}, within {allowed}"
    elif interval.upper < -margin:
        status, says = Outcome.FAIL, f"worse by at least {shown(-interval.upper)}, beyond {allowed}"
    else:
        status, says = Outcome.INCONCLUSIVE, undecided(gain.delta, interval, allowed)
        needed = stats.needed_items(gain.delta + margin, gain.deviation, alpha=policy.alpha)
        says += settled_by(needed)
    return _result(check, gain, status, says, policy, threshold=-margin, needed=needed)


def disagreements(candidate: NDArray[Any], baseline: NDArray[Any], metric: Metric) -> tuple[int, int]:
    """On how many items the candidate is better, and on how many it is worse; both arrays bool."""
    more, fewer = int((candidate & ~baseline).sum()), int((baseline & ~candidate).sum())
    return (more, fewer) if metric.direction == "higher" else (fewer, more)


def oriented(candidate: NDArray[Any], baseline: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Gains by item; both arrays float64."""
    gains: NDArray[np.float64] = candidate - baseline if metric.direction == "higher" else baseline - candidate
    return gains


def enough(n: int, policy: Policy) -> None:
    """
    Raises:
        Unanswerable: fewer items than the policy wants, or than a variance needs.
    """
    wanted = max(2, policy.data.min_items)
    if n < wanted:
        raise Unanswerable(f"{n} items, the policy wants {wanted} at least")


def _measure(check: Superiority | NonInferiority, policy: Policy, pair: Pair, margin: Margin) -> Gain:
    metric, _ = pair.metrics(check.metric)
    candidate, baseline = pair.values(check.metric)
    enough(len(candidate), policy)
    mean = float(baseline.mean())
    if margin.relative is not None and mean == 0:
        raise Unanswerable(f"{check.metric} of the baseline is 0, and a share of 0 is no margin")
    allowed = margin.absolute if margin.absolute is not None else (margin.relative or 0.0) * abs(mean)
    if metric.kind == "correctness":
        return _of_proportions(candidate, baseline, metric, allowed, alpha=policy.alpha)
    return _of_means(candidate, baseline, metric, allowed, share=margin.relative, alpha=policy.alpha)


def _of_proportions(candidate: NDArray[Any], baseline: NDArray[Any], metric: Metric, margin: float, *, alpha: float) -> Gain:
    gained, lost = disagreements(candidate, baseline, metric)
    n = len(candidate)
    delta, share = (gained - lost) / n, (gained + lost) / n
    return Gain(
        candidate=float(candidate.mean()),
        baseline=float(baseline.mean()),
        delta=delta,
        margin=margin,
        interval=stats.paired_gain(gained, lost, n, alpha=alpha),
        deviation=math.sqrt(share - delta * delta),
        method="Bonett-Price paired interval",
        counts={"items": n, "gained": gained, "lost": lost},
    )


def _of_means(
    candidate: NDArray[Any], baseline: NDArray[Any], metric: Metric, margin: float, *, share: float | None, alpha: float
) -> Gain:
    gains = oriented(candidate, baseline, metric)
    mean = float(baseline.mean())
    # The interval of the mean of d + x·baseline, moved back by the measured margin so that it still reads as one of d.
    tested = gains if share is None else gains + share * math.copysign(1.0, mean) * baseline
    moved = 0.0 if share is None else margin
    found = stats.mean_interval(tested, alpha=alpha)
    return Gain(
        candidate=float(candidate.mean()),
        baseline=mean,
        delta=float(gains.mean()),
        margin=margin,
        interval=Interval(found.interval.lower - moved, found.interval.upper - moved),
        deviation=float(tested.std()),
        method=f"paired {found.method}",
        counts={"items": len(gains)},
    )


def _result(
    check: Superiority | NonInferiority,
    gain: Gain,
    status: Outcome,
    says: str,
    policy: Policy,
    *,
    threshold: float,
    needed: int | None,
) -> CheckResult:
    return CheckResult(
        **identity(check),
        status=status,
        reason=f"{against(check, gain.candidate, gain.baseline)}: {says}",
        candidate=gain.candidate,
        baseline=gain.baseline,
        delta=gain.delta,
        interval=bounds(gain.interval),
        threshold=threshold,
        alpha=policy.alpha,
        method=gain.method,
        counts=gain.counts,
        needed_items=needed,
    )
