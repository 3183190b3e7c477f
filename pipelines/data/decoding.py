"""From an image file to its pixels.

What an image file may be is decided here once: grey stays one channel, RGB three and RGBA four; a palette is resolved to the
colours it stands for, black-and-white to grey, print colours to RGB. Several frames are refused, because taking the first would
drop data in silence; only the extra pictures that a camera puts behind a photograph (MPO: previews, depth) are no data. So are
more than 8 bits per channel, until a person says which values are black and white. A mask is not a picture: its numbers are
classes, so a palette keeps its indices and nothing is mixed.

With a `Rendering` a picture is turned upright and scaled besides. A large JPEG is then never decoded whole: its decoder halves
it on the way, down to twice the wanted size, from which it is scaled with antialiasing.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.data.files import File, unreadable
from pipelines.data.framing import Frame, Size, frame, laid, nearest
from pipelines.data.spec import IGNORED, Rendering
from registry.errors import BadData, MissingDependency, RegError

_MODES = {
    "1": "L",
    "L": "L",
    "LA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "P": "RGB",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
}
_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_DRAFTED = frozenset({"JPEG", "MPO"})
_GAP = 2  # so many times the wanted size is decoded; what is left to scale is then scaled well
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
# A thread is handed so many files at once: for small ones, handing over costs more than decoding.
_AT_ONCE = 64
_FEW = 4  # of large ones, so that all threads have some

_Found = TypeVar("_Found")


class Decoded(NamedTuple):
    """What was in an image file.

    Attributes:
        pixels: uint8, (height, width, channels), of a mask (height, width), rendered.
        size: height and width of the whole picture, upright.
        turned: whether it lay otherwise in the file.
    """

    pixels: NDArray[np.uint8]
    size: Size
    turned: bool


def each(files: Sequence[File], how: Callable[[File], _Found]) -> Iterator[tuple[File, _Found]]:
    """Do the same with every file, in order, several at a time: the decoders work outside Python's lock."""
    _pillow()
    threads = min(8, os.cpu_count() or 1)
    large = sum(file.size for file in files[:_AT_ONCE]) > _AT_ONCE << 15
    at_once = _FEW if large else _AT_ONCE
    batches = [files[start : start + at_once] for start in range(0, len(files), at_once)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for start in range(0, len(batches), 4 * threads):  # what is decoded and not yet looked at stays within bounds
            some = batches[start : start + 4 * threads]
            for batch, found in zip(some, pool.map(lambda batch: [how(file) for file in batch], some), strict=True):
                yield from zip(batch, found, strict=True)


def decoded(files: Sequence[File], rendering: Rendering | None) -> Iterator[tuple[File, Decoded]]:
    """`decode` every file, in order."""
    return each(files, lambda file: decode(file, rendering))


def decode(file: File, rendering: Rendering | None) -> Decoded:
    """The pixels of an image file, with as many channels as it has.

    Args:
        rendering: None takes the pixels as they lie in the file.
    Raises:
        BadData: it cannot be decoded, or would lose something as 8-bit pixels.
        MissingDependency: Pillow is not installed.
    """
    with _opened(file) as image:
        if rendering is None:
            pixels = np.asarray(_eight_bits(image, file, None), dtype=np.uint8)
            return Decoded(_with_channels(pixels), pixels.shape[:2], False)
        orientation = _orientation(image)
        size = _upright_size(image, orientation)
        shown = None if rendering.size is None else frame(size, rendering.size, rendering.fit or "crop")
        factor = 1.0 if shown is None else _drafted(image, shown, orientation)
        image = _eight_bits(image, file, rendering.levels)
        if shown is not None:
            image = _scaled(image, shown, orientation, factor)
        pixels = upright(_with_channels(np.asarray(image, dtype=np.uint8)), orientation)
    if shown is not None and rendering.size is not None:
        black = (0, 0, 0, 255) if pixels.shape[2] == 4 else 0  # transparent, it would be white beside others that are RGB
        pixels = laid(pixels, shown, rendering.size, around=black)
    return Decoded(np.ascontiguousarray(pixels), size, orientation != 1)


def decode_mask(file: File, rendering: Rendering | None) -> Decoded:
    """The numbers of a mask file: grey values, or the indices of a palette. Beside what `pad` shows of it is `IGNORED`.

    Raises:
        BadData: it cannot be decoded, or a pixel of it is more than one number.
        MissingDependency: Pillow is not installed.
    """
    with _opened(file) as image:
        orientation = 1 if rendering is None else _orientation(image)
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
    numbers = upright(numbers.astype(np.uint8), orientation)
    size: Size = (numbers.shape[0], numbers.shape[1])
    if rendering is not None and rendering.size is not None:
        shown = frame(size, rendering.size, rendering.fit or "crop")
        numbers = laid(nearest(numbers, shown), shown, rendering.size, around=IGNORED)
    return Decoded(np.ascontiguousarray(numbers), size, orientation != 1)


def size_of(file: File) -> Size:
    """Height and width of a picture, upright, read off the beginning of its file.

    Raises:
        BadData, MissingDependency: see `decode`.
    """
    with _opened(file) as image:
        return _upright_size(image, _orientation(image))


def pixels_of(path: str | os.PathLike[str], rendering: Rendering | None) -> NDArray[np.uint8]:
    """An image file as a model takes it, uint8 (height, width, channels): what training and evaluation saw of such a file.

    Args:
        rendering: the model's own, `pipelines.model_files.read_model(folder).signature.rendering`.
    Raises:
        BadData, MissingDependency: see `decode`.
    """
    name = os.fspath(path)
    return with_channels_of(decode(File(name=name, path=name, size=0), rendering).pixels, rendering)


def with_channels_of(pixels: NDArray[np.uint8], rendering: Rendering | None) -> NDArray[np.uint8]:
    """The pixels of a file with the channels of their dataset."""
    return as_rgb(pixels) if rendering is not None and rendering.channels is not None else pixels


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image of one, three or four channels with three: grey is repeated, transparent pixels lie on white."""
    channels = pixels.shape[-1]
    if channels == 1:
        return np.repeat(pixels, 3, axis=-1)
    if channels == 3:
        return pixels
    opaque = pixels[..., 3:].astype(np.uint16)
    return np.asarray((pixels[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255, dtype=np.uint8)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels (height, width, ...) of a picture that lies in its file as EXIF says, the way a person sees it."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels


def _eight_bits(image: Any, file: File, levels: tuple[int, int] | None) -> Any:
    """The image in one of the modes that are kept: L, RGB or RGBA."""
    if image.mode in _DEEP and levels is not None:
        low, high = levels
        values = (np.asarray(image, dtype=np.float64) - low) * (255 / (high - low))
        return _pillow().fromarray(np.clip(np.nan_to_num(values), 0, 255).round().astype(np.uint8))
    if image.mode not in _MODES:
        raise _too_deep(image, file)
    mode = "RGBA" if image.mode == "P" and "transparency" in image.info else _MODES[image.mode]
    return image if image.mode == mode else image.convert(mode)


def _too_deep(image: Any, file: File) -> BadData:
    """Why an image is not read as 8-bit pixels, and what would have it read."""
    values, hint = "", "save it as 8-bit grey, RGB or RGBA"
    if image.mode in _DEEP:
        lowest, highest = image.getextrema()
        values = f" with values from {lowest:g} to {highest:g}"
        if lowest >= 0 and highest > 1:
            hint = f"--levels 0:{2 ** max(8, int(highest).bit_length()) - 1}"
    return BadData(f"{file.name} has the pixel format '{image.mode}'{values}, 8 bits per channel were expected", hint=hint)


def _with_channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _orientation(image: Any) -> int:
    """EXIF's orientation, 1 to 8; Pillow itself turns a TIFF. Metadata that are damaged say nothing: the pixels are whole."""
    if image.format == "TIFF" or not image.info.keys() & {"exif", "xmp"}:
        return 1
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, EOFError, OSError, struct.error):
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright_size(image: Any, orientation: int) -> Size:
    width, height = image.size
    return (width, height) if orientation in _SIDEWAYS else (height, width)


def _as_it_lies(pair: tuple[_Found, _Found], orientation: int) -> tuple[_Found, _Found]:
    return (pair[1], pair[0]) if orientation in _SIDEWAYS else pair


def _drafted(image: Any, shown: Frame, orientation: int) -> float:
    """Ask the decoder for less than the whole, where that is enough; returns how much smaller the image became."""
    if image.format not in _DRAFTED:
        return 1.0
    left, upper, right, lower = shown.box
    high, wide = _as_it_lies((shown.content[0] / (lower - upper), shown.content[1] / (right - left)), orientation)
    width, height = image.size
    drafted = image.draft(None, (max(1, int(_GAP * wide * width)), max(1, int(_GAP * high * height))))
    return 1.0 if drafted is None else drafted[1][2] / width


def _scaled(image: Any, shown: Frame, orientation: int, factor: float) -> Any:
    """What a frame shows of an image as it lies in its file: the box is centred, so turning it only swaps its sides."""
    left, upper, right, lower = (factor * edge for edge in shown.box)
    (left, upper), (right, lower) = _as_it_lies((left, upper), orientation), _as_it_lies((right, lower), orientation)
    rows, columns = _as_it_lies(shown.content, orientation)
    box = (left, upper, min(right, image.width), min(lower, image.height))
    return image.resize((columns, rows), _pillow().Resampling.BILINEAR, box=box, reducing_gap=float(_GAP))


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    """An image of one frame; whatever is wrong with its bytes is said in our words."""
    pillow = _pillow()
    try:
        with pillow.open(file.path if file.offset is None else io.BytesIO(file.read())) as image:
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
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
    # Of every tenth photograph the metadata are damaged somewhere, which says nothing about its pixels.
    warnings.filterwarnings("ignore", message="(Corrupt EXIF data|Truncated File Read)", category=UserWarning)
    return Image
