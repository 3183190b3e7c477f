"""A question that cannot be asked of the evidence is an ERROR with one sentence of reason, never a pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gate_evidence import (
    BEATS,
    CPU,
    CUDA,
    FLOOR,
    KEEPS,
    LOSS,
    SLICES,
    change,
    digest,
    evidence,
    models,
    only,
    policy,
    with_value,
    without,
)

from registry.gates import ABSENT, Asked, Evidence, judge
from registry.records import Outcome, Parity, Placement, Runtime
from registry.references import Digest

BROKEN: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "metric missing": (lambda e: change(e, metrics={"acuracy": e.evaluation.metrics["accuracy"]}), "did you mean 'acuracy'"),
    "metric NaN": (
        lambda e: change(e, metrics__accuracy=lambda m: m.model_copy(update={"value": np.nan})),
        "accuracy of the {} is nan",
    ),
    "value NaN": (
        with_value("correct", 7, np.nan, np.float64),
        "column 'correct' of the {}'s predictions is nan for item 'test/7' (1 of 600 items)",
    ),
    "value no flag": (with_value("correct", 7, 0.5, np.float64), "holds more than right and wrong"),
    "values of text": (lambda e: change(e, items={"correct": e.items["item"]}), "not numbers"),
    "values ragged": (lambda e: change(e, items={"correct": e.items["correct"][:-1]}), "shape (599,) for 600 items"),
    "metric not the mean": (
        lambda e: change(e, metrics__accuracy=lambda m: m.model_copy(update={"value": 0.99})),
        "accuracy of the {} says 0.99, its items say",
    ),
    "metric of other n": (
        lambda e: change(e, metrics__accuracy=lambda m: m.model_copy(update={"n": 500})),
        "says n = 500, there are 600",
    ),
    "column missing": (without("correct"), "the {}'s predictions have no column 'correct'"),
    "ids missing": (without("item"), "the {}'s predictions have no column 'item'"),
    "an id missing": (with_value("item", 7, None), "items without id"),
    "an id twice": (with_value("item", 7, "test/8"), "'test/8' occurs 2 times"),
    "an item short": (
        lambda e: change(e, rows=slice(0, 599), metrics__accuracy=lambda m: m.model_copy(update={"n": 599})),
        "its predictions have 599 rows",
    ),
    "another split": (
        lambda e: change(e, dataset__split="train"),
        "the {}'s evaluation is on split 'train', the policy wants 'test'",
    ),
}
UNPAIRED: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "another item": (
        with_value("item", 7, "test/x"),
        "1 only in the candidate's evaluation (test/7), 1 only in the baseline's (test/x)",
    ),
    "another dataset version": (
        lambda e: change(e, dataset__digest=digest("e")),
        f"the dataset digest differs: {digest('d')} for",
    ),
    "another runtime": (lambda e: change(e, runtime__fingerprint="sha256:1"), "the runtime fingerprint differs"),
    "other labels": (lambda e: change(e, dataset__labels=("a", "b")), "the labels differs"),
    "another label": (
        with_value("label", 7, 3),
        "'label' of item 'test/7' is 7 in the candidate's evaluation and 3 in the baseline's",
    ),
    "another direction": (
        lambda e: change(e, metrics__accuracy=lambda m: m.model_copy(update={"direction": "lower"})),
        "accuracy has direction 'higher' in the candidate's evaluation and 'lower' in the baseline's",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("check", [FLOOR, BEATS, KEEPS, SLICES], ids=lambda check: check[4:10])
def test_broken_evidence_of_the_candidate_is_an_error(name: str, check: str) -> None:
    breaking, says = BROKEN[name]
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    judgement = judge(policy(check), candidate=breaking(candidate), baseline=baseline)
    assert (judgement.outcome, only(judgement).status) == (Outcome.ERROR, Outcome.ERROR)
    assert says.format("candidate") in only(judgement).reason
    assert only(judgement).reason in judgement.reason


@pytest.mark.parametrize("name", BROKEN | UNPAIRED)
@pytest.mark.parametrize("check", [BEATS, KEEPS, SLICES], ids=lambda check: check[4:10])
def test_broken_evidence_of_the_baseline_is_an_error_of_what_compares(name: str, check: str) -> None:
    breaking, says = (BROKEN | UNPAIRED)[name]
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    judgement = judge(policy(FLOOR, check), candidate=candidate, baseline=breaking(baseline))
    assert judgement.outcome is Outcome.ERROR
    assert [result.status for result in judgement.checks] == [Outcome.PASS, Outcome.ERROR]
    assert says.format("baseline") in judgement.checks[1].reason


@pytest.mark.parametrize(
    ("rule", "runtime", "says"),
    [
        ("{device: cuda}", CPU, "was evaluated on cpu (a processor), the policy wants cuda"),
        ("{device: cpu}", CUDA, "was evaluated on cuda (a GPU), the policy wants cpu"),
        (
            "{device: cuda}",
            CUDA.model_copy(update={"providers": ("CPUExecutionProvider",)}),
            "its first active provider is CPUExecutionProvider",
        ),
        ("{device: cuda}", CUDA.model_copy(update={"providers": ()}), "its first active provider is none"),
        ("{device: cuda}", CUDA.model_copy(update={"placement": None}), "no record of where the graph ran"),
        (
            "{device: cuda}",
            CUDA.model_copy(update={"placement": Placement(nodes={}, compute_on_cpu=("Conv a", "Gemm b"))}),
            "2 computing node(s) of the candidate ran on the CPU (Conv a, Gemm b)",
        ),
        ("{device: cuda}", CUDA.model_copy(update={"device_memory_bytes": 0}), "held no memory on a GPU"),
        ("{device: any}", CUDA.model_copy(update={"tf32": True}), "with tf32 True, the policy wants False"),
    ],
    ids=["cpu", "cuda", "fallback", "no provider", "no placement", "compute on cpu", "no memory", "tf32"],
)
def test_evidence_from_the_wrong_place_is_an_error(rule: str, runtime: Runtime, says: str) -> None:
    candidate = change(models(600, baseline_wrong=30)[0], runtime=runtime)
    judgement = judge(policy(FLOOR, head=f"runtime: {rule}"), candidate=candidate, baseline=ABSENT)
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason


@pytest.mark.parametrize(
    ("rule", "runtime"),
    [
        ("{device: cuda}", CUDA),
        ("{device: any}", CUDA),
        ("{device: any}", CPU),
        ("{device: cpu}", CPU),
        ("{device: cuda}", CUDA.model_copy(update={"device_memory_bytes": None})),
        ("{device: cuda, tf32: true}", CUDA.model_copy(update={"tf32": True})),
        ("{device: cuda, placement: any}", CUDA.model_copy(update={"placement": None})),
    ],
)
def test_evidence_from_the_right_place_counts(rule: str, runtime: Runtime) -> None:
    candidate = change(models(600, baseline_wrong=30)[0], runtime=runtime)
    assert judge(policy(FLOOR, head=f"runtime: {rule}"), candidate=candidate, baseline=ABSENT).outcome is Outcome.PASS


def test_only_an_error_of_the_machine_is_one() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    candidate = change(candidate, runtime=CUDA)
    cuda = "runtime: {device: cuda}"
    alone = judge(policy(FLOOR, head=cuda), candidate=candidate, baseline=baseline)
    compared = judge(policy(FLOOR, BEATS, head=cuda), candidate=candidate, baseline=baseline)
    broken = judge(policy(FLOOR, head=cuda), candidate=with_value("item", 7, None)(candidate), baseline=ABSENT)
    found = [(judgement.outcome, judgement.environment) for judgement in (alone, compared, broken)]
    assert found == [(Outcome.PASS, False), (Outcome.ERROR, True), (Outcome.ERROR, False)]


EXPORT = Parity(between="network and graph", items=512, max_abs=5e-4, max_rel=1e-6, flips=0, rtol=1e-3, atol=1e-4)
DEVICE = Parity(
    between="a GPU and the CPU",
    items=1000,
    max_abs=9e-3,
    max_rel=1e-3,
    flips=1,
    rtol=0,
    atol=9e-3,
    envelope=((0.1, 5e-5), (10, 9e-3)),
)


@pytest.mark.parametrize(
    ("parity", "rule", "says"),
    [
        ((EXPORT,), "{}", None),
        ((EXPORT,), "{rtol: 0, atol: 1e-3}", None),
        ((EXPORT, DEVICE), "{}", None),
        ((EXPORT,), "{rtol: 1e-4, atol: 1e-4}", "by up to 0.0005 on 512 items, within rtol 0.0001 only with atol 0.0005"),
        (
            (EXPORT, DEVICE),
            "{rtol: 5e-4}",
            "between a GPU and the CPU by up to 0.009 on 1000 items, within rtol 0.0005 only with",
        ),
        ((EXPORT, DEVICE), "{max_flips: 0}", "1 of 1000 items are predicted otherwise between a GPU and the CPU"),
        ((EXPORT.model_copy(update={"max_abs": np.nan}),), "{rtol: 0}", "only with atol nan"),
        ((), "{}", "records no parity"),
        (None, "{}", "records no parity"),
    ],
)
def test_parity_is_judged_when_the_policy_asks_for_it(parity: tuple[Parity, ...] | None, rule: str, says: str | None) -> None:
    candidate = change(models(600, baseline_wrong=30)[0], parity=parity)
    asked = judge(policy(FLOOR, head=f"runtime: {{device: any, parity: {rule}}}"), candidate=candidate, baseline=ABSENT)
    assert judge(policy(FLOOR), candidate=candidate, baseline=ABSENT).outcome is Outcome.PASS
    assert (asked.outcome, asked.environment) == ((Outcome.PASS, False) if says is None else (Outcome.ERROR, True))
    assert (says or "") in asked.reason


def test_a_policy_that_accepts_the_cpu_says_so_in_every_verdict() -> None:
    judgement = judge(policy(FLOOR), candidate=models(600, baseline_wrong=30)[0], baseline=ABSENT)
    assert "scored on the CPU (a processor), which this policy accepts" in judgement.notes


@pytest.mark.parametrize("check", [FLOOR, BEATS, LOSS, SLICES], ids=lambda check: check[4:10])
def test_too_few_items_are_an_error(check: str) -> None:
    candidate, baseline = models(99, baseline_wrong=20, gained=20)
    judgement = judge(policy(check), candidate=candidate, baseline=baseline)
    assert judgement.outcome is Outcome.ERROR
    assert "99 items, the policy wants 100 at least" in judgement.reason


@pytest.mark.parametrize("wrong", ["candidate", "baseline", "dataset"])
def test_evidence_about_something_else_is_an_error(wrong: str) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    digests = {"candidate": digest("c"), "baseline": digest("b"), "dataset": digest("d")}
    right = Asked(**{name: Digest.parse(one) for name, one in digests.items()})
    other = Asked(**{name: Digest.parse(digest("0") if name == wrong else one) for name, one in digests.items()})
    assert judge(policy(BEATS), candidate=candidate, baseline=baseline, asked=right).outcome is Outcome.PASS
    judgement = judge(policy(BEATS), candidate=candidate, baseline=baseline, asked=other)
    assert judgement.outcome is Outcome.ERROR
    assert f"asked about is {digest('0')}" in judgement.reason


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("id: f1, metric: dice, test: superiority", "has no metric 'dice'; it has accuracy, nll"),
        ("id: drift, metric: drift, test: absolute, max: 0.1", "records no interval of drift; the policy may say use: point"),
        (
            "id: kappa, metric: kappa, test: superiority",
            "there is no formula 'kappa' to compute it again on other items; known",
        ),
        ("id: kappa, metric: kappa, by: label, test: absolute, min: 0.1", "the policy's by cannot be asked of it"),
        ("id: size, metric: accuracy2, test: ratio, max: 2", "did you mean 'accuracy'"),
        ("id: p99, metric: latency_ms.p99, batch: 1, test: absolute, max: 9, use: point", "is nan after 300 runs at batch 1"),
        (
            "id: p95, metric: latency_ms.p95, batch: 8, test: absolute, max: 9, use: point",
            "not timed at batch 8; timed batches: 1",
        ),
        ("id: p95, metric: latency_ms.p95, batch: 1, test: ratio, max: 1.1", "were not timed together"),
        ("id: slices, metric: accuracy, by: region, test: not-worse, margin: 0", "no column 'region'"),
        ("id: slices, metric: accuracy, by: nll, test: not-worse, margin: 0", "'nll' of item"),
        (
            "id: slices, metric: accuracy, by: label, test: not-worse, margin: 0, min_items: 61",
            "no slice by label has 61 items",
        ),
    ],
    ids=lambda value: value[:20],
)
def test_a_check_that_the_evidence_cannot_answer_is_an_error(check: str, says: str) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    judgement = judge(policy(check), candidate=candidate, baseline=baseline)
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason


def test_a_recorded_interval_that_errs_more_than_alpha_is_an_error() -> None:
    rules = policy("id: kappa, metric: kappa, test: absolute, min: 0.5", head="alpha: 0.01")
    judgement = judge(rules, candidate=models(600, baseline_wrong=30)[0], baseline=ABSENT)
    assert "errs 2.5 % on each side, the policy allows 0.01" in judgement.reason


def test_a_share_of_nothing_is_no_margin() -> None:
    right = np.ones(200, dtype=np.bool_)
    candidate, baseline = evidence(right, nll=np.full(200, 0.1)), evidence(right, nll=np.zeros(200))
    judgement = judge(policy(LOSS), candidate=candidate, baseline=baseline)
    assert judgement.outcome is Outcome.ERROR
    assert "a share of 0 is no margin" in judgement.reason
