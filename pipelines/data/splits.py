"""Names of splits, and the split that `reg` makes when data come without one.

Such a split must come out the same on every machine for ever, because item ids name it, so it is drawn by hash and not by a
random generator whose stream a library may change. Items of equal content land on the same side: a split that leaks would be
our own doing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN, VAL, TEST = "train", "val", "test"

_SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "dev": VAL,
    "test": TEST,
    "testing": TEST,
    "t10k": TEST,
}


def split_named(text: str) -> str | None:
    """The split that a whole name means: `valid` is `val`; None when it is no name of a split."""
    return _SPELLINGS.get(text.lower())


def split_within(text: str) -> str | None:
    """The split that a word of a file's name means: `emnist-letters-train` is `train`; None when none or several do."""
    found = {_SPELLINGS[word] for word in re.split(r"[^a-z0-9]+", text.lower()) if word in _SPELLINGS}
    return found.pop() if len(found) == 1 else None


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Train first: it decides the classes, and a reader expects it there."""
    return tuple(sorted(splits, key=(TRAIN, VAL, TEST).index))


def lacks_test(splits: Iterable[str]) -> bool:
    """Whether there is nothing but `train`, so that nobody could be judged on these data."""
    return list(splits) == [TRAIN]


def divide(digests: Sequence[bytes], targets: NDArray[Any], *, test_fraction: float, seed: int) -> dict[str, NDArray[np.int64]]:
    """Cut a test split out of items, class by class.

    Equal items stay on one side, unless they are so many that hardly any test split is left (a table of a few categories,
    where the same row is not the same thing); then each goes its own way, and the overlap says so.

    Args:
        digests: content of each item.
        targets: class of each item, shape (n,).
        test_fraction: wanted share of each class; a class keeps at least one item in train.
    Returns:
        Positions for `train` and `test`, ascending.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        groups[digest].append(position)
    in_test = _drawn(groups, targets, test_fraction, seed)
    if in_test.sum() < test_fraction * len(targets) / 2:
        alone = {digest + str(k).encode(): [position] for digest, group in groups.items() for k, position in enumerate(group)}
        in_test = _drawn(alone, targets, test_fraction, seed)
    return {TRAIN: np.flatnonzero(~in_test), TEST: np.flatnonzero(in_test)}


def _drawn(groups: Mapping[bytes, list[int]], targets: NDArray[Any], test_fraction: float, seed: int) -> NDArray[np.bool_]:
    by_class: dict[Any, list[bytes]] = defaultdict(list)
    for key, positions in groups.items():
        by_class[targets[positions[0]]].append(key)
    in_test = np.zeros(len(targets), dtype=bool)
    salt = str(seed).encode()
    for keys in by_class.values():
        keys.sort(key=lambda key: blake2b(key, key=salt, digest_size=16).digest())
        wanted = round(test_fraction * sum(len(groups[key]) for key in keys))
        for key in keys[:-1]:
            if len(groups[key]) <= wanted:
                in_test[groups[key]] = True
                wanted -= len(groups[key])
    return in_test
