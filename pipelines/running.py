"""A session run over all items in batches, and what comes back checked before anybody counts with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.data.inputs import Inputs
from registry.errors import BadData
from registry.records import Runtime

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """What scoring needs of `pipelines.runtime.Session`; scoring itself never imports onnxruntime."""

    @property
    def model(self) -> Path: ...
    @property
    def runtime(self) -> Runtime: ...
    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]: ...
    def run_each(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]: ...


def checked_ids(n: int, targets: NDArray[Any], items: Sequence[str]) -> NDArray[Any]:
    """The ids as str objects.

    Raises:
        BadData: not one target and one id per item, no items, or an id twice.
    """
    if not (n == len(targets) == len(items)) or n == 0:
        raise BadData(f"{n} inputs, {len(targets)} targets and {len(items)} item ids: one of each per item is needed")
    ids = np.array([str(item) for item in items], dtype=object)
    distinct, counts = np.unique(ids.astype(str), return_counts=True)
    if len(distinct) < n:
        raise BadData(f"item id '{distinct[counts.argmax()]}' occurs {counts.max()} times: items could not be paired")
    return ids


def run(
    session: Scorer,
    inputs: Inputs,
    *,
    ids: NDArray[Any],
    shape: tuple[int, ...],
    wanted: str,
    batch_size: int,
    on_progress: Progress | None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The scores of one batch after the other, with the rows they belong to.

    Args:
        shape: of the scores of one item; `wanted` says it in words.
    Raises:
        BadData: scores of another shape, or one that is not finite; the message names the item.
    """
    n = len(inputs)
    batches = [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
    for rows, scores in zip(batches, session.run_each(inputs[rows] for rows in batches), strict=True):
        if scores.shape != (rows.stop - rows.start, *shape):
            found, needed = list(scores.shape), [rows.stop - rows.start, *shape]
            raise BadData(f"{session.model.name} gave scores of shape {found}, {needed} are needed ({wanted})")
        yield rows, scores
        if on_progress is not None:
            on_progress(rows.stop, n)


def scores_of_all(
    session: Scorer,
    inputs: Inputs,
    *,
    ids: NDArray[Any],
    shape: tuple[int, ...],
    wanted: str,
    batch_size: int,
    on_progress: Progress | None,
) -> NDArray[np.float32]:
    """The scores of all items at once, (items, *shape); see `run`, which holds one batch."""
    found = np.empty((len(inputs), *shape), dtype=np.float32)
    batches = run(session, inputs, ids=ids, shape=shape, wanted=wanted, batch_size=batch_size, on_progress=on_progress)
    for rows, scores in batches:
        found[rows] = scores
    check_finite(session.model, found, ids)
    return found


def check_finite(model: Path, scores: NDArray[np.float32], ids: NDArray[Any]) -> None:
    """
    Args:
        scores: (items, ...), `ids` those of the items.
    Raises:
        BadData: a score is infinite or NaN.
    """
    flat = scores.reshape(len(scores), -1)
    broken = ~np.isfinite(flat).all(axis=1)
    if broken.any():
        row = int(broken.argmax())
        value = flat[row][~np.isfinite(flat[row])][0]
        raise BadData(f"{model.name} gave a score of {value} for item '{ids[row]}' ({int(broken.sum())} of {len(ids)} items)")
