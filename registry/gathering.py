"""The evidence for a question: the evaluations that answer it, found by lineage, reused if they agree in everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry import evidence
from registry.backend import Backend
from registry.errors import EnvironmentProblem
from registry.gates import Evidence
from registry.questions import Question
from registry.records import Look, Version


class EvidenceMissing(EnvironmentProblem):
    """An evaluation that the policy needs does not exist and cannot be made here."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An evaluation on the server and its content."""

    version: Version
    evidence: Evidence


# Makes and logs the missing evaluations of a candidate and, in the same process, of its baseline.
Evaluate = Callable[[Question], None]


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
        own = "".join(f" --metric FILE.py:{name}" for name in question.own_metrics)
        if own and question.policy.data.cluster is not None:
            own += f" --cluster {question.policy.data.cluster}"
        device = question.policy.runtime.device
        against = f" --against {question.baseline.origin}" if question.baseline else ""
        raise EvidenceMissing(
            f"no evaluation of '{question.candidate}'"
            + (f" and '{question.baseline.origin}'" if question.baseline else "")
            + f" on {question.dataset} ({question.split}) with device {device} and one runtime",
            hint=f"reg evaluate {question.candidate.origin}{against} --dataset {question.dataset.origin}"
            f" --device {device}{own}",
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
        and question.own_metrics.items() <= _own_metrics(output).items()
        and (not question.own_metrics or output.metadata.get("cluster") == question.policy.data.cluster)
    ]
    newest = sorted({v.id: v for v in found}.values(), key=lambda v: (v.created_at, v.index), reverse=True)
    # A later evaluation without a metric of somebody's own must not hide an earlier one that has it.
    return sorted(newest, key=lambda v: -sum(check.metric in _own_metrics(v) for check in question.policy.checks))


def _own_metrics(evaluation: Version) -> Mapping[str, object]:
    found = evaluation.metadata.get("own_metrics")
    return found if isinstance(found, Mapping) else {}


def _read(backend: Backend, version: Version) -> Answer:
    return Answer(version=version, evidence=evidence.read_evaluation(backend.download(version)))


def looks(backend: Backend, question: Question) -> Look:
    """How many models have been scored on this dataset version and split, by lineage, the candidate included.

    A model counts once, when it was first scored: scoring it again, or as a baseline beside another, is no new look.
    """
    scoring = [
        run
        for run in backend.used_by(question.dataset)
        if run.job_type == "evaluate" and run.config.get("split") == question.split and run.config.get("model_digest")
    ]
    first = dict.fromkeys(str(run.config["model_digest"]) for run in sorted(scoring, key=lambda run: (run.created_at, run.id)))
    order = list(first | {str(question.candidate.digest): None})
    holdout = question.policy.data.holdout
    return Look(
        number=len(order),
        of=holdout.max_looks if holdout else None,
        position=order.index(str(question.candidate.digest)) + 1,
    )
