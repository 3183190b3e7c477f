"""What is to be predicted where it is no class of a whole item: the class of every pixel of a mask, or numbers.

The numbers in a mask are whatever its author chose: 0, 1, 2; 0 and 255; 0, 128 and 255. A class is a value that occurs in the
train split, in ascending order, and 255 is "nobody labelled this", as PASCAL VOC and Cityscapes write it, unless 0 and 255 are
all there is: then the mask is black and white. What was found is recorded (`mask_values`), so that it is never guessed twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.options import Options
from pipelines.data.spec import IGNORED, TargetSpec
from registry.errors import BadData

_MOST_VALUES = 64  # more different values than this are a picture, not a mask


@dataclass(frozen=True)
class MaskClasses:
    """Class k is the pixels of value `values[k]`."""

    labels: tuple[str, ...]
    values: tuple[int, ...]

    def indices(self, mask: NDArray[np.uint8], *, name: str) -> NDArray[np.uint8]:
        """The class index of each pixel, `IGNORED` where there is none.

        Raises:
            BadData: a value that is no class, or no pixel with a class.
        """
        table = np.full(256, -1, dtype=np.int16)
        table[IGNORED] = IGNORED
        table[list(self.values)] = np.arange(len(self.values))
        found = table[mask]
        if (found < 0).any():
            stranger = int(mask[found < 0][0])
            raise BadData(
                f"{name} has pixels of value {stranger}, the classes are {_listed(self.values)}, {IGNORED} is 'not labelled'",
                hint="name the value of every class under 'mask_values:' in dataset.yaml",
            )
        if (found == IGNORED).all():
            raise BadData(f"{name} has no labelled pixel, all are {IGNORED}", hint="leave this image and its mask out")
        return found.astype(np.uint8)


def mask_classes(occurring: NDArray[Any], options: Options, *, name: str) -> MaskClasses:
    """The classes that a person named, else those that occur.

    Args:
        occurring: the pixel values of the train split's masks, each once, ascending.
        name: what a message calls them.
    Raises:
        BadData: too many values for classes, or other values than the names fit.
    """
    found = tuple(int(value) for value in occurring)
    if options.mask_values is not None:
        return MaskClasses(options.labels or tuple(str(value) for value in options.mask_values), options.mask_values)
    values = found if found == (0, IGNORED) else tuple(value for value in found if value != IGNORED)
    if len(values) > _MOST_VALUES:
        raise BadData(
            f"{name} have {len(values)} different values from {values[0]} to {values[-1]}, too many for classes",
            hint="save masks without compression that blurs (PNG), one number per class",
        )
    if options.labels is None:
        if len(values) < 2:
            raise BadData(f"{name} have only pixels of value {_listed(found)}: one class alone cannot be learned")
        return MaskClasses(tuple(str(value) for value in values), values)
    numbered = tuple(range(len(options.labels)))
    if set(values) <= set(numbered):
        return MaskClasses(options.labels, numbered)
    if len(values) == len(options.labels):
        return MaskClasses(options.labels, values)
    raise BadData(
        f"{name} have the values {_listed(values)}, there are {len(options.labels)} labels",
        hint="name the value of every class under 'mask_values:' in dataset.yaml",
    )


def finite(values: NDArray[Any], names: Sequence[str], *, place: str) -> NDArray[np.float64]:
    """Numbers to predict, float64 (n, targets).

    Args:
        values: shape (n,) or (n, targets).
    Raises:
        BadData: another shape than there are names, or a number that is missing or infinite.
    """
    numbers = np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), -1)
    if numbers.shape[1] != len(names):
        raise BadData(f"{place} has {numbers.shape[1]} numbers per item for the targets {', '.join(names)}")
    broken = np.argwhere(~np.isfinite(numbers))
    if len(broken):
        row, column = broken[0].tolist()
        raise BadData(
            f"{place}: the target '{names[column]}' of item {row} is {numbers[row, column]} ({len(broken)} such values)",
            hint="leave these items out",
        )
    return numbers


def described(values: NDArray[np.float64], names: Sequence[str]) -> dict[str, TargetSpec]:
    """What the numbers of a split are like; sums are exact, so that the description has the same bytes on every machine."""
    found = {}
    for name, column in zip(names, values.T.tolist(), strict=True):
        mean = math.fsum(column) / len(column)
        variance = math.fsum((value - mean) ** 2 for value in column) / len(column)
        found[name] = TargetSpec(minimum=min(column), maximum=max(column), mean=mean, deviation=math.sqrt(variance))
    return found


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values[:8]) + (", …" if len(values) > 8 else "")
