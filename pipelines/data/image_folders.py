"""Folders of image files: `train/<class>/...` and `test/<class>/...`, or only `<class>/...`.

All images of a dataset have one shape. Decoded images that are too large for memory together are decoded when they are asked
for, again in each epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

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


class _Image(NamedTuple):
    """A file, the class it lies in, and its id within the split."""

    file: File
    label: str
    id: str


def claims(file: File) -> bool:
    return file.name[file.name.rfind(".") :].lower() in _SUFFIXES


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
    # Folders are few where files are many, so whatever the folder decides is decided once: all words of a path but the last.
    above = {parent: tuple(parent.split("/")) if parent else () for parent in {file.name.rpartition("/")[0] for file in files}}
    cut = 0
    while all(len(path) > cut + 1 and not split_named(path[cut]) for path in above.values()) and (
        len({path[cut] for path in above.values()}) == 1
    ):
        cut += 1
    above = {parent: path[cut:] for parent, path in above.items()}
    tops = sorted({path[0] for path in above.values() if path})
    splits = [top for top in tops if split_named(top)]
    if splits and len(splits) < len(tops):
        stranger = next(top for top in tops if not split_named(top))
        raise BadData(
            f"the folders '{splits[0]}' (a split) and '{stranger}' (a class?) stand side by side",
            hint=f"mv '{stranger}' '{splits[-1]}/'",
        )
    depth = 2 if splits else 1
    found: dict[str, list[_Image]] = {}
    spelled: dict[str, str] = {}
    places: dict[str, tuple[str, str, list[_Image]]] = {}
    for file in files:
        parent, _, last = file.name.rpartition("/")
        if parent not in places:
            path = above[parent]
            if len(path) < depth:
                wanted = "/".join([*(path or splits[:1]), "<class>", last])
                raise BadData(f"{file.name} lies in no class folder", hint=f"put it at {wanted}")
            split = (split_named(path[0]) if splits else None) or TRAIN
            if splits and spelled.setdefault(split, path[0]) != path[0]:
                raise BadData(f"the folders '{spelled[split]}' and '{path[0]}' are both the split '{split}'", hint="merge them")
            inside = path[depth - 1 :]
            places[parent] = (inside[0], "/".join(inside), found.setdefault(split, []))
        label, folder, images = places[parent]
        images.append(_Image(file, label, f"{folder}/{last}"))
    return FolderSource(found, labels=options.labels, pictures=pictures, room=room)
