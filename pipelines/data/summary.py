"""A dataset's description in numbers and sentences for people; whoever shows them decides how they look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipelines.data.spec import DatasetSpec, SplitSpec

_SHOWN = 12


class Row(NamedTuple):
    """One split: sizes, the rarest and the most frequent class as (label, items), repeated items."""

    split: str
    items: int
    classes: int
    rarest: tuple[str, int]
    commonest: tuple[str, int]
    bytes: int
    duplicates: int


def rows(spec: DatasetSpec) -> tuple[Row, ...]:
    """One row per split, for a table of what was found. `classes` counts those that have items; `bytes` is the decoded size."""
    return tuple(_row(name, split) for name, split in spec.splits.items())


def facts(spec: DatasetSpec) -> tuple[tuple[str, str], ...]:
    """What is true of the whole, as (name, text)."""
    labels = ", ".join(spec.labels[:_SHOWN]) + (", …" if len(spec.labels) > _SHOWN else "")
    found = [
        ("format", f"{spec.format}, {spec.files} file{'s' * (spec.files != 1)}, {spec.bytes:,} bytes"),
        ("task", spec.task),
        ("input", str(spec.input)),
        ("classes", f"{len(spec.labels)}: {labels}"),
    ]
    if spec.target is not None:
        found.append(("target", spec.target))
    if spec.dropped:
        found.append(("dropped", ", ".join(spec.dropped)))
    if spec.division is not None:
        share, seed = spec.division.test_fraction, spec.division.seed
        found.append(("split", f"made by reg: {share:.0%} of each class for test, seed {seed}"))
    return tuple(found)


def warnings(spec: DatasetSpec) -> tuple[str, ...]:
    """What to know before a model is trained or judged on these data: leaks, repetitions, classes without items."""
    return tuple(_warnings(spec))


def _warnings(spec: DatasetSpec) -> Iterator[str]:
    for leak in spec.overlaps:
        first, second = leak.examples[0]
        share = leak.items / spec.splits[leak.b].items
        yield (
            f"{leak.items} of {spec.splits[leak.b].items} items ({share:.2%}) of '{leak.b}' are also in '{leak.a}', "
            f"for example {second} = {first}: a model may know them by heart"
        )
    for name, split in spec.splits.items():
        if split.duplicates:
            yield f"{split.duplicates} of {split.items} items of '{name}' repeat another one"
        if empty := [label for label, count in split.classes.items() if not count]:
            more = f" and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else ""
            yield f"'{name}' has no items of {', '.join(empty[:_SHOWN])}{more}"
    if "test" not in spec.splits:
        yield "there is no test split: models can be trained on these data, not judged"


def _row(name: str, split: SplitSpec) -> Row:
    counts = [(label, count) for label, count in split.classes.items() if count]
    return Row(
        split=name,
        items=split.items,
        classes=len(counts),
        rarest=min(counts, key=lambda count: count[1]),
        commonest=max(counts, key=lambda count: count[1]),
        bytes=split.bytes,
        duplicates=split.duplicates,
    )
