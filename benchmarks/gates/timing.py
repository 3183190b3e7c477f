"""How long a judgement takes, and how much memory, on many items.

python benchmarks/gates/timing.py --items 1000000
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from registry.gates import Evidence, judge
from registry.policy import load
from registry.records import Evaluation, Metric, Pinned, Runtime, Scored

POLICY = """\
version: 1
runtime: {device: any}
checks:
  - {id: floor, metric: accuracy, test: absolute, min: 0.8}
  - {id: beats, metric: accuracy, test: superiority, min_gain: 0.0}
  - {id: nll, metric: nll, test: non-inferiority, margin: {relative: 0.1}}
  - {id: classes, metric: accuracy, by: label, test: not-worse, margin: 0.05}
"""


def evidence(n: int, accuracy: float, *, order: np.ndarray, seed: int) -> Evidence:
    """A model on n items of 1000 classes; `order` is that of its rows."""
    random = np.random.default_rng(seed)
    right = (random.random(n) < accuracy)[order]
    loss = np.where(right, 0.05, 2.0) * random.exponential(size=n)
    metrics = {
        "accuracy": Metric(
            value=float(right.mean()), direction="higher", kind="correctness", unit="fraction", n=n, column="correct"
        ),
        "nll": Metric(value=float(loss.mean()), direction="lower", kind="mean", unit="nats", n=n, column="nll"),
    }
    evaluation = Evaluation(
        model=Pinned(reference=str(seed), digest=str(seed)),
        dataset=Scored(reference="timed:v0", digest="md5:" + "0" * 32, split="test", items=n, task="timed"),
        runtime=Runtime(
            device="cpu",
            device_name="none",
            provider="none",
            providers=("none",),
            versions={},
            fingerprint="sha256:" + "0" * 64,
        ),
        metrics=metrics,
    )
    ids = np.array([f"test/{at}" for at in order.tolist()], dtype=object)
    return Evidence(evaluation=evaluation, items={"item": ids, "label": order % 1000, "correct": right, "nll": loss})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 1_000_000])
    args = parser.parse_args()
    rules = load(POLICY, name="policy.yaml")
    for n in args.items:
        baseline = evidence(n, 0.95, order=np.arange(n), seed=1)
        for name, order in (("same order", np.arange(n)), ("shuffled", np.random.default_rng(0).permutation(n))):
            candidate = evidence(n, 0.97, order=order, seed=2)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            started = time.perf_counter()
            judgement = judge(rules, candidate=candidate, baseline=baseline)
            seconds = time.perf_counter() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            added = f"peak {peak / 1e6:.2f} GB, {(peak - before) / 1e6:.2f} GB of it for the judgement"
            print(f"{n:>11,} items, {name:<10}: {judgement.outcome} in {seconds:.2f} s, {added}", flush=True)


if __name__ == "__main__":
    main()
