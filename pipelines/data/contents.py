"""Items, and what makes two of them the same: the content, never the name.

A content digest is taken of what a model would see of an item (the decoded pixels, the canonical row without its target), so a
picture saved twice under two names or a row repeated in another file is found. Class labels are left out on purpose: the same
picture under two labels is still a leak. Digests lie side by side in one array: a million of them are 16 MB, and as objects of
Python's own they would be ten times that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pipelines.data.files import File
from pipelines.data.inputs import Inputs, Rows, chunks, pieces, select
from pipelines.data.kinds import Task
from pipelines.data.spec import Division, ImageInput, Overlap, Rendering, TableInput
from pipelines.data.splits import TEST, TRAIN, divide

DIGEST_SIZE = 16
EXAMPLES = 5
# An image of so many bytes is compared by a few pieces of it before it is read whole.
_LARGE = 64 << 10
_PIECES, _PIECE = 4, 1024

Advance = Callable[[int], None]
"""Told how many more bytes of the stored data have been read."""


class Digests(Sequence[bytes]):
    """The content digests of items, `DIGEST_SIZE` bytes each; `array` holds them as rows, uint8, shape (n, DIGEST_SIZE)."""

    def __init__(self, content: bytes | bytearray | NDArray[np.uint8]) -> None:
        flat = content if isinstance(content, np.ndarray) else np.frombuffer(content, dtype=np.uint8)
        self.array: NDArray[np.uint8] = flat.reshape(-1, DIGEST_SIZE)

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> Digests:
        return cls(b"".join(digests))

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Digests: ...
    def __getitem__(self, index: int | slice) -> bytes | Digests:
        found = self.array[index]
        return Digests(found) if isinstance(index, slice) else found.tobytes()

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[bytes]:
        flat = self.array.tobytes()
        return (flat[start : start + DIGEST_SIZE] for start in range(0, len(flat), DIGEST_SIZE))

    def at(self, positions: NDArray[np.int64]) -> Digests:
        return Digests(self.array[positions])


class Deferred(Digests):
    """The content digests of large images, computed for whoever asks for them.

    To find equal ones (`numbered`) they are seldom needed: most images differ from all others in a few pieces of them.
    """

    def __init__(self, images: NDArray[np.uint8] | Rows) -> None:
        self._images = images
        self._found = np.zeros((len(images), DIGEST_SIZE), dtype=np.uint8)
        self._is_found = np.zeros(len(images), dtype=bool)

    @property
    def array(self) -> NDArray[np.uint8]:  # type: ignore[override]
        self.whole(np.flatnonzero(~self._is_found))
        return self._found

    def __len__(self) -> int:
        return len(self._images)

    def whole(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The digests of the images at positions, as rows."""
        missing = positions[~self._is_found[positions]]
        self._found[missing] = _image_digests(select(self._images, missing)).array
        self._is_found[missing] = True
        return self._found[positions]

    @cached_property
    def of_pieces(self) -> Digests:
        """The digest of the pieces of each image: images that differ in it are not equal."""
        size = math.prod(self._images.shape[1:])
        starts = [(size - _PIECE) * number // (_PIECES - 1) for number in range(_PIECES)]
        shape = _bytes_of(self._images.shape[1:])
        return Digests.of(_digest(some, shape) for some in pieces(self._images, starts, _PIECE))


@dataclass(frozen=True, kw_only=True)
class Split:
    """The items of one split, in a fixed order.

    Attributes:
        items: ids `<split>/...`, shape (n,), unicode.
        inputs: images uint8 (n, height, width, channels), or rows float32 (n, features) with NaN for missing and -1 for an
            unknown category; an array, or items that are read from disk when they are asked for (`pipelines.data.inputs`).
        targets: class index, int64, shape (n,); of masks the class index of each pixel, uint8 (n, height, width), 255 where
            nobody labelled it; of a regression float64 (n, targets), finite.
        digests: computes the content digest of each item, `DIGEST_SIZE` bytes each.
        digests_as: of image files: computes their digests as they would be under another rendering, to compare two versions.
        marks: of pictures that are scaled: computes what a split is drawn by, whatever their size; None: the digests.
        facts: what else the data say about each item (columns of a table as they were written, dropped ones too): texts with
            None for missing, numbers with NaN; no model sees them, evaluations slice and cluster by them.
    """

    name: str
    items: NDArray[np.str_]
    inputs: Inputs
    targets: NDArray[Any]
    digests: Callable[[], Digests]
    digests_as: Callable[[Rendering | None], Digests] | None = None
    marks: Callable[[], Digests] | None = None
    facts: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def strata(self) -> NDArray[np.int64]:
        """What a cut of the items has to spread evenly, int64 (n,): the classes; of masks and numbers nothing, all 0."""
        return strata(self.targets)

    def answers(self, labels: Sequence[str]) -> list[str]:
        """What is to be predicted of each item, as a text: the class, the numbers, or the digest of the mask."""
        if self.targets.ndim == 1:
            return [labels[target] for target in self.targets.tolist()]
        if self.targets.ndim == 2:
            return [", ".join(f"{value:.6g}" for value in row) for row in self.targets.tolist()]
        return [f"mask {blake2b(mask.tobytes(), digest_size=4).hexdigest()}" for mask in self.targets]


def strata(targets: NDArray[Any]) -> NDArray[np.int64]:
    """See `Split.strata`."""
    return targets if targets.ndim == 1 else np.zeros(len(targets), dtype=np.int64)


class Source(Protocol):
    """Data files as one format reads them. Opening is cheap, `read` is not; `input` and `rendering` are known when all splits
    were read.
    """

    @property
    def files(self) -> Sequence[File]: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def division(self) -> Division | None: ...
    @property
    def task(self) -> Task: ...
    @property
    def target(self) -> str | None: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def mask_values(self) -> tuple[int, ...]: ...
    @property
    def input(self) -> ImageInput | TableInput: ...
    @property
    def rendering(self) -> Rendering | None: ...

    def read(self, split: str, advance: Advance) -> Split: ...


class Divided:
    """Images that came without a test split, behind the split that `reg` makes of them."""

    target = None
    splits = (TRAIN, TEST)

    def __init__(self, whole: Source, division: Division) -> None:
        self._whole = whole
        self._parts: dict[str, Split] = {}
        self.division = division
        self.files = whole.files

    @property
    def task(self) -> Task:
        return self._whole.task

    @property
    def targets(self) -> tuple[str, ...]:
        return self._whole.targets

    @property
    def mask_values(self) -> tuple[int, ...]:
        return self._whole.mask_values

    @property
    def labels(self) -> tuple[str, ...]:
        return self._whole.labels

    @property
    def input(self) -> ImageInput | TableInput:
        return self._whole.input

    @property
    def rendering(self) -> Rendering | None:
        return self._whole.rendering

    def read(self, split: str, advance: Advance) -> Split:
        if not self._parts:
            whole = self._whole.read(TRAIN, advance)
            digests = whole.digests()
            keys = digests if whole.marks is None else _marked(digests, whole.marks())
            sides = divide(keys, whole.strata, test_fraction=self.division.test_fraction, seed=self.division.seed)
            self._parts = {name: _part(whole, name, positions, digests) for name, positions in sides.items()}
        return self._parts[split]


def _marked(digests: Digests, marks: Digests) -> Digests:
    """A key for each item, the same for equal items: the least mark among them."""
    least: dict[bytes, bytes] = {}
    for digest, mark in zip(digests, marks, strict=True):
        least[digest] = min(least.get(digest, mark), mark)
    return Digests.of(least[digest] for digest in digests)


def _part(whole: Split, name: str, positions: NDArray[np.int64], digests: Digests) -> Split:
    items = whole.items[positions]
    if name != whole.name:
        items = np.array([f"{name}/{item.partition('/')[2]}" for item in items.tolist()], dtype=np.str_)
    # Without pixels there is nothing to pick, and picking would make an array of them.
    hollow = isinstance(whole.inputs, np.ndarray) and not any(whole.inputs.strides)
    again = whole.digests_as
    return Split(
        name=name,
        items=items,
        inputs=whole.inputs[: len(positions)] if hollow else select(whole.inputs, positions),
        targets=whole.targets[positions],
        digests=lambda: digests.at(positions),
        digests_as=None if again is None else lambda rendering: again(rendering).at(positions),
        facts={key: values[positions] for key, values in whole.facts.items()},
    )


def image_digests(images: Inputs) -> Digests:
    """Content digests of decoded images of shape (n, height, width, channels): their shape and their pixels."""
    if math.prod(images.shape[1:]) >= _LARGE and isinstance(images, (np.ndarray, Rows)):
        return Deferred(images)
    return _image_digests(images)


def _image_digests(images: Inputs) -> Digests:
    found, shape = bytearray(), _bytes_of(images.shape[1:])
    for some in chunks(images):
        rows = np.ascontiguousarray(some).reshape(len(some), math.prod(images.shape[1:]))
        found += b"".join([_digest(row.data, shape) for row in rows])
    return Digests(found)


def image_digest(pixels: NDArray[np.uint8]) -> bytes:
    """The content digest of one decoded image of shape (height, width, channels)."""
    return _digest(np.ascontiguousarray(pixels).data, _bytes_of(pixels.shape))


def _digest(content: bytes | bytearray | memoryview, shape: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_SIZE, person=shape).digest()


def _bytes_of(shape: tuple[int, ...]) -> bytes:
    return np.array(shape, dtype="<u4").tobytes()


def numbered(*several: Digests) -> list[NDArray[np.int64]]:
    """A number for each item, the same for the same content, from 0 without gaps; several lists share them."""
    deferred = [digests for digests in several if isinstance(digests, Deferred)]
    if len(deferred) < len(several):
        return _numbered(several)
    alike = _numbered([digests.of_pieces for digests in deferred])
    times = np.bincount(np.concatenate(alike))
    keys = []
    for digests, numbers in zip(deferred, alike, strict=True):
        doubtful = np.flatnonzero(times[numbers] > 1)
        rows = digests.of_pieces.array.copy()
        rows[doubtful] = digests.whole(doubtful)
        keys.append(Digests(rows))
    return _numbered(keys)


def _numbered(several: Sequence[Digests]) -> list[NDArray[np.int64]]:
    words = np.ascontiguousarray(np.concatenate([digests.array for digests in several])).view(np.uint64)
    order = np.argsort(words[:, 0])
    steps = words[order[1:]] != words[order[:-1]]
    if (steps[:, 1] & ~steps[:, 0]).any():  # half of two digests is the same by chance, which is never
        order = np.lexsort((words[:, 1], words[:, 0]))
        steps = words[order[1:]] != words[order[:-1]]
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.cumsum(np.concatenate([[False], steps.any(axis=1)])[: len(order)])
    return np.split(numbers, np.cumsum([len(digests) for digests in several])[:-1])


def duplicates(digests: Digests) -> int:
    """How many items repeat an earlier one of the same split."""
    (numbers,) = numbered(digests)
    return len(digests) - 1 - int(numbers.max(initial=-1))


def overlap(a: str, b: str, contents: Mapping[str, tuple[NDArray[np.str_], Digests]]) -> Overlap | None:
    """The items of split `b` that split `a` holds too, None when there are none.

    Args:
        contents: item ids and digests of each split.
    """
    (first_ids, first), (second_ids, second) = contents[a], contents[b]
    ours, theirs = numbered(first, second)
    places = np.full(len(ours) + len(theirs), -1)
    places[ours[::-1]] = np.arange(len(ours))[::-1]  # the first of those that are equal
    shared = np.flatnonzero(places[theirs] >= 0)
    examples = ((str(first_ids[places[theirs[item]]]), str(second_ids[item])) for item in shared)
    return Overlap(a=a, b=b, items=len(shared), examples=tuple(islice(examples, EXAMPLES))) if len(shared) else None
