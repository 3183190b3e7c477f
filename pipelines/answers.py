"""What a model's raw scores say, and when two computations of them say something else.

A class is the largest score of an item, a mask the largest of each pixel, values are the scores themselves. Rounding moves a
pixel at the edge of a shape from one class to the next without anybody caring: an image is answered otherwise when more than
one in a thousand of its pixels are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes import Answer

SHARE = 0.001  # of an image's pixels


def answers(scores: NDArray[Any], answer: Answer) -> NDArray[Any]:
    """Classes int64 (n,), masks uint8 (n, height, width), or the values as they are (n, targets).

    Args:
        scores: (n, classes), (n, classes, height, width) or (n, targets).
    """
    if answer == "values":
        return scores
    found = np.asarray(scores.argmax(axis=1))
    return found.astype(np.uint8) if answer == "mask" else found


def flips(got: NDArray[Any], expected: NDArray[Any], answer: Answer) -> int:
    """How many items two computations of the same scores answer otherwise; values have no such jump."""
    if answer == "values":
        return 0
    other = answers(got, answer) != answers(expected, answer)
    return int((other.reshape(len(other), -1).mean(axis=1) > (SHARE if answer == "mask" else 0)).sum())
