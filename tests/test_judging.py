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
    FLOOR, BEATS, KEEPS, LOSS, "id: slices, metric: nll, by: label, test: not-worse, margin: 0.05, min_items: 10"
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
    concerned = {"correct": ["floor", "beats", "keeps"], "nll": ["nll", "slices"]}[column]
    if side == 1:
        concerned = [name for name in concerned if name != "floor"]
    assert all(result.status is Outcome.ERROR for result in judgement.checks if result.id in concerned)


def test_a_judgement_can_be_derived_again() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    first, again = (judge(EVERYTHING, candidate=candidate, baseline=baseline).model_dump_json() for _ in range(2))
    assert first == again
