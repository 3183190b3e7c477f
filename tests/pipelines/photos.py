"""Photographs as people have them, cut out of the two that scikit-learn ships: of many sizes, formats and pixel kinds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = ("china", "flower")
_SIDEWAYS = 6  # EXIF: to be turned clockwise


@cache
def originals() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(pixels) for pixels in load_sample_images().images)


def save(picture: Image.Image, stem: Path, kind: int) -> Path:
    """One of six ways in which a picture of RGB comes as a file; returns the file."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    suffix = ("jpg", "png", "png", "png", "jpg", "webp")[kind % 6]
    file = stem.with_suffix(f".{suffix}")
    match kind % 6:
        case 1:
            picture.convert("L").save(file)
        case 2:
            picture.convert("RGBA").save(file)
        case 3:
            picture.convert("P").save(file)
        case 4:
            exif = Image.Exif()
            exif[0x0112] = _SIDEWAYS
            picture.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif, quality=92)
        case _:
            picture.save(file, quality=92)
    return file


def write_photos(folder: Path, *, train: int = 24, test: int = 18) -> Path:
    """`train/china/0.jpg` and so on: pieces of 60 to 200 pixels along a side; `train` and `test` are numbers per class."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for label, whole in zip(CLASSES, originals(), strict=True):
            for number in range(count):
                save(_piece(whole, random), folder / split / label / str(number), number)
    return folder


def write_petals(folder: Path, *, train: int = 24, test: int = 12) -> Path:
    """Pieces of the flower of many sizes with masks of what is red: 1, and 0 for the rest."""
    random = np.random.default_rng(1)
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            piece = _piece(originals()[1], random)
            save(piece, folder / split / "images" / str(number), (0, 5, 4)[number % 3])
            red, green, _ = np.moveaxis(np.asarray(piece).astype(int), -1, 0)
            mask = folder / split / "masks" / f"{number}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((red > green + 40).astype(np.uint8)).save(mask)
    return folder


def _piece(whole: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = (int(side) for side in random.integers(60, 200, size=2))
    left, upper = (int(random.integers(0, most - side)) for most, side in zip(whole.size, (width, height), strict=True))
    return whole.crop((left, upper, left + width, upper + height))
