"""The file of a sweep: what is wrong with it is said before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import sweep_file
from pipelines.sweep_file import Training
from registry.errors import BadSettings

WORDS = ("--dataset", "local/reg/digits:v0", "--name", "model")
TRAINING = Training(words=WORDS, task="image-classification", options={"recipe": None, "file": None, "assignments": ()})
RANDOM = {"method": "random", "parameters": {"lr": {"min": 0.001, "max": 0.1}}}


def written(folder: Path, text: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("metod: grid\nparameters: {}", "unknown key 'metod'", "did you mean 'method'?"),
        ("method: grid", "names no parameters", "parameters:"),
        ("- 1", "holds list", "method:"),
        ("", "holds NoneType", "method:"),
        ("a: b: c", "is not YAML", None),
    ],
    ids=["misspelt key", "no parameters", "a list", "empty", "no YAML"],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path, text: str, complaint: str, hint: str | None) -> None:
    with pytest.raises(BadSettings) as refused:
        sweep_file.read(written(tmp_path, text))
    assert complaint in refused.value.message
    assert (refused.value.hint or "").startswith(hint or "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot read .*nowhere"):
        sweep_file.read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("parameters", "complaint", "hint"),
    [
        ({"epoch": {"values": [1, 2]}}, "parameter epoch=1: unknown key 'epoch'", "did you mean 'epochs'?"),
        ({"model": {"parameters": {"widht": {"value": 8}}}}, "unknown key 'model.widht'", "did you mean 'model.width'?"),
        ({"lr": {"values": [0.1, -1.0]}}, "lr is -1.0: input should be greater than 0", "--set lr="),
        ({"epochs": {"distribution": "uniform", "min": 1, "max": 5}}, "epochs is 1.0", "--set epochs="),
        ({"validation_fraction": {"min": 0.1, "max": 1.5}}, "validation_fraction is 1.5", "--set"),
        ({"model": {"value": 3}}, "model is a group, not a value", "it has"),
    ],
    ids=["misspelt", "misspelt in a group", "one bad value", "a fraction of epochs", "a bad end", "a group"],
)
def test_a_parameter_that_would_fail_in_each_trial_fails_before_the_first(parameters: Any, complaint: str, hint: str) -> None:
    with pytest.raises(BadSettings) as refused:
        sweep_file.of_training(Path("sweep.yaml"), {**RANDOM, "parameters": parameters}, TRAINING)
    assert complaint in refused.value.message
    assert refused.value.message.startswith("sweep.yaml: ")
    assert (refused.value.hint or "").startswith(hint)


@pytest.mark.parametrize(
    "spec",
    [
        {"distribution": "log_uniform", "min": -7, "max": -2},
        {"distribution": "log_normal", "mu": -3, "sigma": 1},
        {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
        {"min": 1, "max": 2},
        {"value": 0.1},
    ],
    ids=lambda spec: str(spec.get("distribution", next(iter(spec)))),
)
def test_what_only_the_server_can_judge_is_left_to_it(spec: dict[str, Any]) -> None:
    config = {**RANDOM, "parameters": {"weight_decay": spec}}
    assert sweep_file.of_training(Path("sweep.yaml"), config, TRAINING)["parameters"] == config["parameters"]


@pytest.mark.parametrize(
    ("given", "metric"),
    [
        ({}, {"name": "best/val_loss", "goal": "minimize"}),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, {"name": "val/loss", "goal": "minimize"}),
        ({"metric": {"name": "best/val_accuracy", "goal": "maximize"}}, {"name": "best/val_accuracy", "goal": "maximize"}),
    ],
    ids=["none", "with early termination", "its own"],
)
def test_a_sweep_of_trainings_has_a_command_that_any_agent_can_run_and_a_metric(given: Any, metric: Any) -> None:
    config = sweep_file.of_training(Path("sweep.yaml"), {**RANDOM, **given}, TRAINING)
    assert config["command"] == ["${interpreter}", "-m", "registry", "train", *WORDS]
    assert config["metric"] == metric
    assert yaml.safe_load(yaml.safe_dump(config)) == config


@pytest.mark.parametrize("key", ["program", "command"])
def test_a_file_with_its_own_script_runs_itself(key: str) -> None:
    assert (sweep_file.runs_itself({**RANDOM, key: "train.py"}), sweep_file.runs_itself(RANDOM)) == (True, False)
