"""From a dataset's description to the problem that a recipe solves."""

from __future__ import annotations

from pipelines.data.spec import DatasetSpec, ImageInput
from pipelines.recipes import Feature, Problem


def problem_of(spec: DatasetSpec) -> Problem:
    """What a recipe needs to know of a dataset before it has seen an item."""
    if isinstance(spec.input, ImageInput):
        shape = (spec.input.height, spec.input.width, spec.input.channels)
        return Problem(task=spec.task, labels=spec.labels, targets=spec.targets, image=shape, rendering=spec.rendering)
    features = tuple(Feature(name=c.name, kind=c.kind, categories=c.categories) for c in spec.input.columns)
    return Problem(task=spec.task, labels=spec.labels, targets=spec.targets, features=features)
