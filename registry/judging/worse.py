"""`not-worse`: block only when the candidate is shown to be worse, over all items or in any slice of them.

The burden of proof is reversed here, so this test has no INCONCLUSIVE: what is not shown does not block. With k slices one
false alarm among them would block, hence Holm's correction over the slices that were asked. Its levels are alpha/k and less,
where no number of resamples has a quantile; so bounds are in closed form, and corpus metrics are linearised.
"""

from __future__ import annotations

from registry import stats
from registry.checks import NotWorse
from registry.judging.differences import Measured, Subject
from registry.judging.gains import measured
from registry.judging.replicated import OwnSubject
from registry.judging.sentences import against, bounds, identity, shown, signed
from registry.judging.slices import Slice
from registry.judging.terms import Terms
from registry.records import CheckResult, Outcome


def not_worse(check: NotWorse, terms: Terms, subject: Subject | OwnSubject, parts: list[Slice]) -> list[CheckResult]:
    """One result per slice.

    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    found = [measured(subject, part.rows, check.margin, terms, name="the margin", sign=1) for part in parts]
    p_values = [gain.loss_p(margin) for gain, _, margin in found]
    levels = stats.holm(p_values, alpha=terms.policy.alpha)
    return [
        _result(check, part, gain, words, margin, p_value=p_value, level=level, of=len(parts))
        for part, (gain, words, margin), p_value, level in zip(parts, found, p_values, levels, strict=True)
    ]


def _result(
    check: NotWorse, part: Slice, gain: Measured, margin: str, threshold: float, *, p_value: float, level: float, of: int
) -> CheckResult:
    closed = gain.closed(level)
    fails = p_value < level
    says = (
        f"worse by at least {shown(-closed.interval.upper)}, beyond {margin}"
        if fails
        else f"a gain of {signed(gain.delta)}, not shown to be a loss beyond {margin}"
    )
    return CheckResult(
        **identity(check),
        slice=part.name,
        status=Outcome.FAIL if fails else Outcome.PASS,
        reason=f"{against(check, gain.candidate, gain.baseline or 0.0, where=part.words)}: {says}",
        candidate=gain.candidate,
        baseline=gain.baseline,
        delta=gain.delta,
        interval=bounds(closed.interval),
        threshold=-threshold,
        alpha=level,
        p_value=p_value,
        method=closed.method + (f", Holm over {of} slices" if of > 1 else ""),
        counts=dict(gain.counts),
    )
