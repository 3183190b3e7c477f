"""`reg dataset push` and `pull` of 60,000 small files against DVC with a remote in a local folder.

    python benchmarks/small_files.py --mnist FOLDER --dvc /path/to/dvc [--count 60000] [--rounds 3] [--work FOLDER]

MNIST's training images are written as PNG files, one folder for each class. In every round both tools get a fresh copy of
nothing but these files, and a fresh home or repository: `dvc add` + `dvc push` against `reg dataset push`; the same again after
one file has got other bytes; and `dvc pull` with an empty cache against `reg dataset pull`. `reg` also decodes and checks
every image and starts and ends its own server each time. DVC runs without Git (`--no-scm`), hard links or analytics.
`--dvc` is the program of an environment of its own: `python -m venv dvc && dvc/bin/pip install dvc`.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from rounds import Cost, as_installed, command, conditions, in_turn, markdown, ratio_row


def main() -> None:
    parser = argparse.ArgumentParser(description="reg against DVC on many small files.")
    parser.add_argument("--mnist", type=Path, required=True, help="folder with MNIST's IDX files")
    parser.add_argument("--dvc", required=True, help="the dvc program")
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    given = parser.parse_args()
    costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        images = write_images(given.mnist, Path(work) / "images", given.count)
        for turn in range(given.rounds):
            for step, found in one_round(Path(work) / str(turn), images, os.path.abspath(given.dvc), turn).items():
                for name, cost in found.items():
                    costs[step][name].append(cost)
                    print(f"round {turn}, {step}, {name}: {cost.wall:.1f} s, {cost.cpu:.1f} CPU-s", file=sys.stderr, flush=True)
    targets = {"push": "≤ 0.30", "push, one file changed": "≤ 0.15", "pull": "≤ 0.30"}
    rows = [ratio_row(step, found["reg"], found["dvc"], target=targets[step]) for step, found in costs.items()]
    dvc = subprocess.run([given.dvc, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{given.count:,} files, {given.rounds} rounds; DVC {dvc}; {conditions('reg-lifecycle')}\n")
    print(markdown(("what", "DVC", "reg", "ratio", "target", "ratio of CPU time"), rows))


def write_images(mnist: Path, folder: Path, count: int) -> Path:
    with gzip.open(mnist / "train-images-idx3-ubyte.gz") as images, gzip.open(mnist / "train-labels-idx1-ubyte.gz") as labels:
        pixels = np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        classes = np.frombuffer(labels.read(), np.uint8, offset=8)
    for label in range(10):
        (folder / "train" / str(label)).mkdir(parents=True)
    for number in range(count):
        Image.fromarray(pixels[number]).save(folder / "train" / str(classes[number]) / f"{number:05d}.png")
    return folder


def one_round(work: Path, images: Path, dvc: str, turn: int) -> dict[str, dict[str, Cost]]:
    theirs, ours = work / "dvc", work / "reg"
    for folder in (theirs, ours):
        shutil.copytree(images, folder / "data")
    plain = as_installed()
    quiet = plain | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(work / "site"), "HOME": str(work)}
    home = plain | {"REG_HOME": str(work / "home"), "HOME": str(work)}

    def run_dvc(*words: str) -> None:
        command([dvc, *words, "--quiet"], folder=theirs, environment=quiet)()

    def run_reg(*words: str) -> None:
        command([sys.executable, "-m", "registry", "dataset", *words], folder=ours, environment=home)()

    run_dvc("init", "--no-scm")
    run_dvc("remote", "add", "--default", "remote", str(work / "remote"))

    def dvc_push() -> None:
        run_dvc("add", "data")
        run_dvc("push")

    push = {"dvc": dvc_push, "reg": lambda: run_reg("push", "data", "--name", "mnist")}
    found = {"push": in_turn(push, turn=turn)}
    for folder in (theirs, ours):
        first = min((folder / "data" / "train" / "5").iterdir())
        content = first.read_bytes()
        first.unlink()  # DVC may have linked it
        first.write_bytes(content + b"\0")
    found["push, one file changed"] = in_turn(push, turn=turn)
    shutil.rmtree(theirs / ".dvc" / "cache")
    (theirs / "data").rename(work / "old")
    found["pull"] = in_turn(
        {"dvc": lambda: run_dvc("pull"), "reg": lambda: run_reg("pull", "mnist", "--to", "back")}, turn=turn
    )
    assert sum(1 for _ in (ours / "back").rglob("*.png")) == sum(1 for _ in (theirs / "data").rglob("*.png"))
    return found


if __name__ == "__main__":
    main()
