"""A file of 1 GiB: `reg dataset push` and `pull` against `md5sum` and `cp` of the same file, the least that a copy can cost.

    python benchmarks/big_file.py [--mib 1024] [--rounds 5] [--dvc /path/to/dvc] [--work FOLDER]

The file is IDX: images of 1024×1024 random bytes, with labels and a small test split beside it. `reg` compares all images,
hashes and copies the file, syncs it, and starts and ends a server; `cp` syncs nothing, so that a push is compared besides with
a copy that is as safe from a power cut. With `--dvc`, `dvc add`, `dvc push`
and `dvc pull` run in the same rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from rounds import Cost, as_installed, command, conditions, in_turn, markdown, spread

NAME = "train-images-idx3-ubyte"


def main() -> None:
    parser = argparse.ArgumentParser(description="reg on one big file.")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dvc", help="the dvc program")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    given = parser.parse_args()
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        data = write_data(Path(work) / "data", given.mib)
        for turn in range(given.rounds):
            place = Path(work) / str(turn)
            place.mkdir()
            for step, contenders in steps(place, data, given.dvc).items():
                for name, cost in in_turn(contenders, turn=turn).items():
                    costs[step, name].append(cost)
                    print(f"round {turn}, {step}, {name}: {cost.wall:.1f} s", file=sys.stderr, flush=True)
            shutil.rmtree(place)
    print(f"{given.mib} MiB, {given.rounds} rounds; {conditions('reg-lifecycle', 'numpy')}\n")
    rows = []
    for (step, name), found in costs.items():
        least = sorted(cost.wall for cost in costs[step, "md5sum + cp"])[given.rounds // 2]
        median = sorted(cost.wall for cost in found)[given.rounds // 2]
        target = "≤ 1.50" if name == "reg" else ""
        rows.append([step, name, spread([cost.wall for cost in found]), f"{median / least:.2f}", target])
    print(markdown(("what", "by", "time", "ratio", "target"), rows))


def write_data(folder: Path, mib: int) -> Path:
    folder.mkdir()
    for split, items in (("train", mib), ("t10k", 4)):
        with (folder / f"{split}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">BBBBIII", 0, 0, 8, 3, items, 1024, 1024))
            for _ in range(items):
                file.write(os.urandom(1 << 20))
        labels = bytes(number % 2 for number in range(items))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, items) + labels)
    return folder


def steps(place: Path, data: Path, dvc: str | None) -> dict[str, dict[str, Callable[[], object]]]:
    plain = as_installed()
    home = plain | {"REG_HOME": str(place / "home"), "HOME": str(place)}

    def copy(source: Path, target: Path, *, synced: bool = False) -> Callable[[], object]:
        def run() -> None:
            subprocess.run(["md5sum", source], stdout=subprocess.DEVNULL, check=True)
            shutil.copyfile(source, target)
            if synced:
                with target.open("rb+") as file:
                    os.fsync(file)

        return run

    def reg(*words: str) -> Callable[[], object]:
        return command([sys.executable, "-m", "registry", "dataset", *words], folder=place, environment=home)

    push: dict[str, Callable[[], object]] = {
        "md5sum + cp": copy(data / NAME, place / "copy"),
        "md5sum + cp + sync": copy(data / NAME, place / "synced", synced=True),
        "reg": reg("push", str(data), "--name", "big"),
    }
    pull: dict[str, Callable[[], object]] = {
        "md5sum + cp": copy(place / "copy", place / "second"),
        "reg": reg("pull", "big", "--to", "back"),
    }
    if dvc is not None:
        repository = place / "dvc"
        shutil.copytree(data, repository / "data")
        quiet = plain | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(place / "site"), "HOME": str(place)}

        def run(*words: str) -> None:
            command([os.path.abspath(dvc), *words, "--quiet"], folder=repository, environment=quiet)()

        run("init", "--no-scm")
        run("remote", "add", "--default", "remote", str(place / "remote"))

        def forget_and_pull() -> None:
            run("pull")

        def add_and_push() -> None:
            run("add", "data")
            run("push")
            shutil.rmtree(repository / ".dvc" / "cache")
            shutil.rmtree(repository / "data")

        push["DVC"], pull["DVC"] = add_and_push, forget_and_pull
    return {"push": push, "pull": pull}


if __name__ == "__main__":
    main()
