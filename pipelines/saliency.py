"""Where a network for images looked: Grad-CAM on its coarsest maps, by captum.

Shown at the end of training, where the network is still a torch module: the exported graph has no gradients, and rebuilding a
recipe of somebody's own from its weights would make a picture depend on code that may have changed since. It needs no word
from the recipe: the layer is the last one that works at the smallest side, which is where convolutional networks keep what
they have understood; a network without such maps has no Grad-CAM. A picture is no part of a model, so whoever calls this goes
on without it.

Source: Selvaraju et al. (2017); of a mask, the pixels answered with one class stand for it (Vinogradova et al. 2020).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.recipes import Problem


@dataclass(frozen=True)
class Looked:
    """Of each item: where the network looked, (n, height, width) in [0, 1], and what for.

    `shown` is a class index, or that of a value.
    """

    heat: NDArray[np.float32]
    shown: NDArray[np.int64]


def looked(network: nn.Module, problem: Problem, inputs: NDArray[np.uint8]) -> Looked | None:
    """Explain a network's answers; None when it has no maps to look at.

    Args:
        network: in evaluation mode, on the CPU.
        inputs: images as the problem describes them, (n, height, width, channels); a few.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    batch = torch.from_numpy(np.ascontiguousarray(inputs))
    layer = _coarsest(network, batch[:1])
    if layer is None or problem.image is None:
        return None
    with torch.no_grad():
        scores = network(batch)
    shown = _shown(problem, scores)
    with warnings.catch_warnings():
        # captum would like gradients of the pixels too, which whole numbers have not; only the layer's are used.
        warnings.simplefilter("ignore")
        found = LayerGradCam(_score_of(network, problem, scores), layer).attribute(batch, target=shown)
        maps = LayerAttribution.interpolate(found, problem.image[:2], interpolate_mode="bilinear")
    # What speaks for a class; of a value, whatever moves it.
    raw = maps.detach()[:, 0]
    strength = raw.abs() if problem.answer == "values" else raw.clamp(min=0)
    most = strength.amax(dim=(1, 2), keepdim=True)
    return Looked((strength / most.clamp(min=torch.finfo(most.dtype).tiny)).numpy(), shown.numpy())


def _shown(problem: Problem, scores: Tensor) -> Tensor:
    """The class that is answered; of a mask the most frequent one besides class 0; of several values the first."""
    if problem.answer == "values":
        return torch.zeros(len(scores), dtype=torch.int64)
    answer = scores.argmax(dim=1)
    if problem.answer == "class":
        return answer
    counts = torch.stack([(answer == k).sum(dim=(1, 2)) for k in range(1, scores.shape[1])], dim=1)
    return torch.where(counts.amax(dim=1) > 0, counts.argmax(dim=1) + 1, 0)


def _score_of(network: nn.Module, problem: Problem, scores: Tensor) -> Any:
    """From images to one number per item and class or value."""
    if problem.answer != "mask":
        return network
    answered = nn.functional.one_hot(scores.argmax(dim=1), scores.shape[1]).permute(0, 3, 1, 2)
    return lambda batch: (network(batch) * answered).sum(dim=(2, 3))


def _coarsest(network: nn.Module, batch: Tensor) -> nn.Module | None:
    """The last layer whose maps have the smallest side above 1."""
    seen: list[tuple[int, nn.Module]] = []

    def note(module: nn.Module, given: Any, made: Any) -> None:
        if isinstance(made, Tensor) and made.ndim == 4 and min(made.shape[2:]) > 1:
            seen.append((min(made.shape[2:]), module))

    leaves = [module for module in network.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    smallest = min((side for side, _ in seen), default=0)
    return next((module for side, module in reversed(seen) if side == smallest), None)
