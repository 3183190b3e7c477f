"""Rollback: the alias goes back to the version that held it before, by the verdict that had let that version in."""

from __future__ import annotations

from dataclasses import dataclass

from registry import history, moving, verdict_folder
from registry.backend import Backend
from registry.errors import NotFound
from registry.provenance import Provenance
from registry.records import Pinned, Rollback, Target, Verdict, Version
from registry.references import Reference
from registry.verdicts import Case


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """What a rollback did: `holder` holds the alias again, `replaced` no longer does."""

    target: Target
    holder: Version
    replaced: Version
    verdict: Verdict
    verdict_version: Version
    run_url: str
    undelivered: tuple[str, ...] = ()


def rollback(backend: Backend, target: Target, *, to: Reference | None, reason: str, by: Provenance) -> RolledBack:
    """Give the alias back to a version that a verdict had let in before; the rollback is recorded like a promotion.

    Args:
        to: which; None for the one before the present holder.
    Raises:
        NotFound: nobody holds the alias, or there is no such earlier holder with a verdict.
        AliasMoved, PromotionUnderWay: see `promote`.
    """
    holder = backend.holder(target)
    if holder is None:
        raise NotFound(f"nothing holds '{target}', so nothing can be rolled back", hint="reg status")
    wanted = backend.resolve(to, type="model").origin if to is not None else None
    told = history.moves(backend, target)
    earlier = [move for move in history.stack(told) if move.gated and move.to != holder.origin]
    chosen = next((move for move in reversed(earlier) if wanted in (None, move.to)), None)
    if chosen is None or chosen.verdict is None:
        found = f"{wanted} never held" if wanted else f"before {holder.origin} nothing held"
        raise NotFound(f"{found} '{target}' by a verdict", hint=f"reg history {target}")
    candidate = backend.resolve(chosen.to, type="model")
    source = backend.resolve(chosen.verdict, type="verdict")
    original = verdict_folder.read(backend, source)
    first = original.rollback.verdict if original.rollback else Pinned.of(source)
    verdict = original.model_copy(
        update={
            "rollback": Rollback(replaces=Pinned.of(holder), verdict=first, actor=by.actor, reason=reason),
            "actor": by.actor,
            "ci_url": by.ci_url,
            "git_commit": by.git_commit,
            "created_at": moving.moment(),
        }
    )
    config = {"candidate": str(candidate.origin), "baseline": str(holder.origin), "target": str(target), "rollback": True}
    policy_text = backend.read_file(source, verdict_folder.POLICY).decode()
    with backend.run(job_type="promote", name=f"roll {target.alias} back to {candidate}", config=config) as run:
        # Whoever rolls back is in a hurry: the evaluations are not downloaded again for the sake of a page.
        absent = f"a rollback does not read the evaluations again, {first.parsed.name}:{first.parsed.tag} shows them"
        case, logged = moving.log(
            run, Case(verdict=verdict, absent=absent), policy_text, (candidate, holder, source), allowed=True
        )
        after = moving.move(backend, run, candidate, verdict=case.verdict, claim=logged, expected=holder)
    return RolledBack(
        target=target,
        holder=after,
        replaced=holder,
        verdict=case.verdict,
        verdict_version=logged,
        run_url=run.url,
        undelivered=tuple(run.undelivered),
    )
