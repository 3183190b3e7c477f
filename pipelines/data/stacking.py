"""Image files of one shape as one array: what every folder of images with something other than a class needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Advance
from pipelines.data.decoding import Decode, decoded
from pipelines.data.folder import File
from registry.errors import BadData


class Stack:
    """Decodes files and remembers the first one's shape, which all others must have, whatever their split.

    Args:
        how: from a file to its numbers; None for pictures (`pipelines.data.decoding.decode`).
    """

    def __init__(self, how: Decode | None = None) -> None:
        self._how = how
        self._first: tuple[str, tuple[int, ...]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item; known after the first `read`."""
        assert self._first is not None, "a shape is known after the first read"
        return self._first[1]

    def read(self, files: Sequence[File], advance: Advance) -> NDArray[np.uint8]:
        """The numbers of the files, uint8 (n, ...), in their order.

        Raises:
            BadData: one cannot be decoded, or has another shape.
        """
        stacked: NDArray[np.uint8] | None = None
        for position, (file, numbers) in enumerate(decoded(files, self._how)):
            first, shape = self._first = self._first or (file.name, numbers.shape)
            if numbers.shape != shape:
                found, wanted = ("×".join(map(str, some)) for some in (numbers.shape, shape))
                raise BadData(
                    f"{file.name} is {found}, {first} is {wanted}", hint="bring all images to one size and number of channels"
                )
            if stacked is None:
                stacked = np.empty((len(files), *shape), dtype=np.uint8)
            stacked[position] = numbers
            advance(file.size)
        assert stacked is not None, "a split exists by its files"
        return stacked
