"""Score a model on items, time it, and write what was seen as an evaluation folder.

Items stay as they are stored (uint8 images) until the session takes them, in batches of a fixed size with a shorter last
one, and every value is kept per item: a gate pairs two models item by item, so a mean alone is not evidence. Timing has
two forms. One model alone gets quantiles per batch size. Two models are timed against each other with both sessions alive,
in short blocks in shuffled order: drift of clocks and neighbours hits both alike, and the raw samples are kept so that
the ratio's interval can be computed by whoever judges.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import metrics, own_metrics, running
from pipelines.data.inputs import Inputs
from pipelines.metrics import Report
from pipelines.own_metrics import OwnMetric
from pipelines.recipes import ScoresKind
from pipelines.regression import Values, score_values
from pipelines.running import Progress, Scorer, checked_ids
from pipelines.segmentation import Masks, score_masks
from registry.errors import BadData
from registry.evidence import write_evaluation
from registry.records import Evaluation, Latency, Metric, Parity, Pinned, Scored
from registry.replicates import Replicates

BATCH_SIZE = 256
LATENCY_BATCHES = (1, 32, 256)
# The fewest runs with which a 95 % bound on the quantile exists at all: below, the quantile is NaN, not a guess.
FEWEST_RUNS = {50: 5, 95: 59, 99: 299}
_WARM_UP = 10
_TIMED_PIXELS = 1 << 19


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The columns of predictions.parquet, rows in the order of the items given.

    `clipped` counts items whose probability of the right class was too small to take a logarithm of; only a graph that
    gives probabilities can have them.
    """

    item: NDArray[Any]
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    correct: NDArray[np.bool_]
    nll: NDArray[np.float64]
    confidence: NDArray[np.float32]
    scores: NDArray[np.float32]
    clipped: int = 0

    def columns(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("item", "label", "prediction", "correct", "nll", "confidence", "scores")}

    def report(self, labels: Sequence[str]) -> Report:
        """The metrics of a classifier of these classes."""
        return metrics.classification(
            label=self.label, prediction=self.prediction, nll=self.nll, scores=self.scores, labels=labels
        )


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Raw wall times of two models in shuffled blocks: the columns of latency.parquet."""

    role: NDArray[Any]
    batch: NDArray[np.int32]
    block: NDArray[np.int32]
    run: NDArray[np.int32]
    ms: NDArray[np.float64]

    def columns(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("role", "batch", "block", "run", "ms")}

    def seen_from_baseline(self) -> Timings:
        """The same samples for the baseline's own evaluation, where it is the candidate and the other the baseline."""
        other = np.where(self.role == "candidate", "baseline", "candidate").astype(object)
        return Timings(role=other, batch=self.batch, block=self.block, run=self.run, ms=self.ms)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What `evaluate` made: the folder, its facts and the per-item values."""

    folder: Path
    evaluation: Evaluation
    predictions: Predictions | Masks | Values


def score(
    session: Scorer,
    *,
    kind: ScoresKind,
    inputs: Inputs,
    targets: NDArray[Any],
    items: Sequence[str],
    labels: Sequence[str],
    batch_size: int = BATCH_SIZE,
    on_progress: Progress | None = None,
) -> Predictions:
    """Score every item once.

    Args:
        kind: what the graph's scores are.
        inputs: shape (n, ...), in the graph's own input dtype.
        targets: class indices, shape (n,).
        items: n distinct item ids.
        labels: class names, one per score.
        on_progress: called with (items done, n) after each batch.
    Raises:
        BadData: empty or unequal lengths, an id twice, a target out of range, scores of another width, a score that is
            not finite, or "probabilities" that are none; the message names the item.
    """
    n = len(inputs)
    ids = checked_ids(n, targets, items)
    _check_classes(targets, ids, classes=len(labels))
    raw = running.scores_of_all(
        session,
        inputs,
        ids=ids,
        shape=(len(labels),),
        wanted="items, classes",
        batch_size=batch_size,
        on_progress=on_progress,
    )

    label = np.asarray(targets, dtype=np.int32)
    every = np.arange(n)
    clipped = 0
    if kind == "logits":
        log_probability = metrics.log_softmax(raw)
        probability = np.exp(log_probability)
        nll = -log_probability[every, label]
    else:
        _check_probabilities(session.model, raw, ids)
        probability = raw.astype(np.float64)
        of_label = probability[every, label]
        clipped = int((of_label < metrics.CLIP).sum())
        nll = -np.log(np.clip(of_label, metrics.CLIP, 1.0))
    # From the raw scores: two logits may differ where their float32 probabilities no longer do.
    prediction = raw.argmax(axis=1).astype(np.int32)
    return Predictions(
        item=ids,
        label=label,
        prediction=prediction,
        correct=label == prediction,
        nll=nll + 0.0,  # no -0.0 for a certain and right answer
        confidence=probability[every, prediction].astype(np.float32),
        scores=probability.astype(np.float32),
        clipped=clipped,
    )


def time_alone(
    session: Scorer,
    inputs: Inputs,
    *,
    batches: Sequence[int] = LATENCY_BATCHES,
    seconds: float = 2.0,
    runs: int = 300,
    on_progress: Progress | None = None,
) -> tuple[Latency, ...]:
    """Wall time of one run per batch size, host memory to host memory.

    Args:
        seconds: time to spend per batch size, beyond which fewer than `runs` runs are made (but 5 at least).
    Returns:
        One entry per batch size; a quantile with fewer runs than FEWEST_RUNS is NaN.
    """
    found = []
    for done, size in enumerate(batches, start=1):
        batch = _batch(inputs, size)
        allowed = max(5, min(runs, int(seconds / max(_warm_up(session, batch), 1e-9))))
        ms = np.array([_time(session, batch) for _ in range(allowed)])
        quantile = {q: float(np.percentile(ms, q)) if len(ms) >= fewest else float("nan") for q, fewest in FEWEST_RUNS.items()}
        found.append(
            Latency(
                batch=size,
                runs=len(ms),
                p50_ms=quantile[50],
                p95_ms=quantile[95],
                p99_ms=quantile[99],
                throughput=float(1000 * size * len(ms) / ms.sum()),
            )
        )
        if on_progress is not None:
            on_progress(done, len(batches))
    return tuple(found)


def time_against(
    candidate: Scorer,
    baseline: Scorer,
    inputs: Inputs,
    *,
    batches: Sequence[int] = (1,),
    blocks: int = 30,
    runs: int = 20,
    seconds: float = 20.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Timings:
    """Time two models against each other: block j holds `runs` runs of each, and a coin decides who goes first.

    Args:
        seconds: time to spend per batch size; slower models get fewer blocks (8 at least), then fewer runs (5 at least).
    """
    coin = np.random.default_rng(seed)
    sessions = {"candidate": candidate, "baseline": baseline}
    rows: list[tuple[str, int, int, int, float]] = []
    for done, size in enumerate(batches):
        batch = _batch(inputs, size)
        once = sum(_warm_up(session, batch) for session in sessions.values())
        many = max(8, min(blocks, int(seconds / (once * runs))))
        each = max(5, min(runs, int(seconds / (once * many))))
        for block in range(many):
            for role in coin.permutation(list(sessions)):
                rows += [(str(role), size, block, run, _time(sessions[role], batch)) for run in range(each)]
            if on_progress is not None:
                on_progress(done * many + block + 1, len(batches) * many)
    role_, batch_, block_, run_, ms_ = zip(*rows, strict=True)
    return Timings(
        role=np.array(role_, dtype=object),
        batch=np.array(batch_, dtype=np.int32),
        block=np.array(block_, dtype=np.int32),
        run=np.array(run_, dtype=np.int32),
        ms=np.array(ms_, dtype=np.float64),
    )


def evaluate(
    session: Scorer,
    *,
    kind: ScoresKind,
    inputs: Inputs,
    targets: NDArray[Any],
    items: Sequence[str],
    model: Pinned,
    dataset: Scored,
    folder: Path,
    names: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
    latency_batches: Sequence[int] = LATENCY_BATCHES,
    latency_seconds: float = 2.0,
    against: Pinned | None = None,
    timings: Timings | None = None,
    parity: tuple[Parity, ...] | None = None,
    facts: Mapping[str, NDArray[Any]] | None = None,
    own: Sequence[OwnMetric] = (),
    cluster: str | None = None,
    on_progress: Progress | None = None,
) -> Evaluated:
    """Score, measure, time, and write the folder of an `evaluation` artifact.

    Args:
        dataset: the items' dataset version and split; `labels` name the classes, `items` must be n.
        names: what the values of a regression are; empty for classes and masks.
        against, timings: the other model and the samples of `time_against`; both or neither.
        parity: how far the scores are from those of the trained network; see `pipelines.parity`.
        facts: what is known about the items, one value each; a name that predictions.parquet uses itself becomes `name_`.
        own: metrics of the user's own.
        cluster: the column by which items belong together, for resamples of `own`.
    Raises:
        BadData: see `score`.
    """
    predictions = _scored(
        session, kind, inputs, targets, items, dataset=dataset, names=names, batch_size=batch_size, on_progress=on_progress
    )
    report = predictions.report(dataset.labels)
    found = {**report.metrics, "bytes": _count(session.model.stat().st_size, unit="bytes")}
    if kind == "probabilities" and isinstance(predictions, Predictions):
        found["nll_clipped"] = _count(predictions.clipped, unit="items")
    columns = predictions.columns()
    for name, values in (facts or {}).items():
        columns[name if name not in columns else f"{name}_"] = values
    of_items: dict[str, NDArray[Any]] = {}
    replicates: dict[str, Replicates] = {}
    for metric in own:
        if metric.name in found:
            raise BadData(
                f"there is a metric '{metric.name}' already", hint=f"call the function of {metric.file} something else"
            )
        found[metric.name], detail = own_metrics.measure(metric, columns, cluster=cluster)
        if isinstance(detail, Replicates):
            replicates[metric.name] = detail
        else:
            of_items[metric.name] = detail
    evaluation = Evaluation(
        model=model,
        dataset=dataset,
        runtime=session.runtime,
        metrics=found,
        by_class=report.by_class,
        latency=time_alone(session, inputs, batches=_fitting(latency_batches, predictions, inputs), seconds=latency_seconds),
        against=against,
        omitted=report.omitted,
        parity=parity,
    )
    raw = timings.columns() if timings is not None else None
    write_evaluation(folder, evaluation, columns | of_items, raw, replicates)
    own_metrics.keep(own, folder)
    return Evaluated(folder=folder, evaluation=evaluation, predictions=predictions)


def _scored(
    session: Scorer,
    kind: ScoresKind,
    inputs: Inputs,
    targets: NDArray[Any],
    items: Sequence[str],
    *,
    dataset: Scored,
    names: Sequence[str],
    batch_size: int,
    on_progress: Progress | None,
) -> Predictions | Masks | Values:
    if names:
        return score_values(
            session, inputs=inputs, targets=targets, items=items, names=names, batch_size=batch_size, on_progress=on_progress
        )
    if targets.ndim > 1:
        return score_masks(
            session, kind=kind, inputs=inputs, targets=targets, items=items, labels=dataset.labels, on_progress=on_progress
        )
    return score(
        session,
        kind=kind,
        inputs=inputs,
        targets=targets,
        items=items,
        labels=dataset.labels,
        batch_size=batch_size,
        on_progress=on_progress,
    )


def _fitting(batches: Sequence[int], predictions: Predictions | Masks | Values, inputs: Inputs) -> Sequence[int]:
    """Batch sizes to time: masks are as large as their images, and nobody asks for 256 of them at once."""
    if not isinstance(predictions, Masks):
        return batches
    largest = max(1, _TIMED_PIXELS // math.prod(inputs.shape[1:3]))
    return [size for size in batches if size <= largest] or batches[:1]


def _count(value: int, *, unit: str) -> Metric:
    return Metric(value=float(value), direction="lower", kind="system", unit=unit, n=1)


def _check_classes(targets: NDArray[Any], ids: NDArray[Any], *, classes: int) -> None:
    outside = (targets < 0) | (targets >= classes)
    if outside.any():
        row = int(outside.argmax())
        raise BadData(f"item '{ids[row]}' has target {targets[row]}, outside the {classes} classes of the model")


def _check_probabilities(model: Path, scores: NDArray[np.float32], ids: NDArray[Any]) -> None:
    sums = scores.sum(axis=1, dtype=np.float64)
    wrong = (scores < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3)
    if wrong.any():
        row = int(wrong.argmax())
        raise BadData(
            f"{model.name} says its scores are probabilities, but those of item '{ids[row]}' add up to {sums[row]:.4g}",
            hint="set signature.outputs[0].kind to logits in model.yaml, or end the graph with a Softmax",
        )


def _batch(inputs: Inputs, size: int) -> NDArray[Any]:
    """The first `size` items, from the start again when there are fewer."""
    return np.ascontiguousarray(inputs[np.arange(size) % len(inputs)])


def _warm_up(session: Scorer, batch: NDArray[Any]) -> float:
    """Run until allocators and clocks have settled, a second at most; the fastest run is the estimate, in seconds."""
    times: list[float] = []
    while len(times) < _WARM_UP and (len(times) < 2 or sum(times) < 1000):
        times.append(_time(session, batch))
    return min(times) / 1000


def _time(session: Scorer, batch: NDArray[Any]) -> float:
    start = time.perf_counter_ns()
    session.run(batch)
    return (time.perf_counter_ns() - start) / 1e6
