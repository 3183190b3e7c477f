"""Memory against the number of items: the largest process of a push, a training and an evaluation.

    python benchmarks/data_at_size.py [--items 10000 1000000] [--memory 64MiB] [--work FOLDER]

Each size has a fresh home and images of 28 × 28 grey pixels in two `.npy` files: noise with the class drawn into a corner, so
that there is something to learn and no image twice. A million of them are 784 MB. Training sees a hundredth of the items once,
because what is measured is memory; everything else sees all of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rounds import as_installed, conditions, markdown

SIDE, CLASSES = 28, 10
_AT_ONCE = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory against the number of items.")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--memory", default="64MiB", help="REG_DATA_MEMORY")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    given = parser.parse_args()
    rows = []
    for items in given.items:
        with tempfile.TemporaryDirectory(dir=given.work) as folder:
            rows += [[f"{items:,}", *row] for row in measured(Path(folder), items, memory=given.memory)]
    columns = ["items", "command", "seconds", "largest process (MiB)"]
    print(conditions("torch", "numpy") + f"; REG_DATA_MEMORY={given.memory}", markdown(columns, rows), sep="\n\n")


def measured(work: Path, items: int, *, memory: str) -> list[list[str]]:
    write(work / "data", items)
    size = sum(file.stat().st_size for file in (work / "data").iterdir())
    environment = as_installed()
    environment |= {"REG_HOME": str(work / "home"), "REG_DATA_MEMORY": memory, "HOME": str(work)}
    short = ["epochs=1", "train_fraction=0.01", "validation_fraction=0.01", "model.width=4"]
    commands = {
        f"dataset push ({size / 2**20:,.0f} MiB)": ["dataset", "push", "data", "--name", "noise", "--test-fraction", "0"],
        "train, 1 % of the items": ["train", "--dataset", "noise", *(word for text in short for word in ("--set", text))],
        "evaluate, all items": ["evaluate", "model", "--split", "train", "--device", "cpu"],
    }
    rows = []
    for name, words in commands.items():
        started = time.perf_counter()
        with (work / "log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "registry", *words], cwd=work, env=environment, stderr=log, stdout=log
            )
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"reg {' '.join(words)} ended with {child.returncode}:\n{(work / 'log').read_text()}")
        rows.append([name, f"{time.perf_counter() - started:.1f}", f"{usage.ru_maxrss / 1024:,.0f}"])
    return rows


def write(folder: Path, items: int) -> None:
    """Two arrays, written a few images at a time: what this process held once would count as its children's."""
    folder.mkdir()
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, size=items)
    np.save(folder / "y_train.npy", labels)
    with (folder / "x_train.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (items, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, items, _AT_ONCE):
            some = random.integers(0, 128, size=(min(_AT_ONCE, items - start), SIDE, SIDE), dtype=np.uint8)
            for row, label in zip(some, labels[start : start + _AT_ONCE], strict=True):
                row[:4, 2 * label : 2 * label + 4] = 255
            stream.write(some)


if __name__ == "__main__":
    main()
