"""Folders of image files: `train/<class>/...` and `test/<class>/...`, or only `<class>/...`.

What an image file may be is decided here once: grey stays one channel, RGB three and RGBA four; a palette is resolved to the
colours it stands for, black-and-white to grey, print colours to RGB. More than 8 bits per channel and several frames are
refused: reading them as uint8 would drop data in silence. All images of a
dataset have one shape; the images of a split must fit into memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Advance, Split, image_digests
from pipelines.data.folder import File, unreadable
from pipelines.data.options import Options
from pipelines.data.spec import ImageInput
from pipelines.data.splits import TRAIN, in_order, split_named
from registry.errors import BadData, MissingDependency, RegError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_MODES = {
    "1": "L",
    "L": "L",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "P": "RGB",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
}
_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class _Image:
    """A file, the class it lies in, and its id within the split."""

    file: File
    label: str
    id: str


def claims(file: File) -> bool:
    return Path(file.name).suffix.lower() in _SUFFIXES


class FolderSource:
    """Splits of image files; class names are the folders' names, sorted, unless `labels` gives their order."""

    target = None
    division = None

    def __init__(self, images: dict[str, list[_Image]], *, labels: tuple[str, ...] | None) -> None:
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
        index = {label: position for position, label in enumerate(self.labels)}
        pixels: NDArray[np.uint8] | None = None
        for position, (image, array) in enumerate(_decoded([image.file for image in images])):
            self._check(image, array)
            if pixels is None:
                pixels = np.empty((len(images), *array.shape), dtype=np.uint8)
            pixels[position] = array
            advance(image.size)
        assert pixels is not None, "a split exists by its files"
        return Split(
            name=split,
            items=np.array([f"{split}/{image.id}" for image in images], dtype=np.str_),
            inputs=pixels,
            targets=np.array([index[image.label] for image in images], dtype=np.int64),
            digests=partial(image_digests, pixels),
        )

    def _check(self, file: File, array: NDArray[np.uint8]) -> None:
        height, width, channels = array.shape
        found = ImageInput(height=height, width=width, channels=channels)
        if self._first is None:
            self._first = (file.name, found)
        elif found != self._first[1]:
            name, first = self._first
            raise BadData(
                f"{file.name} is {height}×{width}×{channels}, {name} is {first.height}×{first.width}×{first.channels}",
                hint="bring all images to one size and number of channels",
            )


def open_images(files: Sequence[File], options: Options) -> FolderSource:
    """Read splits and classes off the folders' names.

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
    return FolderSource(found, labels=options.labels)


def _decoded(files: Sequence[File]) -> Iterator[tuple[File, NDArray[np.uint8]]]:
    """Decode in order, several at a time: the decoders work outside Python's lock."""
    _pillow()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            yield from zip(some, pool.map(_decode, some), strict=True)


def _decode(file: File) -> NDArray[np.uint8]:
    pillow = _pillow()
    try:
        with pillow.open(file.path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise BadData(
                    f"{file.name} has {image.n_frames} frames, one was expected", hint="save each frame as its own file"
                )
            if image.mode not in _MODES:
                raise BadData(
                    f"{file.name} has the pixel format '{image.mode}', 8 bits per channel were expected",
                    hint="save it as 8-bit grey, RGB or RGBA",
                )
            mode = "RGBA" if image.mode == "P" and "transparency" in image.info else _MODES[image.mode]
            pixels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    except RegError:
        raise
    except pillow.UnidentifiedImageError as exc:
        raise BadData(f"{file.name} is no image that Pillow knows", hint=f"file '{file.path}'") from exc
    except Exception as exc:  # every decoder of Pillow has its own way to fail on damaged bytes
        raise unreadable(file.name, exc) from exc
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependency("reading image files needs Pillow", hint="pip install 'reg-lifecycle[cpu]'") from exc
    return Image
