"""Folders of image files: `train/<class>/...` and `test/<class>/...`, or only `<class>/...`.

All images of a dataset become one shape (`pipelines.data.stacking`); those that are too large for memory together are decoded
when they are asked for (`pipelines.data.pictures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pipelines.data.contents import Advance, Split
from pipelines.data.folder import File
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.spec import ImageInput, Rendering
from pipelines.data.splits import TRAIN, in_order, split_named
from pipelines.data.stacking import Stack, digests_of
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
        stack: of all their files.
    """

    task: Task = "image-classification"
    target = None
    targets: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    division = None

    def __init__(self, images: Mapping[str, Sequence[_Image]], *, labels: tuple[str, ...] | None, stack: Stack) -> None:
        self._stack = stack
        self._images = {name: images[name] for name in in_order(images)}
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
        return self._stack.input

    @property
    def rendering(self) -> Rendering | None:
        return self._stack.rendering

    def read(self, split: str, advance: Advance) -> Split:
        images = self._images[split]
        files = [image.file for image in images]
        index = {label: position for position, label in enumerate(self.labels)}
        inputs, digests = self._stack.read(files, advance)
        return Split(
            name=split,
            items=np.array([f"{split}/{image.id}" for image in images], dtype=np.str_),
            inputs=inputs,
            targets=np.array([index[image.label] for image in images], dtype=np.int64),
            digests=digests,
            digests_as=partial(digests_of, files),
            marks=self._stack.marks(files),
        )


def open_images(files: Sequence[File], options: Options, stack: Stack) -> FolderSource:
    """Read splits and classes off the folders' names.

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
    return FolderSource(found, labels=options.labels, stack=stack)
