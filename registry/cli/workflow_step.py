"""Hands a decision to the step of GitHub Actions in which it was made: the files that the runner names, and its log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from registry import github
from registry.cli.decision import exit_code
from registry.cli.output import Output
from registry.errors import UsageError
from registry.promotion import Decision
from registry.questions import Question

_OUTPUT, _SUMMARY = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"


def tell(decision: Decision, output: Output, *, environment: Mapping[str, str]) -> None:
    """Append the outputs and the summary, and annotate what did not pass.

    Raises:
        UsageError: this is no step of GitHub Actions.
    """
    text = github.outputs(
        decision.verdict,
        moved=decision.moved,
        holder=str(decision.holder.origin) if decision.holder else None,
        artifact=str(decision.verdict_version.reference) if decision.verdict_version else None,
        exit_code=exit_code(decision),
    )
    _append(environment, _OUTPUT, text)
    _append(environment, _SUMMARY, github.summary(decision.verdict))
    for line in github.annotated(decision.verdict):
        output.command(line)


def tell_already(question: Question, *, environment: Mapping[str, str]) -> None:
    """The same outputs where nothing was to be decided: the candidate holds the alias."""
    _append(environment, _OUTPUT, github.outputs_of_holder(question.candidate, question.target))


def _append(environment: Mapping[str, str], name: str, text: str) -> None:
    file = environment.get(name)
    if not file:
        raise UsageError(f"--github is for a step of GitHub Actions, and {name} is not set", hint="leave --github out")
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(text)
