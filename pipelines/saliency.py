"""Where a network for images looked, by captum: Grad-CAM for classes, occlusion for numbers.

Shown at the end of training, where the network is still a torch module: the exported graph has no gradients, and rebuilding a
recipe of somebody's own from its weights would make a picture depend on code that may have changed since. It needs no word
from the recipe: the layer is the last one that works at the smallest side, which is where convolutional networks keep what
they have understood; a network without such maps has no Grad-CAM. A picture is no part of a model, so whoever calls this goes
on without it.

Grad-CAM asks what speaks for a class. A number has nothing that speaks for it: what is shown is how far it moves when a patch
of the image is hidden, which needs no gradient and no layer.

Source: Selvaraju et al. (2017); of a mask, the pixels answered with one class stand for it (Vinogradova et al. 2020);
Zeiler & Fergus (2014) for occlusion.
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

_PATCHES = 8  # along a side of the image
_AT_ONCE = 8


@dataclass(frozen=True)
class Looked:
    """Of each item: where the network looked, (n, height, width) in [0, 1], what for, and how that was found out.

    `shown` is a class index, or that of a value.
    """

    method: str

    heat: NDArray[np.float32]
    shown: NDArray[np.int64]


def looked(network: nn.Module, problem: Problem, inputs: NDArray[np.uint8]) -> Looked | None:
    """Explain a network's answers; None when it has no maps to look at.

    Args:
        network: in evaluation mode, on the CPU.
        inputs: images as the problem describes them, (n, height, width, channels); a few.
    """
    batch = torch.from_numpy(np.ascontiguousarray(inputs))
    if problem.image is None:
        return None
    if problem.answer == "values":
        shown = torch.zeros(len(batch), dtype=torch.int64)
        return Looked("occlusion", _scaled(_occluded(network, batch)), shown.numpy())
    layer = _coarsest(network, batch[:1])
    if layer is None:
        return None
    with torch.no_grad():
        scores = network(batch)
    shown = _shown(problem, scores)
    return Looked("Grad-CAM", _scaled(_grad_cam(network, layer, problem, batch, scores, shown)), shown.numpy())


def _grad_cam(network: nn.Module, layer: nn.Module, problem: Problem, batch: Tensor, scores: Tensor, shown: Tensor) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    assert problem.image is not None, "an image problem has an image shape"
    with warnings.catch_warnings():
        # captum would like gradients of the pixels too, which whole numbers have not; only the layer's are used.
        warnings.simplefilter("ignore")
        found = LayerGradCam(_score_of(network, problem, scores), layer).attribute(batch, target=shown)
        maps: Tensor = LayerAttribution.interpolate(found, problem.image[:2], interpolate_mode="bilinear")
    return maps.detach()[:, 0].clamp(min=0)


def _occluded(network: nn.Module, batch: Tensor) -> Tensor:
    """How far the first value moves when a patch is painted over with the image's own mean."""
    from captum.attr import Occlusion

    patch = tuple(max(1, side // _PATCHES) for side in batch.shape[1:3])
    floats = batch.float()
    found: Tensor = Occlusion(network).attribute(
        floats,
        sliding_window_shapes=(*patch, batch.shape[3]),
        strides=(*(max(1, side // 2) for side in patch), batch.shape[3]),
        baselines=floats.mean(dim=(1, 2), keepdim=True).expand_as(floats),
        target=0,
        perturbations_per_eval=_AT_ONCE,
    )
    return found.detach().abs().mean(dim=3)


def _scaled(strength: Tensor) -> NDArray[np.float32]:
    """Each item's strengths as shares of its largest."""
    most = strength.amax(dim=(1, 2), keepdim=True)
    return np.asarray((strength / most.clamp(min=torch.finfo(most.dtype).tiny)).numpy(), dtype=np.float32)


def _shown(problem: Problem, scores: Tensor) -> Tensor:
    """The class that is answered; of a mask the most frequent one besides class 0."""
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
