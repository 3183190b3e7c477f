"""The base of a recipe of your own: one method says what the network is, everything else has a default to be replaced.

The network gets what networks like: float32, images as [n, channels, height, width], every channel or column with mean 0 and
deviation 1, a missing number as 0. The items come as they are stored, so the part that makes the one of the other is put in
front and exported with it. Whoever wants the raw items overrides `network` instead of `build`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.recipes import ANY_CLASSIFICATION, NoOptions, Options, Problem
from pipelines.recipes.classification import Classification

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class BaseRecipe(Classification):
    """A `pipelines.recipes.Recipe` for any classification; subclass it and write `build`.

    Class attributes that you may set: `defaults` (any value of the training's configuration), `steps` (how long it trains when
    `epochs` is `auto`), `model_options` (a subclass of `Options`: the settings `model.*`), and `task`, if it is for one only.
    """

    task: ClassVar[str] = ANY_CLASSIFICATION
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 64, "lr": 3e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 2000
    scores: ClassVar[Literal["logits", "probabilities"]] = "logits"
    model_options: type[Options] = NoOptions
    augment_options: type[Options] = NoOptions

    @property
    def name(self) -> str:
        """The class's own."""
        return type(self).__name__

    def build(self, problem: Problem, options: Any) -> nn.Module:
        """Your network: standardised items in (see the module), one logit per label out, float32 [n, labels].

        Args:
            problem: `labels`, and `image` (height, width, channels) or `features` (the columns).
            options: the values of `model_options`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method build(self, problem, options)")

    def read(self, folder: Path, problem: Problem) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
        """Training items of your own reading, from the dataset's files; None takes those of its split `train`.

        Args:
            folder: the files of the dataset version; never change them.
        Returns:
            Inputs as `Problem` describes them and targets: indices of labels, int64, shape (n,).
        """
        return None

    def network(self, problem: Problem, options: Any) -> nn.Module:
        """The network with the standardisation in front."""
        from pipelines.recipes.standardised import Standardised

        return Standardised(self.build(problem, options), problem)

    def prepare(self, network: nn.Module, inputs: NDArray[Any]) -> None:
        """Mean and deviation of each channel or numeric column, from training items."""
        from pipelines.recipes.standardised import Standardised

        if isinstance(network, Standardised):
            network.learn(inputs)

    def augment(self, batch: Tensor, options: Any, generator: Generator) -> Tensor:
        """The batch itself: nothing is varied."""
        return batch
