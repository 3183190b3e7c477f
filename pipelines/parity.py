"""How far two computations of the same scores are apart: torch against the exported graph, a GPU against the CPU.

The network is proved against its graph where it is exported, on the CPU; the graph is scored elsewhere, perhaps on a GPU with
other kernels. So an evaluation carries both links of the chain, and a policy may ask how strong each is (`runtime.parity`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import flips
from pipelines.data.inputs import Inputs
from pipelines.onnx_export import Parity as Exported
from pipelines.recipes import Answer
from pipelines.running import Scorer
from pipelines.runtime import open_session
from registry.records import Parity

ITEMS = 512
_BATCH = 128
_MOST_POINTS = 64


def parities(
    session: Scorer, exported: Exported | None, *, model: Path, inputs: Inputs, answer: Answer = "class"
) -> tuple[Parity, ...]:
    """What is known about the scores of a session: that its graph is the network, and its device computes what the CPU does.

    Args:
        exported: as `model.yaml` says; None for a graph that was made elsewhere, whose network nobody has compared it with.
        inputs: the items that are scored; some, evenly spaced, are run on both devices.
        answer: what the scores say, see `pipelines.answers`.
    """
    known = () if exported is None else (_recorded(exported),)
    if session.runtime.device == "cpu":
        return known
    most = ITEMS if answer != "mask" else ITEMS // 16  # a score per class and pixel
    places = np.unique(np.linspace(0, len(inputs) - 1, num=min(most, len(inputs)), dtype=np.int64))
    items = np.ascontiguousarray(inputs[places])
    reference = open_session(model, device="cpu")
    got, expected = (
        np.concatenate([one.run(items[start : start + _BATCH]) for start in range(0, len(items), _BATCH)])
        for one in (session, reference)
    )
    return *known, compare(got, expected, between=f"{session.runtime.device_name} and the CPU", answer=answer)


def _recorded(exported: Exported) -> Parity:
    return Parity(
        between="the trained network and its graph on the CPU",
        items=exported.items,
        max_abs=exported.max_abs,
        max_rel=exported.max_rel,
        flips=exported.flips,
        rtol=exported.rtol,
        atol=exported.atol,
    )


def compare(got: NDArray[Any], expected: NDArray[Any], *, between: str, answer: Answer = "class") -> Parity:
    """
    Args:
        got, expected: scores of shape (items, ...), as `pipelines.answers` has them.
    """
    difference, size = np.abs(got.astype(np.float64) - expected), np.abs(expected.astype(np.float64))
    of_item = tuple(range(1, size.ndim))
    largest = np.maximum(size.max(of_item), np.finfo(np.float32).tiny)
    worst = float(difference.max())
    return Parity(
        between=between,
        items=len(got),
        max_abs=worst,
        max_rel=float((difference.max(of_item) / largest).max()),
        flips=flips(got, expected, answer),
        rtol=0.0,
        atol=worst,
        envelope=_envelope(size.ravel(), difference.ravel()) if np.isfinite(worst) else (),
    )


def _envelope(size: NDArray[np.float64], difference: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """The pairs that decide under some tolerance: no other has a larger difference at a smaller size."""
    order = np.lexsort((-difference, size))
    size, difference = size[order], difference[order]
    rising = difference > np.concatenate([[-1.0], np.maximum.accumulate(difference)[:-1]])
    points = list(zip(size[rising].tolist(), difference[rising].tolist(), strict=True))
    if len(points) > _MOST_POINTS:
        # Fewer points, each as bad as any of those it stands for: smaller size, larger difference.
        groups = np.array_split(np.arange(len(points)), _MOST_POINTS)
        points = [(points[group[0]][0], points[group[-1]][1]) for group in groups]
    return tuple(points)
