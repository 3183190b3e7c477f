"""NumPy archives of images and labels, under the names that Keras, MedMNIST and plain scripts give them.

What the labels are shows in their form: one whole number per item is a class, one per pixel a mask, fractions are a regression.

Pickled objects are never loaded: an archive that needs them could run code on whoever reads the dataset. A large array that
`numpy.savez` wrote is read where it lies in the archive; one of `numpy.savez_compressed` is unpacked once.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.files import File, unreadable
from pipelines.data.inputs import Room, Rows, chunks
from pipelines.data.kinds import Task
from pipelines.data.masks import MaskArrays
from pipelines.data.options import Options
from pipelines.data.splits import TRAIN, split_named
from pipelines.data.value_arrays import ValueArrays
from registry.errors import BadData, RegError

_INPUTS = ("x", "images", "data")
_TARGETS = {"x": ("y",), "images": ("labels", "masks", "targets"), "data": ("target", "targets")}
_PART = 8 << 20


def claims(file: File) -> bool:
    return file.name.lower().endswith(".npz")


def open_npz(files: Sequence[File], options: Options, room: Room) -> ArraySource:
    """Find the pairs of arrays: `x_train, y_train`, `train_images, train_labels`, or `images, labels` for the whole.

    Several archives are one dataset when each is named after its split (`train.npz`, `test.npz`).

    Raises:
        BadData: no such pair, or two of the same split.
    """
    found: dict[str, Pair] = {}
    for file in files:
        own = split_named(file.parts[-1].rpartition(".")[0])
        for pair in paired(_arrays(file, room), place=file.name, whole=own or TRAIN):
            if pair.split in found:
                raise BadData(
                    f"{found[pair.split].images.name} and {pair.images.name} are both the split '{pair.split}'",
                    hint="name the files train.npz and test.npz",
                )
            found[pair.split] = pair
    return source_of(list(found.values()), options, room)


def source_of(pairs: Sequence[Pair], options: Options, room: Room) -> ArraySource:
    """The source for the task that was said, or that the form of the labels shows."""
    match options.task or _task(pairs[0].labels):
        case "semantic-segmentation":
            return MaskArrays(pairs, options, room)
        case "image-regression":
            return ValueArrays(pairs, options, room)
    return ArraySource(pairs, labels=options.labels, room=room)


def _task(labels: Stored) -> Task:
    targets = labels.read()
    if targets.ndim == 3 or (targets.ndim == 4 and targets.shape[3] == 1):
        return "semantic-segmentation"
    if targets.dtype.kind == "f" and targets.ndim in (1, 2) and any((some != np.floor(some)).any() for some in chunks(targets)):
        return "image-regression"
    return "image-classification"


def _arrays(file: File, room: Room) -> dict[str, Stored]:
    return {key: Stored(file=file, name=f"{file.name} [{key}]", read=partial(_read, file, key, room)) for key in _keys(file)}


def paired(arrays: Mapping[str, Stored], *, place: str, whole: str) -> Iterator[Pair]:
    """The pairs of arrays that their names speak of.

    Args:
        place: where the arrays are, for messages.
        whole: the split of `images, labels` without a word for one.
    Raises:
        BadData: there is no pair, or images without labels.
    """
    inputs = [(key, *_meaning(key)) for key in arrays]
    count = 0
    for key, split, word in inputs:
        if word not in _INPUTS:
            continue
        partner = next((other for other, its, means in inputs if its == split and means in _TARGETS[word]), None)
        if partner is None:
            raise BadData(
                f"{place} holds '{key}' and no labels for it; its arrays are {_listed(arrays)}",
                hint=f"rename them to {_EXAMPLE}",
            )
        count += 1
        yield Pair(split=split or whole, images=arrays[key], labels=arrays[partner])
    if not count:
        raise BadData(
            f"{place} holds {_listed(arrays)}, {_EXAMPLE} or images, labels were expected",
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


def _read(file: File, key: str, room: Room) -> NDArray[Any] | Rows:
    name = f"{file.name} [{key}]"
    with refusing_damage(name), zipfile.ZipFile(file.path) as archive:
        member = archive.getinfo(f"{key}.npy")
        if room.keeps(member.file_size):
            with archive.open(member) as stream:
                return read_npy(stream)
        with archive.open(member) as stream:
            shape, dtype = npy_header(stream, name)
            begins, wanted = stream.tell(), math.prod(shape) * dtype.itemsize
            if begins + wanted != member.file_size:
                held = member.file_size - begins
                raise BadData(f"{name} promises {wanted} bytes of values, {held} follow", hint="fetch the file again")
            if member.compress_type == zipfile.ZIP_STORED:
                offset = _data_offset(file, member) + begins
                return Rows(open(file.path, "rb", buffering=0), offset=offset, shape=shape, dtype=dtype, name=name)
            return room.unpacked(_parts(stream, name), shape=shape, dtype=dtype, name=name)


def read_npy(stream: IO[bytes]) -> NDArray[Any]:
    """A whole array as `numpy.save` wrote it."""
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of which the rows are to be read one by one; the stream stands at the first one after it.

    Raises:
        BadData: the columns come first in it, or it holds Python objects.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(stream)
    if dtype.hasobject:
        raise BadData(f"{name} holds Python objects, numbers were expected", hint="labels.astype('int64')")
    if columns_first and len(shape) > 1:
        raise BadData(
            f"{name} is too large for memory and in Fortran order, so that no item of it lies in one place",
            hint="numpy.ascontiguousarray(images)",
        )
    return shape, dtype


def _data_offset(file: File, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin in the archive: behind its local header, whose length is only said there."""
    with open(file.path, "rb") as raw:
        raw.seek(member.header_offset)
        name, extra = struct.unpack("<26xHH", raw.read(30))
    return member.header_offset + 30 + int(name) + int(extra)


def _parts(stream: IO[bytes], name: str) -> Iterator[NDArray[np.uint8]]:
    with refusing_damage(name):
        while content := stream.read(_PART):
            yield np.frombuffer(content, dtype=np.uint8)


@contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """Turns the many ways in which a damaged array fails into one."""
    try:
        yield
    except RegError:
        raise
    except ValueError as exc:
        if "allow_pickle" in str(exc):
            raise BadData(f"{name} holds Python objects, numbers were expected", hint="labels.astype('int64')") from exc
        raise unreadable(name, exc) from exc
    except MemoryError as exc:
        raise BadData(f"{name} does not fit into memory: {exc}") from exc
    except Exception as exc:  # a damaged archive fails in zipfile, zlib, struct, tokenize or numpy, each in its own words
        raise unreadable(name, exc) from exc


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"'{key}'" for key in islice(keys, 8)) or "no arrays"
