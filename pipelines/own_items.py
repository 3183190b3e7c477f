"""The training items that a recipe reads for itself, as a split like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.data.contents import Digests, Split
from pipelines.recipes import AnyRecipe, Problem


def own_split(recipe: AnyRecipe, folder: Path, problem: Problem) -> Split | None:
    """What `recipe.read` gives; None where it has no such method, or leaves the reading to the stage.

    Args:
        folder: the files of the dataset version.
    """
    read = getattr(recipe, "read", None)
    found = read(folder, problem) if read is not None else None
    if found is None:
        return None
    inputs, targets = found
    items = np.array([f"train/own-{at}" for at in range(len(inputs))], dtype=np.str_)
    return Split(name="train", items=items, inputs=inputs, targets=targets, digests=lambda: Digests.of(()))
