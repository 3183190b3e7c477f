"""Slices and ratios, and the laws that every kind of check keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gate_evidence import (
    BEATS,
    FLOOR,
    KEEPS,
    LOSS,
    SLICES,
    a_model,
    change,
    evidence,
    models,
    only,
    policy,
    with_value,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.gates import Evidence, judge
from registry.records import CheckResult, Judgement, Outcome


def test_one_class_that_pays_for_the_others_fails() -> None:
    n = 1000
    right = np.arange(n) % 20 != 3
    other = np.ones(n, dtype=np.bool_)
    other[np.arange(n) % 10 == 7] = np.arange(100) % 10 > 2
    judgement = judge(policy(SLICES), candidate=evidence(other), baseline=evidence(right))
    failed = [result for result in judgement.checks if result.status is Outcome.FAIL]
    assert judgement.outcome is Outcome.FAIL
    assert [result.slice for result in failed] == ["label=7"]
    assert judgement.reason.startswith("slices (label=7) failed: accuracy on label 7 0.7 against 1: worse by at least 0.1")
    assert (len(judgement.checks), failed[0].alpha) == (10, pytest.approx(0.05 / 10))


def test_the_same_loss_is_believed_of_one_slice_and_not_of_the_worst_of_ten() -> None:
    n = 1000
    right = np.ones(n, dtype=np.bool_)
    other = right.copy()
    other[7:127:10] = False
    whole = judge(policy(SLICES), candidate=evidence(other), baseline=evidence(right))
    keep = np.arange(n) % 10 == 7
    alone = judge(
        policy(SLICES),
        candidate=evidence(other[keep], label=np.full(100, 7)),
        baseline=evidence(right[keep], label=np.full(100, 7)),
    )
    assert (whole.outcome, alone.outcome) == (Outcome.PASS, Outcome.FAIL)


def test_small_slices_are_named_and_not_asked() -> None:
    right = np.ones(600, dtype=np.bool_)
    label = np.where(np.arange(600) < 10, 1, 0).astype(np.int32)
    judgement = judge(policy(SLICES), candidate=evidence(right, label=label), baseline=evidence(right, label=label))
    assert only(judgement).slice == "label=0"
    assert "slices: 1 of 2 slices by label have fewer than 30 items and were not asked: 1" in judgement.notes


def test_slices_may_be_cut_by_any_column_and_any_paired_metric() -> None:
    region = np.array(["north", "south"] * 300, dtype=object)
    loss = np.random.default_rng(0).exponential(size=600)
    worse = np.where(region == "south", loss + 0.5, loss)
    right = np.ones(600, dtype=np.bool_)
    rules = policy("id: regions, metric: nll, by: region, test: not-worse, margin: 0.1")
    judgement = judge(rules, candidate=evidence(right, worse, region=region), baseline=evidence(right, loss, region=region))
    assert {result.slice: result.status for result in judgement.checks} == {
        "region=north": Outcome.PASS,
        "region=south": Outcome.FAIL,
    }


def timed(ratio: float, *, noise: float = 0.05, blocks: int = 30, runs: int = 20, drop: int | None = None) -> Evidence:
    """A candidate that was timed against baseline `b` at batch 1 and is `ratio` times as slow."""
    random = np.random.default_rng(5)
    block, run, role = (axis.ravel() for axis in np.meshgrid(np.arange(blocks), np.arange(runs), [0, 1], indexing="ij"))
    drift = np.exp(0.5 * random.normal(size=blocks))[block]
    ms = drift * np.where(role == 0, ratio, 1.0) * np.exp(noise * random.normal(size=len(block)))
    keep = (block != drop) | (role == 0)
    columns = {
        "role": np.where(role == 0, "candidate", "baseline").astype(object),
        "batch": np.ones(len(block), dtype=np.int32),
        "block": block,
        "run": run,
        "ms": ms,
    }
    candidate = change(models(600, baseline_wrong=70)[0], against=a_model("b"))
    return Evidence(
        evaluation=candidate.evaluation, items=candidate.items, timings={name: column[keep] for name, column in columns.items()}
    )


def ratio_of(candidate: Evidence, *, quantile: str = "p95", batch: int = 1, against: str = "b") -> Judgement:
    rules = policy(f"id: speed, metric: latency_ms.{quantile}, batch: {batch}, test: ratio, max: 1.10")
    baseline = change(models(600, baseline_wrong=70)[1], model=a_model(against))
    return judge(rules, candidate=candidate, baseline=baseline)


@pytest.mark.parametrize(
    ("ratio", "noise", "outcome"),
    [(1.0, 0.05, Outcome.PASS), (1.3, 0.05, Outcome.FAIL), (1.1, 0.05, Outcome.INCONCLUSIVE), (1.0, 2.0, Outcome.INCONCLUSIVE)],
)
def test_a_latency_is_compared_block_by_block(ratio: float, noise: float, outcome: Outcome) -> None:
    judgement = ratio_of(timed(ratio, noise=noise))
    assert judgement.outcome is outcome
    assert only(judgement).counts == {"blocks": 30, "runs": 600}
    assert only(judgement).metric == "latency_ms.p95 (batch 1)"


@pytest.mark.parametrize(
    ("candidate", "asked", "says"),
    [
        (timed(1.0), {"batch": 8}, "not timed together at batch 8; timed batches: 1"),
        (timed(1.0), {"against": "9"}, "was timed together with team/vision/model:b, the baseline is team/vision/model:9"),
        (timed(1.0, blocks=8, runs=5), {}, "40 runs of each model at batch 1; p95 needs 59 at least"),
        (timed(1.0, blocks=5), {}, "5 blocks of runs at batch 1; 8 are needed at least"),
        (timed(1.0, drop=3), {}, "block 3 at batch 1 timed only one of the two models"),
        (timed(np.nan), {}, "values that are no durations"),
    ],
    ids=["batch", "other baseline", "few runs", "few blocks", "half a block", "nan"],
)
def test_timings_that_compare_nothing_are_an_error(candidate: Evidence, asked: dict[str, Any], says: str) -> None:
    judgement = ratio_of(candidate, **asked)
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason


@pytest.mark.parametrize(("size", "outcome"), [(1.1, Outcome.PASS), (1.3, Outcome.FAIL), (0.0, Outcome.ERROR)])
def test_a_size_is_compared_exactly(size: float, outcome: Outcome) -> None:
    right = np.ones(200, dtype=np.bool_)
    rules = policy("id: size, metric: bytes, test: ratio, max: 1.2")
    judgement = judge(rules, candidate=evidence(right, size=size * 2**20), baseline=evidence(right))
    assert judgement.outcome is outcome
    assert only(judgement).interval is None


EVERYTHING = policy(
    FLOOR,
    BEATS,
    KEEPS,
    LOSS,
    "id: slices, metric: nll, by: label, test: not-worse, margin: 0.05, min_items: 10",
    "id: f1, metric: f1_macro, test: non-inferiority, margin: {relative: 0.1}",
    "id: f1 floor, metric: f1_macro, test: absolute, min: 0.5".replace("f1 floor", "f1-floor"),
    "id: parts, metric: accuracy, by: {few: 'label < 3', many: label >= 3}, test: superiority, min_gain: 0.01",
    "id: part, metric: f1_macro, where: label != 7, test: not-worse, margin: {relative: 0.1}",
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Evidence, Evidence]:
    n = draw(st.integers(100, 200))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    skill = draw(st.tuples(st.floats(0.5, 1), st.floats(0.5, 1)))
    hard = random.random(n)
    return tuple(evidence(hard < one, hard * random.exponential(size=n)) for one in skill)  # type: ignore[return-value]


@settings(max_examples=15, deadline=None)
@given(pair=pairs(), seed=st.integers(0, 100))
def test_the_order_of_the_items_changes_nothing(pair: tuple[Evidence, Evidence], seed: int) -> None:
    candidate, baseline = pair
    random = np.random.default_rng(seed)
    n = len(candidate.items["item"])
    shuffled = [change(one, rows=random.permutation(n)) for one in pair]
    expected = judge(EVERYTHING, candidate=candidate, baseline=baseline)
    found = judge(EVERYTHING, candidate=shuffled[0], baseline=shuffled[1])
    assert found.outcome is not Outcome.ERROR
    assert [r.status for r in found.checks] == [r.status for r in expected.checks]
    for one, other in zip(found.checks, expected.checks, strict=True):
        assert one.interval == pytest.approx(other.interval, abs=1e-9, nan_ok=False)


@settings(max_examples=15, deadline=None)
@given(pair=pairs())
def test_swapping_the_models_mirrors_every_gain(pair: tuple[Evidence, Evidence]) -> None:
    rules = policy(BEATS, "id: loss, metric: nll, test: superiority")
    there = judge(rules, candidate=pair[0], baseline=pair[1]).checks
    back = judge(rules, candidate=pair[1], baseline=pair[0]).checks
    for one, other in zip(there, back, strict=True):
        assert one.delta == pytest.approx(-(other.delta or 0))
        mirrored = [None if bound is None else -bound for bound in reversed(other.interval or ())]
        assert list(one.interval or ()) == pytest.approx(mirrored)
        assert {one.status, other.status} != {Outcome.PASS}


@settings(max_examples=15, deadline=None)
@given(pair=pairs())
def test_ten_times_the_items_narrow_every_bound(pair: tuple[Evidence, Evidence]) -> None:
    rules = policy(BEATS, KEEPS)
    tenfold = [evidence(np.tile(one.items["correct"], 10)) for one in pair]
    few = judge(rules, candidate=pair[0], baseline=pair[1]).checks
    many = judge(rules, candidate=tenfold[0], baseline=tenfold[1]).checks
    for one, other in zip(few, many, strict=True):
        assert _width(other) < _width(one)


def _width(result: CheckResult) -> float:
    assert result.interval is not None
    lower, upper = result.interval
    assert lower is not None
    assert upper is not None
    return upper - lower


@settings(max_examples=25, deadline=None)
@given(
    pair=pairs(),
    side=st.integers(0, 1),
    column=st.sampled_from(["correct", "nll"]),
    row=st.integers(0, 99),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_a_broken_number_anywhere_is_never_a_pass(
    pair: tuple[Evidence, Evidence], side: int, column: str, row: int, value: float
) -> None:
    broken = list(pair)
    broken[side] = with_value(column, row, value, np.float64)(pair[side])
    judgement = judge(EVERYTHING, candidate=broken[0], baseline=broken[1])
    assert judgement.outcome is Outcome.ERROR
    concerned = {"correct": ["floor", "beats", "keeps", "parts"], "nll": ["nll", "slices"]}[column]
    if side == 1:
        concerned = [name for name in concerned if name != "floor"]
    assert all(result.status is Outcome.ERROR for result in judgement.checks if result.id in concerned)


def test_a_judgement_can_be_derived_again() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    first, again = (judge(EVERYTHING, candidate=candidate, baseline=baseline).model_dump_json() for _ in range(2))
    assert first == again


@settings(max_examples=15, deadline=None)
@given(pair=pairs(), shift=st.floats(-5, 5).map(lambda x: round(x, 2)))
def test_a_constant_added_to_both_changes_no_difference(pair: tuple[Evidence, Evidence], shift: float) -> None:
    rules = policy("id: nll, metric: nll, test: superiority", "id: worse, metric: nll, test: not-worse, margin: 0.01")
    moved = [evidence(one.items["correct"], one.items["nll"] + shift) for one in pair]
    there = judge(rules, candidate=pair[0], baseline=pair[1]).checks
    back = judge(rules, candidate=moved[0], baseline=moved[1]).checks
    for one, other in zip(there, back, strict=True):
        assert other.delta == pytest.approx(one.delta, abs=1e-9)
        assert other.interval == pytest.approx(one.interval, abs=1e-6)


ORDER = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2}
STRICTER = {
    "superiority": ("test: superiority, min_gain: {}", True),
    "relative superiority": ("test: superiority, min_gain: {{relative: {}}}", True),
    "non-inferiority": ("test: non-inferiority, margin: {}", False),
    "relative non-inferiority": ("test: non-inferiority, margin: {{relative: {}}}", False),
    "not-worse": ("test: not-worse, by: label, margin: {}", False),
    "absolute": ("test: absolute, min: {}", True),
}


@settings(max_examples=25, deadline=None)
@given(
    pair=pairs(),
    kind=st.sampled_from(sorted(STRICTER)),
    metric=st.sampled_from(["accuracy", "nll", "f1_macro"]),
    limits=st.tuples(st.floats(0.001, 0.9), st.floats(0.001, 0.9)).map(sorted),
)
def test_a_stricter_limit_never_helps(pair: tuple[Evidence, Evidence], kind: str, metric: str, limits: list[float]) -> None:
    text, larger_is_stricter = STRICTER[kind]
    strict, loose = reversed(limits) if larger_is_stricter else limits
    found = [
        judge(policy(f"id: a, metric: {metric}, {text.format(limit)}"), candidate=pair[0], baseline=pair[1]).outcome
        for limit in (strict, loose)
    ]
    assert ORDER[found[0]] <= ORDER[found[1]]


@settings(max_examples=15, deadline=None)
@given(pair=pairs())
def test_a_model_is_never_better_or_worse_than_itself(pair: tuple[Evidence, Evidence]) -> None:
    checks = [
        f"id: {metric}-{at}, metric: {metric}, {test}".replace("_", "-", 1).replace("f1-macro,", "f1_macro,")
        for metric in ("accuracy", "nll", "f1_macro")
        for at, test in enumerate(("test: superiority", "test: non-inferiority, margin: 0.1", "test: not-worse, margin: 0"))
    ]
    for result in judge(policy(*checks), candidate=pair[0], baseline=pair[0]).checks:
        assert result.delta == 0
        assert (result.status is Outcome.PASS) == (result.test != "superiority")


def by_patient(pair: tuple[Evidence, Evidence], *, size: int) -> list[Evidence]:
    """The same items, each `size` times, as those of one patient."""
    n = len(pair[0].items["item"])
    rows = np.repeat(np.arange(n), size)
    return [
        evidence(one.items["correct"][rows], one.items["nll"][rows], label=one.items["label"][rows], patient=rows)
        for one in pair
    ]


@settings(max_examples=6, deadline=None)
@given(pair=pairs(), size=st.integers(2, 6))
def test_items_repeated_within_clusters_are_no_new_evidence(pair: tuple[Evidence, Evidence], size: int) -> None:
    checks = ("id: nll, metric: nll, test: superiority", BEATS, "id: worse, metric: nll, test: not-worse, margin: 0.01")
    head = "data: {cluster: patient}"
    once = [change(one, items={"patient": np.arange(len(one.items["item"]))}) for one in pair]
    many = by_patient(pair, size=size)
    there = judge(policy(*checks, head=head), candidate=once[0], baseline=once[1]).checks
    back = judge(policy(*checks, head=head), candidate=many[0], baseline=many[1]).checks
    for one, other in zip(there, back, strict=True):
        assert other.counts["clusters"] == one.counts["items"]
        bounds = zip(one.interval or (), other.interval or (), strict=True)
        assert all((a is None and b is None) or b == pytest.approx(a, abs=2e-3) for a, b in bounds)


@pytest.mark.parametrize(
    ("check", "gained", "lost", "outcome"),
    [
        ("test: superiority", 60, 5, Outcome.PASS),
        ("test: superiority", 8, 8, Outcome.INCONCLUSIVE),
        ("test: superiority, min_gain: 0.2", 60, 5, Outcome.FAIL),
        ("test: superiority, min_gain: {relative: 0.05}", 60, 5, Outcome.PASS),
        ("test: superiority, min_gain: {relative: 0.3}", 60, 5, Outcome.FAIL),
        ("test: non-inferiority, margin: 0.02", 5, 5, Outcome.PASS),
        ("test: non-inferiority, margin: {relative: 0.03}", 5, 60, Outcome.FAIL),
        ("test: non-inferiority, margin: 0.03", 10, 20, Outcome.INCONCLUSIVE),
        ("test: not-worse, margin: {relative: 0.01}", 5, 60, Outcome.FAIL),
        ("test: not-worse, margin: 0.01", 8, 12, Outcome.PASS),
    ],
)
def test_a_corpus_metric_is_compared_by_resampling_items(check: str, gained: int, lost: int, outcome: Outcome) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=gained, lost=lost)
    found = only(judge(policy(f"id: f1, metric: f1_macro, {check}"), candidate=candidate, baseline=baseline))
    assert found.status is outcome
    assert found.candidate == candidate.evaluation.metrics["f1_macro"].value
    if found.test != "not-worse":
        assert (found.resamples, found.seed) == (2000, 0)
        assert "2,000 resamples, seed 0" in found.method


def test_clusters_widen_what_independent_items_would_claim() -> None:
    n = 600
    right = np.arange(n) >= 60
    better = np.ones(n, dtype=np.bool_)
    better[60:90] = False  # gains and losses each of few patients
    patient = np.arange(n) // 30
    pair = [evidence(one, patient=patient) for one in (better, right)]
    alone = only(judge(policy(BEATS), candidate=pair[0], baseline=pair[1]))
    whole = only(judge(policy(BEATS, head="data: {cluster: patient}"), candidate=pair[0], baseline=pair[1]))
    assert (alone.status, whole.status) == (Outcome.PASS, Outcome.INCONCLUSIVE)
    assert whole.counts == {"items": 600, "clusters": 20, "gained": 60, "lost": 30}
    assert "design effect" in whole.method
    assert whole.p_value is None
    assert (whole.needed_items or 0) > 600


@pytest.mark.parametrize(
    ("patient", "says"),
    [
        (None, "no column 'patient'"),
        (np.arange(600) // 100, "6 clusters by patient, 10 are needed at least"),
        (np.array(["a", None] * 300, dtype=object), "item 'test/1' has no patient (300 of 600 items)"),
    ],
    ids=["missing", "few", "an item without"],
)
def test_clusters_that_cannot_be_resampled_are_an_error(patient: np.ndarray | None, says: str) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    if patient is not None:
        candidate, baseline = (change(one, items={"patient": patient}) for one in (candidate, baseline))
    judgement = judge(policy(BEATS, head="data: {cluster: patient}"), candidate=candidate, baseline=baseline)
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(200), "nll of the baseline is 0, and a share of 0 is no margin"),
        (np.full(200, -0.5), "nll of the baseline is -0.5, and a share of less than 0 is no margin"),
        (np.where(np.arange(200) == 0, 1.0, 0.0), "which cannot be told from 0"),
    ],
    ids=["zero", "negative", "near zero"],
)
@pytest.mark.parametrize(
    "test",
    [
        "non-inferiority, margin: {relative: 0.1}",
        "superiority, min_gain: {relative: 0.1}",
        "not-worse, margin: {relative: 0.1}",
    ],
)
def test_a_share_of_what_is_not_above_zero_is_an_error(values: np.ndarray, says: str, test: str) -> None:
    right = np.ones(200, dtype=np.bool_)
    rules = policy(f"id: nll, metric: nll, test: {test}")
    judgement = judge(rules, candidate=evidence(right, np.full(200, 0.1)), baseline=evidence(right, values))
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason
