"""IDX, the format of MNIST and its family: a magic number, the sizes, then the bare values; gzip or not.

The header says exactly how many bytes must follow, so a download cut short, or one with something glued to its end, is told
apart from a small dataset. Source: https://yann.lecun.org/exdb/mnist/ ("the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.files import File, unreadable
from pipelines.data.inputs import Room, Rows
from pipelines.data.options import Options
from pipelines.data.splits import TRAIN, split_within
from registry.errors import BadData

_NAME = re.compile(r"(?P<prefix>.*?)[-_.]?(?P<kind>images|labels)[-_.]idx\d(-\w+)?(\.gz)?", re.IGNORECASE)
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot shrink anything below 1/1032, so a header that promises more is a lie, found before memory is asked for.
_DEFLATE_LIMIT = 1032
_PART = 8 << 20


def claims(file: File) -> bool:
    return _NAME.fullmatch(file.name.rpartition("/")[2]) is not None


def open_idx(files: Sequence[File], options: Options, room: Room) -> ArraySource:
    """Pair the files of images and labels by what stands before these words in their names.

    Raises:
        BadData: one of a pair is missing, or two pairs are the same split.
    """
    pairs: dict[str, dict[str, File]] = {}
    for file in files:
        match = _NAME.fullmatch(file.parts[-1])
        assert match is not None, file.name
        kinds = pairs.setdefault(match["prefix"], {})
        kinds[match["kind"].lower()] = file
    found: dict[str, Pair] = {}
    for prefix, kinds in pairs.items():
        if missing := {"images", "labels"} - kinds.keys():
            (present,) = kinds.values()
            raise BadData(f"{present.name} stands alone, its {missing.pop()} file is missing")
        split = split_within(prefix) or TRAIN
        if split in found:
            raise BadData(
                f"{found[split].images.name} and {kinds['images'].name} cannot be told apart as splits",
                hint="name them train-images-idx3-ubyte and t10k-images-idx3-ubyte",
            )
        images, labels = (
            Stored(file=kinds[kind], name=kinds[kind].name, read=partial(read_idx, kinds[kind], room))
            for kind in ("images", "labels")
        )
        found[split] = Pair(split=split, images=images, labels=labels)
    return ArraySource(list(found.values()), labels=options.labels, room=room)


def read_idx(file: File, room: Room | None = None) -> NDArray[Any] | Rows:
    """Read one IDX file of any type and rank into an array of native byte order; of a large one, open its rows.

    Args:
        room: how large an array may be; None: of any size.
    Raises:
        BadData: no IDX file, truncated, or longer than its header says.
    """
    with _refusing_damage(file):
        with open(file.path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file.path) if packed else open(file.path, "rb") as stream:
            shape, dtype = _header(file, stream)
            wanted = math.prod(shape) * dtype.itemsize
            most = file.size * (_DEFLATE_LIMIT if packed else 1)
            if wanted <= most and room is not None and not room.keeps(wanted):
                if packed:
                    return room.unpacked(_parts(file, stream, wanted), shape=shape, dtype=dtype, name=file.name)
                _check_length(file, wanted, os.fstat(stream.fileno()).st_size - stream.tell())
                return Rows(open(file.path, "rb", buffering=0), offset=stream.tell(), shape=shape, dtype=dtype, name=file.name)
            return _array(file, stream, shape, dtype, most=most)


def _header(file: File, stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise BadData(f"{file.name} is no IDX file: it begins with {magic.hex(' ')}, 00 00, a type and a rank were expected")
    dtype, rank = np.dtype(_TYPES[magic[2]]), magic[3]
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise BadData(f"{file.name} is truncated inside its header", hint="fetch the file again")
    return tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4")), dtype


def _array(file: File, stream: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, most: int) -> NDArray[Any]:
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > most:
        raise BadData(
            f"{file.name} is truncated: its header promises {wanted} bytes, a file of {file.size} bytes cannot hold them",
            hint="fetch the file again",
        )
    # Filled in place: of a large file there is room for one copy, perhaps not for two.
    array = np.empty(shape, dtype=dtype)
    held = stream.readinto(array.reshape(-1).view(np.uint8)) if array.size else 0
    _check_length(file, wanted, held + len(stream.read(1)))
    return array.astype(dtype.newbyteorder("="), copy=False)


def _parts(file: File, stream: Any, wanted: int) -> Iterator[NDArray[np.uint8]]:
    """The values as bytes, as they come out of gzip."""
    held = 0
    with _refusing_damage(file):
        while content := stream.read(min(_PART, wanted - held + 1)):
            held += len(content)
            if held > wanted:
                break
            yield np.frombuffer(content, dtype=np.uint8)
        _check_length(file, wanted, held)


def _check_length(file: File, wanted: int, held: int) -> None:
    if held < wanted:
        raise BadData(
            f"{file.name} is truncated: its header promises {wanted} bytes, {held} follow", hint="fetch the file again"
        )
    if held > wanted:
        raise BadData(f"{file.name} goes on after the {wanted} bytes that its header promises", hint="fetch the file again")


@contextmanager
def _refusing_damage(file: File) -> Iterator[None]:
    try:
        yield
    except EOFError as exc:
        raise BadData(
            f"{file.name} is truncated: its gzip stream ends after {file.size} bytes", hint="fetch the file again"
        ) from exc
    except (OSError, zlib.error) as exc:
        if str(exc).startswith("Not a gzipped file"):  # gzip looks for a second member after the first one
            raise BadData(f"{file.name} goes on after the end of its gzip stream", hint="fetch the file again") from exc
        raise unreadable(file.name, exc) from exc
