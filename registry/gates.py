"""The judgement: a policy and the evidence in, one of four outcomes out, the same on every machine and for ever.

PASS, FAIL, INCONCLUSIVE (with the number of items that would settle it) and ERROR (the question could not be asked). An
ERROR of any check makes the whole an ERROR, a `warn` one too: a broken question says nothing about the model, and a policy
that asks it has to be mended. Otherwise a `warn` check reports and never blocks. That nobody holds the alias is a fact of its
own (`ABSENT`), never a None that could also mean that something went wrong; then the policy's `when_absent` decides which
checks are asked, and those that are not asked are notes, neither passes nor failures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import Final

from registry.checks import Absolute, BaseCheck
from registry.judging import compare
from registry.judging.absolute import absolute
from registry.judging.sentences import identity
from registry.judging.terms import terms
from registry.objections import Asked, incomparable, objections, unmet
from registry.pairing import Pair
from registry.policy import Policy
from registry.records import CheckResult, Judgement, Look, Outcome
from registry.scores import Evidence, Scores, Unanswerable

__all__ = ["ABSENT", "Absent", "Asked", "Evidence", "judge"]


class Absent(Enum):
    """Provably nobody holds the alias: the collection was listed, or is provably not there."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


def judge(
    policy: Policy,
    *,
    candidate: Evidence,
    baseline: Evidence | Absent,
    look: Look | None = None,
    asked: Asked | None = None,
    held: Collection[str] = (),
) -> Judgement:
    """Judge a candidate.

    Args:
        baseline: the evidence of the version that holds the alias, or ABSENT.
        look: the holdout meter; None when lineage was not asked.
        asked: what the question is about; evidence about anything else becomes an ERROR. None checks no digests.
        held: those of the aliases in `candidate.holds` that the candidate holds.
    """
    mine = Scores("candidate", candidate)
    dataset = asked.dataset if asked is not None else None
    machine = [*unmet(policy, mine)]
    alone = [*objections(policy, mine, model=asked.candidate if asked is not None else None, dataset=dataset), *machine]
    results: list[CheckResult] = []
    notes = [*_runtime_notes(policy, mine), *_look_notes(policy, look)]
    if baseline is ABSENT:
        pair, together = None, alone
        skipped = [check for check in policy.checks if not isinstance(check, Absolute)]
        notes += _absence_notes(policy, skipped)
    else:
        other = Scores("baseline", baseline)
        pair, skipped = Pair(mine, other), []
        machine += unmet(policy, other)
        together = [
            *alone,
            *unmet(policy, other),
            *objections(policy, other, model=asked.baseline if asked is not None else None, dataset=dataset),
            *incomparable(mine.evaluation, other.evaluation),
        ]
    for check in policy.checks:
        try:
            if isinstance(check, Absolute):
                _raise_any(alone)
                found, note = absolute(check, terms(policy, look), mine)
            elif pair is not None:
                _raise_any(together)
                found, note = compare(check, terms(policy, look), pair)
            else:
                continue
            results += found
            notes += [note] if note else []
        except Unanswerable as exc:
            results.append(CheckResult(**identity(check), status=Outcome.ERROR, reason=str(exc)))
    outcome, reason = _overall(policy, results, skipped=skipped, absent=pair is None, look=look)
    steps = [_step(alias, alias in held) for alias in policy.candidate.holds]
    lacking = [step for step in steps if step.status is Outcome.FAIL]
    if lacking and outcome is not Outcome.ERROR:
        reasons = [_reasons(lacking), *([reason] if outcome is Outcome.FAIL else [])]
        outcome, reason = Outcome.FAIL, "; ".join(reasons)
    results = [*steps, *results]
    # A baseline from another machine is no obstacle when only the candidate alone was asked about.
    elsewhere = outcome is Outcome.ERROR and bool(machine)
    return Judgement(outcome=outcome, checks=tuple(results), reason=reason, notes=tuple(notes), environment=elsewhere)


def _step(alias: str, holds: bool) -> CheckResult:
    """Whether the candidate has been where the policy wants it to have been."""
    status = Outcome.PASS if holds else Outcome.FAIL
    reason = f"the candidate {'holds' if holds else 'does not hold'} '{alias}', which the policy asks first"
    return CheckResult(id=f"holds-{alias}", metric="alias", test="holds", status=status, reason=reason)


def _raise_any(reasons: list[str]) -> None:
    if reasons:
        raise Unanswerable("; ".join(reasons))


def _overall(
    policy: Policy, results: list[CheckResult], *, skipped: Sequence[BaseCheck], absent: bool, look: Look | None
) -> tuple[Outcome, str]:
    """Outcome and reason of the whole; the order of the cases is the order of precedence."""
    errors = [result for result in results if result.status is Outcome.ERROR]
    blocking = [result for result in results if result.severity == "error"]
    failed = [result for result in blocking if result.status is Outcome.FAIL]
    unsure = [result for result in blocking if result.status is Outcome.INCONCLUSIVE]
    nobody = f"nobody holds '{policy.target.alias}' yet"
    holdout = policy.data.holdout
    if errors:
        return Outcome.ERROR, f"{_named(errors)} could not be asked: {_reasons(errors)}"
    if holdout is not None and holdout.on_exhausted == "fail" and look is None:
        return Outcome.ERROR, "the policy counts how often this data was looked at, and lineage was not asked"
    if absent and policy.baseline.when_absent == "fail":
        return Outcome.FAIL, f"{nobody}, and the policy says when_absent: fail"
    if not blocking:
        asked = "no check could be asked" if not results else "only checks with severity: warn could be asked"
        return Outcome.ERROR, f"{asked}: {nobody} and the policy has no absolute check that could block; add one"
    if failed:
        return Outcome.FAIL, f"{_named(failed)} failed: {_reasons(failed)}"
    if holdout is not None and look is not None and holdout.on_exhausted == "fail" and look.number > holdout.max_looks:
        return Outcome.FAIL, f"{_spent(look, holdout.max_looks)}; cut a fresh split"
    if unsure:
        return Outcome.INCONCLUSIVE, f"{_named(unsure)} cannot tell: {_reasons(unsure)}"
    passed = f"{_count(blocking, of=results)} passed"
    warned = [result for result in results if result.severity == "warn" and result.status is not Outcome.PASS]
    if warned:
        passed += f", with a warning from {_named(warned)}"
    if skipped:
        passed += f"; {nobody}, so {_join([check.id for check in skipped])} could not be asked"
    if absent and policy.baseline.when_absent == "approve":
        return Outcome.INCONCLUSIVE, f"{passed}, and the policy leaves a first promotion to a person"
    return Outcome.PASS, passed


def _runtime_notes(policy: Policy, scores: Scores) -> Iterable[str]:
    runtime = scores.evaluation.runtime
    if runtime.device == "cpu" and policy.runtime.device == "any":
        yield f"scored on the CPU ({runtime.device_name}), which this policy accepts"
    if runtime.placement is not None and runtime.placement.memcpy:
        yield f"the candidate's graph copies between host and device at {runtime.placement.memcpy} node(s)"


def _look_notes(policy: Policy, look: Look | None) -> Iterable[str]:
    holdout = policy.data.holdout
    if look is None:
        return
    if holdout is None:
        yield f"look {look.number} at this data"
    elif look.number > holdout.max_looks:
        yield f"{_spent(look, holdout.max_looks)}, so the best of them owe some of their score to luck"
    else:
        yield f"look {look.number} of {holdout.max_looks} at this data"


def _spent(look: Look, most: int) -> str:
    return f"the holdout is spent: {look.number} models have been scored on it, the policy allows {most}"


def _absence_notes(policy: Policy, skipped: Sequence[BaseCheck]) -> Iterable[str]:
    for check in skipped:
        yield f"{check.id} ({check.kind} on {check.metric}) was not asked: nobody holds '{policy.target.alias}' to compare with"


def _reasons(results: list[CheckResult]) -> str:
    """Each reason once: one broken evaluation breaks every check in the same way."""
    return "; ".join(dict.fromkeys(result.reason for result in results))


def _named(results: list[CheckResult]) -> str:
    return _join(dict.fromkeys(f"{r.id} ({r.slice})" if r.slice else r.id for r in results))


def _join(names: Iterable[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def _count(blocking: list[CheckResult], *, of: list[CheckResult]) -> str:
    checks, asked = (len(dict.fromkeys(result.id for result in results)) for results in (blocking, of))
    kind = "check" if checks == asked else "check that blocks"
    return f"the only {kind}" if checks == 1 else f"all {checks} {kind.replace('check', 'checks').replace('blocks', 'block')}"
