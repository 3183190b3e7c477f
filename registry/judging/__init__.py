"""The answer to one check: what was measured, how sure that is, and one sentence that says so; a file per kind of test.

Differences are oriented: `delta` and `interval` are gains, positive when the candidate is better, whatever the direction of
the metric (for a ratio they are the ratio). Every bound is one-sided at the policy's alpha. Since all checks must pass, none
is corrected for the others (intersection-union, Berger 1982); only slices are, because a false alarm in any of them would
block (Holm). Who wonders about a number: its formula is in `registry.stats`, its items come from `registry.pairing`.
"""

from __future__ import annotations

from registry.checks import NonInferiority, NotWorse, Ratio, Superiority
from registry.judging import gains, ratios, slices
from registry.pairing import Pair
from registry.policy import Policy
from registry.records import CheckResult

Comparison = Superiority | NonInferiority | NotWorse | Ratio


def compare(check: Comparison, policy: Policy, pair: Pair) -> tuple[list[CheckResult], str | None]:
    """Answer a check that needs a baseline.

    Returns:
        One result, or one per slice; and a note for the verdict, if there is something to say beside them.
    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    match check:
        case Superiority():
            return [gains.superiority(check, policy, pair)], None
        case NonInferiority():
            return [gains.non_inferiority(check, policy, pair)], None
        case NotWorse():
            return slices.not_worse(check, policy, pair)
        case Ratio():
            return [ratios.ratio(check, policy, pair)], None
