"""Which version held an alias when, by whose word and why: read back from the runs that moved it.

Every promotion is a run of job type `promote` that used the candidate it moved, so the moves of an alias are found from the
versions of its collection, whichever project they came from, and on every W&B server alike. W&B keeps no history of its own
that a client could read (mlflow#2169 asks for one since 2019). What moved an alias without `reg` left no run: it shows as a
holder that no move explains, and is said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from registry.backend import Backend
from registry.errors import NotFound
from registry.records import Outcome, RunFact, Target, Verdict, Version
from registry.references import Reference, parse

Kind = Literal["promotion", "override", "rollback", "outside"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """An alias came to name `to`; `before` is what it named then, None for nothing.

    `kind` is `outside` when nothing of ours recorded it: only that the alias names `to` is known then.
    """

    kind: Kind
    to: Reference
    before: Reference | None = None
    at: str = ""
    person: str = ""
    outcome: Outcome | None = None
    reason: str | None = None
    verdict: Reference | None = None
    run: RunFact | None = None
    ci_url: str | None = None

    @property
    def gated(self) -> bool:
        """A verdict stands behind it."""
        return self.verdict is not None


def facts_of(verdict: Verdict, logged: Version, *, allowed: bool) -> dict[str, Any]:
    """What a promotion says in its run's summary before it moves an alias, for `moves` to read back.

    Args:
        allowed: the alias is about to be moved; `moved` says after it that it was.
    """
    person = verdict.rollback or verdict.override
    return {
        "allowed": allowed,
        "moved": False,
        "kind": kind_of(verdict),
        "verdict": str(logged.origin),
        "outcome": str(verdict.outcome),
        "actor": verdict.actor,
        "reason": verdict.judgement.reason,
        "words": person.reason if person else None,
        "ci_url": verdict.ci_url,
    }


def kind_of(verdict: Verdict) -> Kind:
    if verdict.rollback is not None:
        return "rollback"
    return "override" if verdict.override is not None else "promotion"


def moves(backend: Backend, target: Target) -> list[Move]:
    """The moves of the alias, oldest first, ending in its present holder.

    Raises:
        NotFound: the registry or the collection does not exist.
    """
    found: dict[str, RunFact] = {}
    for version in backend.versions(target.reference.at("latest")):
        found.update({run.path: run for run in backend.used_by(version) if _may_have_moved(run, target)})
    runs = sorted(found.values(), key=lambda run: (run.created_at, run.id))
    told = [_move(run) for run in runs if run.summary.get("moved")]
    # Killed after it moved the alias and before it could say so: it explains a holder that nothing else does.
    cut_short = [_move(run) for run in runs if not run.summary.get("moved") and run.state != "running"]
    return _with_gaps(told, cut_short, backend.holder(target))


def stack(told: Sequence[Move]) -> list[Move]:
    """The holders under one another as an undo would meet them: a rollback takes off what it replaced, the rest puts on top."""
    holders: list[Move] = []
    for move in told:
        below = [at for at, earlier in enumerate(holders) if earlier.to == move.to]
        if move.kind == "rollback" and below:
            del holders[below[-1] + 1 :]
        else:
            holders.append(move)
    return holders


def present(told: Sequence[Move], target: Target) -> Move:
    """The move that made the present holder.

    Raises:
        NotFound: nothing has ever held the alias.
    """
    if not told:
        raise NotFound(f"nothing holds '{target}'", hint="reg status")
    return told[-1]


def _may_have_moved(run: RunFact, target: Target) -> bool:
    return run.job_type == "promote" and run.config.get("target") == str(target) and run.summary.get("allowed") is True


def _move(run: RunFact) -> Move:
    said: Mapping[str, Any] = run.summary
    before = run.config.get("baseline")
    verdict = said.get("verdict")
    return Move(
        kind=said.get("kind") or "promotion",
        to=parse(str(run.config["candidate"])),
        before=parse(str(before)) if before else None,
        at=run.created_at,
        person=str(said.get("actor") or run.user),
        outcome=Outcome(said["outcome"]) if said.get("outcome") else None,
        reason=said.get("words"),
        verdict=parse(str(verdict)) if verdict else None,
        run=run,
        ci_url=said.get("ci_url"),
    )


def _with_gaps(told: Sequence[Move], cut_short: Sequence[Move], holder: Version | None) -> list[Move]:
    """Between moves that do not join, somebody moved the alias without telling."""
    joined: list[Move] = []

    def lead_to(to: Reference) -> None:
        before = joined[-1].to if joined else None
        if before != to:
            unsaid = (move for move in cut_short if (move.to, move.before) == (to, before))
            joined.append(next(unsaid, Move(kind="outside", to=to, before=before)))

    for move in told:
        if move.before is not None:
            lead_to(move.before)
        joined.append(move)
    if holder is not None:
        lead_to(holder.origin)
    return joined
