"""What changed between two versions of a dataset, item by item.

Items are matched by content, because ids are positions and shift when one item is removed. Of equal items those that agree in
class and split are matched first, then those that agree in class, so only a real change is called one. What finds no equal
but has the id of another that found none is called changed. Contents and classes are numbers in arrays here: two versions of a
million items each are compared in seconds and some hundred megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import DIGEST_SIZE, Digests, Split, numbered
from pipelines.data.inputs import chunks
from pipelines.data.reading import Dataset
from pipelines.data.spec import Rendering, TableInput
from pipelines.data.splits import TRAIN, in_order

EXAMPLES = 5

Positions = NDArray[np.int64]


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


class Changed(NamedTuple):
    """Another content under the same id, and its class names before and after."""

    item: str
    label_before: str
    label_after: str


class Seen(NamedTuple):
    """Items that one version judges models by and the other trains them on.

    `items` of split `judged` of the version `by` have the content of a train item of the other version; `examples` are pairs of
    ids (train item, judged item).
    """

    by: str
    judged: str
    items: int
    of: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class DatasetDiff:
    """Ids of items that came (in the later version) and went (in the earlier one), those that changed, and how many stayed.

    `balance` has for each split and class the number of items (before, after). `seen` is leakage between the versions: what a
    model trained on one of them must not be judged by in the other. `inputs` says what an item is to a model before and after,
    where that is not the same; items are compared as the later version reads them. False when no item changed.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Changed, ...]
    relabelled: tuple[Relabelled, ...]
    moved: tuple[Moved, ...]
    unchanged: int
    balance: Mapping[str, Mapping[str, tuple[int, int]]]
    seen: tuple[Seen, ...] = ()
    inputs: tuple[str, str] | None = None

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.relabelled or self.moved)


@dataclass(frozen=True, kw_only=True)
class _Items:
    """All items of a version: ids, and numbers of split, class and content that mean the same in both versions."""

    ids: NDArray[np.str_]
    splits: Positions
    labels: Positions
    contents: Positions


def diff(before: Dataset, after: Dataset) -> DatasetDiff:
    """Compare two datasets; both are read whole, one split at a time.

    Raises:
        BadData: a file of one of them cannot be read.
    """
    splits = in_order({*before.spec.splits, *after.spec.splits})
    names: dict[str, int] = {}
    columns = _common_columns(before, after)
    read = [_read(side, splits, names, columns, _rendering_for(side, before, after)) for side in (before, after)]
    ours, theirs = numbered(*(digests for _, digests in read))
    old, new = (
        _Items(ids=ids, splits=split, labels=label, contents=contents)
        for ((ids, split, label), _), contents in zip(read, (ours, theirs), strict=True)
    )
    a, b, gone, came = _matched(old, new, splits=len(splits), labels=len(names))
    label = list(names)
    relabelled = np.flatnonzero(old.labels[a] != new.labels[b])
    moved = np.flatnonzero((old.labels[a] == new.labels[b]) & (old.splits[a] != new.splits[b]))
    _, at_old, at_new = np.intersect1d(old.ids[gone], new.ids[came], assume_unique=True, return_indices=True)
    replaced = list(zip(gone[at_old], came[at_new], strict=True))
    return DatasetDiff(
        added=tuple(new.ids[np.delete(came, at_new)].tolist()),
        removed=tuple(old.ids[np.delete(gone, at_old)].tolist()),
        changed=tuple(Changed(str(old.ids[i]), label[old.labels[i]], label[new.labels[j]]) for i, j in replaced),
        relabelled=tuple(
            Relabelled(str(old.ids[i]), str(new.ids[j]), label[old.labels[i]], label[new.labels[j]])
            for i, j in zip(a[relabelled], b[relabelled], strict=True)
        ),
        moved=tuple(Moved(str(old.ids[i]), str(new.ids[j])) for i, j in zip(a[moved], b[moved], strict=True)),
        unchanged=len(a) - len(relabelled) - len(moved),
        balance=_balance(before, after),
        seen=(*_seen("after", new, old, splits), *_seen("before", old, new, splits)),
        inputs=_inputs(before, after),
    )


def _inputs(before: Dataset, after: Dataset) -> tuple[str, str] | None:
    if before.spec.input == after.spec.input and before.spec.rendering == after.spec.rendering:
        return None
    first, second = (
        "; ".join(str(part) for part in (side.spec.input, side.spec.rendering) if part is not None) for side in (before, after)
    )
    return (first, second)


def _read(
    dataset: Dataset,
    splits: Sequence[str],
    names: dict[str, int],
    columns: Sequence[str] | None,
    rendering: Rendering | None,
) -> tuple[tuple[NDArray[np.str_], Positions, Positions], Digests]:
    """Ids, split numbers, label numbers and digests of all items; label names that are new get the next number.

    Args:
        columns: of a table, those that its rows are known by; None: all.
        rendering: of image files, how they are read to compare them; None: as they are in this version.
    """
    ids, split_numbers, label_numbers, digests = [], [], [], []
    for name in dataset.spec.splits:
        split = dataset.split(name)
        texts, codes = label_texts(split, dataset.spec.labels)
        known = np.array([names.setdefault(text, len(names)) for text in texts], dtype=np.int64)
        ids.append(split.items)
        split_numbers.append(np.full(len(split), splits.index(name), dtype=np.int64))
        label_numbers.append(known[codes])
        if rendering is not None and split.digests_as is not None:
            digests.append(split.digests_as(rendering).array)
        else:
            digests.append((split.digests() if columns is None else _row_digests(split, dataset, columns)).array)
    facts = (np.concatenate(ids), np.concatenate(split_numbers), np.concatenate(label_numbers))
    return facts, Digests(np.concatenate(digests))


def _common_columns(before: Dataset, after: Dataset) -> list[str] | None:
    """The columns of both tables, if one has others too: a new column must not make every row a new one."""
    tables = [side.spec.input for side in (before, after)]
    sets = [{column.name for column in table.columns} for table in tables if isinstance(table, TableInput)]
    return sorted(sets[0] & sets[1]) if len(sets) == 2 and sets[0] != sets[1] else None


def _rendering_for(side: Dataset, before: Dataset, after: Dataset) -> Rendering | None:
    """How the images of one version are read where the two versions read theirs otherwise: a new size changes no picture."""
    ours, theirs = before.spec.rendering, after.spec.rendering
    common = theirs or ours
    own = side.spec.rendering
    return None if common is None or (own is not None and own.key == common.key) else common


def _row_digests(split: Split, dataset: Dataset, columns: Sequence[str]) -> Digests:
    """What rows are known by when only some columns count: their numbers, and their categories by name."""
    assert isinstance(dataset.spec.input, TableInput)
    known = {column.name: (place, column) for place, column in enumerate(dataset.spec.input.columns)}
    found = bytearray()
    for rows in chunks(split.inputs):
        parts = []
        for place, column in (known[name] for name in columns):
            values = rows[:, place]
            if column.kind == "numeric":
                exact = np.where(np.isnan(values), np.float32("nan"), values + np.float32(0))  # one NaN, and no -0.0
            else:
                names = ["?", *column.categories]
                table = np.array([int.from_bytes(blake2b(n.encode(), digest_size=4).digest()) for n in names], dtype=np.uint32)
                exact = np.where(np.isnan(values), 0, table[np.nan_to_num(values).astype(np.int64) + 1]).astype(np.uint32)
            parts.append(np.ascontiguousarray(exact).view(np.uint8).reshape(len(rows), -1))
        found += b"".join(blake2b(row, digest_size=DIGEST_SIZE).digest() for row in np.concatenate(parts, axis=1))
    return Digests(found)


def label_texts(split: Split, labels: Sequence[str]) -> tuple[Sequence[str], Positions]:
    """The targets of a split in words: distinct texts, and for each item the number of its own.

    Classes are called by their names; see `Split.answers` for numbers and masks.
    """
    if split.targets.ndim == 1:
        return labels, split.targets
    texts, codes = np.unique(split.answers(labels), return_inverse=True)
    return texts.tolist(), codes


def _matched(old: _Items, new: _Items, *, splits: int, labels: int) -> tuple[Positions, Positions, Positions, Positions]:
    """Pairs of items of equal content (old positions, new positions), and what is left of both sides, in order."""
    gone, came = np.arange(len(old.ids)), np.arange(len(new.ids))
    pairs: list[tuple[Positions, Positions]] = []
    for by_label, by_split in ((True, True), (True, False), (False, False)):
        keys = [
            (side.contents[left] * labels + side.labels[left] * by_label) * splits + side.splits[left] * by_split
            for side, left in ((old, gone), (new, came))
        ]
        i, j = _paired(*keys)
        pairs.append((gone[i], came[j]))
        gone, came = np.delete(gone, i), np.delete(came, j)
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    order = np.argsort(a, kind="stable")
    return a[order], b[order], gone, came


def _paired(old: Positions, new: Positions) -> tuple[Positions, Positions]:
    """Positions of equal keys, the first with the first, the second with the second."""
    distinct = np.unique(np.concatenate([old, new]))
    numbers = [np.searchsorted(distinct, keys) for keys in (old, new)]
    ranks = [_ranks(keys) for keys in numbers]
    most = max(int(rank.max(initial=0)) for rank in ranks) + 1
    ours, theirs = (keys * most + rank for keys, rank in zip(numbers, ranks, strict=True))
    _, i, j = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return i, j


def _ranks(keys: Positions) -> Positions:
    """Of each key, how many equal ones stand before it."""
    order = np.argsort(keys, kind="stable")
    rising = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], rising[1:] != rising[:-1]])) if len(keys) else np.empty(0, np.int64)
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys)) - np.repeat(begins, np.diff(np.append(begins, len(keys))))
    return rank


def _seen(by: str, judging: _Items, training: _Items, splits: Sequence[str]) -> list[Seen]:
    """What one version judges by and the other trains on, split by split."""
    if TRAIN not in splits:
        return []
    trained = np.flatnonzero(training.splits == splits.index(TRAIN))
    known, first = np.unique(training.contents[trained], return_index=True)
    found = []
    for number, name in enumerate(splits):
        mine = np.flatnonzero(judging.splits == number)
        if name == TRAIN or not len(mine) or not len(known):
            continue
        at = np.minimum(np.searchsorted(known, judging.contents[mine]), len(known) - 1)
        shared = np.flatnonzero(known[at] == judging.contents[mine])
        examples = tuple(
            (str(training.ids[trained[first[at[k]]]]), str(judging.ids[mine[k]])) for k in shared[:EXAMPLES].tolist()
        )
        if len(shared):
            found.append(Seen(by=by, judged=name, items=len(shared), of=len(mine), examples=examples))
    return found


def _balance(before: Dataset, after: Dataset) -> dict[str, dict[str, tuple[int, int]]]:
    balance: dict[str, dict[str, tuple[int, int]]] = {}
    for split in in_order({*before.spec.splits, *after.spec.splits}):
        counts: list[dict[str, int]] = [
            side.spec.splits[split].classes if split in side.spec.splits else {} for side in (before, after)
        ]
        names: dict[str, Any] = {**counts[0], **counts[1]}
        balance[split] = {label: (counts[0].get(label, 0), counts[1].get(label, 0)) for label in names}
    return balance
