"""Photographs of a camera at the size of a network: decoded whole, as `reg` decodes them, and read back once decoded.

Pictures of 4000×2666 pixels are made of the one that scikit-learn ships; each way reads all of them in turn.

python benchmarks/photographs.py            python benchmarks/photographs.py --photos 100
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from pipelines.data.decoding import decoded
from pipelines.data.folder import look
from pipelines.data.pictures import Pictures
from pipelines.data.spec import Rendering

SIZE = (4000, 2666)
HOW = Rendering(size=(224, 224), fit="crop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24)
    count = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = Image.fromarray(load_sample_images().images[0])
        for number in range(count):
            original.rotate(number).resize(SIZE).save(folder / f"{number}.jpg", quality=90)
        files = look(folder).files
        pictures = Pictures(files, HOW, shape=(224, 224, 3), check=lambda file, shape: None, folder=folder)
        every = np.arange(count)
        ways: dict[str, Callable[[], object]] = {
            "decoded whole": lambda: sum(found.pixels.nbytes for _, found in decoded(files, None)),
            "--size 224": lambda: sum(found.pixels.nbytes for _, found in decoded(files, HOW)),
            "first epoch from disk": lambda: pictures[every],
            "every later epoch": lambda: pictures[every],
        }
        for title, way in ways.items():
            started = time.perf_counter()
            way()
            print(f"{title:<22} {1000 * (time.perf_counter() - started) / count:7.2f} ms a photograph")


if __name__ == "__main__":
    main()
