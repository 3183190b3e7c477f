"""Gate and promote: the order of effects, which is the whole point.

    1  ask        which candidate, for which alias, against which baseline, on which data (`registry.questions`)
    2  gather     the two evaluations that answer it, reused or made (`registry.gathering`)
    3  judge      pure (`registry.gates`)
    4  log        the verdict, as an artifact, in a run that used candidate, baseline and evaluations
    5  wait       for nobody: if another promotion of this alias came first and is under way, stop (`registry.claims`)
    6  re-read    the alias: if it no longer names the baseline that was beaten, stop (AliasMoved)
    7  move       the alias, by linking the candidate with it
    8  read back  what the server now says

Nothing before 7 changes what anybody else sees; whatever happens after 4, the verdict is on record. From 4 on it is the way of
a rollback too (`registry.moving`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from registry import alerts, approvals, gates, moving
from registry.approvals import Consent
from registry.backend import Backend
from registry.errors import ApprovalNeeded, UsageError
from registry.gates import Asked
from registry.gathering import Evaluate, gather, looks
from registry.provenance import Provenance
from registry.questions import Question
from registry.records import Outcome, Override, Pinned, Verdict, Version
from registry.verdicts import Case


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What came of a gate or a promotion. `verdict_version` is None when nothing was to be logged (`--dry-run`)."""

    question: Question
    case: Case
    verdict_version: Version | None = None
    holder: Version | None = None
    run_url: str | None = None
    undelivered: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.case.verdict

    @property
    def moved(self) -> bool:
        return self.holder is not None


def decide(backend: Backend, question: Question, evaluate: Evaluate | None, *, by: Provenance) -> tuple[Case, list[Version]]:
    """Gather and judge; returns the verdict with its evidence, and the evaluations that it was read from."""
    candidate, baseline = gather(backend, question, evaluate)
    look = looks(backend, question)
    judgement = gates.judge(
        question.policy,
        candidate=candidate.evidence,
        baseline=baseline.evidence if baseline else gates.ABSENT,
        look=look,
        asked=Asked(
            candidate=question.candidate.digest,
            baseline=question.baseline.digest if question.baseline else None,
            dataset=question.dataset.digest,
        ),
        held=question.held,
    )
    verdict = Verdict(
        target=question.target,
        judgement=judgement,
        policy_digest=question.policy.digest,
        candidate=Pinned.of(question.candidate),
        baseline=Pinned.of(question.baseline) if question.baseline else None,
        candidate_evaluation=Pinned.of(candidate.version),
        baseline_evaluation=Pinned.of(baseline.version) if baseline else None,
        dataset=Pinned.of(question.dataset),
        split=question.split,
        runtime_fingerprint=candidate.evidence.evaluation.runtime.fingerprint,
        look=look,
        held=question.held,
        actor=by.actor,
        ci_url=by.ci_url,
        git_commit=by.git_commit,
        created_at=moving.moment(),
    )
    case = Case(verdict=verdict, candidate=candidate.evidence, baseline=baseline.evidence if baseline else None)
    return case, [answer.version for answer in (candidate, baseline) if answer is not None]


def gate(backend: Backend, question: Question, evaluate: Evaluate | None, *, by: Provenance) -> Decision:
    """Judge and log the verdict in a run of job type `gate`; moves nothing."""
    case, used = decide(backend, question, evaluate, by=by)
    with backend.run(job_type="gate", name=_run_name("gate", question), config=_config(question)) as run:
        case, logged = moving.log(run, case, question.policy.text, _used(question, used))
        return Decision(question=question, case=case, verdict_version=logged, run_url=run.url)


def promote(
    backend: Backend,
    question: Question,
    evaluate: Evaluate | None,
    *,
    by: Provenance,
    override: str | None = None,
    dry_run: bool = False,
) -> Decision:
    """Judge, log the verdict, and move the alias if and only if the verdict allows it.

    Args:
        override: a person's reason for moving the alias whatever the verdict says; recorded in it.
        dry_run: judge what is there and write nothing.
    Raises:
        AliasMoved: somebody moved the alias meanwhile.
        PromotionUnderWay: another promotion of the alias came first.
        ApprovalNeeded: the policy wants more people's approval.
        EvidenceMissing: see `gather`.
    """
    if override is not None and not override.strip():
        raise UsageError("an override needs a reason", hint='--override "incident 4711: v6 crashes on empty images"')
    case, used = decide(backend, question, None if dry_run else evaluate, by=by)
    if override is not None:
        case = case.restated(override=Override(actor=by.actor, reason=override.strip()))
    if dry_run:
        return Decision(question=question, case=case)
    with backend.run(job_type="promote", name=_run_name("promote", question), config=_config(question)) as run:
        consent = _consent(backend, question, case.verdict) if override is None else None
        case = case.restated(approved_by=consent.people if consent else ())
        allowed = consent is None or consent.complete
        case, logged = moving.log(run, case, question.policy.text, _used(question, used), allowed=allowed)
        verdict = case.verdict
        holder, waits = None, None
        if allowed:
            holder = moving.move(backend, run, question.candidate, verdict=verdict, claim=logged, expected=question.baseline)
        elif consent is not None and consent.can_help:
            waits = _waiting(question, verdict, logged, consent)
            alerts.tell(run, alerts.approval_needed(verdict, waits.message), verdict)
        else:
            alerts.tell(run, alerts.refused(verdict), verdict)
    if waits is not None:
        raise waits
    return Decision(
        question=question,
        case=case,
        verdict_version=logged,
        holder=holder,
        run_url=run.url,
        undelivered=tuple(run.undelivered),
    )


def _consent(backend: Backend, question: Question, verdict: Verdict) -> Consent:
    """What the policy asks of people after this verdict, and what they have said."""
    rule = question.policy.decide.approvals
    asks = question.policy.asks_a_person(verdict.outcome, first=question.baseline is None)
    return approvals.consent(
        backend,
        verdict,
        needed=max(rule.min, 1) if asks else 0,
        can_help=asks or verdict.outcome is Outcome.PASS,
        not_author=rule.not_author,
    )


def _waiting(question: Question, verdict: Verdict, logged: Version, consent: Consent) -> ApprovalNeeded:
    said = f"{len(consent.given)} of {consent.needed} given" + (f" by {', '.join(consent.people)}" if consent.given else "")
    if consent.own:
        said += f"; that of {', '.join(a.person for a in consent.own)}, who made or proposes it, does not count"
    return ApprovalNeeded(
        f"the gate says {verdict.outcome} and the policy asks for people's approval before '{question.target}' moves: {said}",
        hint=f"reg approve {logged}, by somebody else; then again: reg promote {question.candidate.origin} "
        f"--alias {question.target.alias}",
    )


def _used(question: Question, evaluations: list[Version]) -> tuple[Version, ...]:
    every = (question.candidate, question.baseline, question.dataset, *evaluations)
    return tuple(version for version in every if version is not None)


def _run_name(verb: str, question: Question) -> str:
    return f"{verb} {question.candidate} → {question.target.alias}"


def _config(question: Question) -> dict[str, object]:
    return {
        "candidate": str(question.candidate.origin),
        "baseline": str(question.baseline.origin) if question.baseline else None,
        "target": str(question.target),
        "dataset": str(question.dataset.origin),
        "split": question.split,
        "policy": json.loads(question.policy.model_dump_json()),
        "policy_digest": question.policy.digest,
    }
