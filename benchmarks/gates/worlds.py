"""Pairs of models whose true difference is known, as the evidence a gate sees: what `simulate.py` draws from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np

from registry.corpus import FORMULAS
from registry.gates import Evidence
from registry.records import Evaluation, Metric, Pinned, Runtime, Scored
from registry.replicates import Draws, Replicates

Random = np.random.Generator
Columns = Mapping[str, np.ndarray]
Pair = tuple[Evidence, Evidence]
World = Callable[[Random], Pair]

DIRECTIONS = {"accuracy": "higher", "nll": "lower", "ece": "lower", "rmse": "lower"}
CPU = Runtime(
    device="cpu", device_name="none", provider="none", providers=("none",), versions={}, fingerprint="sha256:" + "0" * 64
)


def evidence(columns: Columns, *, model: str, timings: Columns | None = None) -> Evidence:
    """Evidence of one model: `correct` gives accuracy, `nll` its mean, and every formula whose columns are there its value."""
    n = len(next(iter(columns.values())))
    found = {}
    for name, column in (("accuracy", "correct"), ("nll", "nll")):
        if column in columns:
            kind = "correctness" if name == "accuracy" else "mean"
            found[name] = _metric(name, float(columns[column].mean()), kind, n, column)
    for name, formula in FORMULAS.items():
        if set(formula.columns) <= set(columns) and (columns["label"].dtype.kind == "f") == (name in ("rmse", "r2")):
            found[name] = _metric(name, formula.prepare(columns).value(n), "corpus", n, None)
    digest = "md5:" + model[0] * 32
    evaluation = Evaluation(
        model=Pinned(reference=model, digest=digest),
        dataset=Scored(reference="simulated:v0", digest="md5:" + "0" * 32, split="test", items=n, task="simulated"),
        runtime=CPU,
        metrics=found,
        against=Pinned(reference="b", digest="md5:" + "b" * 32) if timings is not None else None,
    )
    return Evidence(evaluation=evaluation, items={"item": np.arange(n), **columns}, timings=timings)


def _metric(name: str, value: float, kind: str, n: int, column: str | None) -> Metric:
    direction = DIRECTIONS.get(name, "higher")
    return Metric.model_validate(
        {"value": value, "direction": direction, "kind": kind, "unit": "one", "n": n, "column": column}
    )


def both(candidate: Columns, baseline: Columns) -> Pair:
    return evidence(candidate, model="c"), evidence(baseline, model="b")


def disagreeing(n: int, psi: float, true: float, *, wrong: float = 0.1, facts: Columns | None = None) -> World:
    """Right and wrong answers: the models disagree on a share psi and differ by `true`; of the rest a share is wrong."""

    def draw(random: Random) -> Pair:
        which = random.random(n)
        candidate = random.random(n) > wrong
        baseline = candidate.copy()
        better, worse = which < (psi + true) / 2, (which >= (psi + true) / 2) & (which < psi)
        candidate[better], baseline[better] = True, False
        candidate[worse], baseline[worse] = False, True
        shared = dict(facts or {})
        return both({"correct": candidate, **shared}, {"correct": baseline, **shared})

    return draw


def clustered(clusters: int, mean_size: int, psi: float, true: float, icc: float) -> World:
    """As `disagreeing`, in clusters of unequal size whose items are alike (Dirichlet, intra-cluster correlation `icc`)."""
    shares = np.array([(psi + true) / 2, (psi - true) / 2, 1 - psi])

    def draw(random: Random) -> Pair:
        sizes = 1 + random.poisson(mean_size - 1, size=clusters)
        own = random.dirichlet(np.maximum(shares * (1 - icc) / icc, 1e-9), size=clusters) if icc else shares[np.newaxis]
        code = np.repeat(np.arange(clusters), sizes)
        edges = (own if icc else np.repeat(own, clusters, axis=0)).cumsum(axis=1)[code]
        which = random.random(len(code))
        candidate = random.random(len(code)) > 0.1
        baseline = candidate.copy()
        better, worse = which < edges[:, 0], (which >= edges[:, 0]) & (which < edges[:, 1])
        candidate[better], baseline[better] = True, False
        candidate[worse], baseline[worse] = False, True
        return both({"correct": candidate, "patient": code}, {"correct": baseline, "patient": code})

    return draw


def losses(n: int, share: float, ratio: float) -> World:
    """Losses, small on most items and heavy on a share of them, where the candidate's are `ratio` times the baseline's."""

    def draw(random: Random) -> Pair:
        common = random.exponential(0.05, size=n)
        heavy = random.random(n) < share
        candidate = ratio * common + heavy * random.exponential(ratio, size=n)
        baseline = common + heavy * random.exponential(1.0, size=n)
        return both({"nll": candidate}, {"nll": baseline})

    return draw


def classifiers(n: int, prior: tuple[float, ...], skill: tuple[float, float], *, alike: float = 0.8) -> World:
    """Scores of two classifiers of some skill, whose mistakes are alike."""
    classes = len(prior)

    def draw(random: Random) -> Pair:
        label = random.choice(classes, size=n, p=prior)
        common = random.normal(size=(n, classes))
        return both(*(_scored(random, label, common, one, alike) for one in skill))

    return draw


def _scored(random: Random, label: np.ndarray, common: np.ndarray, skill: float, alike: float) -> Columns:
    own = random.normal(size=common.shape)
    logits = 1.5 * (np.sqrt(alike) * common + np.sqrt(1 - alike) * own + skill * np.eye(common.shape[1])[label])
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    prediction = scores.argmax(axis=1)
    return {
        "label": label,
        "prediction": prediction,
        "scores": scores,
        "confidence": scores.max(axis=1),
        "correct": prediction == label,
    }


def own(world: World, name: str, function: Callable[[Columns], float], *, resamples: int = 1000) -> World:
    """A world whose models are also measured by code of somebody's own, one number, as `reg evaluate --metric` keeps it."""

    def draw(random: Random) -> Pair:
        one, other = (_measured(side, name, function, resamples) for side in world(random))
        return one, other

    return draw


def _measured(side: Evidence, name: str, function: Callable[[Columns], float], resamples: int) -> Evidence:
    draws = Draws(side.items["item"])
    columns = {key: column for key, column in side.items.items() if key in ("label", "prediction", "correct")}
    values = [function({key: column[rows] for key, column in columns.items()}) for rows in islice(draws, resamples)]
    metric = _metric(name, function(columns), "corpus", len(side.items["item"]), None)
    metric = metric.model_copy(update={"source": "sha256:" + "0" * 64})
    evaluation = side.evaluation.model_copy(update={"metrics": side.evaluation.metrics | {name: metric}})
    kept = {name: Replicates(values=np.array(values), drawn=draws.drawn)}
    return Evidence(evaluation=evaluation, items=side.items, replicates=kept)


def kappa(columns: Columns) -> float:
    """Cohen's kappa: agreement of label and prediction beyond chance."""
    size = int(max(columns["label"].max(), columns["prediction"].max())) + 1
    label, prediction = (np.bincount(columns[name], minlength=size) for name in ("label", "prediction"))
    chance = float(label @ prediction) / len(columns["label"]) ** 2
    return float((columns["correct"].mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def worst_recall(columns: Columns) -> float:
    """The recall of the class that is recognised worst: a minimum, which no bootstrap likes."""
    support = np.bincount(columns["label"])
    hits = np.bincount(columns["label"], weights=columns["correct"])
    return float((hits[support > 0] / support[support > 0]).min())


def regressors(n: int, noise: tuple[float, float]) -> World:
    """Predictions of a number, with errors of these sizes, half of them common to both."""

    def draw(random: Random) -> Pair:
        label = random.normal(size=n)
        common = random.standard_t(5, size=n)
        sides = [{"label": label, "prediction": label + size * (common + random.standard_t(5, size=n)) / 2} for size in noise]
        return both(*sides)

    return draw


def timed(ratio: float, *, blocks: int = 30, runs: int = 20) -> World:
    """Latencies in interleaved blocks on a drifting machine with a heavy tail; the candidate takes `ratio` times as long."""
    block, _, role = (axis.ravel() for axis in np.meshgrid(np.arange(blocks), np.arange(runs), [0, 1], indexing="ij"))
    names = np.where(role == 0, "candidate", "baseline").astype(object)

    def draw(random: Random) -> Pair:
        drift = np.exp(np.cumsum(0.05 * random.normal(size=blocks)))[block]
        spikes = np.where(random.random(len(block)) < 0.03, random.exponential(1.0, size=len(block)), 0)
        ms = drift * np.where(role == 0, ratio, 1.0) * np.exp(0.05 * random.normal(size=len(block)) + spikes)
        timings = {"role": names, "batch": np.ones_like(block), "block": block, "ms": ms}
        right = {"correct": np.ones(200, dtype=np.bool_)}
        return evidence(right, model="c", timings=timings), evidence(right, model="b")

    return draw


def true_difference(world: World, metric: str, *, times: int = 40) -> tuple[float, float]:
    """The mean oriented difference of large draws, and the mean of the baseline: the truth where no formula has it."""
    random = np.random.default_rng(987)
    values = []
    for _ in range(times):
        one, other = (side.evaluation.metrics[metric].value for side in world(random))
        values.append((one, other))
    one, other = np.mean(values, axis=0)
    return float(one - other) * (1 if DIRECTIONS.get(metric, "higher") == "higher" else -1), float(other)
