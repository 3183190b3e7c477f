"""The configuration of a training: recipe's defaults < file and mode < `--set key=value`, checked key by key before any work.

Every value remembers where it came from, so a complaint names the file and line or the flag, the key, and the nearest known
key, and `--show-config` can say of each value who decided it. Values are YAML wherever they are written, and strict:
`epochs: 3.5` and `epochs: "3"` are mistakes, not three. The groups `model.*` and `augment.*` belong to the recipe,
`schedule.*` and `checkpoint.*` to the training loop. Nothing here needs torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from pipelines import config_files, recipes
from pipelines.config_files import Given
from pipelines.recipes import AnyRecipe, Options
from registry.errors import BadSettings

Values: TypeAlias = Mapping[str, Any]
Checked = TypeVar("Checked", bound=BaseModel)

# YAML 1.1 reads a bare `off` as False and a bare `on` as True; here they are words.
_Switch = BeforeValidator(lambda value: {False: "off", True: "on"}[value] if isinstance(value, bool) else value)


class ScheduleOptions(Options):
    """`schedule.*`: how the learning rate goes from step to step; see `pipelines.schedules`."""

    name: Literal["one-cycle", "cosine", "step", "constant", "plateau"] = "one-cycle"
    warmup: float | None = Field(
        default=None, ge=0, lt=1, description="share of the steps in which it climbs; null: 0.25 for one-cycle, else none"
    )
    floor: float = Field(default=0.0, ge=0, lt=1, description="of cosine and plateau: the lowest rate, as a share of lr")
    factor: float = Field(default=0.1, gt=0, lt=1, description="of step and plateau: what it is multiplied with each time")
    every: int = Field(default=10, ge=1, description="of step: epochs between two drops")
    patience: int = Field(default=5, ge=1, description="of plateau: epochs without a better checkpoint before a drop")


class CheckpointOptions(Options):
    """`checkpoint.*`: what an interrupted training can go on from; see `pipelines.checkpoints`."""

    every: Annotated[int, Field(ge=1)] | Literal["auto", "never"] = Field(
        default="auto", description="epochs between two; auto: the first epoch that ends a minute after the last one"
    )
    best: bool = Field(default=True, description="with a number of epochs: also after each epoch that is the best so far")
    keep: int = Field(default=2, ge=1, description="newest ones to keep; the best one is kept besides")


class TrainConfig(BaseModel):
    """Everything that decides a training besides the data, the code and the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    recipe: str
    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # auto: as many as the recipe's number of steps takes
    batch_size: int = Field(ge=2, description="items of one optimiser step, over all processes and accumulated parts")
    accumulate: int = Field(
        default=1, ge=1, description="parts that a batch is computed in, one after the other, to save memory"
    )
    lr: float = Field(gt=0, description="the highest learning rate of the schedule")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(ge=0)
    clip: float | None = Field(default=None, gt=0, description="largest norm of all gradients together; null: not clipped")
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    amp: Annotated[Literal["auto", "off", "bf16", "fp16"], _Switch] = "auto"
    compile: Annotated[Literal["auto", "on", "off"], _Switch] = "auto"  # auto: on CUDA, in trainings long enough to win it back
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # auto: one for small batches on the CPU, else all
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="share of the train split kept for validation, in data without such a split"
    )
    train_fraction: float = Field(default=1.0, gt=0, le=1, description="share of the remaining items that is trained on")
    monitor: Literal["loss", "accuracy"] = Field(default="loss", description="validation metric that picks the checkpoint")
    patience: int | None = Field(default=20, ge=1, description="epochs without a better checkpoint before stopping")
    min_delta: float = Field(default=0.0, ge=0, description="how much better than the best so far counts as better")
    log_every: int = Field(default=20, ge=1, description="optimiser steps between two logged losses")
    watch: bool = Field(default=False, description="log histograms of weights and gradients, five times in an epoch at most")
    model: SerializeAsAny[Options]
    augment: SerializeAsAny[Options]
    schedule: ScheduleOptions = ScheduleOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A configuration, and who decided each of its values.

    Attributes:
        origins: by dotted key: file, line and mode, or the flag; keys that nobody gave are not there.
        mode: of the configuration file; None where it has none.
    """

    config: TrainConfig
    origins: Mapping[str, str]
    mode: str | None

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Key, value and origin of every value, in the order of the fields."""
        defaults = recipes.find(self.config.recipe).defaults
        for key, value in flat(self.config).items():
            usual = f"recipe {self.config.recipe}" if key in defaults else "default"
            yield key, value, self.origins.get(key, usual)


def resolve(
    *,
    task: str,
    recipe: str | None = None,
    file: Path | None = None,
    mode: str | None = None,
    assignments: Sequence[str] = (),
) -> TrainConfig:
    """`explain`, for who only wants the result."""
    return explain(task=task, recipe=recipe, file=file, mode=mode, assignments=assignments).config


def explain(
    *,
    task: str,
    recipe: str | None = None,
    file: Path | None = None,
    mode: str | None = None,
    assignments: Sequence[str] = (),
    base: Mapping[str, Given] | None = None,
) -> Explained:
    """Merge the sources and check the result.

    Args:
        task: the dataset's task; it chooses the recipe when nothing else does.
        recipe: the value of `--recipe`; before all other sources.
        file: a YAML file, groups as nested mappings, perhaps with modes.
        mode: which mode of the file; None takes the file's own choice.
        assignments: the values of `--set`, each `key=value` with dots for groups; later ones win.
        base: values that take the place of the defaults, those of an earlier run for instance.
    Raises:
        BadSettings: unreadable file, unknown key or mode, impossible value, or a recipe for another task.
        MissingDependency: the recipe's module needs a package that is not installed.
    """
    given: dict[str, Given] = dict(base or {})
    if file is not None:
        values, mode = config_files.read(file, mode=mode)
        given.update(values)
    elif mode is not None:
        raise BadSettings(f"--mode {mode} names a mode of a configuration file, and there is none", hint="--config train.yaml")
    for text in assignments:
        key, value = _assignment(text)
        given[key] = Given(value, f"--set {text}")
    if recipe is not None:
        given["recipe"] = Given(recipe, f"--recipe {recipe}")
    config = _checked(given, task=task)
    return Explained(config=config, origins={key: source.origin for key, source in given.items()}, mode=mode)


def restore(values: Values, *, origin: str) -> TrainConfig:
    """The configuration that `model_dump(mode="json")` wrote, also where other keys stand beside its own.

    Args:
        origin: whose it is, for the complaints.
    Raises:
        BadSettings: it cannot be read as one by this version and with the recipes that are installed here.
    """
    given = config_files.flat({key: value for key, value in values.items() if key in TrainConfig.model_fields}, origin=origin)
    if "recipe" not in given:
        raise BadSettings(f"{origin} says no recipe, so it is no training's configuration", hint="reg ls")
    return _checked(given, task=recipes.find(str(given["recipe"].value)).task)


def flat(config: TrainConfig) -> Mapping[str, Any]:
    """Every value by its dotted key."""
    return {key: given.value for key, given in config_files.flat(config.model_dump(mode="json"), origin="").items()}


def _checked(given: Mapping[str, Given], *, task: str) -> TrainConfig:
    name, chosen = _recipe(given, task=task)
    groups: Mapping[str, type[Options]] = {
        "model": chosen.model_options,
        "augment": chosen.augment_options,
        "schedule": ScheduleOptions,
        "checkpoint": CheckpointOptions,
    }
    known = [key for key in TrainConfig.model_fields if key not in groups]
    known += [f"{group}.{key}" for group, options in groups.items() for key in options.model_fields]
    for key, source in given.items():
        _check_key(key, source, known=known, groups=groups)
    usual = {key: value for key, value in chosen.defaults.items() if "." not in key}
    values = {**usual, **{key: source.value for key, source in given.items() if "." not in key}, "recipe": name}
    for group, options in groups.items():
        start = f"{group}."
        defaults = {key.removeprefix(start): value for key, value in chosen.defaults.items() if key.startswith(start)}
        within = {key.removeprefix(start): source.value for key, source in given.items() if key.startswith(start)}
        values[group] = _validated(options, {**defaults, **within}, prefix=start, given=given, defaults=defaults)
    return _validated(TrainConfig, values, prefix="", given=given, defaults=usual)


def _recipe(given: Mapping[str, Given], *, task: str) -> tuple[str, AnyRecipe]:
    if "recipe" not in given:
        return task, recipes.for_task(task)
    name, origin = given["recipe"].value, given["recipe"].origin
    if not isinstance(name, str):
        raise BadSettings(f"{origin}: recipe is {name!r}, a text was expected", hint=f"--recipe {task}")
    recipe = recipes.find(name)
    if recipe.task != task and not task.endswith(f"-{recipe.task}"):
        raise BadSettings(
            f"{origin}: recipe '{name}' solves {recipe.task}, the dataset's task is {task}", hint=f"--recipe {task}"
        )
    return name, recipe


def _check_key(key: str, source: Given, *, known: Sequence[str], groups: Mapping[str, type[Options]]) -> None:
    if key in known:
        return
    if key in groups:
        some = ", ".join(f"{key}.{name}" for name in groups[key].model_fields) or "no keys with this recipe"
        raise BadSettings(f"{source.origin}: {key} is a group, not a value", hint=f"it has {some}")
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    raise BadSettings(f"{source.origin}: unknown key '{key}'", hint=hint)


def _validated(model: type[Checked], values: Values, *, prefix: str, given: Mapping[str, Given], defaults: Values) -> Checked:
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        first = exc.errors()[0]
        name = str(first["loc"][0])
        key, words = f"{prefix}{name}", f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        origin = given[key].origin if key in given else "the recipe's defaults"
        usual = yaml.safe_dump(defaults[name] if name in defaults else model.model_fields[name].default).split("\n")[0]
        raise BadSettings(f"{origin}: {key} is {values.get(name)!r}: {words}", hint=f"--set {key}={usual}") from exc


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise BadSettings(f"--set {text}: key=value was expected", hint="--set epochs=5")
    try:
        return key.strip(), config_files.value(written)
    except yaml.YAMLError as exc:
        raise BadSettings(f"--set {text}: the value is not YAML: {' '.join(str(exc).split())}") from exc
