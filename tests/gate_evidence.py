"""Evidence for the tests of gates: two models on the same items, whose parts agree until a test breaks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from registry.corpus import f1_macro
from registry.gates import Evidence
from registry.policy import Policy, load
from registry.records import CheckResult, Evaluation, Judgement, Latency, Metric, Pinned, Placement, Runtime, Scored

LABELS = tuple("0123456789")
CUDA = Runtime(
    device="cuda",
    device_name="a GPU",
    provider="CUDAExecutionProvider",
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
    placement=Placement(nodes={"CUDAExecutionProvider": 9}),
    device_memory_bytes=10**9,
    tf32=False,
    versions={},
    fingerprint="sha256:" + "c" * 64,
)
CPU = Runtime(
    device="cpu",
    device_name="a processor",
    provider="CPUExecutionProvider",
    providers=("CPUExecutionProvider",),
    placement=Placement(nodes={"CPUExecutionProvider": 9}),
    versions={},
    fingerprint="sha256:" + "f" * 64,
)


def digest(letter: str) -> str:
    return "md5:" + letter * 32


def a_model(name: str = "a") -> Pinned:
    return Pinned(reference=f"team/vision/model:{name}", digest=digest(name))


def evidence(
    correct: Any, nll: Any = None, *, model: str = "a", size: float = 2**20, runtime: Runtime = CPU, **columns: Any
) -> Evidence:
    """Evidence whose parts agree; every test that needs broken evidence breaks it with `change`."""
    right = np.asarray(correct, dtype=np.bool_)
    n = len(right)
    loss = np.where(right, 0.1, 2.0) if nll is None else np.asarray(nll, dtype=np.float64)
    label = np.arange(n, dtype=np.int32) % len(LABELS)
    items: dict[str, np.ndarray] = {
        "item": np.array([f"test/{at}" for at in range(n)], dtype=object),
        "label": label,
        "prediction": np.where(right, label, (label + 1) % len(LABELS)),
        "correct": right,
        "nll": loss,
    }
    metrics = {
        "accuracy": Metric(value=right.mean(), direction="higher", kind="correctness", unit="fraction", n=n, column="correct"),
        "nll": Metric(value=loss.mean(), direction="lower", kind="mean", unit="nats", n=n, column="nll"),
        "f1_macro": Metric(value=f1_macro(items).value(n), direction="higher", kind="corpus", unit="fraction", n=n),
        # Corpus metrics of an evaluation that reg did not make: no formula, with and without an interval of their own.
        "kappa": Metric(value=0.9, direction="higher", kind="corpus", unit="fraction", n=n, interval=(0.88, 0.92)),
        "drift": Metric(value=0.05, direction="lower", kind="corpus", unit="fraction", n=n),
        "bytes": Metric(value=size, direction="lower", kind="system", unit="bytes", n=1),
    }
    evaluation = Evaluation(
        model=a_model(model),
        dataset=Scored(reference="digits:v0", digest=digest("d"), split="test", items=n, task="classification", labels=LABELS),
        runtime=runtime,
        metrics=metrics,
        latency=(Latency(batch=1, runs=300, p50_ms=1.0, p95_ms=2.0, p99_ms=np.nan, throughput=900.0),),
    )
    return Evidence(evaluation=evaluation, items=items | columns)


def change(of: Evidence, *, rows: Any = None, items: dict[str, Any] | None = None, **changes: Any) -> Evidence:
    """The same evidence with other rows, other columns, or other facts (`runtime__device` reaches into `runtime`)."""
    evaluation = of.evaluation
    for path, value in changes.items():
        outer, _, inner = path.partition("__")
        if inner and outer == "metrics":
            value = evaluation.metrics | {inner: value(evaluation.metrics[inner])}
        elif inner:
            value = getattr(evaluation, outer).model_copy(update={inner: value})
        evaluation = evaluation.model_copy(update={outer: value})
    columns = dict(of.items) | (items or {})
    if rows is not None:
        columns = {name: column[rows] for name, column in columns.items()}
    return Evidence(evaluation=evaluation, items=columns, timings=of.timings, replicates=of.replicates)


def models(n: int, *, baseline_wrong: int, gained: int = 0, lost: int = 0) -> tuple[Evidence, Evidence]:
    """Candidate and baseline: the candidate mends `gained` of the baseline's mistakes and makes `lost` new ones."""
    right = np.ones(n, dtype=np.bool_)
    right[:baseline_wrong] = False
    other = right.copy()
    other[:gained] = True
    other[n - lost :] = False
    return evidence(other, model="c"), evidence(right, model="b")


def policy(*checks: str, head: str = "") -> Policy:
    lines = "\n".join(f"  - {{{check}}}" for check in checks)
    device = "" if "runtime:" in head else "runtime: {device: any}\n"
    return load(f"version: 1\n{device}{head}\nchecks:\n{lines}\n", name="policy.yaml")


FLOOR = "id: floor, metric: accuracy, test: absolute, min: 0.8"
BEATS = "id: beats, metric: accuracy, test: superiority"
KEEPS = "id: keeps, metric: accuracy, test: non-inferiority, margin: 0.02"
LOSS = "id: nll, metric: nll, test: non-inferiority, margin: {relative: 0.1}"
SLICES = "id: slices, metric: accuracy, by: label, test: not-worse, margin: 0.05, min_items: 30"


def only(judgement: Judgement) -> CheckResult:
    (result,) = judgement.checks
    return result


def without(*names: str) -> Callable[[Evidence], Evidence]:
    def drop(of: Evidence) -> Evidence:
        return Evidence(
            evaluation=of.evaluation, items={name: column for name, column in of.items.items() if name not in names}
        )

    return drop


def with_value(name: str, row: int, value: Any, dtype: Any = None) -> Callable[[Evidence], Evidence]:
    def set_(of: Evidence) -> Evidence:
        column = np.array(of.items[name], dtype=dtype)
        column[row] = value
        return change(of, items={name: column})

    return set_
