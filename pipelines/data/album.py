"""What image files are known by without their pixels: digests, shapes, in columns, for there are tens of thousands of files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from itertools import repeat
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Look: TypeAlias = tuple[tuple[int, int, int], bool]
"""The shape of a decoded image (height, width, channels), and whether EXIF has it lie otherwise in its file."""


class Picture(NamedTuple):
    """What a decoded image is known by: its content digest (hex), and its look."""

    digest: str
    shape: tuple[int, int, int]
    turned: bool = False


class Column:
    """Names, and where each stands among them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Where these names stand, shape (n,); -1 for those that do not."""
        with suppress(ValueError, IndexError):
            first = self.names.index(names[0])
            if self.names[first : first + len(names)] == names:  # neighbours, as where nothing came and nothing went
                return np.arange(first, first + len(names))
        return np.fromiter(map(self._places.get, names, repeat(-1)), np.int64, len(names))

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(zip(self.names, range(len(self.names)), strict=True))


class Album:
    """A row for each file of a folder; at first nothing is known of any.

    Args:
        names: of the files.
        looks: that pictures may have.
    Attributes:
        digests: content digests of pictures, uint8, shape (n, 16).
        which: the place of the look of each in `looks`, int32, shape (n,); -1 for what is no picture or not known yet.
    """

    def __init__(self, names: Sequence[str], looks: Sequence[Look] = ()) -> None:
        self._column = Column(names)
        self.digests = np.zeros((len(names), 16), np.uint8)
        self.which = np.full(len(names), -1, np.int32)
        self._places = {look: place for place, look in enumerate(looks)}

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks of all pictures, each once."""
        return tuple(self._places)

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """See `Column.rows`."""
        return self._column.rows(names)

    def put(self, row: int, picture: Picture) -> None:
        self.digests[row] = np.frombuffer(bytes.fromhex(picture.digest), np.uint8)
        self.which[row] = self._places.setdefault((picture.shape, picture.turned), len(self._places))

    def __getitem__(self, name: str) -> Picture:
        """
        Raises:
            KeyError: no picture of this name is known.
        """
        (row,) = self.rows([name])
        if row < 0 or self.which[row] < 0:
            raise KeyError(name)
        return Picture(self.digests[row].tobytes().hex(), *self.looks[self.which[row]])
