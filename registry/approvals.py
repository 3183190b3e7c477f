"""Approvals: a person's consent to what a verdict judged, kept as an artifact of type `approval`.

An approval names the *subject* of a verdict (target, policy, both models, data and evaluations, all by digest), so that the
promotion after it, which judges the same evidence again, finds it, and any change of the evidence loses it. Who approved is
what the server says about the run that logged the approval: a name written into a file could be anybody's. On W&B one key
often serves a whole CI, so the person whom CI names counts too, when it is about keeping an author from approving.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.backend import Backend
from registry.errors import NotFound, UsageError
from registry.provenance import Provenance
from registry.records import Approval, Outcome, Pinned, Target, Verdict, Version
from registry.references import Reference

APPROVAL = "approval.json"


@dataclass(frozen=True, kw_only=True)
class Approved:
    """One approval and who gave it, by the server's word."""

    version: Version
    person: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class Consent:
    """How far a promotion is from the people's consent it needs.

    `can_help` is False when the verdict refuses whatever people say. `own` are approvals by those who made the candidate or
    propose it, where the policy does not count them.
    """

    needed: int
    can_help: bool
    given: tuple[Approved, ...] = ()
    own: tuple[Approved, ...] = ()

    @property
    def complete(self) -> bool:
        return self.can_help and len(self.given) >= self.needed

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(approved.person for approved in self.given)


def approve(backend: Backend, version: Version, verdict: Verdict, *, reason: str | None, by: Provenance) -> Version:
    """Log an approval of what this verdict judged.

    Raises:
        UsageError: the verdict's answer is one that no approval can help: only an override moves the alias then.
    """
    if verdict.outcome not in (Outcome.PASS, Outcome.INCONCLUSIVE):
        raise UsageError(
            f"{version} says {verdict.outcome}, which an approval does not change",
            hint=f'reg promote {verdict.candidate.reference} --alias {verdict.target.alias} --override "why"',
        )
    approval = Approval(
        target=verdict.target,
        subject=verdict.subject,
        verdict=Pinned.of(version),
        actor=by.actor,
        reason=reason,
        ci_url=by.ci_url,
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    config = {"target": str(verdict.target), "verdict": str(version.origin), "candidate": verdict.candidate.reference}
    with (
        backend.run(job_type="approve", name=f"approve {version}", config=config) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        run.use(version)
        file = Path(folder) / APPROVAL
        file.write_text(approval.model_dump_json(indent=2) + "\n", encoding="utf-8")
        labels = {
            "subject": approval.subject,
            "candidate": verdict.candidate.reference,
            "actor": by.actor,
            "ci_url": by.ci_url,
            "reason": reason,
        }
        return run.output(_name(verdict.target), type="approval", files=[(APPROVAL, file)], metadata=labels)


def consent(backend: Backend, verdict: Verdict, *, needed: int, can_help: bool, not_author: bool) -> Consent:
    """The approvals of this verdict's subject, one a person.

    Args:
        needed: how many people's; 0 asks nobody.
        not_author: those of whoever made the candidate or asks for its promotion do not count.
    """
    if not needed:
        return Consent(needed=0, can_help=can_help)
    authors = _authors(backend, verdict) if not_author else frozenset()
    given: dict[str, Approved] = {}
    own: dict[str, Approved] = {}
    for version in _logged(backend, verdict.target):
        run = backend.made_by(version) if version.metadata.get("subject") == verdict.subject else None
        if run is not None and run.job_type == "approve":
            # Without a CI the actor is an account of some machine, which several people may share.
            actor = str(version.metadata.get("actor")) if version.metadata.get("ci_url") else run.user
            approved = Approved(version=version, person=run.user, actor=actor)
            (own if authors & {approved.person, approved.actor} else given)[approved.person] = approved
    return Consent(needed=needed, can_help=can_help, given=tuple(given.values()), own=tuple(own.values()))


def _authors(backend: Backend, verdict: Verdict) -> frozenset[str]:
    made = backend.made_by(backend.resolve(verdict.candidate.parsed))
    asking = verdict.actor if verdict.ci_url else backend.user
    return frozenset({asking, backend.user, made.user if made else ""} - {""})


def _name(target: Target) -> str:
    return f"approval-{target.collection}-{target.alias}"


def _logged(backend: Backend, target: Target) -> list[Version]:
    try:
        return backend.versions(Reference(name=_name(target)))
    except NotFound:
        return []
