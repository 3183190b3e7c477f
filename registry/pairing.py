"""Two evaluations brought together item by item, or the reason why they cannot be.

Evidence comes from anywhere, so nothing in it is believed: not that it is about the model, data, split and device that were
asked about, not that its items are distinct, not that a metric is the mean of its own column. Whatever is wrong is said
in one sentence with the actual values, as `Unanswerable`, which the judge turns into an ERROR of the check concerned: a
question that cannot be asked is never a pass. Items are matched by id, in any order (`registry.matching`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import corpus, matching
from registry.corpus import FORMULAS, Formula, Prepared
from registry.policy import ParityRule, Policy
from registry.records import Evaluation, Metric
from registry.references import Digest
from registry.replicates import Replicates, items_digest

Array = NDArray[Any]

_SHOWN = 3  # of many wrong items


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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The digests of what the question is about; evidence about anything else is no evidence."""

    candidate: Digest
    baseline: Digest | None
    dataset: Digest


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
                f"the {self.role}'s evaluation has {more} items more than ids: '{_readable(key)}' occurs {times} times"
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


@dataclass(frozen=True, eq=False)
class Pair:
    """Candidate and baseline on the same items; everything comes out in the candidate's order."""

    candidate: Scores
    baseline: Scores

    def values(self, name: str) -> tuple[Array, Array]:
        """The per-item values of one metric for both.

        Raises:
            Unanswerable: see `Scores.values`; the metric means something else for one of the two; their labels differ.
        """
        self.metrics(name)
        candidate, baseline = self.candidate.values(name), self.baseline.values(name)
        if self._has_labels:
            self.shared("label")
        return candidate, self._matched(baseline)

    def inputs(self, name: str) -> tuple[Formula, dict[str, Array], dict[str, Array]]:
        """The formula of a corpus metric, and its columns for both.

        Raises:
            Unanswerable: see `Scores.inputs`; the metric means something else for one of the two; their labels differ.
        """
        one, other = self.metrics(name)
        if (one.formula or name) != (other.formula or name):
            raise Unanswerable(f"{name} has formula '{one.formula}' for the candidate and '{other.formula}' for the baseline")
        formula, mine = self.candidate.inputs(name)
        _, others = self.baseline.inputs(name)
        if self._has_labels:
            self.shared("label")
        return formula, mine, {column: self._matched(values) for column, values in others.items()}

    def replicates(self, name: str) -> tuple[Replicates, Replicates]:
        """The replicates of one metric for both, known to be of the same resamples.

        Raises:
            Unanswerable: see `Scores.replicates`; they are of other resamples; the labels of the two differ.
        """
        self.metrics(name)
        mine, others = self.candidate.replicates(name), self.baseline.replicates(name)
        if (why := mine.drawn.unlike(others.drawn)) is not None:
            raise Unanswerable(f"{name} of the two cannot be paired: {why}; evaluate both again, one --against the other")
        if self._has_labels:
            self.shared("label")
        return mine, others

    def metrics(self, name: str) -> tuple[Metric, Metric]:
        """One metric of both, known to mean the same."""
        candidate, baseline = self.candidate.metric(name), self.baseline.metric(name)
        for fact in ("kind", "direction", "unit", "column", "source"):
            one, other = getattr(candidate, fact), getattr(baseline, fact)
            if one != other:
                raise Unanswerable(f"{name} has {fact} '{one}' in the candidate's evaluation and '{other}' in the baseline's")
        return candidate, baseline

    def shared(self, column: str) -> Array:
        """A column that describes the items and not a model, such as `label`: the same for both.

        Raises:
            Unanswerable: it is missing, or the two disagree about an item.
        """
        candidate, baseline = self.candidate.column(column), self._matched(self.baseline.column(column))
        different = np.asarray(candidate != baseline)
        if candidate.dtype.kind == baseline.dtype.kind == "f":
            different &= ~(np.isnan(candidate) & np.isnan(baseline))  # missing for both is the same
        if different.any():
            row = int(different.argmax())
            raise Unanswerable(
                f"'{column}' of item '{self.candidate.ids[row]}' is {candidate[row]} in the candidate's evaluation"
                f" and {baseline[row]} in the baseline's ({int(different.sum())} of {len(different)} items differ)"
            )
        return candidate

    @property
    def _has_labels(self) -> bool:
        return all("label" in scores.evidence.items for scores in (self.candidate, self.baseline))

    def _matched(self, of_baseline: Array) -> Array:
        return of_baseline if self._order is None else of_baseline[self._order]

    @cached_property
    def _order(self) -> NDArray[np.intp] | None:
        """Where the candidate's items are in the baseline's evaluation; None when both have one order."""
        mine, others = self.candidate, self.baseline
        if len(mine.ids) == len(others.ids) and np.array_equal(mine.keys, others.keys):
            return None
        found = matching.order(mine.keys, others.keys, mine.marks, others.marks)
        if found is None:
            only_mine, only_others = (
                [_readable(key) for key in np.setdiff1d(one.keys, other.keys)]
                for one, other in ((mine, others), (others, mine))
            )
            raise Unanswerable(
                f"the items do not match: {len(only_mine)} only in the candidate's evaluation{_some(only_mine)},"
                f" {len(only_others)} only in the baseline's{_some(only_others)}"
            )
        return found


def objections(policy: Policy, scores: Scores, *, model: Digest | None, dataset: Digest | None) -> Iterator[str]:
    """Why an evaluation alone is no evidence under this policy: it is about another model, other data, or another split.

    Args:
        model, dataset: the digests asked about; None when the caller does not know them.
    """
    evaluation, role = scores.evaluation, scores.role
    if model is not None and evaluation.model.digest != str(model):
        yield f"the {role}'s evaluation is of model {evaluation.model.digest}, asked about is {model}"
    if dataset is not None and evaluation.dataset.digest != str(dataset):
        yield f"the {role}'s evaluation is on data {evaluation.dataset.digest}, asked about is {dataset}"
    if evaluation.dataset.split != policy.data.split:
        yield f"the {role}'s evaluation is on split '{evaluation.dataset.split}', the policy wants '{policy.data.split}'"


def unmet(policy: Policy, scores: Scores) -> Iterator[str]:
    """What the policy wants of the machine and the evaluation's machine did not give: device, proof of it, placement, TF32,
    parity.
    """
    role, runtime, rule = scores.role, scores.evaluation.runtime, policy.runtime
    if rule.parity is not None:
        yield from apart(rule.parity, scores)
    if rule.device not in ("any", runtime.device):
        yield f"the {role} was evaluated on {runtime.device} ({runtime.device_name}), the policy wants {rule.device}"
    if runtime.device != "cuda":
        return
    active = runtime.providers[0] if runtime.providers else "none"
    if active == "CPUExecutionProvider" or active != runtime.provider:
        yield f"the {role}'s evaluation says cuda, but its first active provider is {active}, not {runtime.provider}"
    if runtime.device_memory_bytes == 0:
        yield f"the {role}'s evaluation says cuda, but its process held no memory on {runtime.device_name}"
    if bool(runtime.tf32) != rule.tf32:
        yield f"the {role} was evaluated with tf32 {runtime.tf32}, the policy wants {rule.tf32}"
    if rule.placement == "compute" and runtime.placement is None:
        yield f"the {role}'s evaluation has no record of where the graph ran, and the policy wants placement: compute"
    elif rule.placement == "compute" and runtime.placement is not None and runtime.placement.compute_on_cpu:
        nodes = runtime.placement.compute_on_cpu
        yield f"{len(nodes)} computing node(s) of the {role} ran on the CPU{_some(list(nodes))}, the policy wants none"


def apart(rule: ParityRule, scores: Scores) -> Iterator[str]:
    """Why the scores of an evaluation are not shown to be those of the model: parity exceeded, or not on record."""
    role, evaluation = scores.role, scores.evaluation
    if not evaluation.parity:
        yield f"the {role}'s evaluation records no parity, and the policy asks for it"
        return
    for found in evaluation.parity:
        needed = found.needed_atol(rule.rtol)
        if not needed <= rule.atol:  # not `>`: NaN is no parity either
            yield (
                f"the scores of the {role} differ between {found.between} by up to {found.max_abs:.3g} on {found.items} items,"
                f" within rtol {rule.rtol:g} only with atol {needed:.3g}; the policy allows {rule.atol:g}"
            )
        if not 0 <= found.flips <= rule.max_flips * found.items:
            yield (
                f"{found.flips} of {found.items} items are predicted otherwise between {found.between} by the {role},"
                f" the policy allows a share of {rule.max_flips:g}"
            )


def incomparable(candidate: Evaluation, baseline: Evaluation) -> Iterator[str]:
    """Why no difference between two evaluations is evidence: other data, other split, other runtime."""
    for what, one, other in (
        ("dataset digest", candidate.dataset.digest, baseline.dataset.digest),
        ("split", candidate.dataset.split, baseline.dataset.split),
        ("task", candidate.dataset.task, baseline.dataset.task),
        ("labels", ", ".join(candidate.dataset.labels), ", ".join(baseline.dataset.labels)),
        ("runtime fingerprint", candidate.runtime.fingerprint, baseline.runtime.fingerprint),
    ):
        if one != other:
            yield f"the {what} differs: {one or 'none'} for the candidate, {other or 'none'} for the baseline"


def _absent(values: Array) -> NDArray[np.bool_]:
    """Where an array of objects holds None; `is` cannot be asked of an array."""
    return np.asarray(values == None, dtype=np.bool_)  # noqa: E711


def _readable(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def _broken(value: Any) -> Any:
    """The number that is not finite: the value itself, or the first such of a row."""
    return value if np.ndim(value) == 0 else value[~np.isfinite(value)][0]


def _some(items: list[Any]) -> str:
    if not items:
        return ""
    return f" ({', '.join(str(item) for item in items[:_SHOWN])}{', …' if len(items) > _SHOWN else ''})"


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else f"; it has {', '.join(known) or 'none'}"
