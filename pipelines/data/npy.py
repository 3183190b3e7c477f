"""Bare NumPy arrays, one to a file: `x_train.npy` beside `y_train.npy`, under the names that archives use too (`npz`).

The format for arrays larger than memory: `numpy.lib.format.open_memmap` writes them row by row, and a row is read where it
lies.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.files import File
from pipelines.data.inputs import Room, Rows
from pipelines.data.npz import npy_header, paired, read_npy, refusing_damage, source_of
from pipelines.data.options import Options
from pipelines.data.splits import TRAIN
from registry.errors import BadData


def claims(file: File) -> bool:
    return file.name.lower().endswith(".npy")


def open_npy(files: Sequence[File], options: Options, room: Room) -> ArraySource:
    """Pair the arrays by the names of their files.

    Raises:
        BadData: no pair, or images without labels.
    """
    arrays = {
        file.parts[-1][: -len(".npy")]: Stored(file=file, name=file.name, read=partial(_read, file, room)) for file in files
    }
    found: dict[str, Pair] = {}
    for pair in paired(arrays, place=f"the folder of {files[0].name}", whole=TRAIN):
        if pair.split in found:
            raise BadData(
                f"{found[pair.split].images.name} and {pair.images.name} are both the split '{pair.split}'",
                hint="keep one of them in the folder",
            )
        found[pair.split] = pair
    return source_of(list(found.values()), options, room)


def _read(file: File, room: Room) -> NDArray[Any] | Rows:
    with refusing_damage(file.name), open(file.path, "rb") as stream:
        if room.keeps(file.size):
            return read_npy(stream)
        shape, dtype = npy_header(stream, file.name)
        begins, wanted = stream.tell(), math.prod(shape) * dtype.itemsize
        if (held := os.fstat(stream.fileno()).st_size - begins) != wanted:
            raise BadData(f"{file.name} promises {wanted} bytes of values, {held} follow", hint="fetch the file again")
        return Rows(open(file.path, "rb", buffering=0), offset=begins, shape=shape, dtype=dtype, name=file.name)
