"""`superiority` and `non-inferiority`: candidate and baseline on the same items, item by item."""

from __future__ import annotations

from registry import means, stats
from registry.checks import Margin, NonInferiority, NotWorse, Superiority
from registry.judging.differences import Measured, Rows, Subject
from registry.judging.replicated import OwnSubject
from registry.judging.sentences import against, bounds, identity, settled_by, shown, signed, undecided
from registry.judging.slices import Slice
from registry.judging.terms import Terms
from registry.means import MeanInterval
from registry.records import CheckResult, Outcome
from registry.scores import Unanswerable


def superiority(check: Superiority, terms: Terms, subject: Subject | OwnSubject, part: Slice) -> CheckResult:
    """Judge whether the candidate is better by more than `min_gain`."""
    gain, wanted, least = measured(subject, part.rows, check.min_gain, terms, name="min_gain", sign=-1)
    found = gain.bounds(terms.alpha)
    interval, needed = found.interval, None
    error = gain.deviation / gain.items**0.5
    if interval.lower > least and terms.ladder and not gain.delta > least + error:
        status = Outcome.INCONCLUSIVE
        says = f"a gain of {signed(gain.delta)} is within one standard error ({shown(error)}) of {wanted}: the ladder asks more"
    elif interval.lower > least:
        status, says = Outcome.PASS, f"a gain of at least {signed(interval.lower)}, more than {wanted}"
    elif interval.upper <= least:
        status, says = Outcome.FAIL, f"a gain of at most {signed(interval.upper)}, not more than {wanted}"
    else:
        status, says = Outcome.INCONCLUSIVE, undecided(gain.delta, interval, wanted)
        needed = stats.needed_items(gain.delta - least, gain.deviation, alpha=terms.alpha)
        smallest = least + stats.smallest_visible(gain.deviation, gain.items, alpha=terms.alpha)
        says += settled_by(needed) or f"; {gain.items:,} items rarely show a gain under {shown(smallest)}"
    result = _result(check, part, gain, found, status, says, terms, threshold=least, needed=needed)
    # McNemar's test knows neither a margin nor clusters.
    if least > 0 or "gained" not in gain.counts or "clusters" in gain.counts:
        return result
    p_value = stats.mcnemar_mid_p(gain.counts["gained"], gain.counts["lost"])
    return result.model_copy(update={"p_value": p_value, "method": f"{found.method}; p by McNemar's test, mid-p"})


def non_inferiority(check: NonInferiority, terms: Terms, subject: Subject | OwnSubject, part: Slice) -> CheckResult:
    """Judge whether the candidate is worse by the margin at most."""
    gain, allowed, margin = measured(subject, part.rows, check.margin, terms, name="the margin", sign=1)
    found = gain.bounds(terms.alpha)
    interval, needed = found.interval, None
    if interval.lower >= -margin:
        low = interval.lower
        says = f"better by at least {shown(low)}" if low > 0 else f"worse by at most {shown(abs(low))}"
        status, says = Outcome.PASS, f"{says}, within {allowed}"
    elif interval.upper < -margin:
        status, says = Outcome.FAIL, f"worse by at least {shown(-interval.upper)}, beyond {allowed}"
    else:
        status, says = Outcome.INCONCLUSIVE, undecided(gain.delta, interval, allowed)
        needed = stats.needed_items(gain.delta + margin, gain.deviation, alpha=terms.alpha)
        says += settled_by(needed)
    return _result(check, part, gain, found, status, says, terms, threshold=-margin, needed=needed)


def measured(
    subject: Subject | OwnSubject, rows: Rows | None, margin: Margin, terms: Terms, *, name: str, sign: int
) -> tuple[Measured, str, float]:
    """What two models measure, a margin in words, and its size in the metric's unit.

    Args:
        sign: 1 for a loss that is allowed, -1 for a gain that is asked.
    Raises:
        Unanswerable: a share of a value that is 0, negative, or not to be told from 0.
    """
    if margin.relative is None:
        allowed = margin.absolute or 0.0
        return subject.measure(rows), f"{name} {shown(allowed)}", allowed
    gain = subject.measure(rows, share=sign * margin.relative)
    _refuse_share_of_nothing(subject, rows, gain.baseline or 0.0, terms)
    allowed = margin.relative * (gain.baseline or 0.0)
    return gain, f"{name} {shown(allowed)} ({100 * margin.relative:.3g} % of the baseline)", allowed


def _refuse_share_of_nothing(subject: Subject | OwnSubject, rows: Rows | None, value: float, terms: Terms) -> None:
    metric = subject.name
    if value == 0:
        raise Unanswerable(f"{metric} of the baseline is 0, and a share of 0 is no margin; give an absolute one")
    if value < 0:
        raise Unanswerable(
            f"{metric} of the baseline is {value:.4g}, and a share of less than 0 is no margin; give an absolute one"
        )
    if subject.metric.kind != "mean":
        return  # a proportion of which one item is right, or an area, is above 0 for sure
    lower = means.student(means.units(subject.baseline_values(rows), subject.codes(rows)), alpha=terms.policy.alpha).lower
    if lower <= 0:
        raise Unanswerable(
            f"{metric} of the baseline is {value:.4g}, which cannot be told from 0 (its lower bound is {lower:.4g}),"
            " and a share of that is no margin; give an absolute one"
        )


def _result(
    check: Superiority | NonInferiority | NotWorse,
    part: Slice,
    gain: Measured,
    found: MeanInterval,
    status: Outcome,
    says: str,
    terms: Terms,
    *,
    threshold: float,
    needed: int | None,
) -> CheckResult:
    return CheckResult(
        **identity(check),
        slice=part.name,
        status=status,
        reason=f"{against(check, gain.candidate, gain.baseline or 0.0, where=part.words)}: {says}",
        candidate=gain.candidate,
        baseline=gain.baseline,
        delta=gain.delta,
        interval=bounds(found.interval),
        threshold=threshold,
        alpha=terms.alpha,
        method=found.method,
        seed=means.SEED if found.resamples else None,
        resamples=found.resamples,
        counts=dict(gain.counts),
        needed_items=needed,
    )
