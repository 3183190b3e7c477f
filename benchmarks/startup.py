"""What a command costs before it does anything: whole processes, in turn, so that drift hits both alike.

    python benchmarks/startup.py

`reg --help` against the least a click program can cost; and the push of a table of eleven rows, new each time, against a script
of the plain SDK that logs one file to a server that runs already. `reg` reads the table, and starts and ends a server.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rounds import as_installed, command, conditions, in_turn

from registry.embedded import EmbeddedServer

_ROUNDS = 12
_PLAIN = """
import sys, wandb
with wandb.init(project="start", dir=sys.argv[1], settings=wandb.Settings(silent=True, console="off")) as run:
    artifact = wandb.Artifact("one", type="dataset")
    with artifact.new_file("file.txt") as file:
        file.write(run.id)
    run.log_artifact(artifact).wait()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as work, EmbeddedServer(Path(work) / "served") as server:
        home = as_installed() | {"REG_HOME": f"{work}/home", "HOME": work}
        address = server.address()
        told = home | {"WANDB_BASE_URL": address.url, "WANDB_API_KEY": address.key}
        data = Path(work) / "data"
        reg = [sys.executable, "-m", "registry"]
        push = command([*reg, "dataset", "push", str(data)], folder=work, environment=home)
        pairs: dict[str, dict[str, Callable[[], object]]] = {
            "nothing": {
                "import click": command([sys.executable, "-c", "import click"], folder=work, environment=home),
                "reg --help": command([*reg, "--help"], folder=work, environment=home),
            },
            "a version": {
                "the plain SDK": command([sys.executable, "-c", _PLAIN, work], folder=work, environment=told),
                "reg dataset push": push,
            },
        }
        for what, contenders in pairs.items():
            times: dict[str, list[float]] = {name: [] for name in contenders}
            for turn in range(_ROUNDS):
                _write(data, turn)
                for name, cost in in_turn(contenders, turn=turn).items():
                    times[name].append(cost.wall)
            theirs, ours = (statistics.median(found[1:]) for found in times.values())  # the first run reads the disk
            print(f"{what}: {', '.join(times)}: {1000 * theirs:.0f} ms, {1000 * ours:.0f} ms, ratio {ours / theirs:.2f}")
    print(conditions("reg-lifecycle", "click"))


def _write(data: Path, turn: int) -> None:
    """A table with another number in it each turn."""
    data.mkdir(exist_ok=True)
    rows = "".join(f"{number},{number % 2}\n" for number in range(10))
    (data / "table.csv").write_text(f"x,y\n{turn},1\n{rows}")


if __name__ == "__main__":
    main()
