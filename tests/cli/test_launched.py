"""`torchrun -m registry train`: the losses of one process, one run, one error, and a restart that goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pipelines import dataset
from pipelines import train as stage
from pipelines.config import resolve
from pipelines.data.options import Options
from pipelines.looking import looking
from registry import cli, settings
from registry.backend import Backend
from registry.cli.output import Output
from registry.connection import connect
from registry.embedded import announce
from registry.provenance import Provenance
from registry.records import RunFact
from tests.cli.conftest import Done, Reg
from tests.cli.test_long_runs import write_digits

pytestmark = pytest.mark.slow

MORTAL = '''\
"""The usual recipe, in which rank 1 is killed in its second epoch under torchrun, and fails at once under other launchers."""
import os
import signal

from pipelines.recipes.image_classification import ImageClassification


class Mortal(ImageClassification):
    name = "mortal.py:Mortal"
    steps = 0

    def augment(self, batch, options, generator):
        self.steps += 1
        if os.environ.get("RANK") == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0" and self.steps == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("RANK") == "1" and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise RuntimeError("no such pixel")
        return super().augment(batch, options, generator)
'''
VALUES = ("epochs=3", "model.width=4", "batch_size=80", "patience=null", "checkpoint.every=1", "log_every=1")


@dataclass(frozen=True, kw_only=True)
class Life:
    """A training in one process, and one under torchrun of which a process was killed in the second of three epochs."""

    reg: Reg
    backend: Backend
    alone: RunFact
    launched: RunFact
    done: Done

    def history(self, run: RunFact) -> list[dict[str, Any]]:
        """All rows, without what a clock says, and without pictures."""
        clock = ("_runtime", "_timestamp", "train/samples_per_s")
        rows = self.backend._api.run(run.path).scan_history()
        return [{key: value for key, value in row.items() if key not in clock and not isinstance(value, dict)} for row in rows]


def start(reg: Reg, *words: str, **variables: str) -> subprocess.Popen[str]:
    """A Python program in the folder and with the home of `reg`."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=reg.folder,
        env={**reg.environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), **variables},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=300)
    return Done(code=process.returncode, out=out, err=err)


def train(*others: str) -> tuple[str, ...]:
    sets = tuple(word for value in VALUES for word in ("--set", value))
    return ("-m", "registry", "train", "--dataset", "digits", "--recipe", "mortal.py:Mortal", *sets, *others)


@pytest.fixture(scope="module")
def life(make_reg: Callable[[str], Reg]) -> Iterator[Life]:
    reg = make_reg("launched")
    write_digits(reg.folder / "digits")
    (reg.folder / "mortal.py").write_text(MORTAL)
    read = settings.read({}, environment=reg.environment, folder=reg.folder)
    with (
        looking(read, reg.folder / "digits", Options()) as look,
        connect(read) as backend,
        announce(reg.home, backend.url),  # as `reg serve` does: all ranks and attempts use the one server
    ):
        data = dataset.push(backend, look).version
        config = resolve(task="image-classification", assignments=VALUES)
        silent = Output(as_json=True).progress
        stage.run(backend, data, config, name="alone", by=Provenance(actor="me"), progress=silent)
        (alone,) = backend.runs(job_type="train")
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
        done = ended(start(reg, *torchrun, *train("--name", "launched", "--json")))
        assert done.code == 0, done.err
        (launched,) = (run for run in backend.runs(job_type="train") if run.id != alone.id)
        yield Life(reg=reg, backend=backend, alone=alone, launched=launched, done=done)


def test_two_launched_processes_have_the_losses_of_one_also_when_one_was_killed(life: Life) -> None:
    alone, launched = life.history(life.alone), life.history(life.launched)
    assert [row["_step"] for row in launched] == [row["_step"] for row in alone] == list(range(1, 16))
    for row, expected in zip(launched, alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-4), row["_step"]


def test_they_are_one_run_that_went_on_after_the_restart(life: Life) -> None:
    assert (life.launched.state, life.launched.config["ranks"]) == ("finished", 2)
    notices = life.done.err.splitlines()
    assert sum(line.startswith(f"run {life.launched.id}: http") for line in notices) == 2
    (going_on,) = (line for line in notices if " goes on from " in line)
    assert going_on.startswith(f"run {life.launched.id} goes on from epoch 1, step 5")


def test_only_rank_0_has_something_to_say(life: Life) -> None:
    data = json.loads(life.done.out.splitlines()[-1])
    training = data["model"]["training"]
    assert (training["processes"], training["resumed"], training["epochs"]) == (2, 1, 3)
    assert sum(line.startswith("writing to ") for line in life.done.err.splitlines()) == 2  # one for each attempt


def test_a_rank_that_fails_on_another_machine_ends_all_with_its_one_error(life: Life) -> None:
    """As Kubernetes starts them: each process a machine of its own, and nobody who would end the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    started = [start(life.reg, *train(), **place, RANK=str(rank)) for rank in range(2)]
    leader, other = (ended(process) for process in started)
    assert (leader.code, other.code) == (2, 2)
    mortal = life.reg.folder / "mortal.py"
    assert other.err == (
        f"Error: rank 1 of 2: {mortal}, line 17, in augment: RuntimeError: no such pixel\n"
        'Hint: raise RuntimeError("no such pixel")\n'
    )
    assert "Error" not in leader.err
    failed = life.backend.runs(job_type="train", state="failed")
    assert [run.config["ranks"] for run in failed] == [2]


def test_nproc_under_a_launcher_is_refused(
    life: Life, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    assert cli.run(["train", "--dataset", "digits", "--nproc", "2"]) == 2
    assert capsys.readouterr().err == (
        "Error: --nproc 2 starts processes, and a launcher has started 2 already (WORLD_SIZE)\n"
        "Hint: leave --nproc out, or without the launcher: reg train --nproc 2\n"
    )
