"""Images with a mask each, for semantic segmentation, as folders or as arrays.

In folders an image and its mask are found by one rule that covers the layouts people have: take the word `images` or `masks`
(or a kin of it) out of the path and `_mask` off the stem, and what is left is the same for both. So `train/images/a.png` goes
with `train/masks/a.png`, `images/train/a.jpg` with `labels/train/a.png`, and `p1/scan_3.tif` with `p1/scan_3_mask.tif`. A
folder between split and file, such as one per patient, becomes the column `folder` of evaluations: items of one patient are
no independent ones, and a gate can cluster by it. Images of many sizes are framed as their description says, and each mask in
the very same way; a mask of another size than its image is refused before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.contents import Advance, Split
from pipelines.data.decoding import Decoded, decode_mask, each, size_of
from pipelines.data.files import File, Files
from pipelines.data.framing import Size, frame
from pipelines.data.inputs import Inputs, Room
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.spec import IGNORED, ImageInput, Rendering
from pipelines.data.splits import TRAIN, in_order, split_named
from pipelines.data.stacking import Stack, digests_of
from pipelines.data.targets import MaskClasses, mask_classes
from registry.errors import BadData

_IMAGES = frozenset({"images", "image", "imgs", "img"})
_MASKS = frozenset({"masks", "mask", "labels", "label", "annotations", "segmentations"})
_SUFFIX = "_mask"

_HINT = "bring masks to the size of their images"

_Key = tuple[str, ...]
_Raw = tuple[NDArray[np.uint8], list[Size]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """An image, its mask, and its id within the split."""

    image: File
    mask: File
    id: str


def are_paired(files: Files) -> bool:
    """Whether image files come with masks: sister folders `images` and `masks`, or a `_mask` file beside its image.

    One word alone proves nothing: `mask` is also a class of people who wear one.
    """
    by_folder: dict[_Key, set[bool]] = {}
    for place in set(files.folders):  # folders are few where files are many
        folders = place.lower().split("/")
        for position, word in enumerate(folders):
            if word in _IMAGES or word in _MASKS:
                by_folder.setdefault((*folders[:position], "", *folders[position + 1 :]), set()).add(word in _MASKS)
    if any(len(kinds) == 2 for kinds in by_folder.values()):
        return True
    if f"{_SUFFIX}." not in "\n".join(files.names).lower():
        return False
    stems = [_stem(name) for name in files.names if f"{_SUFFIX}." in name.lower()]
    pictured = {stem.removesuffix(_SUFFIX) for stem in stems if stem.endswith(_SUFFIX)}
    return bool(pictured) and any(_stem(name) in pictured for name in files.names)


def open_masks(files: Sequence[File], options: Options, stack: Stack, rendering: Rendering | None) -> MaskSource:
    """Pair images with masks and sort them into splits.

    Args:
        stack: of the images.
        rendering: of the masks.
    Raises:
        BadData: an image without a mask, a mask without an image, two of one name, or splits beside folders that are none.
    """
    images: dict[_Key, File] = {}
    masks: dict[_Key, File] = {}
    for file in files:
        key, is_mask = _meaning(file)
        side = masks if is_mask else images
        if key in side:
            raise BadData(f"{side[key].name} and {file.name} are both {'/'.join(key)}", hint="keep one of them")
        side[key] = file
    _check_pairs(images, masks)
    found: dict[str, list[_Item]] = {}
    for key in sorted(images):
        at = next((position for position, part in enumerate(key[:-1]) if split_named(part)), None)
        split = TRAIN if at is None else split_named(key[at]) or TRAIN
        inside = key if at is None else (*key[:at], *key[at + 1 :])
        found.setdefault(split, []).append(_Item(image=images[key], mask=masks[key], id="/".join(inside)))
    apart = [item.id for item in found.get(TRAIN, []) if not any(split_named(part) for part in item.image.parts[:-1])]
    if len(found) > 1 and apart:
        raise BadData(f"{apart[0]} lies in no split, others in {', '.join(in_order(found))}", hint="mkdir train test")
    for split, items in found.items():
        ids = [item.id for item in items]
        if len(set(ids)) < len(ids):
            raise BadData(f"two images of the split '{split}' are called {max(ids, key=ids.count)}", hint="rename one of them")
    return MaskSource(found, options, stack, rendering)


def is_mask(file: File) -> bool:
    """Whether one of the files of such a dataset is a mask, by its name."""
    return _meaning(file)[1]


class MaskSource:
    """Splits of image and mask files."""

    task: Task = "semantic-segmentation"
    target = None
    targets: tuple[str, ...] = ()
    division = None

    def __init__(self, items: dict[str, list[_Item]], options: Options, stack: Stack, rendering: Rendering | None) -> None:
        self._items = {name: items[name] for name in in_order(items)}
        self._options = options
        self._images, self._how = stack, rendering
        self._raw: dict[str, _Raw] = {}
        self.splits = tuple(self._items)
        self.files = tuple(file for some in self._items.values() for item in some for file in (item.image, item.mask))

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classes.labels

    @property
    def mask_values(self) -> tuple[int, ...]:
        return self._classes.values

    @property
    def input(self) -> ImageInput:
        return self._images.input

    @property
    def rendering(self) -> Rendering | None:
        return self._images.rendering

    def read(self, split: str, advance: Advance) -> Split:
        items = self._items[split]
        files = [item.image for item in items]
        images, digests = self._images.read(files, advance)
        self._raw[split] = self._decoded(items, advance)
        classes = self._classes
        masks, sizes = self._raw.pop(split)
        if masks.shape[1:] != images.shape[1:3]:
            mask, image = ("×".join(map(str, shape)) for shape in (masks.shape[1:], images.shape[1:3]))
            raise BadData(f"{items[0].mask.name} is {mask}, its image is {image}", hint=_HINT)
        for mask, size, item in zip(masks, sizes, items, strict=True):
            inside = self._inside(size)
            mask[inside] = classes.indices(mask[inside], name=item.mask.name)
        folders = [item.id.rpartition("/")[0] for item in items]
        return Split(
            name=split,
            items=np.array([f"{split}/{item.id}" for item in items], dtype=np.str_),
            inputs=images,
            targets=masks,
            digests=digests,
            digests_as=partial(digests_of, files),
            marks=self._images.marks(files),
            facts={"folder": np.array(folders, dtype=object)} if any(folders) else {},
        )

    def _decoded(self, items: Sequence[_Item], advance: Advance) -> _Raw:
        """The masks of items as the numbers that they hold, uint8 (n, height, width), and how large each was."""
        image_of = {item.mask.name: item.image for item in items}
        found: NDArray[np.uint8] | None = None
        sizes = []
        masks = [item.mask for item in items]
        for at, (file, mask) in enumerate(each(masks, lambda file: _of_its_image(file, image_of[file.name], self._how))):
            if found is None:
                found = np.empty((len(items), *mask.pixels.shape), dtype=np.uint8)
            if mask.pixels.shape != found.shape[1:]:
                one, other = ("×".join(map(str, shape)) for shape in (mask.pixels.shape, found.shape[1:]))
                raise BadData(f"{file.name} is {one}, {masks[0].name} is {other}", hint=_HINT)
            found[at] = mask.pixels
            sizes.append(mask.size)
            advance(file.size)
        assert found is not None, "a split exists by its files"
        return found, sizes

    def _inside(self, size: Size) -> tuple[slice, slice]:
        """Where in its array a mask of this size is. What lies beside it is nobody's, also where 255 is a class."""
        if self._how is None or self._how.size is None:
            return slice(None), slice(None)
        _, (height, width), (top, left) = frame(size, self._how.size, self._how.fit or "crop")
        return slice(top, top + height), slice(left, left + width)

    @cached_property
    def _classes(self) -> MaskClasses:
        first = self.splits[0]
        found = np.zeros(256, dtype=np.bool_)
        if self._options.mask_values is None:
            masks, sizes = self._raw[first] if first in self._raw else self._decoded(self._items[first], lambda _: None)
            for mask, size in zip(masks, sizes, strict=True):
                found[mask[self._inside(size)]] = True
        return mask_classes(np.flatnonzero(found), self._options, name=f"the masks of '{first}'")


class MaskArrays(ArraySource):
    """Splits of two arrays: images, and masks of shape (items, height, width)."""

    task: Task = "semantic-segmentation"

    def __init__(self, pairs: Sequence[Pair], options: Options, room: Room) -> None:
        super().__init__(pairs, labels=options.labels, room=room)
        self._options = options

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return self._classes.labels

    @property
    def mask_values(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._classes.values

    @cached_property
    def _classes(self) -> MaskClasses:
        stored = self._pairs[self.splits[0]].labels
        masks = np.empty(0, np.uint8) if self._options.mask_values is not None else _as_masks(stored)
        return mask_classes(np.flatnonzero(np.bincount(masks.ravel(), minlength=256)), self._options, name=stored.name)

    def _targets(self, pair: Pair) -> NDArray[Any]:
        masks = _as_masks(pair.labels)
        return np.stack([self._classes.indices(m, name=f"{pair.labels.name}, item {at}") for at, m in enumerate(masks)])

    def _check(self, pair: Pair, images: Inputs, targets: NDArray[Any]) -> None:
        super()._check(pair, images, targets)
        if targets.shape[1:] != images.shape[1:3]:
            raise BadData(
                f"{pair.labels.name} has masks of {targets.shape[1:]}, {pair.images.name} images of {images.shape[1:3]}"
            )


def _as_masks(stored: Stored) -> NDArray[np.uint8]:
    array = stored.whole()
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "iub" or not array.size:
        raise BadData(
            f"{stored.name} holds {array.dtype} of the shape {list(array.shape)}, one class per pixel was expected, [items, "
            "height, width]",
            hint="masks.argmax(axis=-1).astype('uint8')" if array.ndim == 4 else "masks.astype('uint8')",
        )
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > IGNORED:
        raise BadData(f"{stored.name} holds values from {lowest} to {highest}, 0 to {IGNORED} was expected")
    return array.astype(np.uint8)


def _of_its_image(mask: File, image: File, rendering: Rendering | None) -> Decoded:
    found = decode_mask(mask, rendering)
    if rendering is not None and found.size != (wanted := size_of(image)):
        sizes = ["×".join(map(str, size)) for size in (found.size, wanted)]
        raise BadData(f"{mask.name} is {sizes[0]}, its image is {sizes[1]}", hint=_HINT)
    return found


def _meaning(file: File) -> tuple[_Key, bool]:
    """What an image and its mask have in common, and whether this is the mask."""
    words = [part.lower() for part in file.parts[:-1]]
    at = next((position for position, word in enumerate(words) if word in _IMAGES or word in _MASKS), None)
    folders = file.parts[:-1] if at is None else (*file.parts[:at], *file.parts[at + 1 : -1])
    stem = PurePosixPath(file.name).stem
    named = stem.lower().endswith(_SUFFIX)
    is_mask = named or (at is not None and words[at] in _MASKS)
    return (*folders, stem[: -len(_SUFFIX)] if named else stem), is_mask


def _check_pairs(images: dict[_Key, File], masks: dict[_Key, File]) -> None:
    for side, other, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(file.name for key, file in side.items() if key not in other)
        if alone:
            raise BadData(
                f"{alone[0]} has no {what} ({len(alone)} of {len(side)} such files)",
                hint="images/NAME.png goes with masks/NAME.png, in the same split",
            )


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).lower()
