"""`reg gate` and `reg promote`: ask, judge, and for promote move the alias; the exit code is the outcome."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from registry import policy as policies
from registry import promotion, provenance, questions
from registry.backend import Backend
from registry.cli.params import ALIAS, FILE, REFERENCE, Session, session
from registry.cli.verdict import drawn, verdict_data
from registry.errors import BadPolicy
from registry.gathering import Evaluate
from registry.policy import Policy
from registry.promotion import Decision
from registry.references import Reference

_policy_option = click.option("--policy", "policy_file", type=FILE, help="Policy (default: settings, then the one that ships).")
_dataset_option = click.option("--dataset", type=REFERENCE, help="Dataset to judge on (default: policy, then lineage).")
# What `reg evaluate` needs beyond a plain install.
_EVALUATING = ("onnxruntime", "sklearn")


@click.command(epilog="Example: reg gate model:v3 --policy policy.yaml")
@click.argument("reference", type=REFERENCE)
@click.option("--alias", type=ALIAS, help="Alias that would move (default: the policy's).")
@_policy_option
@_dataset_option
@session
def gate(session: Session, reference: Reference, alias: str | None, policy_file: Path | None, dataset: Reference | None) -> int:
    """Judge REFERENCE against a policy and log the verdict; moves nothing.

    Exit codes: 0 PASS, 3 FAIL, 4 INCONCLUSIVE, 1 ERROR.
    """
    policy = _policy(session, policy_file, alias=alias, dataset=dataset)
    with session.writing() as backend:
        question = questions.ask(backend, reference, policy)
        decision = promotion.gate(backend, question, _evaluator(backend, session), by=_provenance())
    return _show(session, decision)


@click.command(epilog="Examples: reg promote model:v3 --alias production · reg promote model:v3 --alias production --dry-run")
@click.argument("reference", type=REFERENCE)
@click.option("--alias", type=ALIAS, help="Alias to move (default: the policy's).")
@_policy_option
@_dataset_option
@click.option("--dry-run", is_flag=True, help="Judge existing evaluations; write nothing.")
@click.option("--override", metavar="REASON", help="Move the alias whatever the verdict says; the reason is recorded.")
@session
def promote(
    session: Session,
    reference: Reference,
    alias: str | None,
    policy_file: Path | None,
    dataset: Reference | None,
    dry_run: bool,
    override: str | None,
) -> int:
    """Move an alias of the registry to REFERENCE, if and only if the gate passes.

    Exit codes: 0 moved, 3 FAIL, 4 INCONCLUSIVE, 5 approval needed, 6 the alias moved meanwhile, 7 this machine cannot evaluate.
    """
    policy = _policy(session, policy_file, alias=alias, dataset=dataset)
    with session.reading() if dry_run else session.writing() as backend:
        question = questions.ask(backend, reference, policy)
        if question.already_answered:
            session.output.result(
                {"already": True, "target": str(question.target)}, f"{question.candidate} already holds '{question.target}'"
            )
            return 0
        decision = promotion.promote(
            backend, question, _evaluator(backend, session), by=_provenance(), override=override, dry_run=dry_run
        )
    return _show(session, decision)


def _policy(session: Session, file: Path | None, *, alias: str | None, dataset: Reference | None) -> Policy:
    chosen = file or session.settings.policy
    if chosen is None:
        text, name = files("pipelines").joinpath("policy.yaml").read_text(encoding="utf-8"), "the policy that ships with reg"
        session.output.notice(f"using {name}, which accepts evaluations on the CPU (reg init writes one for you)")
    else:
        try:
            text, name = chosen.read_text(encoding="utf-8"), str(chosen)
        except (OSError, UnicodeDecodeError) as exc:
            raise BadPolicy(f"cannot read the policy {chosen}: {exc}", hint="reg init writes one") from exc
    loaded = policies.load(text, name=name)
    # A policy file that names a registry means it; the one that ships, or one that is silent, follows the settings.
    silent = chosen is None or "registry" not in loaded.target.model_fields_set
    return loaded.aimed(
        registry=session.settings.registry if silent else None,
        alias=alias,
        dataset=str(dataset) if dataset is not None else None,
    )


def _evaluator(backend: Backend, session: Session) -> Evaluate | None:
    """What makes missing evaluations here, or None on a plain install."""
    if any(find_spec(name) is None for name in _EVALUATING):
        return None
    made: Evaluate = import_module("pipelines.promote").evaluator(backend, progress=session.output.progress)
    return made


def _provenance() -> provenance.Provenance:
    return provenance.read(environment=os.environ, folder=Path.cwd())


def _show(session: Session, decision: Decision) -> int:
    for problem in decision.undelivered:
        session.output.warn(problem)
    data: dict[str, Any] = verdict_data(decision)
    session.output.result(data, *drawn(decision))
    exit_code: int = data["exit_code"]
    return exit_code
