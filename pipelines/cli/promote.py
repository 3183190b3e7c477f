"""`reg gate` and `reg promote`: ask, judge, and for promote move the alias; the exit code is the outcome."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from pipelines import exhibits
from registry import policy as policies
from registry import promotion, provenance, questions, replaying, standing
from registry.backend import Backend
from registry.cli import workflow_step
from registry.cli.decision import drawn, outcome_text, save, saved_option, verdict_data
from registry.cli.output import table
from registry.cli.params import ALIAS, FILE, REFERENCE, Session, session
from registry.cli.policy import read
from registry.gathering import Evaluate
from registry.policy import Policy
from registry.promotion import Decision
from registry.references import Reference
from registry.verdicts import PAGE, Case

_policy_option = click.option("--policy", "policy_file", type=FILE, help="Policy (default: settings, then the one that ships).")
_dataset_option = click.option("--dataset", type=REFERENCE, help="Dataset to judge on (default: policy, then lineage).")
_github_option = click.option(
    "--github", is_flag=True, help="In a step of GitHub Actions: also write its outputs, summary and annotations."
)
# What `reg evaluate` needs beyond a plain install.
_EVALUATING = ("onnxruntime", "sklearn")


class _Gate(click.Command):
    """`reg gate MODEL` judges; `reg gate replay POLICY` looks back."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["replay"]:
            return replay.make_context("gate replay", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(cls=_Gate, epilog="Examples: reg gate model:v3 --policy policy.yaml · reg gate replay stricter.yaml")
@click.argument("reference", type=REFERENCE)
@click.option("--alias", type=ALIAS, help="Alias that would move (default: the policy's).")
@_policy_option
@_dataset_option
@_github_option
@saved_option
@session
def gate(
    session: Session,
    reference: Reference,
    alias: str | None,
    policy_file: Path | None,
    dataset: Reference | None,
    github: bool,
    save_to: tuple[Path, ...],
) -> int:
    """Judge REFERENCE against a policy and log the verdict; moves nothing.

    Exit codes: 0 PASS, 3 FAIL, 4 INCONCLUSIVE, 1 ERROR.
    """
    policy = _policy(session, policy_file, alias=alias, dataset=dataset)
    with session.writing() as backend:
        question = questions.ask(backend, reference, policy(_task(backend, reference)))
        decision = promotion.gate(backend, question, _evaluator(backend, session), by=_provenance())
        case = _case(backend, decision, save_to)
    return _show(session, decision, case, github=github, save_to=save_to)


@click.command(epilog="Examples: reg gate replay stricter.yaml · reg gate replay policy.yaml --alias staging --last 100")
@click.argument("policy_file", metavar="POLICY", type=FILE)
@click.option("--alias", type=ALIAS, help="Alias whose verdicts are judged again (default: the policy's).")
@click.option("--collection", metavar="NAME", help="Its collection (default: the policy's, then the only one with the alias).")
@click.option("--last", type=click.IntRange(min=1), default=50, show_default=True, help="How many verdicts at most.")
@session
def replay(session: Session, policy_file: Path, alias: str | None, collection: str | None, last: int) -> None:
    """Show what POLICY would have decided on the past verdicts about an alias; scores and writes nothing."""
    policy = _policy(session, policy_file, alias=alias, dataset=None)(None)
    with session.reading() as backend, session.output.progress("judging again") as progress:
        named = collection or policy.target.collection
        words = f"{named}:{policy.target.alias}" if named else policy.target.alias
        target = standing.find(backend, words, registry=policy.target.registry)
        done = list(replaying.replay(backend, policy, target, last=last, on_progress=progress))
    rows = [
        (
            str(one.version),
            one.verdict.candidate.reference,
            str(one.verdict.outcome),
            outcome_text(one.now.outcome) if one.now else "lost",
            one.now.reason if one.now else one.lost,
        )
        for one in done
    ]
    changed = sum(one.changed for one in done)
    data = {
        "target": str(target),
        "policy_digest": policy.digest,
        "verdicts": [
            {
                "artifact": str(one.version.reference),
                "candidate": one.verdict.candidate.reference,
                "then": str(one.verdict.outcome),
                "now": str(one.now.outcome) if one.now else None,
                "reason": one.now.reason if one.now else one.lost,
            }
            for one in done
        ],
    }
    title = f"{policy_file} on the last {len(done)} verdicts about '{target}'"
    columns = ("verdict", "candidate", "said", "would say", "because")
    session.output.result(data, table(columns, rows, title=title), f"{changed} of {len(done)} would be decided otherwise")


@click.command(epilog="Examples: reg promote model:v3 --alias production · reg promote model:v3 --alias production --dry-run")
@click.argument("reference", type=REFERENCE)
@click.option("--alias", type=ALIAS, help="Alias to move (default: the policy's).")
@_policy_option
@_dataset_option
@click.option("--dry-run", is_flag=True, help="Judge existing evaluations; write nothing.")
@click.option("--override", metavar="REASON", help="Move the alias whatever the verdict says; the reason is recorded.")
@_github_option
@saved_option
@session
def promote(
    session: Session,
    reference: Reference,
    alias: str | None,
    policy_file: Path | None,
    dataset: Reference | None,
    dry_run: bool,
    override: str | None,
    github: bool,
    save_to: tuple[Path, ...],
) -> int:
    """Move an alias of the registry to REFERENCE, if and only if the gate passes.

    Exit codes: 0 moved, 3 FAIL, 4 INCONCLUSIVE, 5 approval needed, 6 the alias moved meanwhile, 7 this machine cannot evaluate.
    """
    policy = _policy(session, policy_file, alias=alias, dataset=dataset)
    with session.reading() if dry_run else session.writing() as backend:
        question = questions.ask(backend, reference, policy(_task(backend, reference)))
        if question.already_answered:
            session.output.result(
                {"already": True, "target": str(question.target)}, f"{question.candidate} already holds '{question.target}'"
            )
            if github:
                workflow_step.tell_already(question, environment=os.environ)
            return 0
        decision = promotion.promote(
            backend, question, _evaluator(backend, session), by=_provenance(), override=override, dry_run=dry_run
        )
        case = _case(backend, decision, save_to)
    return _show(session, decision, case, github=github, save_to=save_to)


def _policy(
    session: Session, file: Path | None, *, alias: str | None, dataset: Reference | None
) -> Callable[[str | None], Policy]:
    """The policy for a model of some task: the one that was chosen, read now; else, when asked, the one that ships for it."""
    chosen = file or session.settings.policy
    loaded = read(chosen) if chosen is not None else None
    # A policy file that names a registry means it; the one that ships, or one that is silent, follows the settings.
    silent = loaded is None or "registry" not in loaded.target.model_fields_set

    def aimed(task: str | None) -> Policy:
        return (loaded or _shipped(session, task)).aimed(
            registry=session.settings.registry if silent else None,
            alias=alias,
            dataset=str(dataset) if dataset is not None else None,
        )

    return aimed


def _shipped(session: Session, task: str | None) -> Policy:
    kind = (task or "").rpartition("-")[2]
    file, name = ("policy.yaml", "the policy that ships with reg")
    if kind in ("segmentation", "regression"):
        file, name = f"policy.{kind}.yaml", f"the policy for {kind} that ships with reg"
    session.output.notice(f"using {name}, which accepts evaluations on the CPU (reg init writes one for you)")
    return policies.load(files("pipelines").joinpath(file).read_text(encoding="utf-8"), name=name)


def _task(backend: Backend, model: Reference) -> str | None:
    """What a model was trained for, by the label that training put on it."""
    found = backend.resolve(model, type="model").metadata.get("task")
    return found if isinstance(found, str) else None


def _evaluator(backend: Backend, session: Session) -> Evaluate | None:
    """What makes missing evaluations here, or None on a plain install."""
    if any(find_spec(name) is None for name in _EVALUATING):
        return None
    made: Evaluate = import_module("pipelines.promote").evaluator(backend, progress=session.output.progress)
    return made


def _provenance() -> provenance.Provenance:
    return provenance.read(environment=os.environ, folder=Path.cwd())


def _case(backend: Backend, decision: Decision, save_to: tuple[Path, ...]) -> Case:
    """What is written; only a page has pictures, and reading the data for them takes a moment."""
    pages = any(file.suffix == PAGE for file in save_to)
    return exhibits.with_pictures(backend, decision.case, decision.question.dataset) if pages else decision.case


def _show(session: Session, decision: Decision, case: Case, *, github: bool, save_to: tuple[Path, ...]) -> int:
    for problem in decision.undelivered:
        session.output.warn(problem)
    data: dict[str, Any] = verdict_data(decision)
    session.output.result(data, *drawn(decision))
    save(case, save_to)
    if github:
        workflow_step.tell(decision, session.output, environment=os.environ)
    exit_code: int = data["exit_code"]
    return exit_code
