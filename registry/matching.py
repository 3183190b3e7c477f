"""Item ids brought into one order, millions of them in seconds: whose row is whose, and whether any id occurs twice.

Comparing ten million texts with each other takes a minute and gigabytes of Python objects; comparing 64-bit fingerprints of
them takes seconds. A fingerprint is only a way to find: every answer is checked against the ids themselves, so a collision
costs an exact search and never a wrong pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # splitmix64
_CHUNK = 1 << 16  # ids at once: what a processor keeps near, five times faster than all of them
_SHOWN = 3  # of many in a sentence


def comparable(ids: Array) -> Array:
    """Ids as texts of one width, which numpy compares without Python: bytes where they are ASCII; numbers stay numbers."""
    if ids.dtype.kind in "iub":
        return ids
    try:
        return ids.astype(np.bytes_)
    except UnicodeEncodeError:
        return ids.astype(np.str_)


def fingerprints(ids: Array) -> NDArray[np.uint64]:
    """A 64-bit number per id, equal for equal ids: the same for a text whatever the width of its array."""
    found = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), _CHUNK):
        found[start : start + _CHUNK] = _marked(ids[start : start + _CHUNK])
    return found


def _marked(ids: Array) -> NDArray[np.uint64]:
    if ids.dtype.kind in "iub":
        return _mixed(ids.astype(np.int64).view(np.uint64))
    if ids.dtype.kind == "S":
        texts = ids.astype(f"S{max(8, -(-ids.dtype.itemsize // 8) * 8)}")
    else:
        texts = ids.astype(f"U{max(2, -(-ids.dtype.itemsize // 8) * 2)}")
    found = np.full(len(ids), _MIX[0], dtype=np.uint64)
    for words in np.ascontiguousarray(texts).view("<u8").reshape(len(ids), -1).T:
        # Words of zeros are padding, which must not count: the other array may have none.
        found = np.where(words == 0, found, _mixed(found ^ words))
    return found


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = words + np.uint64(_MIX[0])
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX[2])
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def repeated(ids: Array, marks: NDArray[np.uint64]) -> tuple[Any, int, int] | None:
    """An id that occurs more than once, how often, and how many rows there are beyond the first of each id; None if none.

    Args:
        marks: their fingerprints.
    """
    marks = np.sort(marks)
    if not (marks[1:] == marks[:-1]).any():
        return None
    values, counts = np.unique(ids, return_counts=True)
    if counts.max(initial=1) == 1:
        return None
    return values[counts.argmax()], int(counts.max()), int(len(ids) - len(values))


def order(mine: Array, others: Array, my_marks: NDArray[np.uint64], other_marks: NDArray[np.uint64]) -> NDArray[np.intp] | None:
    """Where each of my ids is among the others; None when they are not the same set. Both without repetition.

    Args:
        my_marks, other_marks: their fingerprints.
    """
    if len(mine) != len(others) or (mine.dtype.kind in "iub") != (others.dtype.kind in "iub"):
        return None
    if mine.dtype.kind in "SU" and mine.dtype.kind != others.dtype.kind:
        return None  # one of them has an id that is not ASCII, the other has none
    my_order, other_order = np.argsort(my_marks), np.argsort(other_marks)
    found = np.empty(len(mine), dtype=np.intp)
    found[my_order] = other_order
    if bool(np.array_equal(mine, others[found])):
        return found
    if not np.array_equal(my_marks[my_order], other_marks[other_order]):
        return None
    # The same fingerprints for other ids: two of them collide.
    by_mine, by_others = np.argsort(mine, kind="stable"), np.argsort(others, kind="stable")
    found[by_mine] = by_others
    return found if bool(np.array_equal(mine, others[found])) else None


def readable(key: Any) -> str:
    """A key in a sentence."""
    return key.decode() if isinstance(key, bytes) else str(key)


def some(items: list[Any]) -> str:
    """A few of the keys or names that a sentence is about, in parentheses; nothing where there are none."""
    if not items:
        return ""
    return f" ({', '.join(str(item) for item in items[:_SHOWN])}{', …' if len(items) > _SHOWN else ''})"
