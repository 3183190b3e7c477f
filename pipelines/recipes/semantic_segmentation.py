"""Semantic segmentation: a class for every pixel, by a small U-Net trained from scratch.

The loss is the mean of cross entropy and soft Dice, as in nnU-Net: cross entropy alone is content with the background where
what is looked for is a hundredth of the pixels, Dice alone has no gradient where a class is absent. Pixels that nobody
labelled count nowhere. Validation adds up a confusion matrix batch by batch: the scores of all items would be a float per
class and pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pipelines.data.spec import IGNORED
from pipelines.recipes import Options, Problem, ScoresKind
from pipelines.recipes.images import ImageAugmentOptions, Images, moved
from registry.errors import BadSettings

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class UNetOptions(Options):
    """`model.*`: see `pipelines.recipes.unet.UNet`."""

    width: int = Field(default=16, ge=1, description="channels at full resolution; doubles with each scale")
    depth: int = Field(default=3, ge=0, description="how many times the side is halved")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the maps dropped at the smallest scale")


class SemanticSegmentation(Images):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "semantic-segmentation"
    task: ClassVar[str] = "semantic-segmentation"
    scores: ClassVar[ScoresKind] = "logits"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 16, "lr": 3e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 1500
    model_options = UNetOptions

    def network(self, problem: Problem, options: UNetOptions) -> nn.Module:
        """A network for images of the problem's shape.

        Raises:
            BadSettings: the images are too small to be halved so often.
        """
        from pipelines.recipes.unet import UNet

        assert problem.image is not None, "an image problem has an image shape"
        side = min(problem.image[:2])
        if 2**options.depth > side:
            deepest = side.bit_length() - 1
            raise BadSettings(
                f"model.depth is {options.depth}, images with a side of {side} pixels can be halved {deepest} times",
                hint=f"--set model.depth={max(deepest - 1, 0)}",
            )
        return UNet(
            image=problem.image,
            classes=len(problem.labels),
            width=options.width,
            depth=options.depth,
            dropout=options.dropout,
        )

    def augment_pairs(
        self, inputs: Tensor, targets: Tensor, options: ImageAugmentOptions, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Shift, and perhaps mirror, each image and its mask alike."""
        images, masks = moved((inputs, targets.unsqueeze(-1)), options, generator)
        return images, masks.squeeze(-1)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean of cross entropy (nats per pixel) and 1 - soft Dice (over the classes that are there)."""
        import torch
        from torch.nn.functional import cross_entropy

        truth = targets.long()
        labelled = truth != IGNORED
        pixels = labelled.sum().clamp(min=1)
        entropy = cross_entropy(scores, truth, ignore_index=IGNORED, reduction="sum") / pixels
        chances = scores.softmax(dim=1) * labelled.unsqueeze(1)
        shown = torch.zeros_like(chances).scatter_(1, truth.masked_fill(~labelled, 0).unsqueeze(1), 1.0) * labelled.unsqueeze(1)
        over = (0, 2, 3)
        both, there = (chances * shown).sum(dim=over), shown.sum(dim=over)
        dice = 2 * both / (chances.sum(dim=over) + there).clamp(min=1e-6)
        present = there > 0
        missed = 1 - (dice * present).sum() / present.sum().clamp(min=1)
        return (entropy + missed) / 2

    def metrics(self, scores: Tensor, targets: Tensor) -> Mapping[str, float]:
        """See `measured`; of all items at once."""
        return self.measured(self.sums(scores, targets))

    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Pixels by class (row) and prediction (column), float64 [classes + 1, classes]; the last row holds loss and items."""
        import torch

        classes, truth = scores.shape[1], targets.long()
        labelled = truth != IGNORED
        cells = truth[labelled] * classes + scores.argmax(dim=1)[labelled]
        counts = torch.bincount(cells, minlength=classes**2).reshape(classes, classes).cpu().double()
        extra = torch.zeros(1, classes, dtype=torch.float64)
        extra[0, 0], extra[0, 1] = self.loss(scores, targets).item() * len(targets), len(targets)
        return torch.cat([counts, extra])

    def measured(self, sums: Tensor) -> Mapping[str, float]:
        """`loss`; `iou` and `dice` as means over the classes that are there; `accuracy` of the pixels; all over the corpus."""
        counts, (loss, items) = sums[:-1], sums[-1, :2].tolist()
        hits, truth, found = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        there = truth + found > 0
        return {
            "loss": loss / items,
            "iou": (hits / (truth + found - hits))[there].mean().item(),
            "dice": (2 * hits / (truth + found))[there].mean().item(),
            "accuracy": (hits.sum() / counts.sum()).item(),
        }


RECIPE = SemanticSegmentation()
