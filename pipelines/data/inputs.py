"""The inputs of a split: an array in memory, or items that stay on disk and are read when they are asked for.

Both are asked the same few things (`len`, `shape`, `dtype`, `nbytes`, `[index]`), so training and scoring take batches and
never learn which of the two they hold. What lies on disk is read, not memory-mapped: pages of a mapping count as the
process's own memory until something presses for them, a truncated file ends the process with a signal instead of an error,
and on a network disk each page is a round trip of its own. What cannot be addressed as it is stored (gzip, deflate, other
types, rows of tables) is unpacked once into an unnamed file on the disk that holds the data, which the system removes with
the process.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from registry.errors import BadData, EnvironmentProblem

IN_MEMORY = 512 << 20  # decoded bytes of a split up to which it is kept in memory, unless the settings say otherwise
_CHUNK = 8 << 20
_GAP = 64 << 10  # what lies between two wanted items is read along up to here: cheaper than asking twice
_BLOCK = 256 << 10


class OnDisk(ABC):
    """Items on disk. Reading them gives arrays like an array in memory would, in the order asked for.

    Attributes:
        shape: (n, ...), as of an array in memory.
        block: how many neighbours cost about as much to read as one of them; shuffling keeps them together until they are read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block: int = 1

    @abstractmethod
    def _read(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """The items at positions, each from 0 to below n; shape (len(positions), ...)."""

    def _span(self, start: int, stop: int) -> NDArray[Any]:
        return self._read(np.arange(start, stop, dtype=np.int64))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (item for chunk in chunks(self) for item in chunk)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> NDArray[Any]:
        """Items by number, slice, positions or mask; a number gives one item, anything else an array of them.

        Raises:
            IndexError: a position is outside.
            BadData: what is on disk is not what was opened.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return (
                self._span(start, max(start, stop)) if step == 1 else self._read(np.arange(start, stop, step, dtype=np.int64))
            )
        positions = np.asarray(index)
        if positions.dtype == np.bool_:
            positions = np.flatnonzero(positions)
        if positions.size and not -len(self) <= positions.min() <= positions.max() < len(self):
            raise IndexError(f"item {positions.max() if positions.max() >= len(self) else positions.min()} of {len(self)}")
        wanted = np.where(positions < 0, positions + len(self), positions).astype(np.int64)
        found = self._read(wanted.reshape(-1))
        return found[0] if wanted.ndim == 0 else found


Inputs: TypeAlias = NDArray[Any] | OnDisk


class Rows(OnDisk):
    """Items of one size, one after the other in a file; used by several threads at once.

    Args:
        stream: an unbuffered file, owned from here on.
        offset: of the first item, bytes.
        name: what a message calls the file.
    """

    def __init__(self, stream: IO[bytes], *, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
        self.shape, self.dtype = shape, dtype
        self._stream, self._offset, self._name, self._lock = stream, offset, name, Lock()
        weakref.finalize(self, stream.close)
        self._item = math.prod(shape[1:]) * dtype.itemsize
        self.block = max(1, _BLOCK // self._item)

    def __reduce__(self) -> tuple[Any, ...]:
        """For the worker processes of one training: each opens the file for itself, while this process has it open."""
        name = self._stream.name
        path = name if isinstance(name, str) else f"/proc/{os.getpid()}/fd/{self._stream.fileno()}"
        return _reopened, (path, self._offset, self.shape, self.dtype, self._name)

    def as_grey(self) -> Rows:
        """These rows, from now on with one channel as their last axis."""
        self.shape = (*self.shape, 1)
        return self

    def _span(self, start: int, stop: int) -> NDArray[Any]:
        found = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        self._fill(_bytes(found), start * self._item)
        return found

    def pieces(self, starts: Sequence[int], size: int) -> Iterator[bytearray]:
        """See `pieces`."""
        for item in range(len(self)):
            found = bytearray(len(starts) * size)
            for number, start in enumerate(starts):
                self._fill(memoryview(found)[number * size : (number + 1) * size], item * self._item + start)
            yield found

    def _fill(self, left: memoryview, offset: int) -> None:
        """Read what lies at an offset from the first item."""
        with self._lock:
            self._stream.seek(self._offset + offset)
            while left:
                got = self._stream.readinto(left)  # type: ignore[attr-defined]  # every unbuffered file has it
                if not got:
                    raise BadData(f"{self._name} became shorter while it was read", hint="fetch the file again")
                left = left[got:]

    def _read(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        found = np.empty((len(positions), *self.shape[1:]), dtype=self.dtype)
        order = np.argsort(positions, kind="stable")
        rising = positions[order]
        stretch = rising * self._item // _CHUNK
        breaks = np.flatnonzero((np.diff(rising) * self._item > _GAP) | (np.diff(stretch) > 0)) + 1
        for part in np.split(np.arange(len(rising)), breaks):
            if len(part):
                first, last = int(rising[part[0]]), int(rising[part[-1]])
                found[order[part]] = self._span(first, last + 1)[rising[part] - first]
        return found


class Selected(OnDisk):
    """Some of the items of others, by position."""

    def __init__(self, inputs: OnDisk, positions: NDArray[np.int64]) -> None:
        self._inputs, self._positions = inputs, positions
        self.shape, self.dtype, self.block = (len(positions), *inputs.shape[1:]), inputs.dtype, inputs.block

    def _read(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        return self._inputs[self._positions[positions]]


def select(inputs: Inputs, positions: NDArray[np.int64]) -> Inputs:
    """The items at positions: a copy of what is in memory, a view of what is on disk."""
    return Selected(inputs, positions) if isinstance(inputs, OnDisk) else inputs[positions]


def pieces(inputs: NDArray[Any] | Rows, starts: Sequence[int], size: int) -> Iterator[bytes | bytearray]:
    """Of each item in order the bytes at some places of it, `size` bytes at each, one after the other."""
    if isinstance(inputs, Rows):
        return inputs.pieces(starts, size)
    flat = (item.reshape(-1).view(np.uint8) for item in inputs)
    return (b"".join([item[start : start + size].tobytes() for start in starts]) for item in flat)


def chunks(inputs: Inputs) -> Iterator[NDArray[Any]]:
    """The items in order, some mebibytes at a time. The cuts depend on the shape alone, so sums over them agree to the bit."""
    size = max(1, _CHUNK // max(1, math.prod(inputs.shape[1:]) * inputs.dtype.itemsize))
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


@dataclass(frozen=True)
class Room:
    """How much of a split is kept in memory (bytes), and the folder where more than that is unpacked."""

    memory: int = IN_MEMORY
    folder: Path | None = None

    def keeps(self, nbytes: int) -> bool:
        return nbytes <= self.memory

    def unpacked(self, parts: Iterable[NDArray[Any]], *, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Rows:
        """Write the bytes of parts of an array, one after the other, to an unnamed file.

        Args:
            parts: each contiguous.
            shape, dtype: of them all together.
        Raises:
            EnvironmentProblem: the disk is full.
        """
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                stream = stack.enter_context(tempfile.TemporaryFile(dir=self.folder, buffering=0))
                for part in parts:
                    left = _bytes(part)
                    while left:
                        left = left[stream.write(left) :]
                stack.pop_all()  # the rows own it now
        except OSError as exc:
            size = math.prod(shape) * dtype.itemsize
            raise EnvironmentProblem(
                f"{name} takes {size:,} bytes unpacked, which cannot be written to {self.folder or tempfile.gettempdir()}: "
                f"{exc.strerror}",
                hint="export REG_HOME=/a/larger/disk",
            ) from exc
        return Rows(stream, offset=0, shape=shape, dtype=dtype, name=name)


def _reopened(path: str, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Rows:
    try:
        return Rows(open(path, "rb", buffering=0), offset=offset, shape=shape, dtype=dtype, name=name)
    except OSError as exc:
        raise EnvironmentProblem(
            f"a worker process cannot open {name} for itself here ({path}: {exc.strerror})",
            hint="reg dataset push it as uncompressed .npy files, or train with one process",
        ) from exc


def _bytes(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
