"""The file of a sweep: W&B's own format, read and looked over before a server sees it.

A file that names a `program` or a `command` is a sweep of somebody's own script and goes as it is. One that does not is a
sweep of `reg train`: its command is added here, with the dataset pinned to one version so that all trials learn from the same
data, and every parameter is tried on the training's configuration first, because a misspelt name would otherwise fail in each
trial. What a server alone can judge (distributions, bounds, methods) is left to it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import resolve
from pipelines.trial import assignment
from registry import sweeps
from registry.errors import BadSettings

_KNOWN = (
    "command", "controller", "description", "early_terminate", "entity", "image_uri", "job", "launch", "method", "metric",
    "name", "parameters", "program", "project", "queue", "run_cap", "runcap", "scheduler",
)  # fmt: skip
# Distributions whose bounds are values; those of the others are exponents, or there are none.
_BOUNDED_BY_VALUES: tuple[str | None, ...] = (
    None,
    "uniform",
    "int_uniform",
    "q_uniform",
    "log_uniform_values",
    "q_log_uniform_values",
)
_BOUNDED_BY_VALUES += ("inv_log_uniform_values",)
_WHOLE = ("int_uniform", "q_uniform", "q_log_uniform_values")
_EXAMPLE = "method: random\nmetric: {name: best/val_loss, goal: minimize}\nparameters: {lr: {min: 0.001, max: 0.1}}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every trial of a sweep of `reg train` shares: the options of the command, and what its configuration begins with."""

    words: Sequence[str]
    task: str
    options: Mapping[str, Any]


def read(file: Path) -> dict[str, Any]:
    """A sweep's configuration.

    Raises:
        BadSettings: the file cannot be read, is no mapping, or has a key that W&B does not know.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSettings(f"cannot read {file}: {exc.strerror}", hint="reg sweep path/to/sweep.yaml --dataset mnist") from exc
    except UnicodeDecodeError as exc:
        raise BadSettings(f"cannot read {file}: {exc}", hint="save it as UTF-8") from exc
    except yaml.YAMLError as exc:
        raise BadSettings(f"{file} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(config, dict) or not config:
        raise BadSettings(f"{file} holds {type(config).__name__}, keys and values were expected", hint=_EXAMPLE)
    for key in config:
        if key not in _KNOWN:
            near = difflib.get_close_matches(str(key), _KNOWN, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(_KNOWN)}"
            raise BadSettings(f"{file}: unknown key '{key}'", hint=hint)
    if not isinstance(config.get("parameters"), dict):
        raise BadSettings(f"{file} names no parameters to vary", hint="parameters: {lr: {min: 0.001, max: 0.1}}")
    return config


def runs_itself(config: Mapping[str, Any]) -> bool:
    """Whether the file says what its trials run."""
    return "program" in config or "command" in config


def of_training(file: Path, config: Mapping[str, Any], training: Training) -> dict[str, Any]:
    """The configuration with the command of its trials, and a metric when it names none.

    Raises:
        BadSettings: a parameter is none of the training's configuration, or one of its values cannot be.
    """
    for name, spec in sweeps.parameters(config["parameters"]):
        for value in _some_values(spec):
            try:
                given = (*training.options["assignments"], assignment(name, value))
                resolve(**{**training.options, "task": training.task, "assignments": given})
            except BadSettings as exc:
                raise BadSettings(f"{file}: {exc.message.replace('--set ', 'parameter ', 1)}", hint=exc.hint) from exc
    # The agent's own interpreter: `python` is whatever its machine calls so, and finds reg there.
    command = ["${interpreter}", "-m", "registry", "train", *training.words]
    # Early termination compares what is logged on the way; without it, the checkpoint that becomes the model counts.
    usual = {"name": "val/loss" if config.get("early_terminate") else "best/val_loss", "goal": "minimize"}
    return {**config, "metric": config.get("metric") or usual, "command": command}


def _some_values(spec: Mapping[str, Any]) -> list[Any]:
    """Values that a parameter may take: all of a list, the ends of a range; none where the ends are not told as values."""
    if "value" in spec:
        return [spec["value"]]
    if isinstance(spec.get("values"), list):
        return list(spec["values"])
    ends = [spec.get("min"), spec.get("max")]
    if spec.get("distribution") not in _BOUNDED_BY_VALUES or not all(isinstance(end, int | float) for end in ends):
        return []
    whole = spec.get("distribution") in _WHOLE or (
        spec.get("distribution") is None and all(isinstance(end, int) for end in ends)
    )
    return ends if whole else [float(end) for end in ends if end is not None]
