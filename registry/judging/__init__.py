"""The answer to one check: what was measured, how sure that is, and one sentence that says so; a file per kind of test.

Differences are oriented: `delta` and `interval` are gains, positive when the candidate is better, whatever the direction of
the metric (for a ratio they are the ratio). Every bound is one-sided. Since all checks must pass, and all slices of a check,
none is corrected for the others (intersection-union, Berger 1982); only what blocks when a loss is shown in any slice is
(Holm). Who wonders about a number: its formula is in `registry.stats`, `means`, `corpus` or `resampling`, its items come
from `registry.scores` and `registry.pairing`.
"""

from __future__ import annotations

from registry.checks import NonInferiority, NotWorse, Ratio, Superiority
from registry.judging import gains, ratios, worse
from registry.judging.differences import subject_of
from registry.judging.replicated import is_own, own_pair
from registry.judging.slices import cut
from registry.judging.terms import Terms
from registry.pairing import Pair
from registry.records import CheckResult

Comparison = Superiority | NonInferiority | NotWorse | Ratio
Results = tuple[list[CheckResult], str | None]


def compare(check: Comparison, terms: Terms, pair: Pair) -> Results:
    """Answer a check that needs a baseline.

    Returns:
        One result, or one per slice; and a note for the verdict, if there is something to say beside them.
    Raises:
        Unanswerable: the evidence does not hold what the check asks for.
    """
    if isinstance(check, Ratio):
        return [ratios.ratio(check, terms, pair)], None
    pair.candidate.vouch(check.metric, check.source)  # the baseline's is known to be the same
    own = is_own(pair.candidate.metric(check.metric), pair.candidate.evidence.replicates, check.metric)
    subject = own_pair(pair, check.metric, terms) if own else subject_of(pair, check.metric, terms)
    labels = pair.candidate.evaluation.dataset.labels
    parts = cut(check, pair.shared, items=subject.items, labels=labels)
    match check:
        case Superiority():
            answered = [gains.superiority(check, terms, subject, part) for part in parts.asked]
        case NonInferiority():
            answered = [gains.non_inferiority(check, terms, subject, part) for part in parts.asked]
        case NotWorse():
            answered = worse.not_worse(check, terms, subject, parts.asked)
    return [*answered, *parts.small], parts.note
