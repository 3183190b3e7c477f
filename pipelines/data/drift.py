"""How the distribution of each feature differs between two versions of a dataset.

Three numbers, because each misleads alone. PSI says how large a shift is, on a scale that risk teams have used for decades
(0.1 is worth a look, 0.25 is large); it grows by chance in small samples. A test's p-value says whether it can be chance; of a
million items every shift is significant. So a shift is called large when it is both, after Benjamini and Hochberg's
correction for having looked at many features. The Wasserstein distance, in standard deviations of the earlier version, says
how far. Of images, features are what a camera, a scanner or an export changes: brightness, contrast, and each colour.

scipy's tests take longer to load than most commands take, so they are loaded when there is something to test.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import Split
from pipelines.data.reading import Dataset
from pipelines.data.spec import DatasetSpec, ImageInput, TableInput

SAMPLE = 100_000  # items of a split that are looked at, evenly spaced
LARGE, MODERATE, ALPHA = 0.25, 0.1, 0.05
_BINS = 10
_EXACT = 500  # items up to which Kolmogorov and Smirnov's distribution is summed; beyond, its limit is as good
_AT_ONCE = 2_048
_ORDER = {"large": 0, "moderate": 1, "small": 2}
_MISSING, _UNKNOWN = "(missing)", "(unknown)"
_CHANNELS = {3: ("red", "green", "blue"), 4: ("red", "green", "blue", "opacity")}

Size = Literal["large", "moderate", "small"]
Values = NDArray[np.float64] | NDArray[np.str_]


class Bin(NamedTuple):
    """A range of values or a category, and the shares of the items in it before and after."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One feature of one split.

    Attributes:
        psi: population stability index, over `bins`.
        statistic: Kolmogorov-Smirnov's D of numbers, Cramér's V of categories; from 0 to 1.
        p: of the test, corrected for the number of features compared.
        distance: Wasserstein distance in standard deviations of the earlier version; None of categories and constants.
        before, after: mean of numbers; the commonest category's share else.
        missing: shares of missing values before and after.
    """

    split: str
    feature: str
    kind: Literal["numeric", "categorical"]
    psi: float
    statistic: float
    p: float
    distance: float | None
    before: float
    after: float
    missing: tuple[float, float]
    bins: tuple[Bin, ...]

    @property
    def size(self) -> Size:
        """`large` or `moderate` by its PSI, when chance does not explain it; else `small`."""
        if self.p >= ALPHA or self.psi < MODERATE:
            return "small"
        return "large" if self.psi >= LARGE else "moderate"


@dataclass(frozen=True, kw_only=True)
class Drifts:
    """The features of both versions, most shifted first; columns of only one of them; items looked at when not all were."""

    features: tuple[Drift, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    sampled: Mapping[str, tuple[int, int]]


def drifts(before: Dataset, after: Dataset) -> Drifts:
    """Compare the features of the splits that both versions have.

    Raises:
        BadData: a file of one of them cannot be read.
    """
    found: list[Drift] = []
    names: list[set[str]] = [set(), set()]
    sampled: dict[str, tuple[int, int]] = {}
    for name in before.spec.splits:
        if name not in after.spec.splits:
            continue
        sides = [_features(side.split(name), side.spec) for side in (before, after)]
        for known, side in zip(names, sides, strict=True):
            known.update(side)
        found += [_drift(name, key, values, sides[1][key]) for key, values in sides[0].items() if key in sides[1]]
        sizes = (before.spec.splits[name].items, after.spec.splits[name].items)
        if max(sizes) > SAMPLE:
            sampled[name] = (min(sizes[0], SAMPLE), min(sizes[1], SAMPLE))
    if found:
        from scipy import stats

        corrected = stats.false_discovery_control([drift.p for drift in found])
        found = [replace(drift, p=float(p)) for drift, p in zip(found, corrected, strict=True)]
    return Drifts(
        features=tuple(sorted(found, key=lambda drift: (_ORDER[drift.size], -drift.psi))),
        added=tuple(sorted(names[1] - names[0])),
        removed=tuple(sorted(names[0] - names[1])),
        sampled=sampled,
    )


def psi(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Population stability index of two histograms over the same bins, natural logarithm.

    Args:
        before, after: counts, shape (bins,). An empty bin counts as half an item: one new value is no infinite shift.
    """
    p, q = (np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum() for counts in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def _features(split: Split, spec: DatasetSpec) -> dict[str, Values]:
    """The values of each feature, of some items: float64 with NaN for missing, or texts."""
    places = np.unique(np.linspace(0, len(split) - 1, num=min(SAMPLE, len(split)), dtype=np.int64))
    found: dict[str, Values] = {}
    if split.targets.ndim == 1:
        found["(class)"] = np.array(spec.labels, dtype=np.str_)[split.targets[places]]
    for number, name in enumerate(spec.targets):
        found[f"({name})"] = split.targets[places, number].astype(np.float64)
    if isinstance(spec.input, ImageInput):
        return found | _of_images(split, places, spec.input.channels)
    return found | _of_table(split, places, spec.input)


def _of_images(split: Split, places: NDArray[np.int64], channels: int) -> dict[str, Values]:
    means, contrasts = [], []
    for images in _some(split, places):
        colours = images[..., :3] if channels == 4 else images
        means.append(images.mean(axis=(1, 2), dtype=np.float64))
        contrasts.append(colours.std(axis=(1, 2, 3), dtype=np.float64))
    mean = np.concatenate(means)
    found: dict[str, Values] = {
        "brightness": mean[:, :3].mean(axis=1) if channels > 1 else mean[:, 0],
        "contrast": np.concatenate(contrasts),
    }
    for number, name in enumerate(_CHANNELS.get(channels, ())):
        found[name] = mean[:, number]
    return found


def _of_table(split: Split, places: NDArray[np.int64], input_: TableInput) -> dict[str, Values]:
    rows = np.concatenate(list(_some(split, places)))
    found: dict[str, Values] = {}
    for number, column in enumerate(input_.columns):
        values = rows[:, number].astype(np.float64)
        if column.kind == "categorical":
            names = np.array([_UNKNOWN, *column.categories], dtype=np.str_)
            missing = np.isnan(values)
            texts = names[np.where(missing, 0, values + 1).astype(np.int64)]
            found[column.name] = np.where(missing, _MISSING, texts)
        else:
            found[column.name] = values
    return found


def _some(split: Split, places: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    return (split.inputs[places[start : start + _AT_ONCE]] for start in range(0, len(places), _AT_ONCE))


def _drift(split: str, feature: str, before: Values, after: Values) -> Drift:
    if before.dtype.kind == after.dtype.kind == "f":
        return _of_numbers(split, feature, before.astype(np.float64), after.astype(np.float64))
    return _of_categories(split, feature, before.astype(np.str_), after.astype(np.str_))


def _of_numbers(split: str, feature: str, before: NDArray[np.float64], after: NDArray[np.float64]) -> Drift:
    a, b = before[~np.isnan(before)], after[~np.isnan(after)]
    names, binned = _binned(a, b)
    missing = (len(before) - len(a), len(after) - len(b))
    counts = [np.append(some, gone).astype(np.float64) for some, gone in zip(binned, missing, strict=True)]
    statistic, p, distance = math.nan, 1.0, None
    if len(a) and len(b):
        from scipy import stats

        test = stats.ks_2samp(a, b, method="exact" if max(len(a), len(b)) <= _EXACT else "asymp")
        statistic, p = float(test.statistic), float(test.pvalue)
        distance = float(stats.wasserstein_distance(a, b) / a.std()) if a.std() > 0 else None
    if any(missing):  # a second look, at who is missing, which has to be paid for
        present = np.array([[len(a), missing[0]], [len(b), missing[1]]], dtype=np.float64)
        p = min(1.0, 2 * min(p, _chance(present)[1]))
    return Drift(
        split=split,
        feature=feature,
        kind="numeric",
        psi=psi(*counts),
        statistic=statistic,
        p=p,
        distance=distance,
        before=float(a.mean()) if len(a) else math.nan,
        after=float(b.mean()) if len(b) else math.nan,
        missing=(missing[0] / len(before), missing[1] / len(after)),
        bins=_bins([*names, _MISSING], counts),
    )


def _of_categories(split: str, feature: str, before: NDArray[np.str_], after: NDArray[np.str_]) -> Drift:
    names, codes = np.unique(np.concatenate([before, after]), return_inverse=True)
    counts = [
        np.bincount(side, minlength=len(names)).astype(np.float64) for side in (codes[: len(before)], codes[len(before) :])
    ]
    strength, p = _chance(np.stack(counts))
    gone = [int(side[names == _MISSING].sum()) for side in counts]
    common = int(np.argmax(counts[0]))
    return Drift(
        split=split,
        feature=feature,
        kind="categorical",
        psi=psi(*counts),
        statistic=strength,
        p=p,
        distance=None,
        before=float(counts[0][common] / len(before)),
        after=float(counts[1][common] / len(after)),
        missing=(gone[0] / len(before), gone[1] / len(after)),
        bins=_bins(names.tolist(), counts),
    )


def _binned(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Names of bins, and how many values of each side are in them: tenths of the earlier version, or its values if few."""
    values = np.unique(a)
    if len(values) <= _BINS:
        places = [np.minimum(np.searchsorted(values, side), max(len(values) - 1, 0)) for side in (a, b)]
        codes = [
            np.where(values[at] == side, at, len(values)) if len(values) else at
            for at, side in zip(places, (a, b), strict=True)
        ]
        return [*(f"{value:.6g}" for value in values), "others"], [np.bincount(c, minlength=len(values) + 1) for c in codes]
    edges = np.unique(np.quantile(a, np.linspace(0, 1, _BINS + 1)[1:-1]))
    inner = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)]
    names = [f"below {edges[0]:.4g}", *inner, f"from {edges[-1]:.4g}"]
    return names, [np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(names)) for side in (a, b)]


def _chance(counts: NDArray[np.float64]) -> tuple[float, float]:
    """Cramér's V and the p-value of a chi-squared test on a table of counts, shape (2, categories)."""
    kept = counts[:, counts.sum(axis=0) > 0]
    if kept.shape[1] < 2 or not kept.sum(axis=1).all():
        return 0.0, 1.0
    from scipy import stats

    test = stats.chi2_contingency(kept, correction=False)
    return math.sqrt(float(test.statistic) / kept.sum()), float(test.pvalue)


def _bins(names: Sequence[str], counts: Sequence[NDArray[np.float64]]) -> tuple[Bin, ...]:
    shares = [side / max(side.sum(), 1) for side in counts]
    found = (Bin(name, float(p), float(q)) for name, p, q in zip(names, *shares, strict=True))
    return tuple(bin_ for bin_ in found if bin_.before or bin_.after)
