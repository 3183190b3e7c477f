"""Files of a dataset: one (`File`), and tens of thousands of them (`Files`)."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from pipelines.data.walking import stamp
from registry.errors import BadData, RegError

_LONGEST = 200


class File(NamedTuple):
    """One file: `name` relative to the folder, `path` where it lies, `size` in bytes.

    With an `offset` it is a part of the file at `path`: one of many small ones in a shard (`pipelines.data.packs`).

    `stamp` is by what a change of the content shows without reading it: times of modification and of status change (ns) and
    the number of the inode.
    """

    name: str
    path: str
    size: int
    stamp: tuple[int, int, int] = (0, 0, 0)
    offset: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0] or "."

    def read(self) -> bytes:
        """The whole content.

        Raises:
            BadData: it cannot be read.
        """
        try:
            with open(self.path, "rb") as stream:
                if self.offset is None:
                    return stream.read()
                stream.seek(self.offset)
                return stream.read(self.size)
        except OSError as exc:
            raise unreadable(self.name, exc) from exc


class Files(Sequence[File]):
    """Files side by side in columns: objects are made of those alone that somebody looks at one by one.

    Args:
        names: as of a `File`.
        stamps: size and stamp of each, int64, shape (n, 4).
        paths: where each lies, or the folder in which all of them do.
        offsets: of parts of files; None where none is one.
    """

    def __init__(
        self,
        names: Sequence[str],
        stamps: NDArray[np.int64],
        paths: Sequence[str] | str,
        offsets: Sequence[int | None] | None = None,
    ) -> None:
        self.names, self.stamps = names, stamps
        self._paths, self._offsets = paths, offsets

    @classmethod
    def of(cls, files: Iterable[File]) -> Files:
        """The same as some files; those that are in columns are taken as they are."""
        if isinstance(files, Files):
            return files
        rows = [*files]
        stamps = np.array([(file.size, *file.stamp) for file in rows], dtype=np.int64).reshape(-1, 4)
        return cls([file.name for file in rows], stamps, [file.path for file in rows], [file.offset for file in rows])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each, int64, shape (n,)."""
        return self.stamps[:, 0]

    @cached_property
    def folders(self) -> Sequence[str]:
        """Where each lies, relative as the names are; empty for those at the top."""
        return [name.rpartition("/")[0] for name in self.names]

    @property
    def paths(self) -> Sequence[str]:
        if isinstance(self._paths, str):
            folder = os.path.join(self._paths, "")
            return [folder + name for name in self.names]
        return self._paths

    def at(self, positions: NDArray[np.int64] | NDArray[np.bool_]) -> Files:
        """Those at some positions, or where a mask of shape (n,) is set."""
        if positions.dtype == bool and positions.all():
            return self
        places = (np.flatnonzero(positions) if positions.dtype == bool else positions).tolist()
        return Files(
            [self.names[place] for place in places],
            self.stamps[places],
            self._paths if isinstance(self._paths, str) else [self._paths[place] for place in places],
            None if self._offsets is None else [self._offsets[place] for place in places],
        )

    def are_among(self, names: Container[str]) -> NDArray[np.bool_]:
        """Whether each has one of these names, shape (n,)."""
        return np.array([name in names for name in self.names], dtype=bool)

    @property
    def whole(self) -> Files:
        """Those that are no parts of other files."""
        return self if self._offsets is None else self.at(np.array([offset is None for offset in self._offsets], dtype=bool))

    @property
    def offsets(self) -> Sequence[int | None]:
        return [None] * len(self) if self._offsets is None else self._offsets

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    def __getitem__(self, index: int | slice) -> File | Files:
        if isinstance(index, slice):
            return self.at(np.arange(len(self))[index])
        name, (size, *stamp) = self.names[index], self.stamps[index].tolist()
        path = os.path.join(self._paths, name) if isinstance(self._paths, str) else self._paths[index]
        return File(name, path, size, tuple(stamp), None if self._offsets is None else self._offsets[index])

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[File]:
        stamps = map(tuple, self.stamps[:, 1:].tolist())
        return map(File, self.names, self.paths, self.sizes.tolist(), stamps, self.offsets)


def file_at(name: str, path: str) -> File:
    """The file that lies at a path now.

    Raises:
        BadData: nothing is there, or its status cannot be read.
    """
    try:
        size, modified, changed, inode = stamp(os.stat(path))
    except OSError as exc:
        raise unreadable(name, exc) from exc
    return File(name, path, size, (modified, changed, inode))


def joined(*several: Iterable[File]) -> Files:
    """All of them, sorted by name."""
    parts = [part for part in map(Files.of, several) if len(part)]
    whole = parts[0] if len(parts) == 1 else _concatenated(parts)
    order = sorted(range(len(whole)), key=whole.names.__getitem__)
    return whole if order == [*range(len(whole))] else whole.at(np.array(order))


def _concatenated(parts: Sequence[Files]) -> Files:
    names = [name for part in parts for name in part.names]
    stamps = np.concatenate([np.empty((0, 4), np.int64), *(part.stamps for part in parts)])
    return Files(names, stamps, [path for part in parts for path in part.paths], [at for part in parts for at in part.offsets])


def unreadable(name: str, exc: Exception) -> RegError:
    """What to say when a file's bytes cannot be had or make no sense; the foreign error's first line is the reason."""
    return BadData(f"{name} cannot be read: {first_line(exc)}", hint="fetch the file again")


def first_line(exc: Exception) -> str:
    """The first line of a foreign error, fit for a terminal: it may quote the bytes that it choked on."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    line = (reason or type(exc).__name__).splitlines()[0].strip().rstrip(".:")
    return "".join(sign if sign.isprintable() else "?" for sign in line)[:_LONGEST]
