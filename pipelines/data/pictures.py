"""Image files that stay on disk and are decoded when they are asked for, each of them once where that is worth its room.

A photograph takes ten milliseconds to decode and a tenth of one to read back at the size that a network wants. So what was
scaled is kept in an unnamed file beside the downloads, which the system removes with the process, as long as the disk has
plenty of room; it grows with what is read and no further, so looking at three items costs three. Pictures that are taken as
they are gain little by it and are decoded again in each epoch.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.decoding import decoded, with_channels_of
from pipelines.data.files import File
from pipelines.data.inputs import OnDisk
from pipelines.data.spec import Rendering

Shape = tuple[int, ...]
Pixels = NDArray[np.uint8]

_SHARE = 4  # of what is free on a disk, a quarter may be taken


class Pictures(OnDisk):
    """The images of a split.

    Args:
        shape: of each of them.
        check: told each file and the shape that was found in it; raises where that is another one.
        folder: where they may be kept; None: where the system has its temporary files.
    """

    def __init__(
        self,
        files: Sequence[File],
        rendering: Rendering | None,
        *,
        shape: Shape,
        check: Callable[[File, Shape], None],
        folder: Path | None = None,
    ) -> None:
        self.shape, self.dtype = (len(files), *shape), np.dtype(np.uint8)
        self._files, self._how, self._confirm = files, rendering, check
        scaled = rendering is not None and rendering.size is not None
        self._kept = _kept(len(files), shape, folder) if scaled else None

    def __getstate__(self) -> dict[str, Any]:
        """For the worker processes of one training, each of which reads other items."""
        return vars(self) | {"_kept": None}

    def _read(self, positions: NDArray[np.int64]) -> Pixels:
        found = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        missing = []
        for place, position in enumerate(positions.tolist()):
            if self._kept is None or not self._kept.read(position, found[place]):
                missing.append(place)
        wanted = positions[missing].tolist()
        some = decoded([self._files[position] for position in wanted], self._how)
        for place, position, (file, one) in zip(missing, wanted, some, strict=True):
            pixels = with_channels_of(one.pixels, self._how)
            self._confirm(file, pixels.shape)
            found[place] = pixels
            if self._kept is not None:
                self._kept.write(position, found[place])
        return found


class _Kept:
    """Items of one size that were decoded before, in a file; used by several threads at once."""

    def __init__(self, count: int, size: int, folder: Path | None) -> None:
        self._stream = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._stream.close)
        self._size = size
        self._there = np.zeros(count, dtype=np.bool_)
        self._full = False

    def read(self, position: int, into: Pixels) -> bool:
        """Whether the item is here, and if so its pixels."""
        if not self._there[position]:
            return False
        return os.preadv(self._stream.fileno(), [into.reshape(-1).data], position * self._size) == self._size

    def write(self, position: int, pixels: Pixels) -> None:
        """Keep an item; a disk that is full keeps no more."""
        if self._full:
            return
        try:
            written = os.pwrite(self._stream.fileno(), pixels.reshape(-1).data, position * self._size)
        except OSError:
            self._full = True
            return
        self._there[position] = written == self._size


def _kept(count: int, shape: Shape, folder: Path | None) -> _Kept | None:
    size = math.prod(shape)
    place = folder if folder is not None and folder.is_dir() else Path(tempfile.gettempdir())
    try:
        plenty = _SHARE * count * size <= shutil.disk_usage(place).free
        return _Kept(count, size, place) if plenty and hasattr(os, "preadv") else None
    except OSError:
        return None
