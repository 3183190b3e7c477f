"""A verdict for people: `verdict.md`, which W&B, GitHub and an editor all show as a page.

The data are in `verdict.json`; nothing is decided or computed here. Whatever comes from outside (names, reasons, an
override's text) is escaped, so that a model called `|x|` or a reason with a link in it cannot redraw the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from registry.records import CheckResult, Outcome, Pinned, Verdict

_MEANING = {
    Outcome.PASS: "the candidate may take the alias",
    Outcome.FAIL: "the candidate is refused",
    Outcome.INCONCLUSIVE: "the evidence cannot tell",
    Outcome.ERROR: "the question could not be asked",
}
_COLUMNS = ("check", "metric", "test", "candidate", "baseline", "gain (bounds)", "threshold", "status", "reason")
# A class per row is readable for ten classes, not for a thousand; beyond, slices that pass share a row.
_SLICES_SHOWN = 12


def to_markdown(verdict: Verdict) -> str:
    """The verdict as Markdown, ending in a newline; the same for the same verdict."""
    judgement = verdict.judgement
    lines = [
        f"# {verdict.outcome}: {_MEANING[verdict.outcome]}",
        "",
        _text(judgement.reason),
        "",
        *_override(verdict),
        *_table(judgement.checks),
        *_notes(judgement.notes),
        *_facts(verdict),
    ]
    return "\n".join(lines) + "\n"


def _override(verdict: Verdict) -> list[str]:
    if verdict.override is None:
        return []
    return [f"> **Overridden** by {_text(verdict.override.actor)}: {_text(verdict.override.reason)}", ""]


def _table(checks: Sequence[CheckResult]) -> list[str]:
    if not checks:
        return []
    rows = [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    return [*rows, *(_row(check) for check in _shown(checks)), *_folded(checks), ""]


def _shown(checks: Sequence[CheckResult]) -> Iterable[CheckResult]:
    crowded = _crowded(checks)
    return (check for check in checks if check.id not in crowded or check.status is not Outcome.PASS)


def _folded(checks: Sequence[CheckResult]) -> Iterable[str]:
    for name in _crowded(checks):
        passed = [check for check in checks if check.id == name and check.status is Outcome.PASS]
        if passed:
            worst = min(passed, key=lambda check: check.delta if check.delta is not None else 0.0)
            reason = f"{len(passed)} slices; the largest loss among them: {worst.reason}"
            cells = (_text(name), _text(worst.metric), worst.test, "", "", "", "", str(Outcome.PASS), _text(reason))
            yield f"| {' | '.join(cells)} |"


def _crowded(checks: Sequence[CheckResult]) -> list[str]:
    ids = [check.id for check in checks if check.slice is not None]
    return [name for name in dict.fromkeys(ids) if ids.count(name) > _SLICES_SHOWN]


def _row(check: CheckResult) -> str:
    cells = (
        _text(check.id) + (" (warn)" if check.severity == "warn" else ""),
        _text(check.metric) + (f", {_text(check.slice)}" if check.slice else ""),
        _text(check.test),
        _number(check.candidate),
        _number(check.baseline),
        _gain(check),
        _number(check.threshold),
        f"**{check.status}**" if check.status is not Outcome.PASS else str(check.status),
        _text(check.reason),
    )
    return f"| {' | '.join(cells)} |"


def _gain(check: CheckResult) -> str:
    """The difference with its bounds; of an absolute check, which has no difference, the bounds of the value."""
    if check.interval is None:
        return _number(check.delta)
    lower, upper = check.interval
    bounds = f"[{_number(lower) or '-∞'}, {_number(upper) or '∞'}]"
    return f"{_number(check.delta)} {bounds}".strip()


def _notes(notes: Sequence[str]) -> list[str]:
    return [*(f"- {_text(note)}" for note in notes), ""] if notes else []


def _facts(verdict: Verdict) -> list[str]:
    facts = (
        ("target", _code(str(verdict.target))),
        ("candidate", _pinned(verdict.candidate)),
        ("baseline", _pinned(verdict.baseline) if verdict.baseline else "nobody held the alias"),
        ("dataset", _pinned(verdict.dataset) + (f", split {_code(verdict.split)}" if verdict.split else "")),
        ("candidate's evaluation", _pinned(verdict.candidate_evaluation)),
        ("baseline's evaluation", _pinned(verdict.baseline_evaluation)),
        ("runtime", _code(verdict.runtime_fingerprint)),
        ("policy", _code(verdict.policy_digest)),
        ("actor", _text(verdict.actor)),
        ("commit", _code(verdict.git_commit)),
        ("CI", _text(verdict.ci_url or "")),
        ("decided", _text(verdict.created_at)),
    )
    return [f"- {name}: {value}" for name, value in facts if value]


def _pinned(pinned: Pinned | None) -> str:
    return f"{_code(pinned.reference)} ({_code(pinned.digest)})" if pinned else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"


def _text(text: str) -> str:
    """Plain words: on one line, and without anything that Markdown or HTML would take for markup."""
    flat = " ".join(text.split())
    # An underscore within a word, as in min_gain, is no markup.
    escaped = re.sub(r"([\\`*\[\]|<>#~]|(?<!\w)_|_(?!\w))", r"\\\1", flat)
    return escaped.replace("&", "&amp;")


def _code(text: str | None) -> str:
    """Literal text, on one line, in a fence longer than any in it."""
    if not text:
        return ""
    flat = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall(r"`+", flat)), default=0) + 1)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"
