"""Two evaluations brought together item by item: items are matched by id, in any order (`registry.matching`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from registry import matching
from registry.corpus import Formula
from registry.matching import Array
from registry.records import Metric
from registry.replicates import Replicates
from registry.scores import Scores, Unanswerable


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
                [matching.readable(key) for key in np.setdiff1d(one.keys, other.keys)]
                for one, other in ((mine, others), (others, mine))
            )
            raise Unanswerable(
                f"the items do not match: {len(only_mine)} only in the candidate's evaluation{matching.some(only_mine)},"
                f" {len(only_others)} only in the baseline's{matching.some(only_others)}"
            )
        return found
