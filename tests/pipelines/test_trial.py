"""A training as a trial: it takes its parameters from the agent, and ends as its agent wants it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import trial
from pipelines.config import resolve
from pipelines.trial import TrialStopped
from registry.errors import BadSettings
from registry.sweeps import LEASH


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
