"""The image files of a dataset as arrays of one shape, whatever else belongs to them: a class, a mask, numbers.

A dataset is looked at without keeping pixels: digest and shape of every picture are enough to describe it, and those of files
that did not change are remembered (`pipelines.data.memory`). Only then is it known whether all have one size, and whether grey
and coloured ones have to become one kind. A digest is of the picture with its own channels, so one colour photograph that joins
a thousand grey ones changes no other item. Reading afterwards follows what the description recorded, in memory or, where that
would be too much, file by file when pixels are asked for.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.data.album import Album
from pipelines.data.contents import DIGEST_SIZE, Advance, Digests, image_digest, image_digests
from pipelines.data.decoding import decode, decoded, each, size_of, with_channels_of
from pipelines.data.files import File, Files, unreadable
from pipelines.data.framing import usual
from pipelines.data.glancing import glance
from pipelines.data.inputs import Inputs, Room
from pipelines.data.pictures import Pictures
from pipelines.data.spec import ImageInput, Rendering
from registry.errors import BadData

Shape = tuple[int, ...]
Pixels = NDArray[np.uint8]

_BEGINNING = 64 << 10
_SURVEYED = 20_000  # files whose sizes are read to say what is wrong with them


class Stack:
    """All image files of a dataset.

    Args:
        files: all that will be read, of every split.
        rendering: how each becomes an array; where they are only looked at, with channels of its own.
        known: where they are only looked at: what is known of the pictures; looking adds the others. None to read the pixels.
        where: the folder they lie in, as a person wrote it.
    """

    def __init__(
        self,
        files: Sequence[File],
        *,
        rendering: Rendering | None,
        known: Album | None = None,
        room: Room | None = None,
        where: Path | None = None,
    ) -> None:
        self._files, self._how, self._known = files, rendering, known
        self._room, self._where = room or Room(), where
        self._first: tuple[str, Shape] | None = None
        self._channels: set[int] = set()
        self._turned = False

    @property
    def input(self) -> ImageInput:
        """What every item is; known after the last `read`."""
        assert self._first is not None, "a shape is known after the first read"
        height, width = self._first[1][:2]
        return ImageInput(height=height, width=width, channels=3 if len(self._channels) > 1 else max(self._channels))

    def marks(self, files: Sequence[File]) -> Callable[[], Digests] | None:
        """What a split of some files is drawn by where they are scaled: another size must not draw another split."""
        return partial(_marks, files) if self._how is not None and self._how.size is not None else None

    @property
    def rendering(self) -> Rendering | None:
        """How the files have to be read to be these items; None where nothing is done to them."""
        if self._known is None or self._how is None:
            return self._how
        mixed = len(self._channels) > 1
        needed = mixed or self._turned or self._how.size or self._how.levels
        return self._how.model_copy(update={"channels": 3 if mixed else None}) if needed else None

    def read(self, files: Sequence[File], advance: Advance) -> tuple[Inputs, Callable[[], Digests]]:
        """The pictures of some files, in their order, uint8 (n, height, width, channels), and what computes their digests.

        Where files are only looked at, the array has the right shape and no pixels.

        Raises:
            BadData: one cannot be decoded, or has another shape.
        """
        return self._read(files, advance) if self._known is None else self._glance(Files.of(files), self._known, advance)

    def _glance(self, files: Files, known: Album, advance: Advance) -> tuple[Pixels, Callable[[], Digests]]:
        rows = known.rows(files.names)
        new = files.at(known.which[rows] < 0)
        row_of = dict(zip(new.names, rows[known.which[rows] < 0].tolist(), strict=True))
        for file, picture in glance(new, self._how):
            known.put(row_of[file.name], picture)
            self._compare(file.name, picture.shape)
            advance(file.size)
        for look, example in zip(*np.unique(known.which[rows], return_index=True), strict=True):
            shape, turned = known.looks[look]
            self._compare(files.names[example], shape)
            self._channels.add(shape[2])
            self._turned |= turned
        return np.broadcast_to(np.uint8(0), (len(files), *self.input.shape)), lambda: Digests(known.digests[rows])

    def _compare(self, name: str, shape: Shape) -> None:
        """While looking: sizes may differ only where one was said."""
        self._first = self._first or (name, shape)
        if shape[:2] != self._first[1][:2]:
            raise _of_many_sizes(self._files, self._where)

    def _read(self, files: Sequence[File], advance: Advance) -> tuple[Inputs, Callable[[], Digests]]:
        first = with_channels_of(decode(files[0], self._how).pixels, self._how)
        self._confirm(files[0], first.shape)
        again = partial(digests_of, files, self._how)
        if not self._room.keeps(len(files) * first.nbytes):
            advance(sum(file.size for file in files))
            pictures = Pictures(files, self._how, shape=first.shape, check=self._confirm, folder=self._room.folder)
            return pictures, again if self._mixes else partial(image_digests, pictures)
        pixels = np.empty((len(files), *first.shape), dtype=np.uint8)
        digests: list[bytes] = []
        for position, (file, found) in enumerate(decoded(files, self._how)):
            if self._mixes:
                digests.append(image_digest(found.pixels))
            one = with_channels_of(found.pixels, self._how)
            self._confirm(file, one.shape)
            pixels[position] = one
            advance(file.size)
        return pixels, partial(Digests.of, digests) if self._mixes else partial(image_digests, pixels)

    @property
    def _mixes(self) -> bool:
        return self._how is not None and self._how.channels is not None

    def _confirm(self, file: File, shape: Shape) -> None:
        """While reading: all are what the first one is, because the description says so."""
        self._first = self._first or (file.name, shape)
        self._channels.add(shape[2])
        if shape != self._first[1]:
            found, wanted = ("×".join(map(str, some)) for some in (shape, self._first[1]))
            raise BadData(f"{file.name} is {found}, {self._first[0]} is {wanted}", hint="fetch the files again")


def digests_of(files: Sequence[File], rendering: Rendering | None) -> Digests:
    """The content digests of image files, each with its own channels, under a rendering that need not be their dataset's."""
    found = {file.name: bytes.fromhex(picture.digest) for file, picture in glance(files, rendering)}
    return Digests.of(found[file.name] for file in files)


def _marks(files: Sequence[File]) -> Digests:
    return Digests.of(mark for _, mark in each(files, _mark))


def _mark(file: File) -> bytes:
    """A digest of how a file begins, and of its size."""
    try:
        with open(file.path, "rb") as stream:
            stream.seek(file.offset or 0)
            beginning = stream.read(min(file.size, _BEGINNING))
    except OSError as exc:
        raise unreadable(file.name, exc) from exc
    return blake2b(beginning, digest_size=DIGEST_SIZE, salt=file.size.to_bytes(8, "little")).digest()


def _of_many_sizes(files: Sequence[File], where: Path | None) -> BadData:
    """What sizes there are, and a command that brings them to one."""
    some = files[:: -(-len(files) // _SURVEYED)]
    found = {file.name: size for file, size in each(some, size_of)}
    counts = Counter(found.values())
    smallest, largest = (which(found.items(), key=lambda one: one[1][0] * one[1][1]) for which in (min, max))
    common, times = counts.most_common(1)[0]
    height, width = usual(counts)
    size = f"{height}" if height == width else f"{height}x{width}"
    looked = f" (of {len(some):,} looked at)" if len(some) < len(files) else ""
    most = f"; {times:,} of {len(some):,} are {common[0]}×{common[1]}" if times > 1 else ""
    return BadData(
        f"the images have {len(counts):,} sizes{looked}, from {_shown(smallest)} to {_shown(largest)}{most}",
        hint=f"reg dataset push {shlex.quote(str(where or 'path/to/data'))} --size {size}",
    )


def _shown(one: tuple[str, tuple[int, int]]) -> str:
    name, (height, width) = one
    return f"{height}×{width} ({name})"
