"""Names of splits, and the split that `reg` makes when data come without one.

Such a split must come out the same on every machine for ever, because item ids name it, so it is drawn by hash and not by a
random generator whose stream a library may change. Items of equal content land on the same side: a split that leaks would be
our own doing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
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
    places: dict[bytes, int] = {}
    groups = np.array([places.setdefault(digest, len(places)) for digest in digests], dtype=np.int64)
    in_test = _drawn([*places], groups, targets, test_fraction, seed)
    if in_test.sum() < test_fraction * len(targets) / 2:
        before: Counter[bytes] = Counter()
        alone = []
        for digest in digests:
            alone.append(digest + str(before[digest]).encode())
            before[digest] += 1
        in_test = _drawn(alone, np.arange(len(alone)), targets, test_fraction, seed)
    return {TRAIN: np.flatnonzero(~in_test), TEST: np.flatnonzero(in_test)}


def _drawn(
    keys: Sequence[bytes], groups: NDArray[np.int64], targets: NDArray[Any], test_fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Whether each item goes to the test split, shape (n,).

    Args:
        keys: what each group is drawn by.
        groups: which group each item belongs to; a group is of the class of its first item.
    """
    keyed, draws = blake2b(key=str(seed).encode(), digest_size=16), bytearray()
    for key in keys:
        hasher = keyed.copy()
        hasher.update(key)
        draws += hasher.digest()
    drawn = np.frombuffer(draws, ">u8").reshape(-1, 2).astype(np.uint64)
    _, first = np.unique(groups, return_index=True)
    classes, sizes = targets[first], np.bincount(groups, minlength=len(keys))
    is_test = np.zeros(len(keys), dtype=bool)
    for class_ in np.unique(classes):
        members = np.flatnonzero(classes == class_)
        members = members[np.lexsort((drawn[members, 1], drawn[members, 0]))]
        wanted = round(test_fraction * int(sizes[members].sum()))
        for member, size in zip(members[:-1].tolist(), sizes[members[:-1]].tolist(), strict=True):
            if size <= wanted:
                is_test[member] = True
                wanted -= size
    return is_test[groups]
