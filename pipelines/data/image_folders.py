"""Folders of image files: `train/<class>/...` and `test/<class>/...`, or only `<class>/...`.

All images of a dataset become one shape (`pipelines.data.stacking`); those that are too large for memory together are decoded
when they are asked for (`pipelines.data.pictures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Advance, Split
from pipelines.data.files import File, Files
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.spec import ImageInput, Rendering
from pipelines.data.splits import TRAIN, in_order, split_named
from pipelines.data.stacking import Stack, digests_of
from registry.errors import BadData

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class _Images(NamedTuple):
    """Images of one split: their ids, `<split>/...`, and the class in whose folder each lies."""

    files: Files
    items: Sequence[str]
    labels: Sequence[str]


def claims(file: File) -> bool:
    return file.name[file.name.rfind(".") :].lower() in _SUFFIXES


def are_images(files: Files) -> NDArray[np.bool_]:
    """`claims` of each, shape (n,)."""
    suffixes = [name[name.rfind(".") :] for name in files.names]
    known = {suffix for suffix in set(suffixes) if suffix.lower() in _SUFFIXES}  # few, where files are many
    return np.array([suffix in known for suffix in suffixes], dtype=bool)


class FolderSource:
    """Splits of image files; class names are the folders' names, sorted, unless `labels` gives their order.

    Args:
        files: of all splits, sorted by name.
        stack: of all of them.
    """

    task: Task = "image-classification"
    target = None
    targets: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    division = None

    def __init__(self, files: Files, images: Mapping[str, _Images], *, labels: tuple[str, ...] | None, stack: Stack) -> None:
        self._stack = stack
        self._images = {name: images[name] for name in in_order(images)}
        self.splits = tuple(self._images)
        self.files = files
        first = self.splits[0]
        self.labels = labels or tuple(sorted(set(self._images[first].labels)))
        for split in self._images.values():
            for label in [label for label in dict.fromkeys(split.labels) if label not in self.labels]:
                known = f"{len(self.labels)} classes given" if labels else f"{len(self.labels)} classes of '{first}'"
                name = split.files.names[split.labels.index(label)]
                raise BadData(
                    f"{name} lies in the class '{label}', which is not one of the {known}",
                    hint="name every class under 'labels:' in dataset.yaml",
                )

    @property
    def input(self) -> ImageInput:
        return self._stack.input

    @property
    def rendering(self) -> Rendering | None:
        return self._stack.rendering

    def read(self, split: str, advance: Advance) -> Split:
        files, items, labels = self._images[split]
        index = {label: position for position, label in enumerate(self.labels)}
        inputs, digests = self._stack.read(files, advance)
        return Split(
            name=split,
            items=np.array(items, dtype=np.str_),
            inputs=inputs,
            targets=np.array([index[label] for label in labels], dtype=np.int64),
            digests=digests,
            digests_as=partial(digests_of, files),
            marks=self._stack.marks(files),
        )


def open_images(files: Files, options: Options, stack: Stack) -> FolderSource:
    """Read splits and classes off the folders' names.

    Raises:
        BadData: images without a class folder, or splits beside classes.
    """
    folders = files.folders
    # Folders are few where files are many, so whatever the folder decides is decided once: all words of a path but the last.
    above = {parent: tuple(parent.split("/")) if parent else () for parent in dict.fromkeys(folders)}
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
    split_of: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for parent, path in above.items():
        if len(path) < depth:
            name = files.names[folders.index(parent)]
            wanted = "/".join([*(path or splits[:1]), "<class>", name.rpartition("/")[2]])
            raise BadData(f"{name} lies in no class folder", hint=f"put it at {wanted}")
        split = split_of[parent] = (split_named(path[0]) if splits else None) or TRAIN
        if splits and spelled.setdefault(split, path[0]) != path[0]:
            raise BadData(f"the folders '{spelled[split]}' and '{path[0]}' are both the split '{split}'", hint="merge them")
    label_of = {parent: path[depth - 1] for parent, path in above.items()}
    start_of = {parent: len(parent) - len("/".join(path[depth - 1 :])) for parent, path in above.items()}
    found = {}
    for split in dict.fromkeys(split_of.values()):
        mine = np.array([split_of[parent] == split for parent in folders], dtype=bool)
        some, places = files.at(mine), [*compress(folders, mine.tolist())]
        items = [f"{split}/{name[start_of[place] :]}" for name, place in zip(some.names, places, strict=True)]
        found[split] = _Images(some, items, [label_of[place] for place in places])
    return FolderSource(files, found, labels=options.labels, stack=stack)
