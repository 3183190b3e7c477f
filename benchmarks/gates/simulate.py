"""How often a gate is wrong: false and missed promotions of pairs of models whose true difference is known.

Each line judges many pairs by `registry.gates.judge`, at alpha = 5 %. `wrong` is the share of answers that err: a PASS where
the truth is exactly at the limit (the worst case of everything that must not pass), for `not-worse` a FAIL where nothing is
worse. `right` is the share of PASS (for not-worse FAIL) where the truth is as the line says beyond it; the rest is mostly
INCONCLUSIVE. `±` is two standard errors of the share, the noise of the simulation itself.

    python benchmarks/gates/simulate.py                      python benchmarks/gates/simulate.py corpus clusters --pairs 300
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import worlds
from worlds import World

from registry.gates import judge
from registry.policy import load
from registry.records import Look, Outcome

MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Line:
    """One check in one world; `at_limit`: an answer of `errs` is wrong."""

    what: str
    check: str
    world: World
    at_limit: bool = True
    errs: Outcome = Outcome.PASS
    head: str = ""
    pairs: int | None = None


def accuracy() -> Iterator[Line]:
    for n, psi in ((300, 0.03), (300, 0.10), (1000, 0.01), (1000, 0.03), (1000, 0.10), (10_000, 0.01), (10_000, 0.03)):
        where = f"n {n}, psi {psi}"
        yield Line(what=f"{where}, equal", check="superiority", world=worlds.disagreeing(n, psi, 0))
        check = f"non-inferiority, margin: {MARGIN}"
        yield Line(what=f"{where}, margin worse", check=check, world=worlds.disagreeing(n, psi, -MARGIN))
        gain = 2.49 * math.sqrt(psi / n)
        if gain < psi:
            world = worlds.disagreeing(n, psi, gain)
            yield Line(what=f"{where}, {gain:.4f} better", check="superiority", world=world, at_limit=False)
    for n in (1000, 10_000):
        check, true = "non-inferiority, margin: {relative: 0.02}", -0.02 * 0.9 / 1.0
        # The baseline is right on 0.9 of the items both agree on, and on the half (and a little more) where they do not.
        psi = 0.05
        right = 0.9 * (1 - psi) + (psi - true) / 2
        world = worlds.disagreeing(n, psi, -0.02 * right)
        yield Line(what=f"n {n}, relative margin worse", check=check, world=world)


def absolute() -> Iterator[Line]:
    for n, floor in ((100, 0.9), (300, 0.97), (1000, 0.97), (10_000, 0.97)):
        world = worlds.disagreeing(n, 0.0, 0.0, wrong=1 - floor)
        yield Line(what=f"n {n}, accuracy {floor}", check=f"absolute, min: {floor}", world=world)


def means() -> Iterator[Line]:
    for n in (100, 300, 1000):
        for share in (0.1, 0.5):
            mean = 0.05 + share
            where = f"n {n}, heavy {share:.0%}"
            worse = worlds.losses(n, share, 1 + MARGIN / mean)
            yield Line(what=f"{where}, equal", check="superiority", world=worlds.losses(n, share, 1.0))
            yield Line(what=f"{where}, margin worse", check=f"non-inferiority, margin: {MARGIN}", world=worse)
            share_worse = worlds.losses(n, share, 1.2)
            check = "non-inferiority, margin: {relative: 0.2}"
            yield Line(what=f"{where}, relative margin worse", check=check, world=share_worse)


def corpus() -> Iterator[Line]:
    priors = {"2 classes 9:1": (0.9, 0.1), "5 classes": (0.5, 0.3, 0.1, 0.06, 0.04)}
    for title, prior in priors.items():
        for metric in ("f1_macro", "roc_auc", "pr_auc", "ece"):
            for n in (300, 1000) if metric == "f1_macro" or len(prior) == 2 else (300,):
                equal = worlds.classifiers(n, prior, (2.0, 2.0))
                yield Line(what=f"{metric}, {title}, n {n}, equal", check=f"superiority|{metric}", world=equal)
                worse = worlds.classifiers(n, prior, (1.8, 2.0))
                true, _ = worlds.true_difference(worlds.classifiers(100_000, prior, (1.8, 2.0)), metric, times=8)
                check = f"non-inferiority, margin: {abs(true)}|{metric}"
                if true < 0:
                    yield Line(what=f"{metric}, {title}, n {n}, {true:+.4f}", check=check, world=worse)
    for metric in ("rmse", "r2"):
        for n in (100, 1000):
            world = worlds.regressors(n, (0.5, 0.5))
            yield Line(what=f"{metric}, n {n}, equal", check=f"superiority|{metric}", world=world)


def own() -> Iterator[Line]:
    """Metrics of the user's own that are one number, judged from the replicates that their evaluations keep."""
    for name, function in (("kappa", worlds.kappa), ("worst_recall", worlds.worst_recall)):
        for title, prior, n in (("2 classes 9:1", (0.9, 0.1), 300), ("5 classes", (0.5, 0.3, 0.1, 0.06, 0.04), 1000)):
            equal = worlds.own(worlds.classifiers(n, prior, (2.0, 2.0)), name, function)
            yield Line(what=f"{name}, {title}, n {n}, equal", check=f"superiority|{name}", world=equal)
            large = worlds.own(worlds.classifiers(100_000, prior, (1.8, 2.0)), name, function, resamples=1)
            true, _ = worlds.true_difference(large, name, times=8)
            worse = worlds.own(worlds.classifiers(n, prior, (1.8, 2.0)), name, function)
            check = f"non-inferiority, margin: {abs(true)}|{name}"
            yield Line(what=f"{name}, {title}, n {n}, {true:+.4f}", check=check, world=worse)


def clusters() -> Iterator[Line]:
    for count, size, psi, icc in (
        (20, 10, 0.1, 0.3),
        (30, 30, 0.02, 0.1),
        (50, 10, 0.1, 0.3),
        (200, 5, 0.05, 0.3),
        (200, 5, 0.05, 0.0),
    ):
        where = f"{count} clusters of {size}, psi {psi}, icc {icc}"
        cluster = "data: {min_items: 1, cluster: patient}"
        for true, check in ((0.0, "superiority"), (-MARGIN, f"non-inferiority, margin: {MARGIN}")):
            world = worlds.clustered(count, size, psi, true, icc)
            title = f"{where}, {'equal' if true == 0 else 'margin worse'}"
            yield Line(what=title, check=check, world=world, head=cluster)
            yield Line(what=f"{title}, as if items were independent", check=check, world=world)


def slices() -> Iterator[Line]:
    for n in (1000, 10_000):
        label = {"label": np.arange(n) % 10}
        for margin in (0.0, 0.01):
            # At the margin in every slice: the worst case of the family.
            world = worlds.disagreeing(n, 0.05, -margin, facts=label)
            check = f"not-worse, by: label, margin: {margin}"
            yield Line(what=f"10 slices, n {n}, all worse by {margin}", check=check, world=world, errs=Outcome.FAIL)
        world = worlds.disagreeing(n, 0.10, -0.05, facts=label)
        check = "not-worse, by: label, margin: 0.01"
        yield Line(what=f"10 slices, n {n}, all worse by 0.05", check=check, world=world, errs=Outcome.FAIL, at_limit=False)


def ratio() -> Iterator[Line]:
    for quantile in ("p50", "p95"):
        check = f"ratio, batch: 1, max: 1.10|latency_ms.{quantile}"
        yield Line(what=f"{quantile}, 1.10 times as slow", check=check, world=worlds.timed(1.10))
        yield Line(what=f"{quantile}, 1.05 times as slow", check=check, world=worlds.timed(1.05), at_limit=False)


GROUPS = {
    "accuracy": accuracy,
    "absolute": absolute,
    "means": means,
    "corpus": corpus,
    "own": own,
    "clusters": clusters,
    "slices": slices,
    "ratio": ratio,
}


def metric_of(line: Line, group: str) -> tuple[str, str]:
    check, _, metric = line.check.partition("|")
    return check, metric or ("nll" if group == "means" else "accuracy")


def run(line: Line, group: str, *, pairs: int, seed: int) -> str:
    """Judge many pairs and count the answers."""
    check, metric = metric_of(line, group)
    head = line.head or "data: {min_items: 1}"
    text = f"version: 1\nruntime: {{device: any}}\n{head}\nchecks:\n  - {{id: asked, metric: {metric}, test: {check}}}\n"
    rules = load(text, name="policy.yaml")
    random, found, unanswered = np.random.default_rng(seed), Counter[Outcome](), 0
    for _ in range(pairs):
        candidate, baseline = line.world(random)
        outcome = judge(rules, candidate=candidate, baseline=baseline).outcome
        unanswered += outcome is Outcome.ERROR
        found[outcome] += 1
    answered = pairs - unanswered
    share = found[line.errs] / max(1, answered)
    noise = 2 * math.sqrt(max(share * (1 - share), 0.0475 if line.at_limit else 0) / max(1, answered))
    columns = (f"{100 * share:.1f}", "") if line.at_limit else ("", f"{100 * share:.1f}")
    note = f" {unanswered} errors" if unanswered else ""
    kind = check.partition(",")[0]
    return f"| {group} | {kind} | {line.what} | {columns[0]} | {columns[1]} | {100 * noise:.1f} |{note}"


def holdout(*, pairs: int, seed: int) -> Iterator[str]:
    """Fifty candidates that are no better than the baseline, judged on one test set, one after the other: does any pass?"""
    n, psi, looks = 2000, 0.05, 50
    for alpha in (0.05, 0.2):
        for correction in ("none", "ladder", "spend-alpha"):
            text = (
                f"version: 1\nalpha: {alpha}\nruntime: {{device: any}}\n"
                f"data: {{min_items: 1, holdout: {{max_looks: 50, correction: {correction}}}}}\n"
                "checks:\n  - {id: asked, metric: accuracy, test: superiority}\n"
            )
            rules = load(text, name="policy.yaml")
            random, ever, first = np.random.default_rng(seed), 0, 0
            for _ in range(pairs):
                baseline = random.random(n) > 0.1
                passes = []
                for look in range(1, looks + 1):
                    # Equal in the long run: as many of all right answers are lost as of all wrong ones are mended.
                    flips = random.random(n) < np.where(baseline, psi / 2 / 0.9, psi / 2 / 0.1)
                    sides = worlds.both({"correct": baseline ^ flips}, {"correct": baseline})
                    found = judge(rules, candidate=sides[0], baseline=sides[1], look=Look(number=look, position=look))
                    passes.append(found.outcome is Outcome.PASS)
                ever, first = ever + any(passes), first + passes[0]
            yield (
                f"| holdout | superiority | alpha {alpha}, {correction}: any of {looks} equal candidates |"
                f" {100 * ever / pairs:.1f} (first look {100 * first / pairs:.1f}) | | {200 * math.sqrt(0.0475 / pairs):.1f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", default=[*GROUPS, "holdout"], help="which of them (default: all)")
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of models per line (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| what | test | world | wrong % | right % | ± |\n|---|---|---|---|---|---|")
    for group in args.groups:
        lines = (
            holdout(pairs=args.pairs, seed=args.seed)
            if group == "holdout"
            else (run(line, group, pairs=args.pairs, seed=args.seed) for line in GROUPS[group]())
        )
        for text in lines:
            print(text, flush=True)


if __name__ == "__main__":
    main()
