"""`reg status`, `reg history`, `reg why`: which version is where, since when, by whose word and on what evidence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from registry import history as histories
from registry import standing as standings
from registry.cli.decision import explained
from registry.cli.lineage import tree
from registry.cli.looking import moment_text
from registry.cli.output import table
from registry.cli.params import Session, session
from registry.errors import NotFound
from registry.history import Move
from registry.lineage import Graph
from registry.records import Outcome, RunFact
from registry.references import Reference
from registry.standing import Standing
from registry.tracing import trace

_KINDS = {
    "promotion": "by a passed gate",
    "override": "by override",
    "rollback": "by rollback",
    "outside": "outside of reg: no verdict",
}


@click.command(epilog="Examples: reg status · reg status --registry model --json")
@click.option("--registry", metavar="NAME", help="Only this registry (default: all).")
@session
def status(session: Session, registry: str | None) -> None:
    """Show every alias of the registries: its holder, how good that is, and whether a newer candidate waits."""
    with session.reading() as backend:
        found = [standings.standing(backend, target) for target in standings.targets(backend, registry)]
    columns = ("alias", "holder", "#for", "by", "judged", "data", "newest")
    rows = [_standing_row(standing) for standing in found]
    empty = "no alias is set in a registry yet; next: reg promote model:v0 --alias production"
    session.output.result({"aliases": [_standing_data(s) for s in found]}, table(columns, rows) if rows else empty)


@click.command(epilog="Examples: reg history production · reg history mnist:production --json")
@click.argument("target")
@session
def history(session: Session, target: str) -> None:
    """Show every move of TARGET (an alias, or collection:alias), the latest first."""
    with session.reading() as backend:
        found = standings.find(backend, target, registry=session.settings.registry)
        told = histories.moves(backend, found)
    if not told:
        raise NotFound(f"nothing has held '{found}'", hint="reg status")
    columns = ("when (UTC)", "who", "from", "to", "how", "verdict", "CI", "reason")
    rows = [_move_row(move) for move in reversed(told)]
    data = {"target": str(found), "moves": [_move_data(move) for move in reversed(told)]}
    session.output.result(data, table(columns, rows, title=f"'{found}'"))


@click.command(epilog="Examples: reg why production · reg why wandb-registry-model/mnist:production --json")
@click.argument("target")
@session
def why(session: Session, target: str) -> None:
    """Show why the holder of TARGET holds it: who put it there, on what verdict, data and training."""
    with session.reading() as backend:
        found = standings.standing(backend, standings.find(backend, target, registry=session.settings.registry))
        trained = backend.made_by(found.holder)
        origins = trace(backend, found.holder, ["up"])
    data = _standing_data(found) | {
        "move": _move_data(found.move),
        "verdict": found.verdict.model_dump(mode="json") if found.verdict else None,
        "trained_by": trained.path if trained else None,
    }
    session.output.result(data, *_page(found, trained, origins))


def _page(standing: Standing, trained: RunFact | None, origins: Graph) -> list[Any]:
    move, verdict = standing.move, standing.verdict
    facts = [
        ("holder", f"{standing.holder.origin} ({standing.holder.digest})"),
        ("since", f"{moment_text(move.at)} UTC ({_age(move.at)} ago)" if move.at else "nobody knows"),
        ("moved", " ".join(part for part in (_KINDS[move.kind], f"by {move.person}" if move.person else "") if part)),
        ("reason", move.reason),
        ("before", str(move.before) if move.before else "nobody"),
        ("approved by", ", ".join(verdict.approved_by) if verdict else None),
        ("verdict", str(move.verdict) if move.verdict else None),
        ("evaluation", verdict.candidate_evaluation.reference if verdict and verdict.candidate_evaluation else None),
        ("dataset", f"{verdict.dataset.reference} ({verdict.dataset.digest})" if verdict and verdict.dataset else None),
        ("policy", verdict.policy_digest if verdict else None),
        ("commit", verdict.git_commit if verdict else None),
        ("CI run", move.ci_url),
        (
            "trained by",
            f"{trained.path} ({trained.user}, {moment_text(trained.created_at)} UTC)" if trained else "nobody knows",
        ),
        ("newest", _waiting(standing)),
    ]
    lines = [table(("", f"why '{standing.target}'"), [(name, value) for name, value in facts if value])]
    if verdict is not None:
        lines += ["", *explained(verdict)]
    else:
        lines += ["", Text("No verdict stands behind this holder: the alias was moved outside of reg.", style="yellow")]
    return [*lines, "", tree(origins, "up")]


def _standing_row(standing: Standing) -> tuple[object, ...]:
    verdict = standing.verdict
    known = standings.headline(verdict) if verdict else None
    judged = f"{known.metric} {known.candidate:.4f}" if known else "never"
    if known and known.interval is not None and known.delta is None:
        judged += " [" + ", ".join("…" if bound is None else f"{bound:.4f}" for bound in known.interval) + "]"
    return (
        f"{standing.target.registry}/{standing.target.collection}:{standing.target.alias}",
        _short(standing.holder.origin),
        _age(standing.move.at) if standing.move.at else "?",
        _KINDS[standing.move.kind],
        judged,
        _short(verdict.dataset.parsed) if verdict and verdict.dataset else "",
        _waiting(standing),
    )


def _waiting(standing: Standing) -> str:
    if standing.newest is None:
        return "holds it"
    answer = "not asked yet" if standing.answer is None else f"{standing.answer}"
    return f"{_short(standing.newest.origin)}: {answer}"


def _standing_data(standing: Standing) -> dict[str, Any]:
    verdict = standing.verdict
    known = standings.headline(verdict) if verdict else None
    return {
        "target": str(standing.target),
        "holder": str(standing.holder.origin),
        "digest": str(standing.holder.digest),
        "since": standing.move.at or None,
        "kind": standing.move.kind,
        "person": standing.move.person or None,
        "verdict": str(standing.move.verdict) if standing.move.verdict else None,
        "metric": {"name": known.metric, "value": known.candidate} if known else None,
        "dataset": verdict.dataset.reference if verdict and verdict.dataset else None,
        "newest": str(standing.newest.origin) if standing.newest else None,
        "newest_outcome": str(standing.answer) if standing.answer else None,
    }


def _move_row(move: Move) -> tuple[object, ...]:
    style = {"outside": "yellow", "override": "yellow"}.get(move.kind, "")
    outcome = f" ({move.outcome})" if move.outcome is not None and move.outcome is not Outcome.PASS else ""
    return (
        moment_text(move.at) if move.at else "?",
        move.person or "?",
        _short(move.before) if move.before else "nobody",
        _short(move.to),
        Text(_KINDS[move.kind] + outcome, style=style),
        _short(move.verdict) if move.verdict else "",
        move.ci_url or "",
        move.reason or "",
    )


def _move_data(move: Move) -> dict[str, Any]:
    return {
        "at": move.at or None,
        "person": move.person or None,
        "from": str(move.before) if move.before else None,
        "to": str(move.to),
        "kind": move.kind,
        "outcome": str(move.outcome) if move.outcome is not None else None,
        "verdict": str(move.verdict) if move.verdict else None,
        "reason": move.reason,
        "run": move.run.url if move.run else None,
        "ci_url": move.ci_url,
    }


def _short(reference: Reference) -> str:
    return f"{reference.name}:{reference.tag}"


def _age(moment: str) -> str:
    """How long ago, in the unit that a person would choose."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return "moments"
