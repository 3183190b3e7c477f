"""What one evaluation says about its model, item by item, and none of it believed unseen.

Evidence comes from anywhere, so nothing in it is believed: not that its items are distinct, not that a metric is the mean of
its own column. Whatever is wrong is said in one sentence with the actual values, as `Unanswerable`, which the judge turns into
an ERROR of the check concerned: a question that cannot be asked is never a pass.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import corpus, matching
from registry.corpus import FORMULAS, Formula, Prepared
from registry.matching import Array
from registry.records import Evaluation, Metric
from registry.replicates import Replicates, items_digest


class Unanswerable(Exception):
    """A check cannot be asked of this evidence; the text is the reason. Never leaves `registry.gates`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One evaluation, as read from its artifact.

    `items` are the columns of predictions.parquet, `timings` those of latency.parquet (None when the model was not timed
    against another), `replicates` those of the user's own metrics that are one number; see docs/artifacts.md.
    """

    evaluation: Evaluation
    items: Mapping[str, Array]
    timings: Mapping[str, Array] | None = None
    replicates: Mapping[str, Replicates] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scores:
    """The per-item values of one model. `role` is `candidate` or `baseline`, for sentences."""

    role: str
    evidence: Evidence

    @property
    def evaluation(self) -> Evaluation:
        return self.evidence.evaluation

    @cached_property
    def ids(self) -> Array:
        """The items' ids, each once.

        Raises:
            Unanswerable: a missing id, an id twice, or another number of items than the evaluation says.
        """
        ids = self.column("item")
        if ids.dtype.kind == "f" or (ids.dtype.kind == "O" and bool(_absent(ids).any())):
            raise Unanswerable(f"the {self.role}'s evaluation has items without id")
        if (found := matching.repeated(self.keys, self.marks)) is not None:
            key, times, more = found
            raise Unanswerable(
                f"the {self.role}'s evaluation has {more} items more than ids: '{matching.readable(key)}' occurs {times} times"
            )
        if len(ids) != self.evaluation.dataset.items:
            raise Unanswerable(
                f"the {self.role}'s evaluation says {self.evaluation.dataset.items} items, its predictions have {len(ids)} rows"
            )
        return ids

    @cached_property
    def keys(self) -> Array:
        """The ids as numpy compares them fastest, not yet known to be distinct."""
        return matching.comparable(self.column("item"))

    @cached_property
    def marks(self) -> NDArray[np.uint64]:
        return matching.fingerprints(self.keys)

    @cached_property
    def canonical(self) -> NDArray[np.intp]:
        """The rows in an order that depends on the ids alone, whatever the file has them in."""
        return np.argsort(self.marks, kind="stable")

    def column(self, name: str) -> Array:
        """A column with one value per item.

        Raises:
            Unanswerable: there is no such column, or of another shape.
        """
        column = self._column(name)
        if column.ndim != 1:
            raise Unanswerable(f"column '{name}' of the {self.role}'s predictions holds {column.shape[1:]} values per item")
        return column

    def _column(self, name: str) -> Array:
        """A column with one value or one row of values per item."""
        if name not in self.evidence.items:
            raise Unanswerable(f"the {self.role}'s predictions have no column '{name}'{_nearest(name, self.evidence.items)}")
        column = np.asarray(self.evidence.items[name])
        rows = len(self.evidence.items["item"]) if "item" in self.evidence.items else len(column)
        if column.shape[:1] != (rows,):
            raise Unanswerable(f"column '{name}' of the {self.role}'s predictions has shape {column.shape} for {rows} items")
        return column

    def metric(self, name: str) -> Metric:
        """A metric with a usable value.

        Raises:
            Unanswerable: it is missing, or not a finite number.
        """
        metrics = self.evaluation.metrics
        if name not in metrics:
            raise Unanswerable(f"the {self.role}'s evaluation has no metric '{name}'{_nearest(name, metrics)}")
        if not np.isfinite(metrics[name].value):
            raise Unanswerable(f"{name} of the {self.role} is {metrics[name].value}, not a number to decide on")
        return metrics[name]

    def vouch(self, name: str, source: str | None) -> None:
        """Make sure that a metric was computed by the code that a check names; None names none.

        Raises:
            Unanswerable: other code did, or the metric does not say.
        """
        if source is not None and self.metric(name).source != source:
            raise Unanswerable(
                f"{name} of the {self.role} was computed by {self.metric(name).source or 'code that is not on record'},"
                f" the policy wants {source}"
            )

    def values(self, name: str) -> Array:
        """The per-item values that a metric is the mean of: bool for correctness, float64 for means; in the evidence's order.

        Raises:
            Unanswerable: no values, broken ones, or ones that contradict the metric.
        """
        metric = self.metric(name)
        if metric.column is None:
            raise Unanswerable(f"{name} of the {self.role} has no per-item values ({metric.kind} metric)")
        values = self.column(metric.column)
        if len(values) != len(self.ids) or metric.n != len(values):
            raise Unanswerable(f"{name} of the {self.role} says n = {metric.n}, there are {len(values)} items")
        if metric.kind == "correctness":
            values = self._flags(values, metric.column)
        else:
            values = self._numbers(values, metric.column).astype(np.float64, copy=False)
        mean = float(values.mean(dtype=np.float64))
        if not np.isclose(mean, metric.value, rtol=1e-4, atol=1e-9):
            raise Unanswerable(f"{name} of the {self.role} says {metric.value:.6g}, its items say {mean:.6g}")
        return values

    def inputs(self, name: str) -> tuple[Formula, dict[str, Array]]:
        """The formula of a corpus metric and the columns that it is computed from, one row per item in the evidence's order.

        Raises:
            Unanswerable: no formula of that name, a column it needs is missing or broken, or the recorded value is another
                than these columns have.
        """
        metric = self.metric(name)
        formula = corpus.formula(metric.formula or name)
        if formula is None:
            raise Unanswerable(
                f"{name} is a corpus metric, and there is no formula '{metric.formula or name}' to compute it again on other"
                f" items; known are {', '.join(FORMULAS)}"
            )
        columns = {column: self._numbers(self._column(column), column) for column in formula.columns}
        n = len(self.ids)
        if metric.n != n:
            raise Unanswerable(f"{name} of the {self.role} says n = {metric.n}, there are {n} items")
        value = self._prepared(formula, columns).value(n)
        if not np.isclose(value, metric.value, rtol=1e-4, atol=1e-6):
            raise Unanswerable(f"{name} of the {self.role} says {metric.value:.6g}, its items say {value:.6g}")
        return formula, columns

    def _prepared(self, formula: Formula, columns: dict[str, Array]) -> Prepared:
        try:
            return formula.prepare(columns)
        except (IndexError, ValueError) as exc:
            raise Unanswerable(f"the {self.role}'s columns {', '.join(columns)} do not fit its formula: {exc}") from exc

    def replicates(self, name: str) -> Replicates:
        """What the evaluation keeps of a metric of the user's own that is one number for all items.

        Raises:
            Unanswerable: nothing, or replicates of other items than it scored.
        """
        found = self.evidence.replicates.get(name)
        if found is None:
            raise Unanswerable(
                f"{name} of the {self.role} is one number for all items, and its evaluation keeps none of its values on"
                f" resamples; evaluate again with --metric FILE.py:{name}"
            )
        if self.metric(name).n != len(self.ids) or found.drawn.items != items_digest(self.keys):
            raise Unanswerable(f"the resamples of {name} of the {self.role} are of other items than its evaluation scored")
        return found

    def clusters(self, name: str) -> NDArray[np.intp]:
        """The number of each item's cluster, from 0 without gaps, in the order of the clusters' names.

        Raises:
            Unanswerable: no such column, or an item without a cluster.
        """
        column = self.column(name)
        missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=np.bool_)
        if column.dtype.kind == "O":
            missing = _absent(column) | (column == "")
        if missing.any():
            row = int(missing.argmax())
            raise Unanswerable(f"item '{self.ids[row]}' has no {name} ({int(missing.sum())} of {len(column)} items)")
        return np.unique(matching.comparable(column), return_inverse=True)[1]

    def _flags(self, values: Array, column: str) -> Array:
        if values.dtype.kind != "b":
            values = self._numbers(values, column)
            if not np.isin(values, (0, 1)).all():
                raise Unanswerable(f"column '{column}' of the {self.role}'s predictions holds more than right and wrong")
        return values.astype(np.bool_, copy=False)

    def _numbers(self, values: Array, column: str) -> Array:
        if values.dtype.kind not in "iufb":
            raise Unanswerable(f"column '{column}' of the {self.role}'s predictions holds {values.dtype}, not numbers")
        broken = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if broken.any():
            row = int(broken.argmax())
            raise Unanswerable(
                f"column '{column}' of the {self.role}'s predictions is {_broken(values[row])} for item '{self.ids[row]}'"
                f" ({int(broken.sum())} of {len(values)} items)"
            )
        return values if values.ndim > 1 or values.dtype.kind != "f" else values.astype(np.float64, copy=False)


def _absent(values: Array) -> NDArray[np.bool_]:
    """Where an array of objects holds None; `is` cannot be asked of an array."""
    return np.asarray(values == None, dtype=np.bool_)  # noqa: E711


def _broken(value: Any) -> Any:
    """The number that is not finite: the value itself, or the first such of a row."""
    return value if np.ndim(value) == 0 else value[~np.isfinite(value)][0]


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else f"; it has {', '.join(known) or 'none'}"
