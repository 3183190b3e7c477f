"""Gate and promote: the order of effects, which is the whole point.

    1  ask        which candidate, for which alias, against which baseline, on which data — all pinned by digest
    2  gather     the two evaluations that answer it, reused if they agree in everything, made if they are missing
    3  judge      pure (`registry.gates`)
    4  log        the verdict, as an artifact, in a run that used candidate, baseline and evaluations
    5  re-read    the alias: if it no longer names the baseline that was beaten, stop (AliasMoved)
    6  move       the alias, by linking the candidate with it
    7  read back  what the server now says

Nothing before 6 changes what anybody else sees; whatever happens after 4, the verdict is on record.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry import evidence, gates, verdicts
from registry.backend import Backend, Run
from registry.errors import AliasMoved, ApprovalNeeded, EnvironmentProblem, NotFound, RegError, UsageError
from registry.gates import Asked, Evidence
from registry.policy import Policy
from registry.provenance import Provenance
from registry.records import Look, Outcome, Override, Pinned, Target, Verdict, Version
from registry.references import Reference, parse


class EvidenceMissing(EnvironmentProblem):
    """An evaluation that the policy needs does not exist and cannot be made here."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """May `candidate` take the place of `baseline` at `target`? `baseline` None means provably nobody holds it."""

    policy: Policy
    target: Target
    candidate: Version
    baseline: Version | None
    dataset: Version
    split: str

    @property
    def already_answered(self) -> bool:
        """The candidate itself holds the alias."""
        return self.baseline is not None and self.baseline.origin == self.candidate.origin


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An evaluation on the server and its content."""

    version: Version
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What came of a gate or a promotion. `verdict_version` is None when nothing was to be logged (`--dry-run`)."""

    question: Question
    verdict: Verdict
    verdict_version: Version | None = None
    holder: Version | None = None
    run_url: str | None = None

    @property
    def moved(self) -> bool:
        return self.holder is not None


# Makes and logs the missing evaluations of a candidate and, in the same process, of its baseline.
Evaluate = Callable[[Question], None]


def ask(backend: Backend, reference: Reference, policy: Policy) -> Question:
    """Pin down everything the policy leaves open.

    Raises:
        NotFound: candidate, registry or dataset do not exist; or no dataset is named and lineage knows none.
    """
    candidate = backend.resolve(reference, type="model")
    target = policy.target_for(candidate.origin.name)
    return Question(
        policy=policy,
        target=target,
        candidate=candidate,
        baseline=backend.holder(target),
        dataset=_dataset(backend, candidate, policy),
        split=policy.data.split,
    )


def trained_on(backend: Backend, model: Version) -> Version | None:
    """The dataset that the run which made the model used, by lineage; None when it is not known or not unique."""
    run = backend.made_by(model)
    used = [version for version in backend.inputs(run) if version.type == "dataset"] if run else []
    return used[0] if len(used) == 1 else None


def _dataset(backend: Backend, candidate: Version, policy: Policy) -> Version:
    if policy.data.dataset is not None:
        return backend.resolve(parse(policy.data.dataset), type="dataset")
    found = trained_on(backend, candidate)
    if found is None:
        raise NotFound(
            f"lineage does not say on which dataset '{candidate}' was trained, and the policy names none",
            hint="write data: {dataset: NAME} into the policy",
        )
    return found


def gather(backend: Backend, question: Question, evaluate: Evaluate | None) -> tuple[Answer, Answer | None]:
    """The evaluations of candidate and baseline, on the same data and the same runtime.

    Args:
        evaluate: makes what is missing; None when this process cannot.
    Raises:
        EvidenceMissing: something is missing and was not, or could not be, made; the hint is the command that makes it.
    """
    found = _matching(backend, question)
    if found is None and evaluate is not None:
        evaluate(question)
        found = _matching(backend, question)
    if found is None:
        device = question.policy.runtime.device
        against = f" --against {question.baseline.origin}" if question.baseline else ""
        raise EvidenceMissing(
            f"no evaluation of '{question.candidate}'"
            + (f" and '{question.baseline.origin}'" if question.baseline else "")
            + f" on {question.dataset} ({question.split}) with device {device} and one runtime",
            hint=f"reg evaluate {question.candidate.origin}{against} --dataset {question.dataset.origin} --device {device}",
        )
    return found


def _matching(backend: Backend, question: Question) -> tuple[Answer, Answer | None] | None:
    """The newest pair that agrees in dataset, split and runtime fingerprint, on a device that the policy accepts."""
    candidates = _evaluations(backend, question, question.candidate)
    if question.baseline is None:
        return (_read(backend, candidates[0]), None) if candidates else None
    baselines = {str(v.metadata.get("fingerprint")): v for v in reversed(_evaluations(backend, question, question.baseline))}
    needs_pair = question.policy.times_models_together
    for version in candidates:
        baseline = baselines.get(str(version.metadata.get("fingerprint")))
        timed = version.metadata.get("against_digest") == str(question.baseline.digest)
        if baseline is not None and (timed or not needs_pair):
            return _read(backend, version), _read(backend, baseline)
    return None


def _evaluations(backend: Backend, question: Question, model: Version) -> list[Version]:
    """Evaluations of this model that fit the question by their labels, newest first; the files are checked by the judge."""
    wanted = {
        "model_digest": str(model.digest),
        "dataset_digest": str(question.dataset.digest),
        "split": question.split,
    }
    device = question.policy.runtime.device
    found = [
        output
        for run in backend.used_by(model)
        if run.job_type == "evaluate"
        for output in backend.outputs(run)
        if output.type == "evaluation"
        and all(output.metadata.get(key) == value for key, value in wanted.items())
        and device in ("any", output.metadata.get("device"))
    ]
    return sorted({v.id: v for v in found}.values(), key=lambda v: (v.created_at, v.index), reverse=True)


def _read(backend: Backend, version: Version) -> Answer:
    return Answer(version=version, evidence=evidence.read_evaluation(backend.download(version)))


def looks(backend: Backend, question: Question) -> Look:
    """How many models have been scored on this dataset version and split, by lineage, the candidate included."""
    scored = {
        str(run.config.get("model_digest"))
        for run in backend.used_by(question.dataset)
        if run.job_type == "evaluate" and run.config.get("split") == question.split
    }
    holdout = question.policy.data.holdout
    return Look(number=len(scored | {str(question.candidate.digest)}), of=holdout.max_looks if holdout else None)


def decide(backend: Backend, question: Question, evaluate: Evaluate | None, *, by: Provenance) -> tuple[Verdict, list[Version]]:
    """Gather and judge; returns the verdict and the evaluations it rests on."""
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
        actor=by.actor,
        ci_url=by.ci_url,
        git_commit=by.git_commit,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return verdict, [answer.version for answer in (candidate, baseline) if answer is not None]


def gate(backend: Backend, question: Question, evaluate: Evaluate | None, *, by: Provenance) -> Decision:
    """Judge and log the verdict in a run of job type `gate`; moves nothing."""
    verdict, used = decide(backend, question, evaluate, by=by)
    with backend.run(job_type="gate", name=_run_name("gate", question), config=_config(question)) as run:
        logged = _log(run, question, verdict, used)
        return Decision(question=question, verdict=verdict, verdict_version=logged, run_url=run.url)


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
        ApprovalNeeded: the verdict passes but the policy wants a person's approval.
        EvidenceMissing: see `gather`.
    """
    if override is not None and not override.strip():
        raise UsageError("an override needs a reason", hint='--override "incident 4711: v6 crashes on empty images"')
    verdict, used = decide(backend, question, None if dry_run else evaluate, by=by)
    if override is not None:
        verdict = verdict.model_copy(update={"override": Override(actor=by.actor, reason=override.strip())})
    if dry_run:
        return Decision(question=question, verdict=verdict)
    with backend.run(job_type="promote", name=_run_name("promote", question), config=_config(question)) as run:
        logged = _log(run, question, verdict, used)
        holder = _move(backend, run, question) if _allowed(question, verdict) else None
        run.summarise({"moved": holder is not None, "holder": str(holder) if holder else str(question.baseline)})
        return Decision(question=question, verdict=verdict, verdict_version=logged, holder=holder, run_url=run.url)


def _allowed(question: Question, verdict: Verdict) -> bool:
    if verdict.override is not None:
        return True
    outcome = verdict.outcome
    if question.policy.asks_a_person(outcome, first=question.baseline is None):
        raise ApprovalNeeded(
            f"the gate says {outcome} and the policy asks for a person's approval before '{question.target}' moves",
            hint=f'reg promote {question.candidate.origin} --alias {question.target.alias} --override "approved: why"',
        )
    return outcome is Outcome.PASS


def _move(backend: Backend, run: Run, question: Question) -> Version:
    now = backend.holder(question.target)
    if _identity(now) != _identity(question.baseline):
        raise _moved(question, now)
    run.link(question.candidate, question.target)
    after = backend.holder(question.target)
    if after is None or after.origin != question.candidate.origin:
        raise _moved(question, after)
    return after


def _identity(version: Version | None) -> tuple[Reference, str] | None:
    return None if version is None else (version.origin, str(version.digest))


def _moved(question: Question, now: Version | None) -> RegError:
    was = question.baseline.origin if question.baseline else "nobody"
    return AliasMoved(
        f"'{question.target}' moved from {was} to {now.origin if now else 'nobody'} while the gate ran",
        hint=f"reg promote {question.candidate.origin} --alias {question.target.alias}",
    )


def _log(run: Run, question: Question, verdict: Verdict, evaluations: list[Version]) -> Version:
    for version in (question.candidate, question.baseline, question.dataset, *evaluations):
        if version is not None:
            run.use(version)
    run.summarise({"outcome": str(verdict.outcome), "reason": verdict.judgement.reason})
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "verdict.json": verdict.model_dump_json(indent=2),
            "policy.yaml": question.policy.text,
            "verdict.md": verdicts.to_markdown(verdict),
        }
        paths = []
        for name, text in files.items():
            path = Path(folder) / name
            path.write_text(text, encoding="utf-8")
            paths.append((name, path))
        return run.output(
            f"verdict-{question.target.collection}-{question.target.alias}",
            type="verdict",
            files=paths,
            metadata={
                "outcome": str(verdict.outcome),
                "reason": verdict.judgement.reason,
                "candidate": str(question.candidate.origin),
                "baseline": str(question.baseline.origin) if question.baseline else None,
                "target": str(question.target),
                "policy_digest": verdict.policy_digest,
                "override": verdict.override.reason if verdict.override else None,
            },
        )


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
