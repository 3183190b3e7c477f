"""The configuration of a training: recipe's defaults < file < `--set key=value`, checked key by key before any work.

Every value remembers where it came from until it is checked, so a complaint names the file or the flag, the key, and the
nearest known key. Values are YAML wherever they are written, and strict: `epochs: 3.5` and `epochs: "3"` are mistakes, not
three. The groups `model.*` and `augment.*` belong to the recipe. Nothing here needs torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from pipelines import recipes
from pipelines.recipes import AnyRecipe, Options
from registry.errors import BadSettings

Values: TypeAlias = Mapping[str, Any]
Checked = TypeVar("Checked", bound=BaseModel)

# YAML 1.1 reads a bare `off` as False; for `amp` it is one of the words.
_Off = BeforeValidator(lambda value: "off" if value is False else value)


class TrainConfig(BaseModel):
    """Everything that decides a training besides the data, the code and the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    recipe: str
    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # auto: as many as the recipe's number of steps takes
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0, description="the highest learning rate of the one-cycle schedule")
    weight_decay: float = Field(ge=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    amp: Annotated[Literal["auto", "off", "bf16", "fp16"], _Off] = "auto"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # auto: one for small batches on the CPU, else all
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of the train split kept for validation")
    train_fraction: float = Field(default=1.0, gt=0, le=1, description="share of the remaining items that is trained on")
    monitor: Literal["loss", "accuracy"] = Field(default="loss", description="validation metric that picks the checkpoint")
    patience: int | None = Field(default=20, ge=1, description="epochs without a better checkpoint before stopping")
    log_every: int = Field(default=20, ge=1, description="optimiser steps between two logged losses")
    model: SerializeAsAny[Options]
    augment: SerializeAsAny[Options]


@dataclass(frozen=True)
class _Given:
    """A value as somebody wrote it, and where."""

    value: Any
    origin: str


def resolve(*, task: str, recipe: str | None = None, file: Path | None = None, assignments: Sequence[str] = ()) -> TrainConfig:
    """Merge the sources and check the result.

    Args:
        task: the dataset's task; it chooses the recipe when nothing else does.
        recipe: the value of `--recipe`; before all other sources.
        file: a YAML file, groups as nested mappings.
        assignments: the values of `--set`, each `key=value` with dots for groups; later ones win.
    Raises:
        BadSettings: unreadable file, unknown key, impossible value, or a recipe for another task.
        MissingDependency: the recipe's module needs a package that is not installed.
    """
    given: dict[str, _Given] = {}
    if file is not None:
        given.update((key, _Given(value, str(file))) for key, value in _flat(_read(file)))
    for text in assignments:
        key, value = _assignment(text)
        given[key] = _Given(value, f"--set {text}")
    if recipe is not None:
        given["recipe"] = _Given(recipe, f"--recipe {recipe}")
    name, chosen = _recipe(given, task=task)
    groups = {"model": chosen.model_options, "augment": chosen.augment_options}
    known = [key for key in TrainConfig.model_fields if key not in groups]
    known += [f"{group}.{key}" for group, options in groups.items() for key in options.model_fields]
    for key, source in given.items():
        _check_key(key, source, known=known, groups=groups)
    values = {**chosen.defaults, **{key: source.value for key, source in given.items() if "." not in key}, "recipe": name}
    for group, options in groups.items():
        within = {key.removeprefix(f"{group}."): at.value for key, at in given.items() if key.startswith(f"{group}.")}
        values[group] = _validated(options, within, prefix=f"{group}.", given=given, defaults={})
    return _validated(TrainConfig, values, prefix="", given=given, defaults=chosen.defaults)


def _recipe(given: Mapping[str, _Given], *, task: str) -> tuple[str, AnyRecipe]:
    if "recipe" not in given:
        return task, recipes.for_task(task)
    name, origin = given["recipe"].value, given["recipe"].origin
    if not isinstance(name, str):
        raise BadSettings(f"{origin}: recipe is {name!r}, a text was expected", hint=f"--recipe {task}")
    recipe = recipes.find(name)
    if recipe.task != task and not task.endswith(f"-{recipe.task}"):
        raise BadSettings(f"{origin}: recipe '{name}' solves {recipe.task}, the dataset's task is {task}")
    return name, recipe


def _check_key(key: str, source: _Given, *, known: Sequence[str], groups: Mapping[str, type[Options]]) -> None:
    if key in known:
        return
    if key in groups:
        some = ", ".join(f"{key}.{name}" for name in groups[key].model_fields) or "no keys with this recipe"
        raise BadSettings(f"{source.origin}: {key} is a group, not a value", hint=f"it has {some}")
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    raise BadSettings(f"{source.origin}: unknown key '{key}'", hint=hint)


def _validated(model: type[Checked], values: Values, *, prefix: str, given: Mapping[str, _Given], defaults: Values) -> Checked:
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        first = exc.errors()[0]
        name = str(first["loc"][0])
        key, words = f"{prefix}{name}", f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        origin = given[key].origin if key in given else "the recipe's defaults"
        usual = yaml.safe_dump(defaults[name] if name in defaults else model.model_fields[name].default).split("\n")[0]
        raise BadSettings(f"{origin}: {key} is {values.get(name)!r}: {words}", hint=f"--set {key}={usual}") from exc


def _read(file: Path) -> Values:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as exc:
        raise BadSettings(f"cannot read {file}: {exc}") from exc
    except yaml.YAMLError as exc:
        raise BadSettings(f"{file} is not YAML: {' '.join(str(exc).split())}") from exc
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadSettings(f"{file} holds {type(content).__name__}, keys and values were expected", hint="epochs: 5")
    return content


def _flat(content: Values, *, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, prefix=f"{prefix}{key}.")
        elif not isinstance(value, dict):
            yield f"{prefix}{key}", value


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise BadSettings(f"--set {text}: key=value was expected", hint="--set epochs=5")
    try:
        return key.strip(), yaml.load(written, Loader=_Loader)
    except yaml.YAMLError as exc:
        raise BadSettings(f"--set {text}: the value is not YAML: {' '.join(str(exc).split())}") from exc


class _Loader(yaml.SafeLoader):
    """YAML with the numbers people write: 1e-3 is a number, as in YAML 1.2, and not a text, as in 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
