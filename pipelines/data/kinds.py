"""Of what kind data can be, in the words of `dataset.yaml`, of descriptions and of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

Format = Literal["idx", "npz", "npy", "images", "masks", "metadata", "csv", "parquet"]
Task = Literal[
    "image-classification", "semantic-segmentation", "image-regression", "tabular-classification", "tabular-regression"
]
Fit = Literal["crop", "pad"]
"""How an image is brought to another size; see `pipelines.data.spec.Rendering`."""

FORMATS: tuple[Format, ...] = get_args(Format)
FITS: tuple[Fit, ...] = get_args(Fit)
_TABULAR: tuple[Task, ...] = ("tabular-classification", "tabular-regression")
TASKS: Mapping[Format, tuple[Task, ...]] = MappingProxyType(
    {
        "idx": ("image-classification",),
        "npz": ("image-classification", "semantic-segmentation", "image-regression"),
        "npy": ("image-classification", "semantic-segmentation", "image-regression"),
        "images": ("image-classification",),
        "masks": ("semantic-segmentation",),
        "metadata": ("image-regression",),
        "csv": _TABULAR,
        "parquet": _TABULAR,
    }
)
_SIZE = re.compile(r"(\d{1,6})(?:\s*[x×]\s*(\d{1,6}))?")


def size_of(text: str) -> tuple[int, int] | None:
    """Height and width as a person writes them: `224`, `192x256`; None where that is no size."""
    match = _SIZE.fullmatch(text.strip())
    return (int(match[1]), int(match[2] or match[1])) if match else None
