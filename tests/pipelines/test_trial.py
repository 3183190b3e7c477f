"""A training as a trial: it takes its parameters from the agent, ends as its agent wants it, and is given out again or not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import trial
from pipelines.config import TrainConfig, resolve
from pipelines.job import Job, open_job
from pipelines.resuming import Past
from pipelines.trial import Attempt, TrialFailed, TrialStopped
from registry.backend import Backend
from registry.errors import BadSettings, EnvironmentProblem
from registry.records import Digest, RunFact, Version
from registry.sweeps import LEASH

CONFIG: TrainConfig = resolve(task="image-classification")


def told(folder: Path, values: dict[str, Any]) -> dict[str, str]:
    """The environment of a trial whose agent wrote these parameters, as the SDK writes them."""
    file = folder / "config.yaml"
    wrapped = {name: {"desc": None, "value": value} for name, value in values.items()}
    file.write_text(yaml.safe_dump({"wandb_version": 1, **wrapped}))
    return {"WANDB_SWEEP_PARAM_PATH": str(file)}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"lr": 1e-05}, ("lr", 1e-05)),
        ({"epochs": 3}, ("epochs", 3)),
        ({"model": {"width": 64}}, ("model.width", 64)),
        ({"model.width": 64}, ("model.width", 64)),
        ({"patience": None}, ("patience", None)),
        ({"amp": "off"}, ("amp", "off")),
        ({"epochs": "auto"}, ("epochs", "auto")),
    ],
    ids=["small number", "whole number", "group", "dots", "null", "a word that YAML reads as false", "word"],
)
def test_what_the_agent_wants_tried_is_what_is_trained_with(tmp_path: Path, values: Any, found: tuple[str, Any]) -> None:
    config = resolve(task="image-classification", assignments=trial.parameters(told(tmp_path, values)))
    value: Any = config
    for part in found[0].split("."):
        value = getattr(value, part)
    assert value == found[1]


def test_outside_of_a_sweep_nothing_is_wanted() -> None:
    assert trial.parameters({}) == ()


@pytest.mark.parametrize("content", [None, "- 1", "a: b: c"], ids=["absent", "no mapping", "no YAML"])
def test_parameters_that_cannot_be_read_are_an_error_and_not_a_training_without_them(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadSettings, match=r"config\.yaml"):
        trial.parameters({"WANDB_SWEEP_PARAM_PATH": str(file)})


@pytest.mark.parametrize(
    ("leash", "ends"),
    [("held", TrialStopped), ("gone", KeyboardInterrupt), ("none", TrialStopped)],
    ids=["the sweep stops it", "its command is gone", "under a plain wandb agent"],
)
def test_sigterm_stops_a_trial_unless_its_agent_was_itself_interrupted(
    tmp_path: Path, leash: str, ends: type[BaseException]
) -> None:
    file = tmp_path / "leash"
    if leash == "held":
        file.touch()
    environment = told(tmp_path, {"lr": 0.1}) | ({} if leash == "none" else {LEASH: str(file)})
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ends), trial.stoppable(environment):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_of_a_sweep_sigterm_means_what_it_always_means() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with trial.stoppable({}):
        assert signal.getsignal(signal.SIGTERM) is before


def at(step: int, run: RunFact) -> Past:
    """A past whose newest checkpoint is of this step; 0 for none."""
    digest = Digest(algorithm="manifest-md5", hex="0" * 32)
    place: dict[str, Any] = {"entity": run.entity, "project": run.project, "index": 0, "digest": digest, "size": 0}
    data = Version(id="1", name="digits", type="dataset", **place)
    kept = Version(id="2", name=f"checkpoint-{run.id}", type="checkpoint", metadata={"step": step}, **place) if step else None
    others: dict[str, Any] = {"output": "model", "loggers": (), "processes": 1, "mode": None, "checkpoint": kept}
    return Past(run=run, dataset=data, config=CONFIG, **others)


@pytest.fixture(scope="module")
def job(backend: Backend) -> Iterator[Job]:
    with open_job(backend, job_type="train") as job:
        yield job


def run_with(job: Job, **summary: Any) -> RunFact:
    return RunFact(
        id=job.id, entity=job.entity, project="reg", name="", job_type="train", state="pending", url="", summary=summary
    )


@pytest.mark.parametrize(
    ("raised", "refused"),
    [
        (BadSettings("the loss is NaN at step 40"), "the trial failed before: the loss is NaN at step 40"),
        (ZeroDivisionError("in a recipe"), "the trial failed before: in a recipe"),
        (EnvironmentProblem("a process was killed"), None),
        (TrialStopped("the sweep stopped this trial"), None),
        (KeyboardInterrupt(), None),
    ],
    ids=["by its parameters", "by its code", "by its machine", "by the sweep", "interrupted"],
)
def test_only_what_failed_by_itself_is_not_trained_again(backend: Backend, raised: BaseException, refused: str | None) -> None:
    with pytest.raises(type(raised)), open_job(backend, job_type="train") as job, Attempt(past=None, starts=(0,)).told(job):
        raise raised
    again = Attempt(past=at(0, backend.find_run(job.id)), starts=(0, 0))
    with open_job(backend, job_type="train", resume=job.id) as job:
        if refused is None:
            with again.told(job):
                pass
        else:
            with pytest.raises(TrialFailed, match=refused), again.told(job):
                pytest.fail("it was trained again")


@pytest.mark.parametrize(
    ("starts", "interrupted", "ends"),
    [
        ((0, 48, 48, 48, 48), 0, True),
        ((48, 48, 48), 0, False),
        ((0, 24, 48, 48), 0, False),
        ((48, 48, 48, 48), 1, False),
        ((48, 48, 48, 48, 48), 1, True),
        ((48, 48, 48, 48), 4, False),
    ],
    ids=["three vanished", "two vanished", "they come on", "one was interrupted", "three since", "all were interrupted"],
)
def test_a_trial_that_takes_every_process_down_with_it_ends(job: Job, starts: Any, interrupted: int, ends: bool) -> None:
    attempt = Attempt(past=at(48, run_with(job, **{"trial/interrupted": interrupted})), starts=starts)
    if ends:
        with pytest.raises(TrialFailed, match="3 processes vanished that went on from step 48"), attempt.told(job):
            pytest.fail("it was trained again")
    else:
        with attempt.told(job):
            pass


def test_the_first_process_of_a_trial_has_no_past(backend: Backend, tmp_path: Path) -> None:
    """W&B may hear of a run with the first word of its process."""
    environment = {**told(tmp_path, {"lr": 0.1}), "WANDB_RUN_ID": "unheard"}
    assert trial.attempt(backend, environment) == Attempt(past=None, starts=(0,))
    assert trial.attempt(backend, {}) is None
