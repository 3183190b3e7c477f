"""The only way an alias moves: the verdict is on record, nobody came first, the alias still names what was beaten.

Promotion and rollback differ in where their verdict comes from; from here on they are the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry import alerts, claims, history, verdict_folder
from registry.backend import Backend
from registry.backend_run import Run
from registry.errors import AliasMoved
from registry.records import Target, Verdict, Version
from registry.references import Reference
from registry.verdicts import Case


def log(run: Run, case: Case, policy_text: str, used: tuple[Version, ...], *, allowed: bool = False) -> tuple[Case, Version]:
    """Log the verdict of a case, which from then on names its run and its own artifact; returns it and the verdict's version.

    Args:
        used: what the run consumed to come to it.
        allowed: the alias will be moved next; the verdict is then a claim (`registry.claims`).
    """
    for version in used:
        run.use(version)
    case = case.restated(run=run.fact.path)
    verdict = case.verdict
    with tempfile.TemporaryDirectory() as folder:
        logged = run.output(
            verdict_folder.collection(verdict.target),
            type="verdict",
            files=verdict_folder.write(Path(folder), case, policy_text),
            metadata=_labels(verdict, allowed=allowed),
        )
    run.summarise(history.facts_of(verdict, logged, allowed=allowed))
    spent = alerts.holdout_spent(verdict)
    if spent is not None:
        alerts.tell(run, spent, verdict)
    return replace(case, logged=str(logged.reference)), logged


def _labels(verdict: Verdict, *, allowed: bool) -> Mapping[str, Any]:
    return {
        "outcome": str(verdict.outcome),
        "reason": verdict.judgement.reason,
        "candidate": verdict.candidate.reference,
        "baseline": verdict.baseline.reference if verdict.baseline else None,
        "target": str(verdict.target),
        "policy_digest": verdict.policy_digest,
        "subject": verdict.subject,
        "kind": history.kind_of(verdict),
        "allowed": allowed,
        "actor": verdict.actor,
        "override": verdict.override.reason if verdict.override else None,
        "rollback": verdict.rollback.reason if verdict.rollback else None,
    }


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def move(
    backend: Backend, run: Run, candidate: Version, *, verdict: Verdict, claim: Version, expected: Version | None
) -> Version:
    """Give the verdict's target to the candidate if it still names what is expected.

    Args:
        verdict, claim: what allows it, and its version, logged by this run.
        expected: the baseline that was beaten, or None when nobody held the alias.
    Returns:
        The holder as the server now names it: the candidate.
    Raises:
        PromotionUnderWay: another promotion came first.
        AliasMoved: the alias names something else by now.
    """
    target = verdict.target
    claims.check_first(backend, claim, run.fact, target)
    now = backend.holder(target)
    if _identity(now) != _identity(expected):
        raise _moved(candidate, target, expected, now)
    run.link(candidate, target)
    after = backend.holder(target)
    if after is None or after.origin != candidate.origin:
        raise _moved(candidate, target, expected, after)
    run.summarise({"moved": True, "holder": str(after)})
    alerts.tell(run, alerts.moved(verdict, before=str(expected.origin) if expected else None), verdict)
    return after


def _identity(version: Version | None) -> tuple[Reference, str] | None:
    return None if version is None else (version.origin, str(version.digest))


def _moved(candidate: Version, target: Target, expected: Version | None, now: Version | None) -> AliasMoved:
    was = expected.origin if expected else "nobody"
    return AliasMoved(
        f"'{target}' moved from {was} to {now.origin if now else 'nobody'} while the gate ran",
        hint=f"reg promote {candidate.origin} --alias {target.alias}",
    )
