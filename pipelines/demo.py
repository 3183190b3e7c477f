"""`reg demo`: the whole life of a model on real data, as the transcript of ordinary commands.

Nothing here is special: each step is printed and then run as its own process, exactly as a person would type it, in a home
of its own. The data are scikit-learn's digits, which come with a dependency, written as image files. The four models are
the four answers a gate can give to a good question: no baseline yet, better, cannot tell, worse.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import platformdirs

from pipelines.data.samples import write_digits
from registry.cli.output import Output
from registry.errors import RegError, UsageError
from registry.records import Outcome

_MARKER = ".reg-demo"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the tour and the outcome it is expected to have."""

    says: str
    command: str
    ends: Outcome = Outcome.PASS


_STEPS = (
    Step(
        says="A folder of images becomes a dataset version. The warning, if any, is about items that two splits share.",
        command="reg dataset push digits/",
    ),
    Step(
        says="A first, weak model: it sees one image in twenty.",
        command="reg train --dataset digits:latest --set train_fraction=0.05 --set batch_size=8 --set epochs=15",
    ),
    Step(
        says="Scored on the test split, on the ONNX graph that would be served, with the proof of the device it ran on.",
        command="reg evaluate model:v0",
    ),
    Step(
        says="Nobody holds 'production' yet, so the policy asks only its absolute checks.",
        command="reg promote model:v0 --alias production",
    ),
    Step(
        says="A strong one: it sees them all.", command="reg train --dataset digits:latest --set model.width=24 --set epochs=20"
    ),
    Step(
        says="Candidate and baseline are scored on the same items, in one process. The new one is better, beyond chance.",
        command="reg promote model:v1 --alias production",
    ),
    Step(
        says="The same recipe from another seed: different weights, equal quality.",
        command="reg train --dataset digits:latest --set model.width=24 --set epochs=20 --set seed=1",
    ),
    Step(
        says="A plain 'greater than' would promote this one half of the time. The gate says that it cannot tell.",
        command="reg promote model:v2 --alias production",
        ends=Outcome.INCONCLUSIVE,
    ),
    Step(
        says="And a worse one.",
        command="reg train --dataset digits:latest --set train_fraction=0.1 --set batch_size=16 --set epochs=20",
    ),
    Step(says="Refused: 'production' stays where it is.", command="reg promote model:v3 --alias production", ends=Outcome.FAIL),
    Step(
        says="Why is this version in production, and on what data?",
        command="reg lineage wandb-registry-model/model:production",
    ),
    Step(says="Everything is an artifact with versions and aliases.", command="reg ls"),
)


class DemoFailed(RegError):
    """A step of the tour did not end as it should."""


@click.command(epilog="Examples: reg demo · reg demo --clean")
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder of the demo (default: beside your own home)."
)
@click.option("--clean", is_flag=True, help="Only remove what an earlier demo left.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def demo(home: Path | None, clean: bool, debug: bool) -> None:
    """See the whole life of a model on real data: no account, no network, no GPU, under two minutes."""
    output = Output(as_json=False)
    home = (home or Path(platformdirs.user_data_dir("reg-demo"))).absolute()
    if clean:
        _remove(home)
        output.notice(f"removed {home}")
        return
    started = time.monotonic()
    _begin(home)
    output.result({}, f"A tour of reg in {home}\n")
    for step in _STEPS:
        output.result({}, f"\n# {step.says}\n$ {step.command}")
        code = _run(step.command, home=home)
        if code != step.ends.exit_code:
            raise DemoFailed(f"'{step.command}' ended with {code}, {step.ends.exit_code} was expected", hint="reg doctor")
        if code:
            output.result({}, f"(exit code {code}: {step.ends})")
    output.result({}, _ENDING.format(seconds=time.monotonic() - started, home=home))


_ENDING = """
That was the whole life of a model, in {seconds:.0f} seconds. Look around:

  export REG_HOME={home}/home
  reg show wandb-registry-model/model:production
  reg lineage digits:v0 --down
  reg serve                    # then open the address it prints
  reg demo --clean             # when you have seen enough
"""


def _run(command: str, *, home: Path) -> int:
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "REG_"))}
    words = [sys.executable, "-m", "registry", *shlex.split(command)[1:]]
    return subprocess.run(words, cwd=home, env={**ours, "REG_HOME": str(home / "home")}).returncode


def _begin(home: Path) -> None:
    """A folder with the data; an earlier demo goes only when the new one can begin."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as draft:
        new = Path(draft) / "demo"
        new.mkdir()
        (new / _MARKER).touch()
        write_digits(new / "digits")
        _remove(home)
        new.rename(home)


def _remove(home: Path) -> None:
    """Remove an earlier demo, and nothing that is not one."""
    if home.exists():
        if any(home.iterdir()) and not (home / _MARKER).exists():
            raise UsageError(f"{home} is not an earlier demo; nothing was removed", hint="reg demo --home another/folder")
        shutil.rmtree(home)
