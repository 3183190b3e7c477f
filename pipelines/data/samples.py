"""Small real data that a dependency ships, written as the files that people have: for the tour, the README and the tests.

scikit-learn's digits (UCI, 1,797 scans of 8×8 pixels) become a folder of PNG images with `train` and `test`, its tables CSV
files. Writing is deterministic, so two tours push the same version.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.data.contents import image_digests
from pipelines.data.options import FILE
from pipelines.data.splits import divide
from registry.errors import MissingDependency

_TEST_FRACTION = 1 / 3
_WHITE = 16  # the scans have 17 grey levels, from 0 to 16


def write_digits(folder: Path) -> Path:
    """Write the digits as `train/<digit>/<number>.png` and `test/...`, about 1,200 and 600, beside a `dataset.yaml`.

    Returns:
        `folder`.
    Raises:
        MissingDependency: scikit-learn or Pillow is not installed.
    """
    digits = _sklearn().load_digits()
    images = (digits.images * (255 / _WHITE)).round().astype(np.uint8)
    for split, positions in divide(
        image_digests(images[..., np.newaxis]), digits.target, test_fraction=_TEST_FRACTION, seed=0
    ).items():
        for position in positions:
            file = folder / split / str(digits.target[position]) / f"{position:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            _pillow().fromarray(images[position]).save(file)
    (folder / FILE).write_text("name: digits\ntask: image-classification\n", encoding="utf-8")
    return folder


def write_table(folder: Path, name: Literal["iris", "wine", "breast_cancer"]) -> Path:
    """Write one of scikit-learn's tables as `<name>.csv`; the column `target` holds the names of the classes.

    Returns:
        The file.
    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    table = getattr(_sklearn(), f"load_{name}")()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*table.feature_names, "target"])
        for row, target in zip(table.data.tolist(), table.target, strict=True):
            writer.writerow([*row, table.target_names[target]])
    return file


def _sklearn() -> Any:
    try:
        from sklearn import datasets
    except ImportError as exc:
        raise MissingDependency("the sample data come with scikit-learn", hint="pip install 'reg-lifecycle[cpu]'") from exc
    return datasets


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependency("writing image files needs Pillow", hint="pip install 'reg-lifecycle[cpu]'") from exc
    return Image
