"""Pixels on pixels: masks tinted over their image, and heat over what a network looked at. Arrays in, arrays out.

Class 0 is left as it is: in most data it is the background, and an image that is tinted everywhere shows nothing. Small images
are enlarged pixel by pixel, because a table of 8 × 8 pictures is a table of dots.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.data.spec import IGNORED

Pixels = NDArray[np.uint8]

_SIDE = 160  # pixels that a picture has at least
# Okabe & Ito (2008): told apart by people who do not see red and green alike, and by their brightness in print.
_PALETTE = np.array(
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]], np.float64
)
_UNLABELLED = np.array([128.0, 128.0, 128.0])
_OPACITY = 0.5


def in_colour(image: Pixels) -> Pixels:
    """An image of 1, 3 or 4 channels as RGB, at least `_SIDE` pixels wide and high; transparent parts on white."""
    if image.shape[2] == 4:
        opaque = image[..., 3:] / 255
        image = (image[..., :3] * opaque + 255 * (1 - opaque)).round().astype(np.uint8)
    return _enlarged(np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[2] == 1 else image)


def tinted(image: Pixels, mask: NDArray[np.uint8]) -> Pixels:
    """The classes of a mask over its image.

    Args:
        image: (height, width, channels).
        mask: class indices (height, width), 255 where nobody labelled the pixel.
    """
    colours = np.vstack([np.zeros(3), _PALETTE[np.arange(IGNORED - 1) % len(_PALETTE)], _UNLABELLED])
    covered = (mask > 0)[..., np.newaxis]
    small = np.broadcast_to(image[..., :3] if image.shape[2] >= 3 else image[..., :1], (*mask.shape, 3)).astype(np.float64)
    mixed = np.where(covered, (1 - _OPACITY) * small + _OPACITY * colours[mask], small)
    return _enlarged(mixed.round().astype(np.uint8))


def heated(image: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """Where a network looked: from nothing over orange to yellow, on the image in grey.

    Args:
        image: (height, width, channels).
        heat: (height, width), in [0, 1].
    """
    grey = image[..., : min(3, image.shape[2])].mean(axis=2, keepdims=True)
    strength = np.clip(heat, 0, 1)[..., np.newaxis].astype(np.float64)
    colour = (1 - strength) * np.array([213.0, 94.0, 0.0]) + strength * np.array([240.0, 228.0, 66.0])
    opacity = 0.85 * np.sqrt(strength)
    return _enlarged(((1 - opacity) * grey + opacity * colour).round().astype(np.uint8))


def _enlarged(image: Pixels) -> Pixels:
    times = -(-_SIDE // max(image.shape[:2])) if max(image.shape[:2]) < _SIDE else 1
    return np.ascontiguousarray(image.repeat(times, axis=0).repeat(times, axis=1))
