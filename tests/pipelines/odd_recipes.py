"""Recipes that a test needs and nobody else: one that draws from every generator there is, one that computes in double
precision, one whose loss has two named parts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.recipes import NoOptions, Problem
from pipelines.recipes.image_classification import ConvNetOptions, ImageClassification
from pipelines.recipes.images import ImageAugmentOptions
from pipelines.recipes.tabular_classification import TabularClassification


class _Gambler(TabularClassification):
    name: ClassVar[str] = "odd_recipes:GAMBLER"

    def augment(self, batch: Tensor, options: NoOptions, generator: Generator) -> Tensor:
        return batch + 0.01 * random.random() + 0.01 * np.random.rand()


class _Exact(ImageClassification):
    name: ClassVar[str] = "odd_recipes:EXACT"

    def network(self, problem: Problem, options: ConvNetOptions) -> nn.Module:
        return super().network(problem, options).double()

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return super().loss(scores.double(), targets)


class _TwoParts(TabularClassification):
    name: ClassVar[str] = "odd_recipes:TWO_PARTS"

    def loss(self, scores: Tensor, targets: Tensor) -> Mapping[str, Tensor]:  # type: ignore[override]
        return {"fit": cross_entropy(scores, targets), "size": 0.1 * scores.square().mean()}

    def metrics(self, scores: Tensor, targets: Tensor) -> Mapping[str, float]:
        return {"loss": float(cross_entropy(scores, targets)), "accuracy": 0.0}


class _Broken(ImageClassification):
    name: ClassVar[str] = "odd_recipes:BROKEN"

    def augment(self, batch: Tensor, options: ImageAugmentOptions, generator: Generator) -> Tensor:
        raise RuntimeError("no such pixel")


GAMBLER, EXACT, TWO_PARTS, BROKEN = _Gambler(), _Exact(), _TwoParts(), _Broken()
