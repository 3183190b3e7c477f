"""Images and labels as two arrays: what IDX, `.npz` and `.npy` have in common once their bytes are decoded.

Pixels are uint8 or nothing: whole numbers from 0 to 255 in a wider type lose nothing and are taken, floats are refused,
because guessing their range would change the data that a digest stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Advance, Split, image_digests
from pipelines.data.files import File
from pipelines.data.inputs import Inputs, OnDisk, Room, Rows, chunks
from pipelines.data.kinds import Task
from pipelines.data.spec import ImageInput
from pipelines.data.splits import in_order
from registry.errors import BadData

MOST_CLASSES = 65_536
_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One array inside a file; `name` is what a message calls it (`train-labels-idx1-ubyte`, `mnist.npz [x_train]`).

    `read` gives an array, or rows on disk when there is no room for one.
    """

    file: File
    name: str
    read: Callable[[], NDArray[Any] | Rows]

    def whole(self) -> NDArray[Any]:
        """The array, in memory whatever its size."""
        found = self.read()
        return found[:] if isinstance(found, OnDisk) else found


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two arrays of one split."""

    split: str
    images: Stored
    labels: Stored


class ArraySource:
    """Splits of image and label arrays; class names are the numbers themselves unless `labels` names them."""

    task: Task = "image-classification"
    target = None
    targets: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    rendering = None
    division = None

    def __init__(self, pairs: Sequence[Pair], *, labels: tuple[str, ...] | None, room: Room) -> None:
        known = {pair.split: pair for pair in pairs}
        self._pairs = {name: known[name] for name in in_order(known)}
        self._given = labels
        self._room = room
        self._input: ImageInput | None = None
        self._told: set[File] = set()
        self.splits = tuple(self._pairs)
        self.files = tuple(dict.fromkeys(stored.file for pair in pairs for stored in (pair.images, pair.labels)))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        if self._given is not None:
            return self._given
        found = _as_labels(self._pairs[self.splits[0]].labels)
        return tuple(str(index) for index in range(int(found.max(initial=-1)) + 1))

    @property
    def input(self) -> ImageInput:
        assert self._input is not None, "input is known after the first read"
        return self._input

    def read(self, split: str, advance: Advance) -> Split:
        pair = self._pairs[split]
        images = _as_images(pair.images, self._room)
        targets = self._targets(pair)
        mine = {pair.images.file, pair.labels.file}
        advance(sum(file.size for file in mine if file not in self._told))
        self._told |= mine
        self._check(pair, images, targets)
        return Split(
            name=split,
            items=positions(split, len(images)),
            inputs=images,
            targets=targets,
            digests=partial(image_digests, images),
        )

    def _targets(self, pair: Pair) -> NDArray[Any]:
        targets = _as_labels(pair.labels)
        beyond = np.flatnonzero(targets >= len(self.labels))
        if beyond.size:
            known = f"labels of {self._pairs[self.splits[0]].labels.name}" if self._given is None else "class names given"
            item, last = beyond[0], len(self.labels) - 1
            raise BadData(
                f"{pair.labels.name}: item {item} has label {targets[item]}, the {known} end at {last}",
                hint="name every class under 'labels:' in dataset.yaml",
            )
        return targets

    def _check(self, pair: Pair, images: Inputs, targets: NDArray[Any]) -> None:
        if len(images) != len(targets):
            raise BadData(f"{pair.images.name} holds {len(images)} images, {pair.labels.name} {len(targets)} labels")
        height, width, channels = images.shape[1:]
        found = ImageInput(height=height, width=width, channels=channels)
        if self._input is not None and found != self._input:
            raise BadData(f"{pair.images.name} holds {found}, the split before it {self._input}")
        self._input = found


def positions(split: str, n: int) -> NDArray[np.str_]:
    """The ids `<split>/0`, `<split>/1`, ... of n items."""
    found = np.empty(n, dtype=f"U{len(split) + 1 + len(str(max(n - 1, 0)))}")
    for start in range(0, n, _AT_ONCE):
        found[start : start + _AT_ONCE] = [f"{split}/{position}" for position in range(start, min(start + _AT_ONCE, n))]
    return found


def _as_images(stored: Stored, room: Room) -> Inputs:
    array = stored.read()
    if array.ndim == 3:
        array = array.as_grey() if isinstance(array, Rows) else array[..., np.newaxis]
    if array.ndim != 4 or not all(array.shape[1:]) or array.shape[3] not in (1, 3, 4):
        hint = "numpy.moveaxis(images, 1, -1)" if array.ndim == 4 and array.shape[1] in (1, 3, 4) else None
        raise BadData(
            f"{stored.name} has the shape {_shape(array)}, [items, height, width] and maybe 1, 3 or 4 channels was expected",
            hint=hint,
        )
    if array.dtype == np.uint8:
        return array if isinstance(array, Rows) else np.ascontiguousarray(array)
    if array.dtype.kind not in "iu":
        raise BadData(
            f"{stored.name} holds {array.dtype}, whole numbers from 0 to 255 were expected",
            hint="(images * 255).round().astype('uint8')",
        )
    if isinstance(array, Rows):
        return room.unpacked(_bytes(stored, array), shape=array.shape, dtype=np.dtype(np.uint8), name=stored.name)
    (converted,) = _bytes(stored, [array])
    return converted


def _bytes(stored: Stored, parts: Sequence[NDArray[Any]] | Rows) -> Iterator[NDArray[np.uint8]]:
    """Whole numbers from 0 to 255 as uint8, part by part."""
    for part in chunks(parts) if isinstance(parts, Rows) else parts:
        lowest, highest = (int(part.min()), int(part.max())) if part.size else (0, 0)
        if lowest < 0 or highest > 255:
            raise BadData(
                f"{stored.name} holds values from {lowest} to {highest}, 0 to 255 was expected", hint="images.astype('uint8')"
            )
        yield np.ascontiguousarray(part.astype(np.uint8))


def _as_labels(stored: Stored) -> NDArray[np.int64]:
    array = stored.whole()
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        hint = "labels.argmax(axis=1)" if array.ndim == 2 else "labels.astype('int64')"
        raise BadData(
            f"{stored.name} holds {array.dtype} of the shape {_shape(array)}, one whole number per item was expected", hint=hint
        )
    wrong = np.flatnonzero((array < 0) | (array >= MOST_CLASSES))
    if wrong.size:
        raise BadData(f"{stored.name}: item {wrong[0]} has label {array[wrong[0]]}, a class index from 0 was expected")
    return np.ascontiguousarray(array.astype(np.int64))


def _shape(array: Inputs) -> str:
    return f"[{', '.join(str(size) for size in array.shape)}]"
