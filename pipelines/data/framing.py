"""Where a picture of any size goes in an array of a given one: the same answer for an image and its mask.

Two ways are known to everybody who trains on photographs. `crop` scales until the size is filled and cuts out the centre
(torchvision's `Resize` and `CenterCrop` in one step, without rounding in between); `pad` scales until all of the picture fits
inside (letterbox). Stretching is left out: it makes a circle an ellipse by another amount in each picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.data.kinds import Fit

Size = tuple[int, int]
"""Height and width in pixels."""

# What networks for images are usually given; a picture is made larger only when it is smaller than all of them.
_USUAL = (224, 192, 160, 128, 96, 64, 32)


class Frame(NamedTuple):
    """What is seen of a picture, and where.

    Attributes:
        box: the part that is seen (left, upper, right, lower), in the picture's own pixels, which it may cut.
        content: the size that the part is scaled to.
        corner: row and column of the content in the array; around it is nothing.
    """

    box: tuple[float, float, float, float]
    content: Size
    corner: tuple[int, int]


def frame(picture: Size, size: Size, fit: Fit) -> Frame:
    """How a picture is laid into an array.

    Args:
        picture: its size as a person sees it, upright.
        size: of the array.
    """
    (height, width), (rows, columns) = picture, size
    if fit == "crop":
        scale = max(rows / height, columns / width)
        high, wide = min(rows / scale, height), min(columns / scale, width)
        left, upper = (width - wide) / 2, (height - high) / 2
        return Frame((left, upper, left + wide, upper + high), size, (0, 0))
    scale = min(rows / height, columns / width)
    content = min(rows, max(1, round(height * scale))), min(columns, max(1, round(width * scale)))
    return Frame((0.0, 0.0, width, height), content, ((rows - content[0]) // 2, (columns - content[1]) // 2))


def nearest(numbers: NDArray[np.uint8], shown: Frame) -> NDArray[np.uint8]:
    """The part of a mask that a frame shows, each pixel the one below its centre; shape `shown.content`."""
    left, upper, right, lower = shown.box
    rows = _centres(upper, lower, shown.content[0], numbers.shape[0])
    columns = _centres(left, right, shown.content[1], numbers.shape[1])
    return numbers[np.ix_(rows, columns)]


def laid(content: NDArray[np.uint8], shown: Frame, size: Size, *, around: ArrayLike) -> NDArray[np.uint8]:
    """The content of a frame in its array, shape (*size, ...), with a value (or one per channel) around it."""
    if shown.content == size:
        return np.ascontiguousarray(content)
    found = np.full((*size, *content.shape[2:]), around, dtype=np.uint8)
    top, left = shown.corner
    found[top : top + shown.content[0], left : left + shown.content[1]] = content
    return found


def usual(sizes: Mapping[Size, int]) -> Size:
    """A size for pictures of these: that of most of them if they are small, else the largest usual square inside most."""
    common, times = Counter(sizes).most_common(1)[0]
    if 2 * times > sum(sizes.values()) and max(common) <= _USUAL[0]:
        return common
    shorter = int(median(min(size) for size, times in sizes.items() for _ in range(times)))
    side = next((side for side in _USUAL if side <= shorter), max(1, shorter))
    return side, side


def _centres(start: float, stop: float, count: int, most: int) -> NDArray[np.intp]:
    centres = start + (np.arange(count) + 0.5) * ((stop - start) / count)
    return np.clip(centres.astype(np.intp), 0, most - 1)
