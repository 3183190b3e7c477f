"""IDX, the format of MNIST and its family: a magic number, the sizes, then the bare values; gzip or not.

The header says exactly how many bytes must follow, so a download cut short, or one with something glued to its end, is told
apart from a small dataset. Source: https://yann.lecun.org/exdb/mnist/ ("the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair, Stored
from pipelines.data.folder import File, unreadable
from pipelines.data.options import Options
from pipelines.data.splits import TRAIN, split_within
from registry.errors import BadData

_NAME = re.compile(r"(?P<prefix>.*?)[-_.]?(?P<kind>images|labels)[-_.]idx\d(-\w+)?(\.gz)?", re.IGNORECASE)
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot shrink anything below 1/1032, so a header that promises more is a lie, found before memory is asked for.
_DEFLATE_LIMIT = 1032


def claims(file: File) -> bool:
    return _NAME.fullmatch(file.name.rpartition("/")[2]) is not None


def open_idx(files: Sequence[File], options: Options) -> ArraySource:
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
            Stored(file=kinds[kind], name=kinds[kind].name, read=partial(read_idx, kinds[kind]))
            for kind in ("images", "labels")
        )
        found[split] = Pair(split=split, images=images, labels=labels)
    return ArraySource(list(found.values()), labels=options.labels)


def read_idx(file: File) -> NDArray[Any]:
    """Read one IDX file of any type and rank into an array of native byte order.

    Raises:
        BadData: no IDX file, truncated, or longer than its header says.
    """
    try:
        with open(file.path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file.path) if packed else open(file.path, "rb") as stream:
            return _parse(file, stream, most=file.size * (_DEFLATE_LIMIT if packed else 1))
    except EOFError as exc:
        raise BadData(
            f"{file.name} is truncated: its gzip stream ends after {file.size} bytes", hint="fetch the file again"
        ) from exc
    except (OSError, zlib.error) as exc:
        if str(exc).startswith("Not a gzipped file"):  # gzip looks for a second member after the first one
            raise BadData(f"{file.name} goes on after the end of its gzip stream", hint="fetch the file again") from exc
        raise unreadable(file.name, exc) from exc


def _parse(file: File, stream: Any, *, most: int) -> NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise BadData(f"{file.name} is no IDX file: it begins with {magic.hex(' ')}, 00 00, a type and a rank were expected")
    dtype, rank = np.dtype(_TYPES[magic[2]]), magic[3]
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise BadData(f"{file.name} is truncated inside its header", hint="fetch the file again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    wanted = math.prod(shape) * dtype.itemsize
    # Filled in place: of a large file there is room for one copy, perhaps not for two.
    array = np.empty(shape if wanted <= most else 0, dtype=dtype)
    held = stream.readinto(array.reshape(-1).view(np.uint8)) if array.size else 0
    if held < wanted:
        said = f"{held} follow" if wanted <= most else f"a file of {file.size} bytes cannot hold them"
        raise BadData(f"{file.name} is truncated: its header promises {wanted} bytes, {said}", hint="fetch the file again")
    if stream.read(1):
        raise BadData(f"{file.name} goes on after the {wanted} bytes that its header promises", hint="fetch the file again")
    return array.astype(dtype.newbyteorder("="), copy=False)
