"""How much time reading and judging many items takes, and how much memory: from two Parquet folders to a judgement.

Seconds are of the processor, so that neighbours on the machine do not count; peak memory is the process's own.

Two models on n items of 100 classes, ids like those of `reg`; the candidate's rows in the baseline's order, or shuffled.

    python benchmarks/gates/scale.py --items 100000 10000000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from registry.corpus import f1_macro
from registry.evidence import read_evaluation, write_evaluation
from registry.gates import judge
from registry.policy import load
from registry.records import Evaluation, Metric, Pinned, Runtime, Scored

POLICY = """\
version: 1
runtime: {device: any}
checks:
  - {id: floor, metric: accuracy, test: absolute, min: 0.8}
  - {id: beats, metric: accuracy, test: superiority}
  - {id: nll, metric: nll, test: non-inferiority, margin: {relative: 0.1}}
  - {id: f1, metric: f1_macro, test: non-inferiority, margin: 0.01}
  - {id: classes, metric: accuracy, by: label, test: not-worse, margin: 0.05}
"""
CLASSES = 100


def write(folder: Path, n: int, accuracy: float, *, order: np.ndarray, seed: int) -> None:
    """A model on n items; `order` is that of its rows. Of a task of its own, so that no scores are needed."""
    random = np.random.default_rng(seed)
    label = (np.arange(n) % CLASSES).astype(np.int32)[order]
    right = (random.random(n) < accuracy)[order]
    prediction = np.where(right, label, (label + 1) % CLASSES).astype(np.int32)
    loss = np.where(right, 0.05, 2.0) * random.exponential(size=n)
    columns = {
        "item": np.char.add(b"test/", order.astype("S8")).astype(str),
        "label": label,
        "prediction": prediction,
        "correct": right,
        "nll": loss,
    }
    facts = (
        ("accuracy", float(right.mean()), "higher", "correctness", "correct"),
        ("nll", float(loss.mean()), "lower", "mean", "nll"),
        ("f1_macro", f1_macro(columns).value(n), "higher", "corpus", None),
    )
    metrics = {
        name: Metric.model_validate({"value": value, "direction": direction, "kind": kind, "unit": "one", "n": n, "column": at})
        for name, value, direction, kind, at in facts
    }
    runtime = Runtime(
        device="cpu", device_name="none", provider="none", providers=("none",), versions={}, fingerprint="sha256:" + "0" * 64
    )
    evaluation = Evaluation(
        model=Pinned(reference=str(seed), digest=str(seed)),
        dataset=Scored(reference="timed:v0", digest="md5:" + "0" * 32, split="test", items=n, task="timed"),
        runtime=runtime,
        metrics=metrics,
    )
    write_evaluation(folder, evaluation, columns)


def measure(folder: Path) -> None:
    """Read and judge, in a process of its own, whose peak memory is then that of nothing else."""
    rules = load(POLICY, name="policy.yaml")
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    candidate, baseline = (read_evaluation(folder / name) for name in ("candidate", "baseline"))
    read = time.process_time()
    judgement = judge(rules, candidate=candidate, baseline=baseline)
    judged = time.process_time()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1e6
    seconds = f"read in {read - started:.1f} s, judged in {judged - read:.1f} s"
    print(f"{judgement.outcome}: {seconds}, {peak:.2f} GB above the idle process", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        return measure(args.measure)
    for n in args.items:
        for name, order in (("same order", np.arange(n)), ("shuffled", np.random.default_rng(0).permutation(n))):
            with tempfile.TemporaryDirectory() as place:
                write(Path(place) / "baseline", n, 0.95, order=np.arange(n), seed=1)
                write(Path(place) / "candidate", n, 0.97, order=order, seed=2)
                print(f"{n:>11,} items, {name:<10}: ", end="", flush=True)
                subprocess.run([sys.executable, __file__, "--measure", place], check=True)
    return None


if __name__ == "__main__":
    main()
