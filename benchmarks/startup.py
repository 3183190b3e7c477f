"""`reg --help` against the least a click program can cost: whole processes, in turn, so that drift hits both alike.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "reg --help": [sys.executable, "-m", "registry", "--help"],
}


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(16):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}  # the first run reads the disk
    for name, seconds in medians.items():
        print(f"{name:<14} {1000 * seconds:6.1f} ms")
    print(f"ratio          {medians['reg --help'] / medians['import click']:6.2f}")


if __name__ == "__main__":
    main()
