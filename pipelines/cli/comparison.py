"""How `reg dataset diff` shows what it found: tables for people, and the drift as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from pipelines.data.comparison import DatasetDiff
from pipelines.data.drift import Drift, Drifts
from registry.cli.output import table

_FEATURES = 20


def comparison_tables(first: str, second: str, found: DatasetDiff, drift: Drifts) -> list[Any]:
    """What a person reads, top to bottom: items, examples, leakage, classes, features."""
    counts = (
        *(len(some) for some in (found.added, found.removed, found.changed, found.relabelled, found.moved)),
        found.unchanged,
    )
    columns = ("#added", "#removed", "#changed", "#relabelled", "#moved to another split", "#unchanged")
    return [
        table(columns, [counts], title=f"{first} → {second}"),
        *([f"input: {' → '.join(found.inputs)}"] if found.inputs else []),
        *_examples("added", found.added),
        *_examples("removed", found.removed),
        *_examples("changed", (c.item for c in found.changed)),
        *_examples("relabelled", (f"{r.before} {r.label_before} → {r.label_after}" for r in found.relabelled)),
        *_examples("moved", (f"{m.before} → {m.after}" for m in found.moved)),
        *leakage(first, second, found),
        "",
        _balance(found),
        "",
        *_drift(drift),
    ]


def leakage(first: str, second: str, found: DatasetDiff) -> Iterator[str]:
    """A warning for each split that one version judges by and the other trains on."""
    for seen in found.seen:
        by, trains = (second, first) if seen.by == "after" else (first, second)
        train_item, judged_item = seen.examples[0]
        yield (
            f"Warning: {seen.items:,} of {seen.of:,} items of '{seen.judged}' of {by} are in 'train' of {trains} "
            f"({train_item} = {judged_item}): a model trained on {trains} must not be judged by {by}"
        )


def drift_data(drift: Drifts) -> dict[str, Any]:
    """The drift for `--json`: NaN is null, and each feature says how large its shift is."""
    features = [{**dataclasses.asdict(one), "size": one.size} for one in drift.features]
    plain = [{key: None if _is_nan(value) else value for key, value in one.items()} for one in features]
    return {"features": plain, "added": drift.added, "removed": drift.removed, "sampled": drift.sampled}


def _drift(drift: Drifts) -> Iterator[Any]:
    if not drift.features:
        yield "drift: the two have no split in common" if not (drift.added or drift.removed) else "drift: no common feature"
        return
    columns = ("split", "feature", "shift", "#PSI", "#KS / V", "#p", "#distance (sd)", "#before", "#after")
    yield table(columns, [_row(one) for one in drift.features[:_FEATURES]], title="drift")
    more = len(drift.features) - _FEATURES
    rest = f"; {more} more with less drift, see --json" if more > 0 else ""
    corrected = f"corrected for {len(drift.features)} features"
    yield f"PSI from 0.1 moderate, from 0.25 large, unless p ({corrected}) is 0.05 or more{rest}"
    for split, (before, after) in drift.sampled.items():
        yield f"'{split}' is compared by {before:,} and {after:,} of its items, evenly spaced"
    yield from _examples("features added", drift.added)
    yield from _examples("features removed", drift.removed)


def _row(one: Drift) -> tuple[str, ...]:
    texts = (one.before, one.after) if one.kind == "numeric" else ()
    values = tuple(f"{value:.4g}" for value in texts) or (f"{one.before:.1%}", f"{one.after:.1%}")
    distance = "" if one.distance is None else f"{one.distance:.2f}"
    shift = {"small": "–"}.get(one.size, one.size)
    return (one.split, one.feature, shift, f"{one.psi:.3f}", f"{one.statistic:.3f}", f"{one.p:.2g}", distance, *values)


def _balance(found: DatasetDiff) -> Any:
    rows = [
        (split, label, f"{before:,}", f"{after:,}", f"{after - before:+,d}")
        for split, classes in found.balance.items()
        for label, (before, after) in classes.items()
        if before != after
    ]
    return table(("split", "class", "#before", "#after", "#change"), rows) if rows else "class balance: unchanged"


def _examples(what: str, texts: Iterable[str]) -> list[str]:
    shown = list(islice(texts, 5))
    return [f"{what}: {', '.join(shown)}"] if shown else []


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
