"""A training that is killed goes on in the same run and ends with the bits of one that was not."""

from __future__ import annotations

import csv
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipelines import dataset, resuming
from pipelines import train as stage
from pipelines.config import TrainConfig, resolve
from pipelines.data.options import Options
from pipelines.looking import looking
from pipelines.resuming import Past
from registry import settings
from registry.backend import Backend
from registry.cli.output import Output
from registry.connection import connect
from registry.errors import BadReference, BadSettings
from registry.provenance import Provenance
from tests.cli.conftest import Reg

pytestmark = pytest.mark.slow

CONFIG = """\
modes:
  base: {lr: 3e-3, model: {width: 8, dropout: 0.2}}
  long:
    inherits: base
    epochs: 12
    batch_size: 32
    patience: null
    schedule: {name: constant}
    checkpoint: {every: 2, best: false, keep: 1}
"""


@dataclass(frozen=True, kw_only=True)
class Life:
    """Two trainings of the same configuration: one left alone, one killed in the middle and gone on with."""

    reg: Reg
    backend: Backend
    whole: stage.Result
    resumed: stage.Result
    past: Past
    killed_at: int

    def history(self, result: stage.Result) -> list[dict[str, Any]]:
        """All rows of a run, without what a clock says, and without pictures, whose names are drawn."""
        run = self.backend._api.run(f"{self.backend.entity}/{self.backend.project}/{run_of(result)}")
        clock = ("_runtime", "_timestamp", "train/samples_per_s")
        return [
            {key: value for key, value in row.items() if key not in clock and not isinstance(value, dict)}
            for row in run.scan_history()
        ]


def run_of(result: stage.Result) -> str:
    return result.run_url.rpartition("/")[2]


def write_digits(folder: Path) -> None:
    """400 items to train on and the dataset's own 100 to validate on."""
    data = load_digits()
    images, labels = (data.images[:700] * 255 / 16).round().astype(np.uint8), data.target[:700]
    folder.mkdir()
    parts = {"train": slice(0, 400), "val": slice(400, 500), "test": slice(500, 700)}
    inputs = {f"x_{part}": images[where] for part, where in parts.items()}
    np.savez(folder / "digits.npz", **inputs, **{f"y_{part}": labels[where] for part, where in parts.items()})


def last_step(path: Path) -> int:
    """The step of the last whole line of a metrics file."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return int(lines[-1].partition(",")[0]) if len(lines) > 1 else -1


@pytest.fixture(scope="module")
def life(make_reg: Callable[[str], Reg]) -> Iterator[Life]:
    reg = make_reg("long")
    write_digits(reg.folder / "digits")
    (reg.folder / "train.yaml").write_text(CONFIG)
    metrics = reg.folder / "metrics.csv"

    def train(past: Past | None, data: Any, config: TrainConfig, **others: Any) -> stage.Result:
        silent = Output(as_json=True).progress
        return stage.run(backend, data, config, by=Provenance(actor="me"), progress=silent, past=past, **others)

    read = settings.read({}, environment=reg.environment, folder=reg.folder)
    with looking(read, reg.folder / "digits", Options()) as look, connect(read) as backend:
        data = dataset.push(backend, look).version
        config = resolve(task="image-classification", file=reg.folder / "train.yaml", mode="long")
        whole = train(None, data, config, name="whole")

        words = ("--config", "train.yaml", "--mode", "long", "--name", "cut", "--log", "csv=metrics.csv")
        process = reg.start("train", "--dataset", "digits", *words)
        while process.poll() is None and last_step(metrics) < 60:  # the fifth of twelve epochs is over
            time.sleep(0.005)
        process.kill()
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        killed_at = last_step(metrics)

        named = re.search(r"^run (\w+): ", err, flags=re.MULTILINE)
        assert named is not None, err
        past = resuming.find(backend, named[1])
        resumed = train(past, past.dataset, past.config, name=past.output, log=[f"csv={metrics}"], mode=past.mode)
        yield Life(reg=reg, backend=backend, whole=whole, resumed=resumed, past=past, killed_at=killed_at)


def test_it_ends_with_the_very_weights_of_one_that_was_not_killed(life: Life) -> None:
    assert life.past.step == 48
    assert life.killed_at > life.past.step, "it was killed right at a checkpoint, and nothing was to be done again"
    assert life.resumed.file.files["model.safetensors"] == life.whole.file.files["model.safetensors"]
    assert life.resumed.version.name == "cut"


def test_it_is_the_same_run_with_every_row_once(life: Life) -> None:
    assert run_of(life.resumed) == life.past.run.id
    assert life.history(life.resumed) == life.history(life.whole)
    fact = life.backend.find_run(life.past.run.id)
    assert (fact.state, fact.config["mode"], fact.config["epochs"]) == ("finished", "long", 12)


def test_the_metrics_beside_wandb_have_every_row_once_too(life: Life) -> None:
    with (life.reg.folder / "metrics.csv").open(newline="") as file:
        steps = [int(line["step"]) for line in csv.DictReader(file)]
    assert steps == [row["_step"] for row in life.history(life.whole)]


def test_of_the_checkpoints_only_the_newest_and_the_best_are_kept(life: Life) -> None:
    (entry,) = (one for one in life.backend.collections("checkpoint") if one.name.endswith(life.past.run.id))
    assert entry.aliases["latest"] == 5  # of the twelfth epoch: the sixth
    assert entry.versions == len({*entry.aliases.values()})


def test_a_checkpoint_is_the_offspring_of_its_run_and_used_by_it(life: Life) -> None:
    used = {str(version) for version in life.backend.inputs(life.past.run)}
    assert used >= {"digits:v0"}
    assert life.past.checkpoint is not None
    assert life.past.checkpoint.metadata["epoch"] == 4


def test_the_datasets_own_validation_split_is_validated_on(life: Life) -> None:
    training = life.whole.file.training
    assert (training.items, training.validation_items) == (400, 100)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ((), r"is finished: 12 epochs, nothing to go on with"),
        (("lr=1", "epochs=20"), r"another configuration: epochs was 12, is 20; lr was 0\.003, is 1\.0"),
        (("schedule.name=cosine",), r"another configuration: schedule\.name was 'constant', is 'cosine'"),
        (("model.width=9",), r"another configuration: model\.width was 8, is 9"),
    ],
    ids=["nothing to do", "another rate", "another schedule", "another network"],
)
def test_what_would_be_another_training_is_refused(life: Life, assignments: tuple[str, ...], message: str) -> None:
    past = resuming.find(life.backend, life.past.run.id)
    config = resolve(task="image-classification", file=life.reg.folder / "train.yaml", mode="long", assignments=assignments)
    with pytest.raises(BadSettings, match=message):
        resuming.check(past, config)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("https://wandb.example/local/other/runs/x1", "is of project other, not reg", "reg train --resume x1 --project other"),
        ("team/reg/x1", "is of entity team, not local", "reg train --resume x1 --entity team"),
    ],
    ids=["another project's page", "another team's path"],
)
def test_a_run_of_another_place_is_refused(life: Life, given: str, message: str, hint: str) -> None:
    with pytest.raises(BadReference, match=message) as caught:
        resuming.find(life.backend, given)
    assert caught.value.hint == hint


def test_a_run_that_is_no_training_is_refused(life: Life) -> None:
    (push,) = life.backend.runs(job_type="dataset")
    with pytest.raises(BadReference, match=f"run {push.id} is a dataset, not a training of reg"):
        resuming.find(life.backend, push.url)


def test_more_epochs_are_possible_in_two_processes_and_ctrl_c_says_how_to_go_on(life: Life) -> None:
    run, path = life.past.run.id, life.reg.folder / "longer.csv"
    process = life.reg.start("train", "--resume", run, "--set", "epochs=2000", "--log", f"csv={path}", "--nproc", "2")
    while process.poll() is None and last_step(path) < 150:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"run {run} goes on from epoch 12, step 144; epochs: 2000" in err
    assert f"Error: interrupted; the run can go on\nHint: reg train --resume {run}\n" in err
