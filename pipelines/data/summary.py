"""A dataset's description in numbers and sentences for people; whoever shows them decides how they look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipelines.data.spec import DatasetSpec, SplitSpec

_SHOWN = 12


class Row(NamedTuple):
    """One split: sizes, repeated items, and in words what is to be predicted."""

    split: str
    items: int
    classes: int
    balance: str
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
    ]
    if spec.rendering is not None:
        found.append(("rendering", str(spec.rendering)))
    if spec.labels:
        found.append(("classes", f"{len(spec.labels)}: {labels}"))
    if spec.mask_values:
        found.append(("masks", f"pixel values {', '.join(map(str, spec.mask_values[:_SHOWN]))}"))
    if spec.targets:
        found.append(("targets" if len(spec.targets) > 1 else "target", ", ".join(spec.targets)))
    if spec.target is not None:
        found.append(("target", spec.target))
    if spec.dropped:
        found.append(("dropped", ", ".join(spec.dropped)))
    if spec.division is not None:
        share, seed = spec.division.test_fraction, spec.division.seed
        of = "of each class" if spec.task.endswith("-classification") else "of the items"
        found.append(("split", f"made by reg: {share:.0%} {of} for test, seed {seed}"))
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
    return Row(
        split=name,
        items=split.items,
        classes=sum(count > 0 for count in split.classes.values()),
        balance=balance(split),
        bytes=split.bytes,
        duplicates=split.duplicates,
    )


def balance(split: SplitSpec) -> str:
    """What is to be predicted in a split, in words: items per class, shares of pixels, or means and ranges of numbers."""
    if split.targets:
        ranges = [
            f"{name} {found.mean:.4g} ± {found.deviation:.4g} ({found.minimum:.4g} to {found.maximum:.4g})"
            for name, found in split.targets.items()
        ]
        return ", ".join(ranges)
    if split.pixels:
        every = sum(split.pixels.values()) + split.ignored
        shares = [f"{label} {100 * pixels / every:.3g} %" for label, pixels in [*split.pixels.items()][:_SHOWN]]
        unlabelled = [f"not labelled {100 * split.ignored / every:.3g} %"] if split.ignored else []
        return f"pixels: {', '.join([*shares, *unlabelled])}"
    counts = [(label, count) for label, count in split.classes.items() if count]
    rarest, commonest = (which(counts, key=lambda count: count[1]) for which in (min, max))
    if rarest[1] == commonest[1]:
        return f"{rarest[1]} per class"
    return f"{rarest[1]} ({rarest[0]}) to {commonest[1]} ({commonest[0]}) per class"
