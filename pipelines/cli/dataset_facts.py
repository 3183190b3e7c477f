"""What is in data, as `reg dataset` tells it to people."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.data import packs, summary
from pipelines.data.reading import Inspection
from pipelines.data.spec import DatasetSpec
from registry.cli.looking import size_text
from registry.cli.output import Output, table


def tell(output: Output, found: Inspection) -> None:
    """Say what was found before anything is written, and what is wrong with it."""
    for name, text in summary.facts(found.spec):
        output.notice(f"{name:<8} {text}")
    for row in summary.rows(found.spec):
        output.notice(f"  {row.split}: {row.items:,} items, {row.balance}")
    is_shard = np.array([name.endswith(".tar") and packs.is_shard(name) for name in found.kept.names], dtype=bool)
    if len(shards := found.kept.at(is_shard)):
        size = size_text(int(shards.sizes.sum()))
        output.notice(f"packed   {len(found.data):,} files in {len(shards)} shard{'s' * (len(shards) != 1)}, {size}")
    elif found.packing_pays:
        output.notice(f"{len(found.data):,} small files: --pack stores them as a few shards, which is faster to move")
    if found.ignored:
        more = f" and {len(found.ignored) - 3} more" if len(found.ignored) > 3 else ""
        output.notice(f"left behind: {', '.join(found.ignored[:3])}{more}")
    for warning in summary.warnings(found.spec):
        output.warn(warning)


def drawn(spec: DatasetSpec) -> list[Any]:
    """A description as tables."""
    splits = [(r.split, f"{r.items:,}", r.classes, size_text(r.bytes), r.duplicates) for r in summary.rows(spec)]
    classes = [(label, *(split.classes[label] for split in spec.splits.values())) for label in spec.labels]
    shown = [table(("class", *(f"#{name}" for name in spec.splits)), classes)] if classes else []
    shown += [f"{name}: {summary.balance(split)}" for name, split in spec.splits.items() if split.pixels or split.targets]
    return [
        table(("", spec.name), summary.facts(spec)),
        "",
        table(("split", "#items", "#classes", "#decoded", "#duplicates"), splits),
        "",
        *shown,
        *(f"Warning: {warning}" for warning in summary.warnings(spec)),
    ]
