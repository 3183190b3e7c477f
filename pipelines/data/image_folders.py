"""Folders of image files: `train/<class>/...` and `test/<class>/...`, or only `<class>/...`.

All images of a dataset have one shape. Decoded images that are too large for memory together are decoded when they are asked
for, again in each epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Advance, Digests, Split, image_digests
from pipelines.data.decoding import decode, decoded
from pipelines.data.folder import File
from pipelines.data.glancing import glance
from pipelines.data.inputs import Inputs, OnDisk, Room
from pipelines.data.memory import Picture
from pipelines.data.options import Options
from pipelines.data.spec import ImageInput, Task
from pipelines.data.splits import TRAIN, in_order, split_named
from registry.errors import BadData

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True, kw_only=True)
class _Image:
    """A file, the class it lies in, and its id within the split."""

    file: File
    label: str
    id: str


def claims(file: File) -> bool:
    return os.path.splitext(file.name)[1].lower() in _SUFFIXES


class FolderSource:
    """Splits of image files; class names are the folders' names, sorted, unless `labels` gives their order.

    Args:
        pictures: where only digests and shapes are asked for: those that are known, by the names of the files. Reading adds
            the others, and gives every split `inputs` of the right shape without pixels. None to read the pixels.
    """

    task: Task = "image-classification"
    target = None
    targets: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    division = None

    def __init__(
        self,
        images: dict[str, list[_Image]],
        *,
        labels: tuple[str, ...] | None,
        pictures: dict[str, Picture] | None,
        room: Room | None = None,
    ) -> None:
        self._pictures = pictures
        self._room = room or Room()
        self._images = {name: images[name] for name in in_order(images)}
        self._first: tuple[str, ImageInput] | None = None
        self.splits = tuple(self._images)
        self.files = tuple(image.file for split in self._images.values() for image in split)
        first = self.splits[0]
        self.labels = labels or tuple(sorted({image.label for image in self._images[first]}))
        for image in (image for split in self._images.values() for image in split):
            if image.label not in self.labels:
                known = f"{len(self.labels)} classes given" if labels else f"{len(self.labels)} classes of '{first}'"
                raise BadData(
                    f"{image.file.name} lies in the class '{image.label}', which is not one of the {known}",
                    hint="name every class under 'labels:' in dataset.yaml",
                )

    @property
    def input(self) -> ImageInput:
        assert self._first is not None, "input is known after the first read"
        return self._first[1]

    def read(self, split: str, advance: Advance) -> Split:
        images = self._images[split]
        files = [image.file for image in images]
        index = {label: position for position, label in enumerate(self.labels)}
        inputs, digests = (
            self._pixels(files, advance) if self._pictures is None else self._glance(files, self._pictures, advance)
        )
        return Split(
            name=split,
            items=np.array([f"{split}/{image.id}" for image in images], dtype=np.str_),
            inputs=inputs,
            targets=np.array([index[image.label] for image in images], dtype=np.int64),
            digests=digests,
        )

    def _pixels(self, files: Sequence[File], advance: Advance) -> tuple[Inputs, Callable[[], Digests]]:
        first = decode(files[0])
        self._check(files[0], first.shape)
        if not self._room.keeps(len(files) * first.nbytes):
            advance(sum(file.size for file in files))
            lazily = Pictures(files, shape=first.shape, check=self._check)
            return lazily, partial(image_digests, lazily)
        pixels = np.empty((len(files), *first.shape), dtype=np.uint8)
        for position, (file, array) in enumerate(decoded(files)):
            self._check(file, array.shape)
            pixels[position] = array
            advance(file.size)
        return pixels, partial(image_digests, pixels)

    def _glance(
        self, files: Sequence[File], known: dict[str, Picture], advance: Advance
    ) -> tuple[NDArray[np.uint8], Callable[[], Digests]]:
        for file, picture in glance([file for file in files if file.name not in known]):
            known[file.name] = picture
            advance(file.size)
        for file in files:
            self._check(file, known[file.name].shape)
        shape = (len(files), *self.input.shape)
        return np.broadcast_to(np.uint8(0), shape), lambda: Digests.of(bytes.fromhex(known[f.name].digest) for f in files)

    def _check(self, file: File, shape: tuple[int, ...]) -> None:
        if self._first is None:
            height, width, channels = shape
            self._first = (file.name, ImageInput(height=height, width=width, channels=channels))
            self._shape = shape
        elif shape != self._shape:
            height, width, channels = shape
            name, first = self._first
            raise BadData(
                f"{file.name} is {height}×{width}×{channels}, {name} is {first.height}×{first.width}×{first.channels}",
                hint="bring all images to one size and number of channels",
            )


class Pictures(OnDisk):
    """Images that are decoded when they are asked for.

    Args:
        shape: of each of them.
        check: told each file and the shape that was found in it; raises where that is another one.
    """

    def __init__(
        self, files: Sequence[File], *, shape: tuple[int, ...], check: Callable[[File, tuple[int, ...]], None]
    ) -> None:
        self.shape, self.dtype = (len(files), *shape), np.dtype(np.uint8)
        self._files, self._confirm = files, check

    def _read(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        for place, (file, array) in enumerate(decoded([self._files[position] for position in positions])):
            self._confirm(file, array.shape)
            found[place] = array
        return found


def open_images(
    files: Sequence[File], options: Options, pictures: dict[str, Picture] | None = None, room: Room | None = None
) -> FolderSource:
    """Read splits and classes off the folders' names.

    Args:
        pictures, room: see `FolderSource` and `pipelines.data.inputs`.
    Raises:
        BadData: images without a class folder, or splits beside classes.
    """
    parts = {file.name: file.parts for file in files}
    while len({path[0] for path in parts.values()}) == 1 and all(
        len(path) > 2 and not split_named(path[0]) for path in parts.values()
    ):
        parts = {name: path[1:] for name, path in parts.items()}
    tops = sorted({path[0] for path in parts.values() if len(path) > 1})
    splits = [top for top in tops if split_named(top)]
    if splits and len(splits) < len(tops):
        stranger = next(top for top in tops if not split_named(top))
        raise BadData(
            f"the folders '{splits[0]}' (a split) and '{stranger}' (a class?) stand side by side",
            hint=f"mv '{stranger}' '{splits[-1]}/'",
        )
    depth = 2 if splits else 1
    for file in files:
        if len(parts[file.name]) <= depth:
            wanted = "/".join([*(parts[file.name][:-1] or splits[:1]), "<class>", parts[file.name][-1]])
            raise BadData(f"{file.name} lies in no class folder", hint=f"put it at {wanted}")
    found: dict[str, list[_Image]] = {}
    spelled: dict[str, str] = {}
    for file in files:
        path = parts[file.name]
        split = (split_named(path[0]) if splits else None) or TRAIN
        if splits and spelled.setdefault(split, path[0]) != path[0]:
            raise BadData(f"the folders '{spelled[split]}' and '{path[0]}' are both the split '{split}'", hint="merge them")
        inside = path[depth - 1 :]
        found.setdefault(split, []).append(_Image(file=file, label=inside[0], id="/".join(inside)))
    return FolderSource(found, labels=options.labels, pictures=pictures, room=room)
