"""What changed item by item between two models: how many mistakes were mended and made, in which classes, and which.

A mean hides who pays for it. Here items are matched by id as the judge matches them, counted, and the few that a person should
look at are picked: the most confident mistakes first, of a task without right and wrong the largest losses. What cannot be told
from the evidence is a sentence (`str`) instead. Ten million items take seconds: everything but the few shown stays in arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import matching
from registry.objections import incomparable
from registry.records import Metric
from registry.scores import Evidence, Scores
from registry.verdicts.case import Case

Array = NDArray[Any]

SHOWN = 24  # items on a page
_FACTS = 6  # columns of the data shown with an item
# What predictions.parquet holds about a model rather than about the item.
_OF_MODELS = frozenset({"item", "label", "prediction", "correct", "nll", "confidence", "scores"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said of an item: a class by its name, and the probability it gave to it (None where not recorded)."""

    prediction: str
    confidence: float | None
    right: bool


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One item: its label, both answers, and what the data say about it."""

    item: str
    label: str
    candidate: Answer
    baseline: Answer | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """The items of one class: how many each model has right, mistakes mended and made."""

    label: str
    items: int
    candidate_right: int
    baseline_right: int
    mended: int
    broken: int

    @property
    def net(self) -> int:
        return self.mended - self.broken


@dataclass(frozen=True, kw_only=True)
class Flips:
    """`otherwise` counts items that both have wrong, but not alike. `classes`: those with the largest loss first."""

    items: int
    both_right: int
    mended: int
    broken: int
    both_wrong: int
    otherwise: int
    classes: tuple[ClassChange, ...]
    made: tuple[Shown, ...]
    gone: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The mistakes of a candidate that has nothing to be compared with."""

    items: int
    wrong: int
    shown: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One item's value for both models; `gain` is positive where the candidate is better."""

    item: str
    candidate: float
    baseline: float
    gain: float
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Per-item values of a metric where no item is right or wrong; the largest losses first."""

    metric: str
    unit: str
    items: int
    better: int
    worse: int
    shown: tuple[Difference, ...]


def told(case: Case) -> Flips | Mistakes | Differences | str:
    """What changed item by item, or why that cannot be told."""
    candidate, baseline = case.candidate, case.baseline
    if candidate is None:
        return f"The items are not shown: {case.absent}."
    if "item" not in candidate.items:
        return "The candidate's evaluation has no items."
    if baseline is None:
        return _mistakes(candidate)
    reasons = list(incomparable(candidate.evaluation, baseline.evaluation))
    order = _order(candidate, baseline) if "item" in baseline.items and not reasons else None
    if order is None:
        return f"The two cannot be compared item by item: {'; '.join(reasons) or 'their items do not match'}."
    if all(_has_answers(one) for one in (candidate, baseline)):
        return _flips(candidate, baseline, order)
    return _differences(case, candidate, baseline, order)


def items_shown(case: Case) -> tuple[str, ...]:
    """The ids of the items that a page of this case shows, for whoever has pictures of them."""
    found = told(case)
    if isinstance(found, Flips):
        return tuple(one.item for one in (*found.made, *found.gone))
    return () if isinstance(found, str) else tuple(one.item for one in found.shown)


def _has_answers(evidence: Evidence) -> bool:
    return {"label", "prediction", "correct"} <= set(evidence.items)


def _order(candidate: Evidence, baseline: Evidence) -> Array | None:
    """Where each of the candidate's items is in the baseline's evaluation; None when they are not the same items."""
    mine, others = Scores("candidate", candidate), Scores("baseline", baseline)
    if len(mine.keys) == len(others.keys) and np.array_equal(mine.keys, others.keys):
        return np.arange(len(mine.keys))
    return matching.order(mine.keys, others.keys, mine.marks, others.marks)


def _flips(candidate: Evidence, baseline: Evidence, order: Array) -> Flips | str:
    label, right, was = candidate.items["label"], candidate.items["correct"], baseline.items["correct"][order]
    if not np.array_equal(label, baseline.items["label"][order]):
        return "The two cannot be compared item by item: they disagree about the labels."
    mended, broken = right & ~was, ~right & was
    both_wrong = ~right & ~was
    otherwise = both_wrong & (candidate.items["prediction"] != baseline.items["prediction"][order])
    made = _most_confident(np.flatnonzero(broken), _confidence(candidate))
    before = _confidence(baseline)
    gone = _most_confident(np.flatnonzero(mended), before[order] if before is not None else None)
    # Losses come first; whatever room they leave is for what was gained.
    made = made[: max(SHOWN - SHOWN // 3, SHOWN - len(gone))]
    gone = gone[: SHOWN - len(made)]
    return Flips(
        items=len(label),
        both_right=int((right & was).sum()),
        mended=int(mended.sum()),
        broken=int(broken.sum()),
        both_wrong=int(both_wrong.sum()),
        otherwise=int(otherwise.sum()),
        classes=_by_class(candidate, right=right, was=was, mended=mended, broken=broken),
        made=tuple(_shown(candidate, row, baseline, int(order[row])) for row in made.tolist()),
        gone=tuple(_shown(candidate, row, baseline, int(order[row])) for row in gone.tolist()),
    )


def _by_class(candidate: Evidence, *, right: Array, was: Array, mended: Array, broken: Array) -> tuple[ClassChange, ...]:
    label = candidate.items["label"]
    values, which = np.unique(label, return_inverse=True)
    counts = [
        np.bincount(which, weights=rows, minlength=len(values)).astype(int).tolist() for rows in (right, was, mended, broken)
    ]
    sizes = np.bincount(which, minlength=len(values)).tolist()
    found = [
        ClassChange(
            label=_name(candidate, value), items=size, candidate_right=mine, baseline_right=other, mended=more, broken=less
        )
        for value, size, mine, other, more, less in zip(values.tolist(), sizes, *counts, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.net, -one.broken)))


def _mistakes(candidate: Evidence) -> Mistakes | str:
    if not _has_answers(candidate):
        return "Nobody held the alias, so that there is nothing to compare the items with."
    wrong = np.flatnonzero(~candidate.items["correct"])
    rows = _most_confident(wrong, _confidence(candidate))[:SHOWN]
    shown = tuple(_shown(candidate, row, None, 0) for row in rows.tolist())
    return Mistakes(items=len(candidate.items["item"]), wrong=len(wrong), shown=shown)


def _differences(case: Case, candidate: Evidence, baseline: Evidence, order: Array) -> Differences | str:
    found = _per_item(case, candidate, baseline)
    if found is None:
        return "The two cannot be compared item by item: their evaluations have no metric with a value per item in common."
    name, metric, column = found
    mine, others = (np.asarray(values, dtype=np.float64) for values in (candidate.items[column], baseline.items[column][order]))
    gain = mine - others if metric.direction == "higher" else others - mine
    losses = np.flatnonzero(gain < 0)
    rows = losses[np.argsort(gain[losses], kind="stable")[:SHOWN]]
    return Differences(
        metric=name,
        unit=metric.unit,
        items=len(gain),
        better=int((gain > 0).sum()),
        worse=len(losses),
        shown=tuple(
            Difference(
                item=str(candidate.items["item"][row]),
                candidate=float(mine[row]),
                baseline=float(others[row]),
                gain=float(gain[row]),
                facts=_facts(candidate, row),
            )
            for row in rows.tolist()
        ),
    )


def _per_item(case: Case, candidate: Evidence, baseline: Evidence) -> tuple[str, Metric, str] | None:
    """The metric of the first check, or else of the evaluation, that both have a number of for every item."""
    metrics = candidate.evaluation.metrics
    for name in dict.fromkeys((*(check.metric for check in case.verdict.judgement.checks), *metrics)):
        metric = metrics.get(name)
        if metric is None or metric.column is None or metric.kind != "mean":
            continue
        columns = [one.items.get(metric.column) for one in (candidate, baseline)]
        if all(column is not None and column.ndim == 1 and column.dtype.kind in "iuf" for column in columns):
            return name, metric, metric.column
    return None


def _most_confident(rows: Array, confidence: Array | None) -> Array:
    """The first `SHOWN` of these rows, most confident first and in their own order among equals."""
    if confidence is None:
        return rows[:SHOWN]
    values = np.nan_to_num(confidence[rows], nan=-1.0)
    if len(rows) > SHOWN:
        least = np.partition(values, len(values) - SHOWN)[len(values) - SHOWN]
        rows, values = rows[values >= least], values[values >= least]
    return np.asarray(rows[np.argsort(-values, kind="stable")[:SHOWN]])


def _confidence(evidence: Evidence) -> Array | None:
    found = evidence.items.get("confidence")
    return found if found is not None and found.ndim == 1 and found.dtype.kind == "f" else None


def _shown(candidate: Evidence, row: int, baseline: Evidence | None, other: int) -> Shown:
    return Shown(
        item=str(candidate.items["item"][row]),
        label=_name(candidate, candidate.items["label"][row]),
        candidate=_answer(candidate, row),
        baseline=_answer(baseline, other) if baseline is not None else None,
        facts=_facts(candidate, row),
    )


def _answer(evidence: Evidence, row: int) -> Answer:
    confidence = _confidence(evidence)
    return Answer(
        prediction=_name(evidence, evidence.items["prediction"][row]),
        confidence=float(confidence[row]) if confidence is not None and np.isfinite(confidence[row]) else None,
        right=bool(evidence.items["correct"][row]),
    )


def _name(evidence: Evidence, value: Any) -> str:
    labels = evidence.evaluation.dataset.labels
    is_index = isinstance(value, int | np.integer) and 0 <= value < len(labels)
    return labels[int(value)] if is_index else str(value)


def _facts(evidence: Evidence, row: int) -> tuple[tuple[str, str], ...]:
    """What the data say about an item: as many columns as a person reads, and how many more there are."""
    found = list(_known(evidence, row))
    more = (("and", f"{len(found) - _FACTS} more columns"),) if len(found) > _FACTS else ()
    return (*found[:_FACTS], *more)


def _known(evidence: Evidence, row: int) -> Iterable[tuple[str, str]]:
    of_models = _OF_MODELS | {metric.column for metric in evidence.evaluation.metrics.values()}
    for name, column in evidence.items.items():
        if name in of_models or column.ndim != 1:
            continue
        value = column[row]
        if value is None or value == "" or value != value:
            continue  # missing; NaN is not equal to itself
        yield name, f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
