"""What changed between two versions of a dataset, item by item.

Items are matched by content, because ids are positions and shift when one item is removed. Of equal items those that agree in
class and split are matched first, then those that agree in class, so only a real change is called one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.data.reading import Dataset
from pipelines.data.splits import in_order


class Relabelled(NamedTuple):
    """The same content under another class: item ids and class names before and after."""

    before: str
    after: str
    label_before: str
    label_after: str


class Moved(NamedTuple):
    """The same content and class in another split: item ids before and after."""

    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class DatasetDiff:
    """Ids of items that came (in the later version) and went (in the earlier one), those that changed, and how many stayed.

    `balance` has for each split and class the number of items (before, after). False when nothing changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[Relabelled, ...]
    moved: tuple[Moved, ...]
    unchanged: int
    balance: Mapping[str, Mapping[str, tuple[int, int]]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.relabelled or self.moved)


class _Item(NamedTuple):
    id: str
    split: str
    label: str


def diff(before: Dataset, after: Dataset) -> DatasetDiff:
    """Compare two datasets; both are read whole, one split at a time.

    Raises:
        BadData: a file of one of them cannot be read.
    """
    olds, news = _by_content(before), _by_content(after)
    pairs: list[tuple[_Item, _Item]] = []
    gone: list[_Item] = []
    for content, old in olds.items():
        new = news.get(content, [])
        for sameness in (_class_and_split, _class, _content):
            found, old, new = _paired(old, new, sameness)
            pairs += found
        gone += old
        news[content] = new
    came = [item for new in news.values() for item in new]
    changed = [(a, b) for a, b in pairs if _class_and_split(a) != _class_and_split(b)]
    return DatasetDiff(
        added=tuple(item.id for item in came),
        removed=tuple(item.id for item in gone),
        relabelled=tuple(Relabelled(a.id, b.id, a.label, b.label) for a, b in changed if a.label != b.label),
        moved=tuple(Moved(a.id, b.id) for a, b in changed if a.label == b.label),
        unchanged=len(pairs) - len(changed),
        balance=_balance(before, after),
    )


def _by_content(dataset: Dataset) -> dict[bytes, list[_Item]]:
    found: dict[bytes, list[_Item]] = defaultdict(list)
    labels = dataset.spec.labels
    for name in dataset.spec.splits:
        split = dataset.split(name)
        for digest, id_, answer in zip(split.digests(), split.items.tolist(), split.answers(labels), strict=True):
            found[digest].append(_Item(id_, name, answer))
    return found


def _paired(
    old: list[_Item], new: list[_Item], sameness: Callable[[_Item], str]
) -> tuple[list[tuple[_Item, _Item]], list[_Item], list[_Item]]:
    """Pairs of items that are the same in this sense, in order, and what is left of both lists."""
    waiting: dict[str, deque[_Item]] = defaultdict(deque)
    for item in new:
        waiting[sameness(item)].append(item)
    pairs, alone = [], []
    for item in old:
        partners = waiting[sameness(item)]
        if partners:
            pairs.append((item, partners.popleft()))
        else:
            alone.append(item)
    return pairs, alone, [item for left in waiting.values() for item in left]


def _class_and_split(item: _Item) -> str:
    return f"{item.split}/{item.label}"


def _class(item: _Item) -> str:
    return item.label


def _content(item: _Item) -> str:
    return ""


def _balance(before: Dataset, after: Dataset) -> dict[str, dict[str, tuple[int, int]]]:
    balance: dict[str, dict[str, tuple[int, int]]] = {}
    for split in in_order({*before.spec.splits, *after.spec.splits}):
        counts: list[dict[str, int]] = [
            side.spec.splits[split].classes if split in side.spec.splits else {} for side in (before, after)
        ]
        names: dict[str, Any] = {**counts[0], **counts[1]}
        balance[split] = {label: (counts[0].get(label, 0), counts[1].get(label, 0)) for label in names}
    return balance
