"""Images and the numbers to learn from them, as two arrays in a file: the regression that NumPy users have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from pipelines.data.arrays import ArraySource, Pair
from pipelines.data.inputs import Room
from pipelines.data.kinds import Task
from pipelines.data.options import Options
from pipelines.data.targets import finite
from registry.errors import BadData


class ValueArrays(ArraySource):
    """Splits of two arrays: images, and numbers of shape (items,) or (items, targets)."""

    task: Task = "image-regression"
    labels: tuple[str, ...] = ()

    def __init__(self, pairs: Sequence[Pair], options: Options, room: Room) -> None:
        super().__init__(pairs, labels=None, room=room)
        self._wanted = options.wanted

    @cached_property
    def targets(self) -> tuple[str, ...]:  # type: ignore[override]
        if self._wanted is not None:
            return self._wanted
        array = self._pairs[self.splits[0]].labels.whole()
        count = 1 if array.ndim == 1 else array.shape[1]
        return ("target",) if count == 1 else tuple(f"target{k}" for k in range(count))

    def _targets(self, pair: Pair) -> NDArray[Any]:
        array = pair.labels.whole()
        if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
            raise BadData(
                f"{pair.labels.name} holds {array.dtype} of the shape {list(array.shape)}, numbers were expected",
                hint="targets.astype('float64')",
            )
        return finite(array, self.targets, place=pair.labels.name)
