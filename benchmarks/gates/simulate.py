"""How often a gate is wrong: false and missed promotions of pairs of models whose true difference is known.

Each line is many pairs of models on n items that disagree on a share psi of them and truly differ by `true`. `plain` is the
rule that most projects use, candidate > baseline; the other columns are the shares that a check passes (PASS) and leaves
open (INC.). Where `true` is 0 or below, every pass of `beats` (superiority, min_gain 0) is a false promotion; where it is
-0.01 or below, every pass of `keeps` (non-inferiority, margin 0.01) is; where `true` is above, what does not pass is a
missed one. With --means the models differ in a skewed per-item loss (nll) instead, judged by the studentised bootstrap.

    python benchmarks/gates/simulate.py            python benchmarks/gates/simulate.py --means --pairs 300
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from registry.gates import Evidence, judge
from registry.policy import Policy, load
from registry.records import Evaluation, Metric, Pinned, Runtime, Scored

POLICY = """\
version: 1
runtime: {{device: any}}
data: {{min_items: 1}}
checks:
  - {{id: beats, metric: {metric}, test: superiority, min_gain: 0.0}}
  - {{id: keeps, metric: {metric}, test: non-inferiority, margin: 0.01}}
"""


def evidence(values: np.ndarray, ids: np.ndarray, *, model: str) -> Evidence:
    """Evidence of one model: bool values are correctness, floats are a loss."""
    n, right = len(values), values.dtype == np.bool_
    metric = Metric(
        value=float(values.mean()),
        direction="higher" if right else "lower",
        kind="correctness" if right else "mean",
        unit="fraction" if right else "nats",
        n=n,
        column="value",
    )
    runtime = Runtime(
        device="cpu", device_name="none", provider="none", providers=("none",), versions={}, fingerprint="sha256:" + "0" * 64
    )
    dataset = Scored(reference="simulated:v0", digest="md5:" + "0" * 32, split="test", items=n, task="simulated")
    evaluation = Evaluation(
        model=Pinned(reference=model, digest=model),
        dataset=dataset,
        runtime=runtime,
        metrics={"accuracy" if right else "nll": metric},
    )
    return Evidence(evaluation=evaluation, items={"item": ids, "value": values})


def proportions(n: int, share: float, true: float, *, pairs: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Right and wrong answers of pairs of models, 10 % of the common answers wrong."""
    random = np.random.default_rng(seed)
    for _ in range(pairs):
        which = random.random(n)
        candidate = random.random(n) > 0.1
        baseline = candidate.copy()
        better = which < (share + true) / 2
        worse = (which >= (share + true) / 2) & (which < share)
        candidate[better], baseline[better] = True, False
        candidate[worse], baseline[worse] = False, True
        yield candidate, baseline


def means(n: int, share: float, true: float, *, pairs: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Losses of pairs of models: small on most items, heavy on a share of them, where the two models scatter."""
    random = np.random.default_rng(seed)
    for _ in range(pairs):
        common = random.exponential(0.05, size=n)
        heavy = random.random(n) < share
        candidate = common + heavy * random.exponential(1.0, size=n)
        baseline = common + heavy * random.exponential(1.0 + true / share, size=n)
        yield candidate, baseline


def line(rules: Policy, n: int, share: float, true: float, args: argparse.Namespace) -> str:
    """Judge many pairs and count the answers."""
    found: Counter[str] = Counter()
    ids = np.arange(n)
    draw = means if args.means else proportions
    for candidate, baseline in draw(n, share, true, pairs=args.pairs, seed=args.seed):
        sides = (evidence(candidate, ids, model="candidate"), evidence(baseline, ids, model="baseline"))
        checks = judge(rules, candidate=sides[0], baseline=sides[1]).checks
        found.update(f"{check.id} {check.status}" for check in checks)
        found["plain"] += (candidate.mean() < baseline.mean()) if args.means else (candidate.mean() > baseline.mean())
    columns = ("plain", "beats PASS", "beats INCONCLUSIVE", "keeps PASS", "keeps INCONCLUSIVE")
    return f"{n:>7} {share:>6.2f} {true:>+7.3f} " + " ".join(f"{100 * found[name] / args.pairs:>10.1f}" for name in columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of models per line (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--means", action="store_true", help="compare a loss instead of accuracy")
    parser.add_argument("--items", type=int, nargs="+", default=[300, 1000, 10_000])
    args = parser.parse_args()
    rules = load(POLICY.format(metric="nll" if args.means else "accuracy"), name="policy.yaml")
    print(f"{'n':>7} {'psi':>6} {'true':>7} {'plain %':>10} {'beats PASS':>10} {'INC.':>10} {'keeps PASS':>10} {'INC.':>10}")
    for n in args.items:
        for share in (0.01, 0.03, 0.10) if not args.means else (0.10,):
            for true in (-0.01, -0.005, 0.0, 0.0025, 0.005, 0.01):
                if abs(true) <= share:
                    print(line(rules, n, share, true, args), flush=True)


if __name__ == "__main__":
    main()
