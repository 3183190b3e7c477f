"""Small real data for the tasks beyond classification: scikit-learn's scanned digits with masks and with numbers."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

CLASSES = ("paper", "ink", "core")


@cache
def scenes(n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Digits somewhere on noisy paper, uint8 (n, 12, 14), and the class of each pixel: paper, ink, its darkest part."""
    digits, random = load_digits(), np.random.default_rng(0)
    images = random.integers(0, 60, size=(n, 12, 14), dtype=np.uint8)
    masks = np.zeros((n, 12, 14), dtype=np.uint8)
    for at in range(n):
        row, column = random.integers(0, 5), random.integers(0, 7)
        ink = digits.images[at] > 6
        images[at, row : row + 8, column : column + 8][ink] = (120 + 8 * digits.images[at][ink]).astype(np.uint8)
        masks[at, row : row + 8, column : column + 8][ink] = np.where(digits.images[at][ink] > 12, 2, 1)
    return images, masks


def write_scenes(folder: Path, *, train: int, test: int) -> Path:
    """`train/images/*.png`, `train/masks/*.png` and the same of `test`, in a folder per scanner; some pixels unlabelled."""
    images, masks = scenes(train + test)
    for at in range(train + test):
        split, name = "train" if at < train else "test", f"scanner{at % 4}/{at:04d}.png"
        mask = masks[at].copy()
        mask[-1, : at % 3] = 255
        for kind, pixels in (("images", images[at]), ("masks", mask)):
            file = folder / split / kind / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    (folder / "dataset.yaml").write_text(f"name: scenes\nlabels: [{', '.join(CLASSES)}]\n")
    return folder


def write_ink(folder: Path, *, items: int) -> Path:
    """Digits beside a `metadata.csv` with how much ink each takes, in an own unit, and which pen wrote it."""
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "ink", "pen"])
        for at in range(items):
            pixels = (digits.images[at] * 255 / 16).round().astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{at:04d}.png")
            writer.writerow([f"{at:04d}.png", 5000 + 40 * float(digits.images[at].mean()), "red" if at % 3 else "blue"])
    return folder


def write_diabetes(folder: Path) -> Path:
    """scikit-learn's diabetes (Efron et al. 2004): ten columns and a number to predict, as `diabetes.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    load_diabetes(as_frame=True).frame.to_csv(folder / "diabetes.csv", index=False)
    return folder / "diabetes.csv"
