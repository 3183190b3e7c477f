"""Figures as pictures, for whoever looks at a run without the charts of the W&B app: plain arrays in, RGB pixels out.

Drawn by matplotlib without its global state, so that no test and no notebook finds a figure open that it did not open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics import CalibrationBin

Pixels = NDArray[np.uint8]

_DPI = 120
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"
_MOST_POINTS = 5000


def reliability(bins: Sequence[CalibrationBin], *, ece: float) -> Pixels:
    """A reliability diagram: accuracy against confidence, with the number of items below.

    Source: DeGroot & Fienberg (1983), as Guo et al. (2017) draw it.
    """
    figure, (top, bottom) = _figure(2, 1, size=(4.6, 5.2), ratios=(4, 1))
    filled = [one for one in bins if one.n]
    width = bins[0].upper - bins[0].lower
    middles = [(one.lower + one.upper) / 2 for one in filled]
    top.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    top.bar(middles, [one.accuracy for one in filled], width=width, color=_BLUE, edgecolor="white", label="accuracy")
    for middle, one in zip(middles, filled, strict=True):
        top.plot([middle - width / 2, middle + width / 2], [one.confidence] * 2, color=_ORANGE, linewidth=1.5)
    top.plot([], [], color=_ORANGE, label="mean confidence")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"Calibration: ECE {ece:.3f}")
    top.legend(loc="upper left", frameon=False)
    bottom.bar(middles, [one.n for one in filled], width=width, color=_GREY, edgecolor="white")
    bottom.set(xlim=(0, 1), xlabel="confidence", ylabel="items")
    return _pixels(figure)


def residuals(label: NDArray[np.float64], prediction: NDArray[np.float64], *, name: str) -> Pixels:
    """Predicted against true values, residuals against predictions, and how the residuals are spread.

    Args:
        label, prediction: shape (n,), in the units of the target `name`.
    """
    figure, (against, over, spread) = _figure(1, 3, size=(12.6, 4.2))
    error = prediction - label
    some = np.unique(np.linspace(0, len(label) - 1, min(len(label), _MOST_POINTS)).astype(int))
    low, high = min(label.min(), prediction.min()), max(label.max(), prediction.max())
    dots: dict[str, Any] = {"s": 12, "alpha": 0.5, "color": _BLUE, "linewidths": 0}
    against.plot([low, high], [low, high], color=_GREY, linestyle="--", linewidth=1)
    against.scatter(label[some], prediction[some], **dots)
    against.set(xlabel=f"true {name}", ylabel=f"predicted {name}", title="Predicted against true")
    over.axhline(0, color=_GREY, linestyle="--", linewidth=1)
    over.scatter(prediction[some], error[some], **dots)
    over.set(xlabel=f"predicted {name}", ylabel="residual (predicted - true)", title="Residuals")
    spread.hist(error, bins=min(40, max(10, len(error) // 10)), color=_BLUE, edgecolor="white")
    spread.axvline(0, color=_GREY, linestyle="--", linewidth=1)
    spread.axvline(error.mean(), color=_ORANGE, linewidth=1.5, label=f"mean {error.mean():.3g}")
    spread.set(xlabel="residual (predicted - true)", ylabel="items", title="Spread of the residuals")
    spread.legend(frameon=False)
    return _pixels(figure)


def _figure(rows: int, columns: int, *, size: tuple[float, float], ratios: tuple[int, ...] = (1,)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(rows, columns, height_ratios=ratios)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _pixels(figure: Any) -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
