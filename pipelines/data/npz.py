"""NumPy archives of images and labels, under the names that Keras, MedMNIST and plain scripts give them.

What the labels are shows in their form: one whole number per item is a class, one per pixel a mask, fractions are a regression.

Pickled objects are never loaded: an archive that needs them could run code on whoever reads the dataset.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.folder import File, unreadable
from pipelines.data.masks import MaskArrays
from pipelines.data.metadata import ValueArrays
from pipelines.data.options import Options
from pipelines.data.spec import Task
from pipelines.data.splits import TRAIN, split_named
from registry.errors import BadData

_INPUTS = ("x", "images", "data")
_TARGETS = {"x": ("y",), "images": ("labels", "masks", "targets"), "data": ("target", "targets")}


def claims(file: File) -> bool:
    return file.name.lower().endswith(".npz")


def open_npz(files: Sequence[File], options: Options) -> ArraySource:
    """Find the pairs of arrays: `x_train, y_train`, `train_images, train_labels`, or `images, labels` for the whole.

    Several archives are one dataset when each is named after its split (`train.npz`, `test.npz`).

    Raises:
        BadData: no such pair, or two of the same split.
    """
    found: dict[str, Pair] = {}
    for file in files:
        own = split_named(file.parts[-1].rpartition(".")[0])
        for pair in _pairs(file, whole=own or TRAIN):
            if pair.split in found:
                raise BadData(
                    f"{found[pair.split].images.name} and {pair.images.name} are both the split '{pair.split}'",
                    hint="name the files train.npz and test.npz",
                )
            found[pair.split] = pair
    pairs = list(found.values())
    match options.task or _task(pairs[0].labels.read()):
        case "semantic-segmentation":
            return MaskArrays(pairs, options)
        case "image-regression":
            return ValueArrays(pairs, options)
    return ArraySource(pairs, labels=options.labels)


def _task(targets: NDArray[Any]) -> Task:
    if targets.ndim == 3 or (targets.ndim == 4 and targets.shape[3] == 1):
        return "semantic-segmentation"
    if targets.dtype.kind == "f" and targets.ndim in (1, 2) and (targets != np.floor(targets)).any():
        return "image-regression"
    return "image-classification"


def _pairs(file: File, *, whole: str) -> Iterator[Pair]:
    keys = _keys(file)
    inputs = [(key, *_meaning(key)) for key in keys]
    count = 0
    for key, split, word in inputs:
        if word not in _INPUTS:
            continue
        partner = next((other for other, its, means in inputs if its == split and means in _TARGETS[word]), None)
        if partner is None:
            raise BadData(
                f"{file.name} holds '{key}' and no labels for it; its arrays are {_listed(keys)}",
                hint=f"rename them to {_EXAMPLE}",
            )
        images, labels = (
            Stored(file=file, name=f"{file.name} [{name}]", read=partial(_read, file, name)) for name in (key, partner)
        )
        count += 1
        yield Pair(split=split or whole, images=images, labels=labels)
    if not count:
        raise BadData(
            f"{file.name} holds {_listed(keys)}, {_EXAMPLE} or images, labels were expected",
            hint=f"numpy.savez('data.npz', {_CALL})",
        )


_EXAMPLE = "x_train, y_train, x_test, y_test"
_CALL = "x_train=..., y_train=..., x_test=..., y_test=..."


def _meaning(key: str) -> tuple[str | None, str]:
    """`x_train` and `train_images` are (train, x) and (train, images); `images` is (None, images)."""
    first, _, last = key.lower().partition("_")
    if split := split_named(last):
        return split, first
    return (split, last) if (split := split_named(first)) else (None, key.lower())


def _keys(file: File) -> list[str]:
    try:
        with zipfile.ZipFile(file.path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as exc:
        raise unreadable(file.name, exc) from exc


def _read(file: File, key: str) -> NDArray[Any]:
    try:
        with np.load(file.path, allow_pickle=False) as archive:
            return np.asarray(archive[key])
    except ValueError as exc:
        if "allow_pickle" in str(exc):
            raise BadData(
                f"{file.name} [{key}] holds Python objects, numbers were expected", hint="labels.astype('int64')"
            ) from exc
        raise unreadable(f"{file.name} [{key}]", exc) from exc
    except MemoryError as exc:
        raise BadData(f"{file.name} [{key}] does not fit into memory: {exc}") from exc
    except Exception as exc:  # a damaged archive fails in zipfile, zlib, struct, tokenize or numpy, each in its own words
        raise unreadable(f"{file.name} [{key}]", exc) from exc


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys[:8]) or "no arrays"
