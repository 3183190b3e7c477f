"""Looking at data before they become an artifact (`inspect`), and opening the artifact afterwards (`load`).

Both find the format and read the splits by the same code, so what was checked and counted is what a model is trained on.
`inspect` looks at everything once and writes nothing; `load` reads a split when it is asked for, in the terms that the
description recorded, and refuses a folder that is not what its description says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.data import targets
from pipelines.data.album import Album
from pipelines.data.contents import Digests, Source, Split, duplicates, overlap
from pipelines.data.files import File, Files, joined
from pipelines.data.folder import look
from pipelines.data.formats import NOT_SMALL, open_source
from pipelines.data.inputs import IN_MEMORY, Room
from pipelines.data.kinds import TASKS, Format
from pipelines.data.memory import Memory
from pipelines.data.options import Options
from pipelines.data.packs import opened, pack
from pipelines.data.spec import DESCRIPTION, IGNORED, DatasetSpec, ImageInput, SplitSpec
from pipelines.data.walking import Found, walk
from registry.errors import BadData, BadReference, UsageError
from registry.references import check_collection

_MANY, _SMALL = 10_000, 256 << 10
_STEPS = 500

OnProgress = Callable[[int, int], None]
"""Told how many bytes of how many have been read."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a push would make: the description, the files that go into the artifact, and those that stay behind.

    Attributes:
        kept: the files that go into the artifact, sorted by name; the description itself is not among them.
        data: the data files, also where shards that hold them go into the artifact.
        ignored: names of files that are neither data nor documents.
        pictures: what the images are known by.
        rendered: how they were read for that, see `pipelines.data.spec.Rendering.key`.
    """

    spec: DatasetSpec
    kept: Files
    data: Files
    ignored: tuple[str, ...]
    pictures: Album
    rendered: str

    @property
    def packing_pays(self) -> bool:
        """Whether these are so many files, and so small, that handling them costs more than their bytes."""
        return len(self.kept) >= _MANY and self.spec.bytes < len(self.data) * _SMALL

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """(name in the artifact, where it is) of what is kept."""
        return tuple((name, Path(path)) for name, path in zip(self.kept.names, self.kept.paths, strict=True))


class Dataset:
    """A dataset artifact on this disk; a split is read when it is asked for."""

    def __init__(self, spec: DatasetSpec, source: Source) -> None:
        self.spec = spec
        self._source = source

    def split(self, name: str, *, on_progress: OnProgress | None = None) -> Split:
        """Read one split.

        Raises:
            UsageError: there is no such split.
            BadData: the files are not what the description says.
        """
        if name not in self.spec.splits:
            raise UsageError(
                f"{self.spec.name} has no split '{name}', only {', '.join(self.spec.splits)}",
                hint=f"--split {[*self.spec.splits][-1]}",
            )
        split = self._source.read(name, _Progress(Files.of(self._source.files), on_progress))
        wanted, shape = self.spec.splits[name].items, self.spec.input.shape
        if len(split) != wanted or split.inputs.shape[1:] != shape:
            found = f"{len(split)} items of the shape {split.inputs.shape[1:]}"
            raise BadData(f"split '{name}' of {self.spec.name} holds {found}, {DESCRIPTION} says {wanted} of {shape}")
        return split


def inspect(
    path: Path,
    options: Options | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_files: Callable[[Files], None] | None = None,
    memory: Memory | None = None,
    room: Room | None = None,
    pack_into: Path | None = None,
    linked: bool = False,
    walked: Callable[[str], Found] = walk,
) -> Inspection:
    """Find out what is at a path: format, splits, classes, counts, shapes, duplicates and leaks.

    Args:
        path: a folder, or one file.
        options: what the person said; wins over `dataset.yaml` beside the data.
        on_files: told which files would be pushed, before any of them is read.
        memory: images that it knows are not decoded again.
        room: how much is held at once, and where more than that is unpacked.
        pack_into: an empty folder; the data files are packed into shards there, and these go into the artifact.
        linked: links may lead out of the folder.
        walked: what finds the files below a folder.
    Raises:
        BadData: the data cannot be used as they are; the message names the file and what is wrong in it.
        MissingDependency: image files, and Pillow is not installed.
    """
    folder = opened(look(path, linked=linked, walked=walked))
    given = (options or Options()).over(folder.said)
    name = dataset_name(given.name if given.name is not None else folder.name)
    wanted = given.rendering
    pictures = memory.pictures(folder.files, rendered=wanted.key) if memory is not None else Album(folder.files.names)
    format_, source = open_source(folder, given, room or Room(), rendering=wanted, pictures=pictures)
    if given.task is not None and given.task not in TASKS[format_]:
        known = " or ".join(TASKS[format_])
        raise BadData(f"{path} is data for {known}, not for {given.task}", hint=f"task: {TASKS[format_][0]}")
    data = Files.of(source.files)
    stored: Sequence[File] = data.whole
    if pack_into is not None and not folder.shards:
        stored = _packed(data, pack_into, format_, on_progress)
    kept = joined(stored, folder.shards, folder.documents)
    if on_files is not None:
        on_files(kept)
    advance = _Progress(data.at(pictures.which[pictures.rows(data.names)] < 0), on_progress)
    splits: dict[str, SplitSpec] = {}
    contents: dict[str, tuple[NDArray[np.str_], Digests]] = {}
    for split in (source.read(part, advance) for part in source.splits):
        digests = split.digests()
        splits[split.name] = _described(split, digests, source, path)
        contents[split.name] = (split.items, digests)
    if isinstance(source.input, ImageInput):  # of what kind all images are is known only after the last of them
        each = math.prod(source.input.shape)
        splits = {name: split.model_copy(update={"bytes": split.items * each}) for name, split in splits.items()}
    spec = DatasetSpec(
        name=name,
        format=format_,
        schema_version=3 if source.rendering is not None else 1 if source.task.endswith("-classification") else 2,
        rendering=source.rendering,
        task=source.task,
        labels=source.labels,
        input=source.input,
        target=source.target,
        targets=source.targets,
        mask_values=source.mask_values,
        dropped=given.drop or (),
        division=source.division,
        splits=splits,
        overlaps=tuple(found for a, b in combinations(splits, 2) if (found := overlap(a, b, contents))),
        files=len(data),
        bytes=int(data.sizes.sum()),
    )
    ignored = folder.files.at(~folder.files.are_among(set(data.names))) if len(data) < len(folder.files) else Files.of(())
    return Inspection(
        spec=spec,
        kept=kept,
        data=data,
        ignored=tuple(ignored.names),
        pictures=pictures,
        rendered=wanted.key,
    )


def inspected(folder: Path, options: Options, room: Room) -> Dataset:
    """Open data that came without a description, which is made now, by reading all of them.

    Raises:
        BadData: see `inspect`.
    """
    folder_ = opened(look(folder, linked=True))
    given = options.over(folder_.said)
    spec = inspect(folder, options, room=room, linked=True).spec
    _, source = open_source(folder_, given, room, rendering=spec.rendering)
    return Dataset(spec, source)


def load(folder: Path, *, memory: int = IN_MEMORY) -> Dataset:
    """Open a downloaded dataset artifact.

    Args:
        memory: decoded bytes of a split up to which it is kept in memory; a larger one is read from disk as it is needed.
    Raises:
        BadData: it has no description, or its files are not those of one.
    """
    file = folder / DESCRIPTION
    try:
        spec = DatasetSpec.from_json(file.read_text(encoding="utf-8", errors="replace"), file=str(file))
    except OSError as exc:
        raise BadData(
            f"{folder} is no dataset of reg: {DESCRIPTION} cannot be read ({exc.strerror})",
            hint="reg dataset push path/to/data",
        ) from exc
    options = Options(
        format=spec.format,
        task=spec.task,
        target=spec.target,
        targets=spec.targets or None,
        drop=spec.dropped,
        labels=spec.labels or None,
        mask_values=spec.mask_values or None,
        test_fraction=spec.division.test_fraction if spec.division else 0.0,
        seed=spec.division.seed if spec.division else None,
    )
    room = Room(memory, folder.parent)
    _, source = open_source(opened(look(folder, linked=True)), options, room, rendering=spec.rendering)
    return Dataset(spec, source)


def dataset_name(text: str) -> str:
    """`text`, when a dataset may be called that.

    Raises:
        BadData: it may not; the hint is the nearest name that may.
    """
    try:
        return check_collection(text)
    except BadReference as exc:
        raise BadData(f"the dataset cannot be called so: {exc.message}", hint=exc.hint) from exc


def _packed(files: Files, folder: Path, format_: Format, on_progress: OnProgress | None) -> list[File]:
    if format_ in NOT_SMALL:
        few = f"{len(files)} file{'s' * (len(files) != 1)}"
        raise UsageError(f"--pack is for many small files, these are {few} of the format {format_}", hint="leave --pack out")
    return pack(files, folder, on_file=_Progress(files, on_progress))


def _described(split: Split, digests: Digests, source: Source, path: Path) -> SplitSpec:
    if not len(split):
        why = "too few items per class to cut one out" if source.division else "its files hold no items"
        raise BadData(
            f"the split '{split.name}' of {path} is empty: {why}", hint="--test-fraction 0.5" if source.division else None
        )
    if source.targets:
        return _described_numbers(split, digests, source, path)
    if split.targets.ndim > 1:
        return _described_masks(split, digests, source)
    counts = np.bincount(split.targets, minlength=len(source.labels)).tolist()
    if split.name == source.splits[0] and sum(count > 0 for count in counts) < 2:
        only = source.labels[int(split.targets[0])]
        every = "the only item" if len(split) == 1 else f"all {len(split)} items"
        raise BadData(
            f"{every} of the split '{split.name}' of {path} {'is' if len(split) == 1 else 'are'} of one class, '{only}': "
            "there is nothing to tell apart",
            hint="add another class; of images each has a folder of its own: train/cat/1.png, train/dog/1.png",
        )
    return SplitSpec(
        items=len(split),
        classes=dict(zip(source.labels, counts, strict=True)),
        bytes=split.inputs.nbytes,
        duplicates=duplicates(digests),
    )


def _described_numbers(split: Split, digests: Digests, source: Source, path: Path) -> SplitSpec:
    found = targets.described(split.targets, source.targets)
    constant = [name for name, target in found.items() if target.minimum == target.maximum]
    if split.name == source.splits[0] and constant:
        only = found[constant[0]].minimum
        raise BadData(
            f"the target '{constant[0]}' is {only:g} for all {len(split)} items of the split '{split.name}' of {path}"
        )
    return SplitSpec(items=len(split), classes={}, bytes=split.inputs.nbytes, duplicates=duplicates(digests), targets=found)


def _described_masks(split: Split, digests: Digests, source: Source) -> SplitSpec:
    counts = np.stack([np.bincount(mask.ravel(), minlength=256) for mask in split.targets])
    shown = range(len(source.labels))
    return SplitSpec(
        items=len(split),
        classes={source.labels[k]: int((counts[:, k] > 0).sum()) for k in shown},
        bytes=split.inputs.nbytes,
        duplicates=duplicates(digests),
        pixels={source.labels[k]: int(counts[:, k].sum()) for k in shown},
        ignored=int(counts[:, IGNORED].sum()),
    )


class _Progress:
    """Adds up what a source says it has read."""

    def __init__(self, files: Files, on_progress: OnProgress | None) -> None:
        self._total = int(files.sizes.sum())
        self._done = self._told = 0
        self._tell = on_progress

    def __call__(self, size: int) -> None:
        self._done += size
        # Nobody sees more steps than these, and telling takes longer than decoding a small image.
        if self._tell is not None and (self._done - self._told >= self._total / _STEPS or self._done >= self._total):
            self._told = self._done
            self._tell(self._done, self._total)
