"""The checks of a verdict as the rows of a table, and those asked slice by slice as forests.

A check with several results is one row here, the worst of them speaking for it, and a forest below with the largest losses
first. A forest shows a bounded number of slices, never leaves out one that failed for one that passed, and says what it folded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

import registry.verdicts.drawing as drawing
from registry.records import CheckResult, Outcome
from registry.verdicts.case import Case
from registry.verdicts.drawing import Limit, Side
from registry.verdicts.page.numbers import between, cut, drawable, factor, number, shown_unit, unit_of

ROWS = 60  # checks in the table
FORESTS = 8
SLICES = 24  # of a forest
_REASON = 700
_WORST = (Outcome.ERROR, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
_LIMITS = {"superiority": "min_gain", "non-inferiority": "margin", "not-worse": "margin", "ratio": "max"}
_ASKS = {
    "superiority": "shown to be better",
    "non-inferiority": "shown to be hardly worse",
    "not-worse": "not shown to be worse",
    "ratio": "times the baseline",
    "absolute": "the candidate alone",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One check: what it asks, what came of it, and its drawing where there is something to draw.

    `forest` is the name of its forest on the page; None where it was asked once. `facts` are how the answer was found.
    """

    id: str
    metric: str
    asks: str
    status: Outcome
    warns: bool
    reason: str
    candidate: str
    baseline: str
    difference: str
    plot: Markup | None
    caption: str
    facts: tuple[str, ...]
    forest: str | None = None
    slices: str = ""


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One slice of a forest."""

    name: str
    items: str
    candidate: str
    baseline: str
    difference: str
    status: Outcome
    warns: bool
    plot: Markup | None


@dataclass(frozen=True, kw_only=True)
class Forest:
    """The slices of one check, the largest losses first; `folded` says what is not shown."""

    anchor: str
    title: str
    asks: str
    leaves: tuple[Leaf, ...]
    axis: Markup | None
    caption: str
    folded: str


def rows(case: Case) -> tuple[list[Row], str]:
    """The rows of the table, and a sentence about those that it has no room for."""
    groups = _groups(case)
    found = [_row(case, results, number) for number, results in enumerate(groups[:ROWS])]
    more = Counter(str(_status(results)) for results in groups[ROWS:])
    return found, f"{len(groups) - ROWS} more checks are in verdict.json: {_counted(more)}." if more else ""


def forests(case: Case) -> list[Forest]:
    sliced = [(number, results) for number, results in enumerate(_groups(case)) if len(results) > 1]
    return [_forest(case, results, number) for number, results in sliced[:FORESTS]]


def _groups(case: Case) -> list[list[CheckResult]]:
    return [list(group) for _, group in groupby(case.verdict.judgement.checks, key=lambda check: check.id)]


def _status(results: Sequence[CheckResult]) -> Outcome:
    """Of the results that can block, if there are any, the worst."""
    counted = [one for one in results if one.severity == "error"] or results
    return min((one.status for one in counted), key=_WORST.index)


def _row(case: Case, results: Sequence[CheckResult], position: int) -> Row:
    status = _status(results)
    speaks = _sorted(case, [one for one in results if one.status is status])[0]
    unit = unit_of(case, speaks.metric)
    sliced = len(results) > 1
    limit = _limit(case, speaks)
    counts = Counter(str(one.status) for one in results)
    return Row(
        id=cut(speaks.id, 64),
        metric=cut(speaks.metric, 80) + (f", {cut(speaks.slice, 120)}" if speaks.slice and not sliced else ""),
        asks=f"{speaks.test}: {_ASKS.get(speaks.test, '')}",
        status=status,
        warns=all(one.severity == "warn" for one in results),
        reason=cut(speaks.reason, _REASON),
        candidate=number(speaks.candidate, unit),
        baseline=number(speaks.baseline, unit),
        difference=_difference(speaks, unit),
        plot=_plot(case, speaks, limit, f"{speaks.id}{', worst slice' if sliced else ''}"),
        caption=_caption(speaks, unit),
        facts=_facts(speaks),
        forest=f"slices-{position}" if sliced else None,
        slices=f"{len(results)} slices: {_counted(counts)}; the worst of them here" if sliced else "",
    )


def _plot(case: Case, check: CheckResult, limit: Limit | None, name: str) -> Markup | None:
    point = _point(check)
    unit = _plotted_unit(case, check)
    bounds = _scaled(check.interval, unit)
    if point is None or not drawable(point, check.threshold, *(check.interval or ())):
        return None
    sides = {"below": "It must not be below.", "above": "It must not be above.", None: ""}
    said = f"{limit.words}. {sides[limit.refused]}" if limit else ""
    exactly = between(check.interval, unit) if check.interval else "measured exactly"
    return drawing.interval(
        title=cut(f"{name}: {check.status}", 120),
        description=f"{number(point, unit)}, {exactly}. {said}".strip(),
        tone=_tone(check.status),
        point=point / factor(unit),
        bounds=bounds,
        limit=limit,
        neutral=_neutral(check),
        signed=_signed(check),
    )


def _forest(case: Case, results: Sequence[CheckResult], position: int) -> Forest:
    order = _sorted(case, results)
    bad = [one for one in order if one.status is not Outcome.PASS][:SLICES]
    good = [one for one in order if one.status is Outcome.PASS][: SLICES - len(bad)]
    chosen = {id(one) for one in (*bad, *good)}
    shown, folded = ([one for one in order if (id(one) in chosen) is wanted] for wanted in (True, False))
    first = shown[0]
    unit = _plotted_unit(case, first)
    limit = next((_limit(case, one) for one in shown if one.threshold is not None), None)
    # One threshold for all, unless it is a share of each slice's own baseline.
    thresholds = {one.threshold for one in shown if one.threshold is not None}
    common = limit if len(thresholds) == 1 else None
    drawn = [one for one in shown if _point(one) is not None and drawable(_point(one), one.threshold, *(one.interval or ()))]
    values = [value for one in drawn for value in (_point(one), one.threshold, *(one.interval or ()))]
    on = drawing.scale(
        [value / factor(unit) for value in values if value is not None] + [n for n in [_neutral(first)] if n is not None]
    )
    named = (
        cut(first.slice or "", 120).partition("=")[0]
        if len({(one.slice or "").partition("=")[0] for one in results}) == 1
        else "expression"
    )
    return Forest(
        anchor=f"slices-{position}",
        title=f"{cut(first.id, 64)}: {cut(first.metric, 80)} by {named}",
        asks=f"{first.test}: {_ASKS.get(first.test, '')}",
        leaves=tuple(_leaf(case, one, on, named, drawn=one in drawn) for one in shown),
        axis=drawing.axis(on, signed=_signed(first), limit=common) if drawn else None,
        caption=_caption(first, unit_of(case, first.metric)),
        folded=_folded(folded, len(results)),
    )


def _leaf(case: Case, check: CheckResult, on: drawing.Scale, named: str, *, drawn: bool) -> Leaf:
    unit, plotted, point = unit_of(case, check.metric), _plotted_unit(case, check), _point(check)
    name = cut((check.slice or "all").removeprefix(f"{named}="), 80)
    items = check.counts.get("items")
    plot = None
    if drawn and point is not None:
        plot = drawing.row(
            on,
            title=f"{name}: {number(point, plotted, signed=_signed(check))}, {check.status}",
            tone=_tone(check.status),
            point=point / factor(plotted),
            bounds=_scaled(check.interval, plotted),
            limit=_limit(case, check),
            neutral=_neutral(check),
        )
    return Leaf(
        name=name,
        items=f"{items:,}" if items is not None else "",
        candidate=number(check.candidate, unit),
        baseline=number(check.baseline, unit),
        difference=_difference(check, unit) or cut(check.reason, 160),
        status=check.status,
        warns=check.severity == "warn",
        plot=plot,
    )


def _folded(rest: Sequence[CheckResult], total: int) -> str:
    if not rest:
        return ""
    counts = Counter(str(one.status) for one in rest)
    points = [point for one in rest if (point := _point(one)) is not None]
    signed = _signed(rest[0])
    ranging = f", from {number(min(points), signed=signed)} to {number(max(points), signed=signed)}" if points else ""
    return f"{len(rest):,} of {total:,} slices are not shown: {_counted(counts)}{ranging}. All are in verdict.json."


def _sorted(case: Case, results: Sequence[CheckResult]) -> list[CheckResult]:
    """The largest loss first; before all of them what could not be measured."""
    high = next((limit.refused for one in results if (limit := _limit(case, one)) and limit.refused), "below") == "above"

    def loss(check: CheckResult) -> tuple[bool, float]:
        point = _point(check)
        known = point is not None and drawable(point)
        return known, (-1 if high else 1) * (point or 0.0) if known else 0.0

    return sorted(results, key=loss)


def _point(check: CheckResult) -> float | None:
    return check.candidate if check.test == "absolute" else check.delta


def _plotted_unit(case: Case, check: CheckResult) -> str:
    return "" if check.test == "ratio" else unit_of(case, check.metric)


def _scaled(bounds: drawing.Bounds | None, unit: str) -> drawing.Bounds | None:
    if bounds is None:
        return None
    lower, upper = (bound if bound is None else bound / factor(unit) for bound in bounds)
    return lower, upper


def _neutral(check: CheckResult) -> float | None:
    return {"absolute": None, "ratio": 1.0}.get(check.test, 0.0)


def _signed(check: CheckResult) -> bool:
    return check.test not in ("absolute", "ratio")


def _limit(case: Case, check: CheckResult) -> Limit | None:
    if check.threshold is None or not drawable(check.threshold):
        return None
    unit = _plotted_unit(case, check)
    refused: Side | None = {"ratio": "above", "absolute": _refused(case, check)}.get(check.test, "below")
    name = _LIMITS.get(check.test) or {"below": "min", "above": "max", None: "limit"}[refused]
    words = f"{name} {number(check.threshold, unit, signed=check.test not in ('absolute', 'ratio'))}"
    return Limit(value=check.threshold / factor(unit), words=words, refused=refused)


def _refused(case: Case, check: CheckResult) -> Side | None:
    """On which side of an absolute check's limit it may not be: as its numbers tell, or else as the metric's direction does."""
    lower, upper = check.interval or (check.candidate, check.candidate)
    limit = check.threshold
    if limit is None or lower is None or upper is None:
        return None
    if lower > limit or upper < limit:
        return "below" if (lower > limit) is (check.status is Outcome.PASS) else "above"
    metric = case.candidate.evaluation.metrics.get(check.metric) if case.candidate else None
    direction = metric.direction if metric else "lower" if check.metric.partition(".")[0] in ("bytes", "latency_ms") else None
    return {"higher": "below", "lower": "above"}.get(direction) if direction else None  # type: ignore[return-value]


def _difference(check: CheckResult, unit: str) -> str:
    """What the interval is about: the difference, or of an absolute check the candidate itself."""
    if check.test == "ratio":
        said = f"{number(check.delta)} ×" if check.delta is not None else ""
        return f"{said} {between(check.interval)}" if check.interval else said
    said = number(check.delta, unit, signed=True)
    return f"{said} {between(check.interval, unit, signed=_signed(check))}".strip() if check.interval else said


def _caption(check: CheckResult, unit: str) -> str:
    name = cut(check.metric, 60)
    if check.test == "ratio":
        return f"{name}: candidate ÷ baseline; left is better"
    suffix = f", {shown_unit(unit)}" if shown_unit(unit) else ""
    return f"{name}{suffix}" if check.test == "absolute" else f"gain in {name}{suffix}; right is better"


def _facts(check: CheckResult) -> tuple[str, ...]:
    counts = [f"{value:,} {cut(name, 24)}" for name, value in list(check.counts.items())[:8]]
    level = [f"α {check.alpha:.3g}"] if check.alpha is not None else []
    p_value = [f"p {check.p_value:.2g}"] if check.p_value is not None else []
    drawn = [f"{check.resamples:,} resamples, seed {check.seed}"] if check.resamples and "seed" not in check.method else []
    return (*counts, *level, *p_value, *([cut(check.method, 160)] if check.method else []), *drawn)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[str(status)]:,} {status}" for status in _WORST if counts[str(status)])


def _tone(status: Outcome) -> str:
    return str(status).lower()
