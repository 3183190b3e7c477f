"""The network of the segmentation recipe, a small U-Net: raw uint8 pixels in, one logit per class and pixel out.

Ronneberger et al. (2015) with the changes everybody makes since: padded convolutions, so that the answer is as large as the
image, and batch normalisation, which folds into the convolutions when ONNX Runtime optimises the graph. Images need not be
divisible by anything: they are padded by their own edge and the answer is cut back, both of sizes known at export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pipelines.recipes.pixels import PixelNetwork


class UNet(PixelNetwork):
    """Down by halves and up again, with each scale's maps handed across.

    Args:
        image: height, width, channels.
        classes: logits per pixel.
        width: channels at full resolution; doubles with each scale.
        depth: how many times the side is halved.
        dropout: share of the maps dropped at the smallest scale while training.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int, width: int, depth: int, dropout: float) -> None:
        height, breadth, channels = image
        super().__init__(channels=channels)
        self.size, step = (height, breadth), 2**depth
        self.padding = (0, -breadth % step, 0, -height % step)
        widths = [width * 2**scale for scale in range(depth + 1)]
        self.down = nn.ModuleList(
            _block(channels if scale == 0 else widths[scale - 1], widths[scale]) for scale in range(depth)
        )
        self.halve = nn.MaxPool2d(2)
        self.bottom = nn.Sequential(_block(widths[depth - 1] if depth else channels, widths[depth]), nn.Dropout2d(dropout))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(widths[scale + 1], widths[scale], 2, stride=2) for scale in reversed(range(depth))
        )
        self.up = nn.ModuleList(_block(2 * widths[scale], widths[scale]) for scale in reversed(range(depth)))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, float32 [n, classes, height, width], of images, uint8 [n, height, width, channels]."""
        maps = self.standardised(image)
        if any(self.padding):
            maps = pad(maps, self.padding, mode="replicate")
        kept = []
        for block in self.down:
            maps = block(maps)
            kept.append(maps)
            maps = self.halve(maps)
        maps = self.bottom(maps)
        for enlarge, block, across in zip(self.enlarge, self.up, reversed(kept), strict=True):
            maps = block(torch.cat([enlarge(maps), across], dim=1))
        logits: Tensor = self.head(maps)[:, :, : self.size[0], : self.size[1]]
        return logits


def _block(taken: int, given: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (taken, given):
        layers += [nn.Conv2d(channels, given, 3, padding=1, bias=False), nn.BatchNorm2d(given), nn.ReLU()]
    return nn.Sequential(*layers)
