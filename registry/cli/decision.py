"""A decision for people (a table of checks and one sentence) and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from registry.cli.output import table
from registry.cli.params import FILE
from registry.errors import UsageError
from registry.promotion import Decision
from registry.records import CheckResult, Outcome, Pinned, Verdict
from registry.verdicts import RENDERINGS, Case

saved_option = click.option(
    "--save",
    "save_to",
    type=FILE,
    multiple=True,
    callback=lambda _context, _option, files: _known(files),
    help=f"Also write the verdict to this file: {', '.join(RENDERINGS)} by its ending (may be repeated).",
)

_STYLES = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "yellow", Outcome.ERROR: "magenta"}

# What the interval's lower bound is held against; an absolute check has a range, which its reason says.
_SIGNS = {"superiority": "> ", "non-inferiority": "≥ ", "not-worse": "≥ ", "ratio": "≤ "}


def drawn(decision: Decision) -> list[Any]:
    """The checks, the answer, and what became of the alias."""
    return ["", *explained(decision.verdict), _ending(decision)]


def explained(verdict: Verdict) -> list[Any]:
    """What was asked, the checks, the answer and what the reader should know about it."""
    rows = [_row(check, others) for check, others in _condensed(verdict.judgement.checks)]
    columns = ("check", "metric", "asks", "#candidate", "#baseline", "#difference [interval]", "status")
    baseline = f"against {_short(verdict.baseline)}" if verdict.baseline else "without a baseline"
    data = f", on {_short(verdict.dataset)} ({verdict.split})" if verdict.dataset else ""
    outcome = Text.assemble((str(verdict.outcome), f"bold {_STYLES[verdict.outcome]}"), f"  {verdict.judgement.reason}")
    # The headline already gives the reasons of the checks that decided.
    reasons = [
        Text.assemble((f"  {check.id}: ", "dim"), check.reason)
        for check in verdict.judgement.checks
        if check.status is not Outcome.PASS and check.reason not in verdict.judgement.reason
    ]
    notes = [Text(f"  {note}", style="dim") for note in verdict.judgement.notes]
    title = f"{_short(verdict.candidate)} {baseline}{data}"
    return [table(columns, rows, title=title), "", outcome, *reasons, *notes]


def outcome_text(outcome: Outcome) -> Text:
    return Text(str(outcome), style=_STYLES[outcome])


def save(case: Case, files: Sequence[Path]) -> None:
    """Write a verdict to each file, in the form that its ending names.

    Raises:
        UsageError: a file cannot be written.
    """
    for file in files:
        try:
            file.write_text(RENDERINGS[file.suffix](case), encoding="utf-8")
        except OSError as exc:
            raise UsageError(f"cannot write {file}: {exc.strerror}", hint=f"mkdir -p {file.parent}") from exc


def _known(files: tuple[Path, ...]) -> tuple[Path, ...]:
    for file in files:
        if file.suffix not in RENDERINGS:
            raise UsageError(f"'{file}': a verdict is written as {', '.join(RENDERINGS)}", hint="--save verdict.md")
    return files


def _condensed(checks: Sequence[CheckResult]) -> Iterator[tuple[CheckResult, int]]:
    """Each check, but of the slices that passed only the worst, with the number of the others."""
    for _, group in groupby(checks, key=lambda check: check.id):
        found = list(group)
        passed = [check for check in found if check.slice is not None and check.status is Outcome.PASS]
        worst = min(passed, key=lambda check: (check.delta is None, check.delta), default=None)
        yield from (
            (check, len(passed) - 1 if check is worst else 0) for check in found if check not in passed or check is worst
        )


def _row(check: CheckResult, others: int) -> tuple[object, ...]:
    status = (
        f"{check.status} (warns only)" if check.severity == "warn" and check.status is not Outcome.PASS else str(check.status)
    )
    return (
        check.id,
        check.metric + (f" {check.slice}" if check.slice else "") + (f" (+{others} better)" if others else ""),
        f"{check.test} {_SIGNS.get(check.test, '')}{_number(check.threshold)}",
        _number(check.candidate),
        _number(check.baseline),
        _difference(check),
        Text(status, style=_STYLES[check.status]),
    )


def verdict_data(decision: Decision) -> dict[str, Any]:
    """The verdict as data, with what became of the alias and the exit code."""
    return {
        "verdict": decision.verdict.model_dump(mode="json"),
        "artifact": str(decision.verdict_version.reference) if decision.verdict_version else None,
        "moved": decision.moved,
        "holder": str(decision.holder.origin) if decision.holder else None,
        "run": decision.run_url,
        "exit_code": exit_code(decision),
    }


def exit_code(decision: Decision) -> int:
    """0 when the alias moved or the gate passed; otherwise the outcome's own code."""
    if decision.moved:
        return 0
    verdict = decision.verdict
    if verdict.outcome is Outcome.ERROR and verdict.judgement.environment:
        return 7
    return verdict.outcome.exit_code


def _ending(decision: Decision) -> Text:
    target, logged = decision.question.target, decision.verdict_version
    where = f" (verdict {logged})" if logged else ""
    if decision.holder is not None:
        said = " by override" if decision.verdict.override else ""
        return Text(f"'{target}' is now {decision.question.candidate}{said}{where}", style="bold")
    baseline = decision.question.baseline
    held = f"stays {baseline.origin.name}:{baseline.origin.tag}" if baseline else "stays unset"
    return Text(f"'{target}' {held}{where}")


def _short(pinned: Pinned) -> str:
    return f"{pinned.parsed.name}:{pinned.parsed.tag}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}"


def _difference(check: CheckResult) -> str:
    """What the interval is about: the difference, or without a baseline the candidate itself."""
    if check.interval is None:
        return _signed(check.delta)
    show = _number if check.delta is None else _signed
    low, high = (show(bound) or "…" for bound in check.interval)
    return f"{_signed(check.delta)} [{low}, {high}]".strip()


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
