"""What a training learns from and is validated on, read from the files of a dataset version.

Every process of a launched training reads it for itself, so it depends on the files and the configuration alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.config import TrainConfig
from pipelines.data.contents import Split
from pipelines.data.reading import Dataset
from pipelines.own_items import own_split
from pipelines.problems import problem_of
from pipelines.recipes import AnyRecipe, Problem, find, sources
from pipelines.training import Arrays

_VALIDATION = ("val", "validation")  # what people call the split that is for choosing the epoch


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The items to learn from, and those that the dataset itself sets apart for choosing the epoch, if it has such a split."""

    problem: Problem
    recipe: AnyRecipe
    items: Split
    validation: Split | None

    @property
    def arrays(self) -> tuple[Arrays, Arrays | None]:
        """Both without what else is known about them."""
        held_out = Arrays(self.validation.inputs, self.validation.targets) if self.validation is not None else None
        return Arrays(self.items.inputs, self.items.targets), held_out


def read(data: Dataset, files: Path, config: TrainConfig) -> TrainingData:
    """
    Args:
        files: the folder of the dataset version, for a recipe that reads its items itself.
    Raises:
        CodeFailed: a recipe in a file raised.
        BadData: the dataset has no `train` split or is damaged.
    """
    problem, recipe = problem_of(data.spec), find(config.recipe)
    with sources.blamed(recipe):
        own = own_split(recipe, files, problem)
    named = next((name for name in _VALIDATION if name in data.spec.splits), None) if own is None else None
    validation = data.split(named) if named is not None else None
    return TrainingData(problem=problem, recipe=recipe, items=own or data.split("train"), validation=validation)
