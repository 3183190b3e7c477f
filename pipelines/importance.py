"""How much each parameter of a sweep mattered: the impurity importance of a random forest, as W&B's own panel computes it, and
the rank correlation with the metric.

The forest sees interactions and what is not monotone; the correlation says in which direction. Both describe the trials that
were made, not the parameters: a dozen trials tell little, and a search that soon stays where it is good tells less about the
rest."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.sweeps import Sweep, Trial

_FEWEST_TRIALS = 4
_TREES = 200


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One parameter. `share`: of all importance, a fraction. `correlation`: Spearman's, in [-1, 1]; None for categories."""

    name: str
    share: float
    correlation: float | None


def importances(sweep: Sweep, tried: Sequence[Trial]) -> list[Importance]:
    """The parameters that were varied, the most important first; empty when there is too little to tell.

    Source: Breiman (2001), Random Forests; https://docs.wandb.ai/guides/app/features/panels/parameter-importance.
    """
    names = sweep.varied
    valued = [trial for trial in tried if trial.value is not None and all(name in trial.parameters for name in names)]
    values = np.array([trial.value for trial in valued], dtype=float)
    if len(valued) < _FEWEST_TRIALS or not names or np.ptp(values) == 0:
        return []
    # Here and not above: it takes a second to load.
    from sklearn.ensemble import RandomForestRegressor

    columns = {name: [trial.parameters[name] for trial in valued] for name in names}
    blocks = {name: _numbers(column) if _numeric(column) else _indicators(column) for name, column in columns.items()}
    forest = RandomForestRegressor(n_estimators=_TREES, random_state=0, n_jobs=1)
    forest.fit(np.hstack(list(blocks.values())), values)
    ends = np.cumsum([block.shape[1] for block in blocks.values()])[:-1]
    shares = [float(part.sum()) for part in np.split(forest.feature_importances_, ends)]
    found = [
        Importance(name=name, share=share, correlation=_correlation(columns[name], values))
        for name, share in zip(names, shares, strict=True)
    ]
    return sorted(found, key=lambda one: -one.share)


def _numeric(column: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)


def _numbers(column: Sequence[Any]) -> np.ndarray:
    return np.array(column, dtype=float).reshape(-1, 1)


def _indicators(column: Sequence[Any]) -> np.ndarray:
    texts = [json.dumps(value, sort_keys=True, default=str) for value in column]
    return np.array([[text == kind for kind in sorted(set(texts))] for text in texts], dtype=float)


def _correlation(column: Sequence[Any], values: np.ndarray) -> float | None:
    if not _numeric(column) or len(set(column)) < 2:
        return None
    from scipy.stats import spearmanr

    found = float(spearmanr(np.array(column, dtype=float), values).statistic)
    return found if math.isfinite(found) else None
