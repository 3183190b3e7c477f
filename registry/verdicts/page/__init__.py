"""A verdict as one HTML file: what was decided and why, the intervals, the slices, the timings, and the items that changed.

It is opened years later, from a mail or a CI artifact, so it needs nothing but itself: no network, no script, and a policy that
forbids both. Whatever comes from elsewhere is escaped, cut where it has no end, and folded where there is too much of it, so
that a page stays under `MOST_BYTES` whatever it is about; verdict.json has everything. The same case gives the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

import registry.verdicts.drawing as drawing
from registry.records import Outcome, Verdict
from registry.verdicts.case import Case
from registry.verdicts.flips import ClassChange, Differences, Flips, Mistakes, items_shown, told
from registry.verdicts.page import checks
from registry.verdicts.page.latency import latency
from registry.verdicts.page.numbers import cut, number, short_digest, short_name, shown_unit

MOST_BYTES = 1 << 20
_AROUND_PICTURE = 100  # bytes of markup
_CLASSES = 20
_NOTES = 20
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
_REASON = 1200
_REASONS = 2

_ANSWERS = {
    Outcome.PASS: "{candidate} may take {alias}.",
    Outcome.FAIL: "{candidate} may not take {alias}.",
    Outcome.INCONCLUSIVE: "The evidence cannot tell whether {candidate} may take {alias}.",
    Outcome.ERROR: "Whether {candidate} may take {alias} could not be asked.",
}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A line of who, what and when; `detail` is its fine print, `link` an address that may be followed."""

    name: str
    value: str
    detail: str = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that a reader must not miss: an override, a rollback."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class and its gains and losses, as a drawing too."""

    change: ClassChange
    plot: Markup


def to_html(case: Case) -> str:
    """The page, ending in a newline."""
    changed = told(case)
    rows, more_checks = checks.rows(case)
    verdict = case.verdict
    # The meter says it already.
    notes = [note for note in verdict.judgement.notes if not (verdict.look and note.startswith(f"look {verdict.look.number} "))]
    classes = _classes(changed) if isinstance(changed, Flips) else []
    context = {
        "verdict": verdict,
        "outcome": str(verdict.outcome),
        "answer": _answer(verdict),
        "reason": _reason(verdict),
        "marks": list(_marks(verdict)),
        "facts": list(_facts(case)),
        "rows": rows,
        "more_checks": more_checks,
        "forests": checks.forests(case),
        "latency": latency(case),
        "flips": changed if isinstance(changed, Flips) else None,
        "mistakes": changed if isinstance(changed, Mistakes) else None,
        "differences": changed if isinstance(changed, Differences) else None,
        "untold": changed if isinstance(changed, str) else "",
        "flip_shares": _shares(changed) if isinstance(changed, Flips) else None,
        "classes": classes,
        "folded_classes": len(changed.classes) - len(classes) if isinstance(changed, Flips) else 0,
        "look": _look(verdict),
        "notes": [cut(note, 400) for note in notes[:_NOTES]],
        "more_notes": max(0, len(notes) - _NOTES),
        "pinned": list(_pinned(case)),
        "command": f"reg verdict verify {case.logged or _artifact(verdict)}",
        "logged": case.logged is not None or verdict.run is not None,
    }
    plain = _template().render(context, case=replace(case, pictures={}))
    pictures = _bounded(case, room=MOST_BYTES - len(plain.encode()))
    return _template().render(context, case=replace(case, pictures=pictures)) if pictures else plain


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("registry.verdicts.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cut": cut, "number": number, "unit": shown_unit, "percent": _percent, "count": _count}
    environment.globals["style"] = Markup(files(__name__).joinpath("page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.j2")


def _answer(verdict: Verdict) -> str:
    words = {"candidate": short_name(verdict.candidate.reference), "alias": cut(verdict.target.alias, 60)}
    return _ANSWERS[verdict.outcome].format(**words)


def _reason(verdict: Verdict) -> str:
    """The judge's own sentence; of many checks, whose reasons stand beside them, only their names."""
    judged = [check for check in verdict.judgement.checks if check.severity == "error" or check.status is Outcome.ERROR]
    decisive = list(dict.fromkeys(check.id for check in judged if check.status is verdict.outcome))
    if verdict.outcome is Outcome.PASS or len(decisive) <= _REASONS:
        return cut(verdict.judgement.reason, _REASON)
    every = len(dict.fromkeys(check.id for check in verdict.judgement.checks))
    return cut(f"{len(decisive)} of {every} checks say {verdict.outcome}: {', '.join(decisive)}.", _REASON)


def _marks(verdict: Verdict) -> Iterator[Mark]:
    if verdict.override is not None:
        said = f"The gate said {verdict.outcome}. {verdict.override.actor} let the candidate in all the same: "
        yield Mark(title="Override", text=cut(said + verdict.override.reason, _REASON))
    if verdict.rollback is not None:
        back = verdict.rollback
        said = (
            f"{back.actor} gave the alias back to {short_name(verdict.candidate.reference)}, which replaces"
            f" {short_name(back.replaces.reference)}: {back.reason}. What follows restates the verdict that had let it in"
            f" before, {short_name(back.verdict.reference)}; nothing was asked again."
        )
        yield Mark(title="Rollback", text=cut(said, _REASON))


def _facts(case: Case) -> Iterator[Fact]:
    verdict, mine = case.verdict, case.candidate.evaluation if case.candidate else None
    nobody = Fact(name="Baseline", value="nobody held the alias")
    baseline = verdict.baseline
    yield Fact(name="Candidate", value=short_name(verdict.candidate.reference), detail=cut(verdict.candidate.reference, 200))
    yield (
        Fact(name="Baseline", value=short_name(baseline.reference), detail=cut(baseline.reference, 200)) if baseline else nobody
    )
    yield Fact(name="Alias", value=cut(verdict.target.alias, 60), detail=cut(str(verdict.target), 200))
    if verdict.dataset is not None:
        split = f"split {cut(verdict.split, 60)}" if verdict.split else ""
        items = f"{mine.dataset.items:,} items" if mine else ""
        yield Fact(
            name="Dataset", value=short_name(verdict.dataset.reference), detail=", ".join(x for x in (split, items) if x)
        )
    if mine is not None:
        yield Fact(name="Scored on", value=mine.runtime.device.upper(), detail=cut(mine.runtime.device_name, 120))
    yield Fact(name="Policy", value=short_digest(verdict.policy_digest))
    approved = f"approved by {cut(', '.join(verdict.approved_by), 200)}" if verdict.approved_by else ""
    yield Fact(name="Decided by", value=cut(verdict.actor, 80), detail=approved)
    yield Fact(name="Decided at", value=cut(verdict.created_at.replace("T", " ").replace("+00:00", " UTC"), 40))
    if verdict.git_commit:
        yield Fact(name="Commit", value=cut(verdict.git_commit, 12))
    if verdict.ci_url:
        followed = verdict.ci_url if verdict.ci_url.startswith(("https://", "http://")) and len(verdict.ci_url) < 2000 else ""
        yield Fact(name="CI run", value=cut(verdict.ci_url.removeprefix("https://"), 80), link=followed)
    if verdict.run:
        yield Fact(name="W&B run", value=cut(verdict.run, 120))


def _shares(found: Flips) -> Markup:
    parts = (("kept", found.both_right), ("gained", found.mended), ("lost", found.broken), ("missed", found.both_wrong))
    said = f"Of {found.items:,} items {found.mended:,} were mended and {found.broken:,} broken"
    return drawing.shares(parts, title=said)


def _classes(found: Flips) -> list[ClassRow]:
    most = max((max(one.mended, one.broken) for one in found.classes), default=1)
    return [
        ClassRow(
            change=replace(one, label=cut(one.label, 60)),
            plot=drawing.balance(
                lost=one.broken,
                gained=one.mended,
                most=most,
                title=f"{cut(one.label, 60)}: {one.mended:,} mended, {one.broken:,} broken",
            ),
        )
        for one in [one for one in found.classes if one.mended or one.broken][:_CLASSES]
    ]


def _look(verdict: Verdict) -> tuple[str, Markup | None]:
    """The holdout meter in words, and drawn where it has an end."""
    look = verdict.look
    if look is None:
        return "", None
    if look.of is None:
        return f"Look {look.number:,} at this data; the policy sets no limit.", None
    spent = " The holdout is spent." if look.number > look.of else ""
    said = f"Look {look.number:,} of {look.of:,} at this data.{spent}"
    used = min(look.number, look.of)
    tone = "lost" if look.number > look.of else "used"
    return said, drawing.shares(((tone, used), ("kept", look.of - used)), title=said)


def _pinned(case: Case) -> Iterator[tuple[str, str, str]]:
    """What a verdict names, with digests: (role, reference, digest)."""
    verdict = case.verdict
    for role, pinned in (
        ("candidate", verdict.candidate),
        ("baseline", verdict.baseline),
        ("dataset", verdict.dataset),
        ("candidate's evaluation", verdict.candidate_evaluation),
        ("baseline's evaluation", verdict.baseline_evaluation),
        ("replaced by the rollback", verdict.rollback.replaces if verdict.rollback else None),
        ("verdict restated", verdict.rollback.verdict if verdict.rollback else None),
    ):
        if pinned is not None:
            yield role, cut(pinned.reference, 200), cut(pinned.digest, 200)
    yield "policy", "policy.yaml of this verdict", cut(verdict.policy_digest, 200)
    if verdict.runtime_fingerprint:
        yield "runtime", "fingerprint", cut(verdict.runtime_fingerprint, 200)
    if verdict.git_commit:
        yield "commit", "", cut(verdict.git_commit, 200)


def _artifact(verdict: Verdict) -> str:
    return f"verdict-{cut(verdict.target.collection, 80)}-{cut(verdict.target.alias, 60)}:vN"


def _bounded(case: Case, *, room: int) -> dict[str, str]:
    """As many pictures of the shown items as there is room for; only images that stand in the page itself."""
    kept = {}
    for item in items_shown(case) if case.pictures else ():
        uri = case.pictures.get(item, "")
        needed = len(uri.encode()) + _AROUND_PICTURE
        if _PICTURE.fullmatch(uri) and needed <= room:
            kept[item], room = uri, room - needed
    return kept


def _percent(value: float) -> str:
    """A probability; one that is not quite 1 never looks like it."""
    if 0.999 < value < 1:
        return f"{min(math.floor(value * 1e4) / 100, 99.99):.2f}\N{NO-BREAK SPACE}%"
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if 0 < value < 1 else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


__all__ = ["MOST_BYTES", "to_html"]
