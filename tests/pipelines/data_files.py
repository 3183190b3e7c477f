"""Data files as people have them, small enough to write in a test: IDX, archives, images, tables, and an artifact's folder."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.reading import Inspection
from pipelines.data.spec import DESCRIPTION

_IDX_TYPES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def images(n: int, *, seed: int = 0, shape: tuple[int, ...] = (4, 3)) -> NDArray[np.uint8]:
    """`n` different images of noise."""
    return np.random.default_rng(seed).integers(0, 256, size=(n, *shape), dtype=np.uint8)


def idx_bytes(array: NDArray[Any]) -> bytes:
    header = struct.pack(">HBB", 0, _IDX_TYPES[array.dtype.name], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder: Path, *, train: int = 20, test: int = 10, classes: int = 2, packed: bool = True) -> Path:
    """MNIST's four files, with noise instead of digits."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (prefix, n) in enumerate({"train": train, "t10k": test}.items()):
        for name, array in (
            (f"{prefix}-images-idx3-ubyte", images(n, seed=seed)),
            (f"{prefix}-labels-idx1-ubyte", (np.arange(n) % classes).astype(np.uint8)),
        ):
            content = idx_bytes(array)
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


def write_images(folder: Path, files: Mapping[str, NDArray[np.uint8]]) -> Path:
    """Image files by relative name; the suffix is the format."""
    for name, pixels in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_text(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def publish(inspection: Inspection, folder: Path) -> Path:
    """The folder that a download of the artifact would be."""
    for name, file in inspection.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    (folder / DESCRIPTION).write_text(inspection.spec.to_json(), encoding="utf-8")
    return folder
