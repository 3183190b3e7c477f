"""What a policy would have decided on the past: the verdicts of an alias, judged again by other rules on the same evidence.

Nothing is scored and nothing is written: a policy is tried out in seconds on what is known already. A verdict whose evidence
does not fit the new rules (another device, no timings) is an ERROR there, as it would be for a candidate of today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry import gates, verdict_folder
from registry.backend import Backend
from registry.errors import NotFound, RegError
from registry.policy import Policy
from registry.records import Judgement, Outcome, Target, Verdict, Version
from registry.references import Reference
from registry.verification import evidence_of, question_of


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One past verdict, what it said, and what the policy says; `lost` is why it could not be asked (evidence that is gone)."""

    version: Version
    verdict: Verdict
    now: Judgement | None = None
    lost: str | None = None

    @property
    def changed(self) -> bool:
        return self.now is None or self.now.outcome is not self.verdict.outcome


def replay(
    backend: Backend, policy: Policy, target: Target, *, last: int, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[Replayed]:
    """Judge the latest verdicts about the target again, the oldest of them first.

    Args:
        last: how many at most.
    Raises:
        NotFound: the alias has no verdicts in this project.
    """
    try:
        known = backend.versions(Reference(name=verdict_folder.collection(target)))
    except NotFound as exc:
        raise NotFound(f"no verdict about '{target}' is in project {backend.project}", hint="reg ls --type verdict") from exc
    chosen = list(reversed(known[:last]))
    for at, version in enumerate(chosen):
        verdict = verdict_folder.read(backend, version)
        # A rollback states an earlier verdict again; it was no decision of a gate.
        if verdict.rollback is None:
            yield _again(backend, policy, version, verdict)
        if on_progress is not None:
            on_progress(at + 1, len(chosen))


def _again(backend: Backend, policy: Policy, version: Version, verdict: Verdict) -> Replayed:
    try:
        candidate, baseline = evidence_of(backend, verdict)
    except RegError as exc:
        return Replayed(version=version, verdict=verdict, lost=exc.message)
    judgement = gates.judge(
        policy, candidate=candidate, baseline=baseline, look=verdict.look, asked=question_of(verdict), held=verdict.held
    )
    return Replayed(version=version, verdict=verdict, now=judgement)


def differing(replayed: list[Replayed]) -> dict[tuple[Outcome, Outcome], int]:
    """How many verdicts went from which outcome to which."""
    counts: dict[tuple[Outcome, Outcome], int] = {}
    for one in replayed:
        if one.now is not None and one.changed:
            key = (one.verdict.outcome, one.now.outcome)
            counts[key] = counts.get(key, 0) + 1
    return counts
