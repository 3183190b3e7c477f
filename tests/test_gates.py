"""A gate passes only what the evidence shows, and never takes silence for a yes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_evidence import (
    BEATS,
    CPU,
    FLOOR,
    KEEPS,
    LOSS,
    change,
    evidence,
    models,
    only,
    policy,
)

from registry import means
from registry.gates import ABSENT, Absent, Evidence, judge
from registry.policy import load
from registry.records import Look, Outcome

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.mark.parametrize(
    ("check", "gained", "lost", "outcome"),
    [
        (BEATS, 60, 5, Outcome.PASS),
        (BEATS, 8, 8, Outcome.INCONCLUSIVE),
        (BEATS, 10, 6, Outcome.INCONCLUSIVE),
        (BEATS, 0, 0, Outcome.INCONCLUSIVE),
        (BEATS, 5, 40, Outcome.FAIL),
        (BEATS + ", min_gain: 0.05", 60, 5, Outcome.PASS),
        (BEATS + ", min_gain: 0.09", 60, 5, Outcome.INCONCLUSIVE),
        (BEATS + ", min_gain: 0.2", 60, 5, Outcome.FAIL),
        (KEEPS, 5, 5, Outcome.PASS),
        (KEEPS, 10, 20, Outcome.INCONCLUSIVE),
        (KEEPS, 5, 60, Outcome.FAIL),
        (LOSS, 60, 5, Outcome.PASS),
        (LOSS, 10, 14, Outcome.INCONCLUSIVE),
        (LOSS, 5, 60, Outcome.FAIL),
    ],
    ids=lambda value: str(value).removeprefix("id: "),
)
def test_a_comparison_has_three_honest_answers(check: str, gained: int, lost: int, outcome: Outcome) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=gained, lost=lost)
    judgement = judge(policy(check), candidate=candidate, baseline=baseline)
    assert (judgement.outcome, only(judgement).status) == (outcome, outcome)


@pytest.mark.parametrize(
    ("check", "wrong", "outcome"),
    [
        (FLOOR, 60, Outcome.PASS),
        (FLOOR, 110, Outcome.INCONCLUSIVE),
        (FLOOR, 125, Outcome.INCONCLUSIVE),
        (FLOOR, 180, Outcome.FAIL),
        (FLOOR + ", use: point", 110, Outcome.PASS),
        (FLOOR + ", use: point", 121, Outcome.FAIL),
        ("id: band, metric: accuracy, test: absolute, min: 0.8, max: 0.95", 60, Outcome.PASS),
        ("id: band, metric: accuracy, test: absolute, min: 0.8, max: 0.95", 6, Outcome.FAIL),
        ("id: loss, metric: nll, test: absolute, max: 0.4", 60, Outcome.PASS),
        ("id: loss, metric: nll, test: absolute, max: 0.3", 60, Outcome.INCONCLUSIVE),
        ("id: loss, metric: nll, test: absolute, max: 0.2", 60, Outcome.FAIL),
        ("id: f1, metric: f1_macro, test: absolute, min: 0.87", 60, Outcome.PASS),
        ("id: f1, metric: f1_macro, test: absolute, min: 0.9", 60, Outcome.INCONCLUSIVE),
        ("id: f1, metric: f1_macro, test: absolute, min: 0.93", 60, Outcome.FAIL),
        ("id: kappa, metric: kappa, test: absolute, min: 0.87", 60, Outcome.PASS),
        ("id: kappa, metric: kappa, test: absolute, min: 0.9", 60, Outcome.INCONCLUSIVE),
        ("id: kappa, metric: kappa, test: absolute, min: 0.93", 60, Outcome.FAIL),
        ("id: drift, metric: drift, test: absolute, max: 0.06, use: point", 60, Outcome.PASS),
        ("id: size, metric: bytes, test: absolute, max: 1MiB", 60, Outcome.PASS),
        ("id: size, metric: bytes, test: absolute, max: 1MB", 60, Outcome.FAIL),
        ("id: p95, metric: latency_ms.p95, batch: 1, test: absolute, max: 2ms, use: point", 60, Outcome.PASS),
        ("id: p95, metric: latency_ms.p95, batch: 1, test: absolute, max: 1.9ms, use: point", 60, Outcome.FAIL),
    ],
    ids=lambda value: str(value).removeprefix("id: "),
)
def test_an_absolute_check_asks_for_the_bound_unless_told_otherwise(check: str, wrong: int, outcome: Outcome) -> None:
    candidate, _ = models(600, baseline_wrong=wrong)
    assert judge(policy(check), candidate=candidate, baseline=ABSENT).outcome is outcome


def test_a_result_carries_the_numbers_it_rests_on() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    found = only(judge(policy(BEATS), candidate=candidate, baseline=baseline))
    assert found.model_dump(exclude={"interval", "p_value", "reason"}) == {
        "id": "beats",
        "metric": "accuracy",
        "test": "superiority",
        "slice": None,
        "severity": "error",
        "status": Outcome.PASS,
        "candidate": pytest.approx(585 / 600),
        "baseline": pytest.approx(530 / 600),
        "delta": pytest.approx(55 / 600),
        "threshold": 0.0,
        "alpha": 0.05,
        "method": "wider of Bonett-Price and Tango paired intervals; p by McNemar's test, mid-p",
        "seed": None,
        "resamples": None,
        "counts": {"items": 600, "gained": 60, "lost": 5},
        "needed_items": None,
    }
    bonett_price, tango = (0.06985, 0.11287), (0.07110, 0.11444)
    assert found.interval == pytest.approx((bonett_price[0], tango[1]), abs=2e-4)
    assert found.p_value is not None
    assert found.p_value < 1e-9
    assert found.reason == "accuracy 0.975 against 0.8833: a gain of at least +0.06985, more than min_gain 0"


def test_inconclusive_says_how_many_items_would_settle_it() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=14, lost=8)
    judgement = judge(policy(BEATS), candidate=candidate, baseline=baseline)
    deviation = np.sqrt(22 / 600 - 0.01**2)
    assert only(judgement).needed_items == int(np.ceil((2.4864749 * deviation / 0.01) ** 2))
    assert "about 2,261 items would settle a difference of this size" in judgement.reason


def test_a_margin_counts_towards_the_items_that_would_settle_it() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=10, lost=16)
    found = only(judge(policy(KEEPS), candidate=candidate, baseline=baseline))
    deviation = np.sqrt(26 / 600 - 0.01**2)
    assert found.status is Outcome.INCONCLUSIVE
    assert found.needed_items == int(np.ceil((2.4864749 * deviation / (0.02 - 0.01)) ** 2))


def test_a_floor_that_is_missed_for_now_says_how_many_items_would_show_it() -> None:
    found = only(judge(policy(FLOOR), candidate=models(600, baseline_wrong=110)[0], baseline=ABSENT))
    value = 490 / 600
    spread = 1.644854 * np.sqrt(0.8 * 0.2) + 0.841621 * np.sqrt(value * (1 - value))
    assert found.needed_items == int(np.ceil((spread / (value - 0.8)) ** 2))
    assert found.reason.endswith("about 3,483 items would settle a difference of this size")


def test_the_uncertainty_of_a_relative_margin_is_part_of_the_interval() -> None:
    random = np.random.default_rng(0)
    right = np.ones(400, dtype=np.bool_)
    baseline = random.exponential(size=400)
    candidate = baseline + 0.01 * random.normal(size=400)
    rules = policy(LOSS.replace("0.1", "0.5"))
    found = only(judge(rules, candidate=evidence(right, candidate), baseline=evidence(right, baseline)))
    margin = 0.5 * baseline.mean()
    contrast = means.mean_interval(means.units(1.5 * baseline - candidate), alpha=0.05).interval
    assert found.threshold == pytest.approx(-margin)
    assert found.interval == pytest.approx((contrast.lower - margin, contrast.upper - margin), abs=1e-9)


def test_a_rate_of_mistakes_is_better_when_it_is_lower() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    sides = [
        change(
            one,
            items={"mistake": ~one.items["correct"]},
            metrics={
                "mistakes": one.evaluation.metrics["accuracy"].model_copy(
                    update={"value": float((~one.items["correct"]).mean()), "direction": "lower", "column": "mistake"}
                )
            },
        )
        for one in (candidate, baseline)
    ]
    judgement = judge(policy(BEATS.replace("accuracy", "mistakes")), candidate=sides[0], baseline=sides[1])
    assert judgement.outcome is Outcome.PASS
    assert only(judgement).delta == pytest.approx(55 / 600)


def test_inconclusive_without_a_gain_says_what_these_items_can_show() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=8, lost=8)
    judgement = judge(policy(BEATS), candidate=candidate, baseline=baseline)
    assert only(judgement).needed_items is None
    assert "600 items rarely show a gain under 0.01658" in judgement.reason


def test_gains_are_positive_when_the_candidate_is_better_whatever_the_direction_of_the_metric() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    judgement = judge(policy(BEATS, LOSS), candidate=candidate, baseline=baseline)
    assert [result.delta for result in judgement.checks] == [pytest.approx(55 / 600), pytest.approx(55 / 600 * 1.9)]


@pytest.mark.parametrize(
    ("checks", "outcome", "reason"),
    [
        ((FLOOR, KEEPS), Outcome.PASS, "all 2 checks passed"),
        ((FLOOR, BEATS), Outcome.INCONCLUSIVE, "beats cannot tell: "),
        ((FLOOR + ", use: point", BEATS + ", min_gain: 0.5"), Outcome.FAIL, "beats failed: "),
        ((BEATS + ", min_gain: 0.5", "id: gap, metric: dice, test: superiority"), Outcome.ERROR, "gap could not be asked: "),
        (
            (FLOOR, BEATS + ", min_gain: 0.5, severity: warn"),
            Outcome.PASS,
            "the only check that blocks passed, with a warning from beats",
        ),
        ((FLOOR, BEATS + ", severity: warn"), Outcome.PASS, "the only check that blocks passed, with a warning from beats"),
        ((FLOOR, "id: gap, metric: dice, test: superiority, severity: warn"), Outcome.ERROR, "gap could not be asked: "),
    ],
    ids=["pass", "inconclusive", "fail beats inconclusive", "error beats fail", "warned fail", "warned unsure", "warned error"],
)
def test_the_whole_is_as_bad_as_its_worst_part(checks: tuple[str, ...], outcome: Outcome, reason: str) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=8, lost=8)
    judgement = judge(policy(*checks), candidate=candidate, baseline=baseline)
    assert judgement.outcome is outcome
    assert judgement.reason.startswith(reason)
    assert len(judgement.checks) == len(checks)


def test_without_a_baseline_only_absolute_checks_are_asked_and_the_others_are_named() -> None:
    candidate, _ = models(600, baseline_wrong=30)
    judgement = judge(policy(FLOOR, BEATS), candidate=candidate, baseline=ABSENT)
    assert judgement.outcome is Outcome.PASS
    assert [result.id for result in judgement.checks] == ["floor"]
    assert judgement.reason == "the only check passed; nobody holds 'production' yet, so beats could not be asked"
    assert "beats (superiority on accuracy) was not asked: nobody holds 'production' to compare with" in judgement.notes


@pytest.mark.parametrize(
    ("when_absent", "checks", "outcome", "reason"),
    [
        ("approve", (FLOOR, BEATS), Outcome.INCONCLUSIVE, "the policy leaves a first promotion to a person"),
        ("approve", (FLOOR + "9", BEATS), Outcome.FAIL, "floor failed"),
        ("fail", (FLOOR, BEATS), Outcome.FAIL, "the policy says when_absent: fail"),
        ("fail", (BEATS,), Outcome.FAIL, "the policy says when_absent: fail"),
        ("absolute-only", (BEATS,), Outcome.ERROR, "no check could be asked"),
        ("approve", (BEATS,), Outcome.ERROR, "no check could be asked"),
        ("absolute-only", (BEATS, FLOOR + ", severity: warn"), Outcome.ERROR, "only checks with severity: warn could be asked"),
    ],
)
def test_the_policy_decides_about_a_first_promotion(
    when_absent: str, checks: tuple[str, ...], outcome: Outcome, reason: str
) -> None:
    candidate, _ = models(600, baseline_wrong=100)
    rules = policy(*checks, head=f"baseline: {{when_absent: {when_absent}}}")
    judgement = judge(rules, candidate=candidate, baseline=ABSENT)
    assert judgement.outcome is outcome
    assert reason in judgement.reason


@pytest.mark.parametrize(
    ("on_exhausted", "look", "outcome", "says"),
    [
        ("warn", Look(number=4, of=50), Outcome.PASS, "look 4 of 50 at this data"),
        (
            "warn",
            Look(number=51, of=50),
            Outcome.PASS,
            "the holdout is spent: 51 models have been scored on it, the policy allows 50",
        ),
        ("fail", Look(number=50, of=50), Outcome.PASS, "look 50 of 50 at this data"),
        ("fail", Look(number=51, of=50), Outcome.FAIL, "the holdout is spent: 51 models"),
        ("fail", None, Outcome.ERROR, "lineage was not asked"),
    ],
)
def test_a_worn_out_holdout_is_reported_or_refused(on_exhausted: str, look: Look | None, outcome: Outcome, says: str) -> None:
    rules = policy(FLOOR, head=f"data: {{holdout: {{max_looks: 50, on_exhausted: {on_exhausted}}}}}")
    judgement = judge(rules, candidate=models(600, baseline_wrong=30)[0], baseline=ABSENT, look=look)
    assert judgement.outcome is outcome
    assert says in " ".join([judgement.reason, *judgement.notes])


def digits(accuracy: float, *, seed: int) -> Evidence:
    """A classifier on 600 items: which items are hard is common to all models, the rest is luck."""
    hard = np.random.default_rng(0).permutation(600) / 600
    random = np.random.default_rng(seed)
    wrong = np.argsort(-(hard + 0.05 * random.normal(size=600)))[: round((1 - accuracy) * 600)]
    right = np.ones(600, dtype=np.bool_)
    right[wrong] = False
    loss = np.where(right, random.exponential(0.05, size=600), 1 + random.exponential(1.0, size=600))
    return evidence(right, loss, model=str(seed), runtime=CPU)


@pytest.mark.parametrize(
    ("candidate", "baseline", "outcome"),
    [
        (digits(0.90, seed=1), ABSENT, Outcome.PASS),
        (digits(0.70, seed=1), ABSENT, Outcome.FAIL),
        (digits(0.985, seed=2), digits(0.90, seed=1), Outcome.PASS),
        (digits(0.985, seed=3), digits(0.985, seed=2), Outcome.INCONCLUSIVE),
        (digits(0.90, seed=4), digits(0.985, seed=2), Outcome.FAIL),
    ],
    ids=["first", "first but poor", "better", "equal", "worse"],
)
def test_the_default_policy_tells_the_story_of_the_demo(
    candidate: Evidence, baseline: Evidence | Absent, outcome: Outcome
) -> None:
    rules = load((PIPELINES / "policy.yaml").read_text(encoding="utf-8"), name="policy.yaml")
    assert judge(rules, candidate=candidate, baseline=baseline, look=Look(number=1, of=50)).outcome is outcome


def test_the_production_template_refuses_evidence_from_a_cpu() -> None:
    rules = load((PIPELINES / "policy.production.yaml").read_text(encoding="utf-8"), name="policy.production.yaml")
    judgement = judge(rules, candidate=models(10_000, baseline_wrong=50)[0], baseline=ABSENT, look=Look(number=1, of=50))
    assert judgement.outcome is Outcome.ERROR
    assert "the policy wants cuda" in judgement.reason
