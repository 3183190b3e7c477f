"""Score a regression: errors per item, and the metrics that a gate compares two models on.

One target has the plain names: `mae`, `rmse`, `r2` of the columns `label`, `prediction`, `absolute_error`. Of several, each has
its own under its name (`mae_price`), because euros and years have no mean; what they share is the error in standard deviations
of the labels (`mae_scaled`) and the mean of their R² (`r2`). "Chance" is the best constant: the mean of the labels, for the
absolute error their median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import running
from pipelines.data.inputs import Inputs
from pipelines.metrics import Report, corpus_metric, mean_metric
from pipelines.running import Progress, Scorer, checked_ids
from registry.errors import BadData
from registry.records import Metric


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a model said and what is true, rows in the order of the items given.

    Attributes:
        names: of the targets.
        label, prediction: float64, shape (n, targets), in the targets' units.
    """

    item: NDArray[Any]
    names: tuple[str, ...]
    label: NDArray[np.float64]
    prediction: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        """Signed: above 0 where the model says too much."""
        return self.prediction - self.label

    @property
    def spread(self) -> NDArray[np.float64]:
        """The standard deviation of each target's labels, 1 where they are all alike."""
        deviation = self.label.std(axis=0)
        return np.where(deviation > 0, deviation, 1.0)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of predictions.parquet."""
        found: dict[str, NDArray[Any]] = {"item": self.item}
        for k, suffix in enumerate(self.suffixes):
            error = self.error[:, k]
            found |= {
                f"label{suffix}": self.label[:, k],
                f"prediction{suffix}": self.prediction[:, k],
                f"error{suffix}": error,
                f"absolute_error{suffix}": np.abs(error),
                f"squared_error{suffix}": error**2,
            }
        found["scaled_error"] = np.abs(self.error / self.spread).mean(axis=1)
        if len(self.names) > 1:
            found |= {"labels": self.label, "predictions": self.prediction}
        return found

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of columns and metrics end in, for each target."""
        return ("",) if len(self.names) == 1 else tuple(f"_{name}" for name in self.names)

    def report(self, labels: Sequence[str] = ()) -> Report:
        """The metrics; a regression has no classes."""
        columns, metrics, omitted = self.columns(), {}, {}
        metrics["mae_scaled"] = mean_metric(
            columns["scaled_error"], column="scaled_error", direction="lower", unit="standard deviations"
        )
        for name, suffix in zip(self.names, self.suffixes, strict=True):
            metrics |= _of_one(columns, name, suffix)
            if f"r2{suffix}" not in metrics:
                omitted[f"r2{suffix}"] = f"all labels of {name} are alike"
        if len(self.names) > 1 and not omitted:
            found = corpus_metric(columns, "r2_mean", direction="higher", unit="fraction", chance=0.0, bounds=(-np.inf, 1.0))
            assert found is not None, "every target has its own"
            metrics["r2"] = found
        return Report(metrics, {}, omitted)


def score_values(
    session: Scorer,
    *,
    inputs: Inputs,
    targets: NDArray[Any],
    items: Sequence[str],
    names: Sequence[str],
    batch_size: int,
    on_progress: Progress | None = None,
) -> Values:
    """Score every item once.

    Args:
        inputs: shape (n, ...), in the graph's own input dtype.
        targets: shape (n, targets), finite.
        items: n distinct item ids.
        names: of the targets, one per value of the graph.
    Raises:
        BadData: empty or unequal lengths, an id twice, values of another shape, or one that is not finite.
    """
    ids = checked_ids(len(inputs), targets, items)
    if targets.shape[1:] != (len(names),):
        raise BadData(f"there are {list(targets.shape[1:])} numbers per item for the targets {', '.join(names)}")
    found = running.scores_of_all(
        session,
        inputs,
        ids=ids,
        shape=(len(names),),
        wanted="items, targets",
        batch_size=batch_size,
        on_progress=on_progress,
    )
    return Values(item=ids, names=tuple(names), label=targets.astype(np.float64), prediction=found.astype(np.float64))


def _of_one(columns: Mapping[str, NDArray[Any]], name: str, suffix: str) -> dict[str, Metric]:
    label = columns[f"label{suffix}"]
    absolute, squared = (f"{kind}_error{suffix}" for kind in ("absolute", "squared"))
    constant = float(np.abs(label - np.median(label)).mean())
    metrics = {
        f"mae{suffix}": mean_metric(columns[absolute], column=absolute, direction="lower", unit=name, chance=constant),
        f"mse{suffix}": mean_metric(
            columns[squared], column=squared, direction="lower", unit=f"{name}²", chance=float(label.var())
        ),
    }
    ending = f":{name}" if suffix else ""
    root = corpus_metric(
        columns, f"rmse{ending}", direction="lower", unit=name, chance=float(label.std()), bounds=(0.0, np.inf)
    )
    assert root is not None, "errors are finite"
    metrics[f"rmse{suffix}"] = root
    explained = corpus_metric(columns, f"r2{ending}", direction="higher", unit="fraction", chance=0.0, bounds=(-np.inf, 1.0))
    if explained is not None:
        metrics[f"r2{suffix}"] = explained
    return metrics
