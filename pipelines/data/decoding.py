"""From an image file to its pixels.

What an image file may be is decided here once: grey stays one channel, RGB three and RGBA four; a palette is resolved to the
colours it stands for, black-and-white to grey, print colours to RGB. More than 8 bits per channel and several frames are
refused: reading them as uint8 would drop data in silence. A mask is not a picture: its numbers are classes, so a palette keeps
its indices and nothing is converted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.folder import File, unreadable
from pipelines.data.spec import IGNORED
from registry.errors import BadData, MissingDependency, RegError

_MODES = {
    "1": "L",
    "L": "L",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "P": "RGB",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
}
# A thread is handed so many files at once: for small ones, handing over costs more than decoding.
_AT_ONCE = 64


Decode = Callable[[File], NDArray[np.uint8]]


def decoded(files: Sequence[File], how: Decode | None = None) -> Iterator[tuple[File, NDArray[np.uint8]]]:
    """Decode in order, several at a time: the decoders work outside Python's lock.

    Args:
        how: `decode` unless said otherwise.
    """
    one = how or decode
    _pillow()
    threads = min(8, os.cpu_count() or 1)
    batches = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for start in range(0, len(batches), 4 * threads):  # what is decoded and not yet looked at stays within bounds
            some = batches[start : start + 4 * threads]
            for batch, images in zip(some, pool.map(lambda batch: [one(file) for file in batch], some), strict=True):
                yield from zip(batch, images, strict=True)


def decode(file: File) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8, shape (height, width, channels).

    Raises:
        BadData: it cannot be decoded, or would lose something as 8-bit pixels.
        MissingDependency: Pillow is not installed.
    """
    with _opened(file) as image:
        if image.mode not in _MODES:
            raise BadData(
                f"{file.name} has the pixel format '{image.mode}', 8 bits per channel were expected",
                hint="save it as 8-bit grey, RGB or RGBA",
            )
        mode = "RGBA" if image.mode == "P" and "transparency" in image.info else _MODES[image.mode]
        pixels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def decode_mask(file: File) -> NDArray[np.uint8]:
    """The numbers of a mask file, uint8, shape (height, width): grey values, or the indices of a palette.

    Raises:
        BadData: it cannot be decoded, or a pixel of it is more than one number.
        MissingDependency: Pillow is not installed.
    """
    with _opened(file) as image:
        numbers = np.asarray(image)
        mode = image.mode
    if numbers.ndim == 3 and mode == "RGB" and (numbers == numbers[..., :1]).all():
        numbers = numbers[..., 0]  # grey, saved as if it were coloured
    if numbers.ndim != 2 or (lowest := numbers.min()) < 0 or (highest := numbers.max()) > IGNORED:
        what = f"values from {lowest} to {highest}" if numbers.ndim == 2 else f"the pixel format '{mode}'"
        raise BadData(
            f"{file.name} has {what}, a mask is one number from 0 to {IGNORED} per pixel",
            hint="save the class of each pixel as an 8-bit grey or palette PNG",
        )
    return np.ascontiguousarray(numbers, dtype=np.uint8)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    """An image of one frame; whatever is wrong with its bytes is said in our words."""
    pillow = _pillow()
    try:
        with pillow.open(file.path if file.offset is None else io.BytesIO(file.read())) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise BadData(
                    f"{file.name} has {image.n_frames} frames, one was expected", hint="save each frame as its own file"
                )
            yield image
    except RegError:
        raise
    except pillow.UnidentifiedImageError as exc:
        raise BadData(f"{file.name} is no image that Pillow knows", hint=f"file '{file.path}'") from exc
    except Exception as exc:  # every decoder of Pillow has its own way to fail on damaged bytes
        raise unreadable(file.name, exc) from exc


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependency("reading image files needs Pillow", hint="pip install 'reg-lifecycle[cpu]'") from exc
    return Image
