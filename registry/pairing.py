"""Two evaluations brought together item by item, or the reason why they cannot be.

Evidence comes from anywhere, so nothing in it is believed: not that it is about the model, data, split and device that were
asked about, not that its items are distinct, not that a metric is the mean of its own column. Whatever is wrong is said
in one sentence with the actual values, as `Unanswerable`, which the judge turns into an ERROR of the check concerned: a
question that cannot be asked is never a pass. Items are matched by id, in any order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.policy import Policy
from registry.records import Evaluation, Metric
from registry.references import Digest

Array = NDArray[Any]

_SHOWN = 3  # of many wrong items


class Unanswerable(Exception):
    """A check cannot be asked of this evidence; the text is the reason. Never leaves `registry.gates`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One evaluation, as read from its artifact.

    `items` are the columns of predictions.parquet, `timings` those of latency.parquet (None when the model was not timed
    against another); see docs/artifacts.md.
    """

    evaluation: Evaluation
    items: Mapping[str, Array]
    timings: Mapping[str, Array] | None = None


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
        distinct = set(ids.tolist())
        if None in distinct or ids.dtype.kind == "f":
            raise Unanswerable(f"the {self.role}'s evaluation has items without id")
        if len(distinct) < len(ids):
            values, counts = np.unique(ids.astype(str), return_counts=True)
            raise Unanswerable(
                f"the {self.role}'s evaluation has {len(ids) - len(distinct)} items more than ids: "
                f"'{values[counts.argmax()]}' occurs {counts.max()} times"
            )
        if len(ids) != self.evaluation.dataset.items:
            raise Unanswerable(
                f"the {self.role}'s evaluation says {self.evaluation.dataset.items} items, its predictions have {len(ids)} rows"
            )
        return ids

    def column(self, name: str) -> Array:
        """A column with one value per item.

        Raises:
            Unanswerable: there is no such column, or of another shape.
        """
        if name not in self.evidence.items:
            raise Unanswerable(f"the {self.role}'s predictions have no column '{name}'{_nearest(name, self.evidence.items)}")
        column = np.asarray(self.evidence.items[name])
        rows = len(self.evidence.items["item"]) if "item" in self.evidence.items else len(column)
        if column.shape != (rows,):
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
        values = self._flags(values, metric.column) if metric.kind == "correctness" else self._numbers(values, metric.column)
        mean = float(values.mean(dtype=np.float64))
        if not np.isclose(mean, metric.value, rtol=1e-4, atol=1e-9):
            raise Unanswerable(f"{name} of the {self.role} says {metric.value:.6g}, its items say {mean:.6g}")
        return values

    def _flags(self, values: Array, column: str) -> Array:
        if values.dtype.kind != "b":
            values = self._numbers(values, column)
            if not np.isin(values, (0, 1)).all():
                raise Unanswerable(f"column '{column}' of the {self.role}'s predictions holds more than right and wrong")
        return values.astype(np.bool_, copy=False)

    def _numbers(self, values: Array, column: str) -> Array:
        if values.dtype.kind not in "iufb":
            raise Unanswerable(f"column '{column}' of the {self.role}'s predictions holds {values.dtype}, not numbers")
        broken = ~np.isfinite(values)
        if broken.any():
            row = int(broken.argmax())
            raise Unanswerable(
                f"column '{column}' of the {self.role}'s predictions is {values[row]} for item '{self.ids[row]}'"
                f" ({int(broken.sum())} of {len(values)} items)"
            )
        return values.astype(np.float64, copy=False)


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

    def metrics(self, name: str) -> tuple[Metric, Metric]:
        """One metric of both, known to mean the same."""
        candidate, baseline = self.candidate.metric(name), self.baseline.metric(name)
        for fact in ("kind", "direction", "unit", "column"):
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
        different = candidate != baseline
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
    def _order(self) -> NDArray[np.int64] | None:
        """Where the candidate's items are in the baseline's evaluation; None when both have one order."""
        mine, others = self.candidate.ids, self.baseline.ids
        if len(mine) == len(others) and bool(np.all(mine == others)):
            return None
        position = {item: at for at, item in enumerate(others.tolist())}
        found = np.fromiter((position.get(item, -1) for item in mine.tolist()), dtype=np.int64, count=len(mine))
        only_mine = mine[found < 0].tolist()
        if only_mine or len(mine) != len(others):
            only_others = sorted(set(others.tolist()) - set(mine.tolist()), key=str)
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
    """What the policy wants of the machine and the evaluation's machine did not give: device, proof of it, placement, TF32."""
    role, runtime, rule = scores.role, scores.evaluation.runtime, policy.runtime
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


def _some(items: list[Any]) -> str:
    if not items:
        return ""
    return f" ({', '.join(str(item) for item in items[:_SHOWN])}{', …' if len(items) > _SHOWN else ''})"


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else f"; it has {', '.join(known) or 'none'}"
