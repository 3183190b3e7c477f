"""Judging again: does a verdict follow from the evidence and the policy that it names?

Anyone who may read the artifacts can ask, years later and without a GPU: the judgement is a pure function. Numbers are compared
to nine digits, because another processor may add in another order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry import evidence, gates, verdict_folder
from registry.backend import Backend
from registry.errors import EvaluationMismatch, RegError
from registry.gates import Absent, Asked, Evidence
from registry.records import Judgement, Pinned, Verdict, Version
from registry.references import Digest
from registry.verdicts import Case

_SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Verification:
    """`differences` says, line by line, what the verdict claims and what comes out now; none means that it holds."""

    version: Version
    verdict: Verdict
    again: Judgement
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.differences


def verify(backend: Backend, version: Version) -> Verification:
    """
    Raises:
        NotFound: an evaluation or the policy that the verdict names is gone.
        EvaluationMismatch: an evaluation is no longer the one that the verdict names.
        BadData, BadPolicy: one of them cannot be read.
    """
    verdict = verdict_folder.read(backend, version)
    policy = verdict_folder.read_policy(backend, version)
    candidate, baseline = evidence_of(backend, verdict)
    again = gates.judge(
        policy, candidate=candidate, baseline=baseline, look=verdict.look, asked=question_of(verdict), held=verdict.held
    )
    found = list(_compared("", verdict.judgement.model_dump(mode="json"), again.model_dump(mode="json")))
    if policy.digest != verdict.policy_digest:
        found.insert(0, f"the policy's digest: the verdict says {verdict.policy_digest}, its policy.yaml has {policy.digest}")
    return Verification(version=version, verdict=verdict, again=again, differences=tuple(found))


def evidence_of(backend: Backend, verdict: Verdict) -> tuple[Evidence, Evidence | Absent]:
    """The evaluations of candidate and baseline that a verdict rests on.

    Raises:
        NotFound, EvaluationMismatch, BadData: one is gone, is no longer the same, or cannot be read.
    """
    assert verdict.candidate_evaluation is not None, "a verdict without an evaluation of its candidate is never logged"
    baseline = verdict.baseline_evaluation
    return _evidence(backend, verdict.candidate_evaluation), _evidence(backend, baseline) if baseline else gates.ABSENT


def case_of(backend: Backend, version: Version) -> Case:
    """A verdict with its evidence, for showing it; what is gone or cannot be read is said in the case."""
    verdict = verdict_folder.read(backend, version)
    logged = str(version.reference)
    if verdict.candidate_evaluation is None:
        return Case(verdict=verdict, logged=logged, absent="the verdict names no evaluation")
    try:
        candidate, baseline = evidence_of(backend, verdict)
    except RegError as exc:
        return Case(verdict=verdict, logged=logged, absent=str(exc))
    return Case(
        verdict=verdict, candidate=candidate, baseline=None if isinstance(baseline, Absent) else baseline, logged=logged
    )


def question_of(verdict: Verdict) -> Asked:
    """What a verdict was asked about."""
    assert verdict.dataset is not None, "a verdict without a dataset is never logged"
    return Asked(
        candidate=Digest.parse(verdict.candidate.digest),
        baseline=Digest.parse(verdict.baseline.digest) if verdict.baseline else None,
        dataset=Digest.parse(verdict.dataset.digest),
    )


def _evidence(backend: Backend, pinned: Pinned) -> Evidence:
    found = backend.resolve(pinned.parsed, type="evaluation")
    if str(found.digest) != pinned.digest:
        raise EvaluationMismatch(f"{pinned.reference} has the digest {found.digest}, the verdict rests on {pinned.digest}")
    return evidence.read_evaluation(backend.download(found))


def _compared(path: str, said: Any, again: Any) -> Iterator[str]:
    if isinstance(said, dict) and isinstance(again, dict):
        for key in {**said, **again}:
            yield from _compared(f"{path}.{key}" if path else key, said.get(key), again.get(key))
    elif isinstance(said, list) and isinstance(again, list) and len(said) == len(again):
        for at, (one, other) in enumerate(zip(said, again, strict=True)):
            name = one.get("id") if isinstance(one, dict) else None
            yield from _compared(f"{path}[{name or at}]", one, other)
    elif not _same(said, again):
        yield f"{path}: the verdict says {said!r}, judging again gives {again!r}"


def _same(said: Any, again: Any) -> bool:
    if isinstance(said, int | float) and isinstance(again, int | float):
        return said == again or math.isclose(said, again, rel_tol=_SAME) or (math.isnan(said) and math.isnan(again))
    return bool(said == again)
