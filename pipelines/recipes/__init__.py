"""Recipes: what to train. `pipelines.training` knows how (loop, schedule, early stopping) and asks a recipe for the rest.

A recipe answers five questions: which network for this problem (preprocessing inside it, because the network becomes the
exported graph), what that preprocessing must learn from the training items, how items are varied while training, what the
loss is, and what is measured on validation items. The built-in recipes are named after the task they are the default for;
your own is named by where it can be imported, `--recipe my_package.speech:RECIPE`, or by the file it is in, `--recipe
speech.py:Speech` (`pipelines.recipes.sources`); `pipelines.recipes.base.BaseRecipe` answers what you leave open.

The options of a recipe can be read and checked without torch, so a wrong configuration is refused on any machine and before
any data are fetched: torch is imported when a network is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.data.inputs import Inputs
from pipelines.data.spec import Rendering
from pipelines.recipes import sources
from registry.errors import BadSettings, MissingDependency

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

BUILT_IN: Mapping[str, str] = {
    "image-classification": "pipelines.recipes.image_classification:RECIPE",
    "semantic-segmentation": "pipelines.recipes.semantic_segmentation:RECIPE",
    "image-regression": "pipelines.recipes.image_regression:RECIPE",
    "tabular-classification": "pipelines.recipes.tabular_classification:RECIPE",
    "tabular-regression": "pipelines.recipes.tabular_regression:RECIPE",
}

ANY_CLASSIFICATION = "classification"
"""The task of a recipe that takes images and tables alike."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column of a table. A categorical value is its index in `categories`; -1 is a category never seen before."""

    name: str
    kind: Literal["numeric", "categorical"]
    categories: tuple[str, ...] = ()


Answer: TypeAlias = Literal["class", "mask", "values"]
ScoresKind: TypeAlias = Literal["logits", "probabilities", "values"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is to be learned, without the items: the task, the classes or the names of the numbers, and the shape of one input.

    Images have `image` (height, width, channels) and are uint8, [n, height, width, channels]; tables have `features` and
    are float32, [n, features], NaN for missing. What is to be predicted is an `answer`: a class, int64 [n], an index into
    `labels`; a mask, uint8 [n, height, width], the same for every pixel and 255 where nobody labelled it; or values, float32
    [n, targets], in the units of `targets`. `rendering` is how image files became such inputs, for whoever serves the model.
    """

    task: str
    labels: tuple[str, ...]
    targets: tuple[str, ...] = ()
    image: tuple[int, int, int] | None = None
    features: tuple[Feature, ...] = ()
    rendering: Rendering | None = None

    @property
    def input_name(self) -> str:
        return "image" if self.image else "features"

    @property
    def input_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.image else np.float32)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return self.image or (len(self.features),)

    @property
    def answer(self) -> Answer:
        if self.targets:
            return "values"
        return "mask" if self.task == "semantic-segmentation" else "class"

    @property
    def target_dtype(self) -> np.dtype[Any]:
        return np.dtype({"class": np.int64, "mask": np.uint8, "values": np.float32}[self.answer])

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of what is to be predicted of one item."""
        if self.answer == "values":
            return (len(self.targets),)
        return self.input_shape[:2] if self.answer == "mask" else ()

    @property
    def scores_shape(self) -> tuple[int, ...]:
        """The shape of what a network gives for one item: a score per class (for each pixel of a mask), or the values."""
        if self.answer == "values":
            return (len(self.targets),)
        return (len(self.labels), *self.target_shape)


class Options(BaseModel):
    """Base of a recipe's own settings: `model.*` and `augment.*` in a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NoOptions(Options):
    """A group without settings."""


ModelOptions = TypeVar("ModelOptions", bound=Options)
AugmentOptions = TypeVar("AugmentOptions", bound=Options)


class Recipe(Protocol[ModelOptions, AugmentOptions]):
    """What a recipe has to offer; any object with these members is one.

    Attributes:
        name: what `--recipe` calls it.
        task: the task it solves; a dataset of another task is refused; ANY_CLASSIFICATION solves each `…-classification`.
        defaults: values of `pipelines.config.TrainConfig` that suit it, by dotted key, at least `batch_size`, `lr` and
            `weight_decay`.
        steps: optimiser steps that usually suffice; with `epochs: auto` the number of epochs follows from it.
        scores: what the network's output is, as `model.yaml` says it.
        model_options, augment_options: the settings it takes, as pydantic models with a default for each field.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]
    steps: ClassVar[int]
    scores: ClassVar[ScoresKind]
    model_options: type[ModelOptions]
    augment_options: type[AugmentOptions]

    def network(self, problem: Problem, options: ModelOptions) -> nn.Module:
        """A new network: a batch of raw inputs in, scores out, float32 [n, *problem.scores_shape]; initialised from torch's
        random state.

        Raises:
            BadSettings: the options cannot make a network for inputs of this shape.
        """
        ...

    def prepare(self, network: nn.Module, inputs: Inputs) -> None:
        """Store in the network's buffers what its preprocessing needs to know, from training items only.

        `inputs` may be larger than memory: go through them with `pipelines.data.inputs.chunks`.
        """
        ...

    def augment(self, batch: Tensor, options: AugmentOptions, generator: Generator) -> Tensor:
        """A varied batch of the same shape and dtype; `generator` is on the CPU and the only source of chance."""
        ...

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor | Mapping[str, Tensor]:
        """The mean loss of a batch, a scalar to differentiate; or its parts by name, which are added up and logged each."""
        ...

    def metrics(self, scores: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Measured on the CPU over all validation items at once: `loss` (less is better), `accuracy` (a fraction), and more."""
        ...


@runtime_checkable
class LearnsFromTargets(Protocol):
    """What a recipe may offer besides: to know its training targets, such as their spread, before there is a network."""

    def knowing(self, targets: NDArray[Any]) -> AnyRecipe:
        """The recipe that makes networks and losses for targets like these."""
        ...


@runtime_checkable
class VariesTargets(Protocol):
    """What a recipe may offer besides: to vary targets together with their inputs, as a mask moves with its image.

    `augment_pairs` is then called in place of `augment`.
    """

    def augment_pairs(self, inputs: Tensor, targets: Tensor, options: Any, generator: Generator) -> tuple[Tensor, Tensor]:
        """Varied inputs and their targets, of the same shapes and dtypes."""
        ...


@runtime_checkable
class AddsUp(Protocol):
    """What a recipe may offer besides: metrics from sums over batches, where the scores of all items would fill the memory.

    `measured` is then called in place of `metrics`.
    """

    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What `measured` needs of a batch, float64, of a shape that depends on the problem alone; batches are added up."""
        ...

    def measured(self, sums: Tensor) -> Mapping[str, float]:
        """The metrics of all batches."""
        ...


AnyRecipe: TypeAlias = Recipe[Any, Any]


def find(name: str) -> AnyRecipe:
    """Load a recipe by its built-in name, by `module:attribute` or by `path/to/file.py:Name`; a class is called for its recipe.

    Raises:
        BadSettings: there is no such recipe, or its file cannot be run.
        MissingDependency: the recipe's module needs a package that is not installed.
    """
    if sources.in_file(name):
        return _checked(sources.load(name), name)
    place = BUILT_IN.get(name, name)
    module_name, colon, attribute = place.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"built in: {', '.join(BUILT_IN)}; your own: file.py:Name"
        raise BadSettings(f"no recipe is called '{name}'", hint=hint)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (module_name + ".").startswith(exc.name + "."):
            raise BadSettings(f"recipe '{name}': no module '{exc.name}' can be imported", hint="pip install -e .") from exc
        raise MissingDependency(f"recipe '{name}' needs {exc.name}", hint=f"pip install {exc.name}") from exc
    except (AttributeError, ValueError) as exc:
        raise BadSettings(f"recipe '{name}': {exc}") from exc
    return _checked(found, name)


def _checked(found: Any, name: str) -> AnyRecipe:
    if isinstance(found, type):
        with sources.blamed(found):
            found = found()
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing:
        raise BadSettings(f"'{name}' is no recipe: it lacks {', '.join(missing)}")
    recipe: AnyRecipe = found
    return recipe


def for_task(task: str) -> AnyRecipe:
    """The default recipe of a dataset's task.

    Raises:
        BadSettings: no built-in recipe solves it.
    """
    if task not in BUILT_IN:
        raise BadSettings(f"no built-in recipe solves '{task}'", hint="reg init --recipe; reg train --recipe recipe.py:Recipe")
    return find(task)


_MEMBERS = (
    *("name", "task", "defaults", "steps", "scores", "model_options", "augment_options"),
    *("network", "prepare", "augment", "loss", "metrics"),
)
