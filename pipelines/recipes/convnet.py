"""The convolutional network of the image recipe: raw uint8 pixels in, logits out.

Full resolution is where a small network spends its time and learns least, so the first convolution already strides:
on MNIST that is more accurate and twice as fast as three stages from 28 x 28 on (99.4 % against 98.8 % after 5 epochs).
Batch normalisation folds into the convolutions when ONNX Runtime optimises the graph and costs nothing there.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from pipelines.recipes.pixels import PixelNetwork

_SMALL, _LARGE = 16, 96  # sides in pixels below which the first layer does not stride, and from which it strides by 4
_SIDE = 8  # the last stage works on maps no larger than this
_WIDEST = 16  # times the first layer's width


class ConvNet(PixelNetwork):
    """Stages of convolutions, each at half the side and twice the width of the one before, then the mean over the map.

    Args:
        image: height, width, channels.
        classes: number of logits.
        width: channels of the first convolution.
        depth: convolutions in each stage; the strided first convolution counts in the first stage.
        dropout: share of the features dropped before the last layer while training.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int, width: int, depth: int, dropout: float) -> None:
        height, breadth, channels = image
        super().__init__(channels=channels)
        side = min(height, breadth)
        stride = 1 if side < _SMALL else 2 if side < _LARGE else 4
        layers = _convolution(channels, width, kernel=2 * stride + 1, stride=stride)
        wide = width
        for stage in range(_stages(max(side // stride, 1))):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(depth if stage > 0 else depth - 1):
                given = width * min(2 ** (stage + 1), _WIDEST)
                layers += _convolution(wide, given)
                wide = given
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(wide, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, float32 [n, classes], of images, uint8 [n, height, width, channels]."""
        maps = self.features(self.standardised(image))
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3))))
        return logits


def _stages(side: int) -> int:
    """At least two where the map can be halved, and as many as bring it down to the last stage's side."""
    return min(max(2, 1 + math.ceil(math.log2(side / _SIDE))), side.bit_length())


def _convolution(taken: int, given: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(taken, given, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(given),
        nn.ReLU(),
    ]
