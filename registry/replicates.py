"""Values of somebody's own metric on resamples of the items: made where its code is, compared where it is not.

A judge never runs a user's code, so a metric that is one number for all items could be held against a limit and nothing else.
But what a paired comparison needs of the code is little: the metric of both models on the *same* resamples. Which items a
resample holds therefore depends on the items' ids alone, sorted, and on a seed that nobody can choose: every model that is
scored on the same items gets the same resamples, whatever order a file has them in, and replicate b of the one less replicate b
of the other is a bootstrap of their difference. Items that belong together are drawn together, if the evaluation was told so.

Whether two series belong together is not believed but compared: the ids of the items, the clusters, the first resamples
themselves (numpy does not promise the same draws for ever), and the digest of the metric's code. What they say about a
difference is in `registry.spreads`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import matching
from registry.records import Fact

SEED = 0  # fixed, so that nobody can look for a lucky one
MOST = 100_000  # values that are read
_COMPARED = 8  # resamples that are compared; a generator that draws these alike draws all alike

Array = NDArray[Any]
Values = NDArray[np.float64]
Rows = NDArray[np.intp]


class Drawn(Fact):
    """What two series of replicates must have in common.

    Attributes:
        items: digest of the sorted ids.
        cluster: the column whose values were drawn whole; None where items were drawn one by one.
        units: how many items or clusters there were to draw.
        seed: of the draws.
        resamples: digest of the first ones.
    """

    items: str
    cluster: str | None
    units: int
    seed: int
    resamples: str

    def unlike(self, other: Drawn) -> str | None:
        """Why these are no draws of the same items in the same way; None when they are."""
        if self.items != other.items:
            return "other items were resampled"
        if self.cluster != other.cluster:
            return f"one was resampled by {self.cluster or 'items'}, the other by {other.cluster or 'items'}"
        if self != other:
            return f"the draws differ (seeds {self.seed} and {other.seed}, {self.resamples[:19]} and {other.resamples[:19]})"
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """A metric on resamples, float64 (resamples,), NaN where it has no value; of how they were drawn."""

    values: Values
    drawn: Drawn


class Draws:
    """Resamples of items, as rows of a table that has them in any order.

    Args:
        ids: distinct, one per row.
        clusters: the value of each row's cluster; None where items are independent.
        cluster: what the column of clusters is called.
    """

    def __init__(self, ids: Array, *, clusters: Array | None = None, cluster: str | None = None, seed: int = SEED) -> None:
        keys = matching.comparable(ids)
        self._order = np.argsort(keys, kind="stable")
        self._starts: Rows | None = None
        self._cluster, self._seed, self._keys = cluster, seed, keys
        if clusters is not None:
            codes = np.unique(matching.comparable(clusters), return_inverse=True)[1][self._order]
            self._order = self._order[np.argsort(codes, kind="stable")]
            self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])

    @property
    def units(self) -> int:
        return len(self._order) if self._starts is None else len(self._starts) - 1

    def __iter__(self) -> Iterator[Rows]:
        return (self._order[places] for places in self._places())

    @cached_property
    def drawn(self) -> Drawn:
        some = hashlib.sha256()
        for places in islice(self._places(), _COMPARED):
            some.update(places.astype("<i8").tobytes())
        return Drawn(
            items=items_digest(self._keys),
            cluster=self._cluster,
            units=self.units,
            seed=self._seed,
            resamples=f"sha256:{some.hexdigest()}",
        )

    def _places(self) -> Iterator[Rows]:
        """Endless draws of places in the order that depends on the ids (and the clusters) alone."""
        random = np.random.default_rng(self._seed)
        while True:
            which = random.integers(0, self.units, self.units)
            if self._starts is None:
                yield which
            else:
                lengths = np.diff(self._starts)[which]
                ends = np.cumsum(lengths)
                yield np.arange(ends[-1]) - np.repeat(ends - lengths, lengths) + np.repeat(self._starts[which], lengths)


def items_digest(keys: Array) -> str:
    """The digest of ids, whatever their order.

    Args:
        keys: as `registry.matching.comparable` gives them.
    """
    ordered = np.sort(keys)
    texts = ordered.tolist() if ordered.dtype.kind == "S" else [str(key).encode() for key in ordered.tolist()]
    return "sha256:" + hashlib.sha256(b"\0".join(texts)).hexdigest()
