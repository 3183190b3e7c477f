"""A worn-out test set: looks are counted, alpha is spent once, and the ladder asks for more than luck."""

from __future__ import annotations

import pytest
from gate_evidence import BEATS, FLOOR, KEEPS, models, only, policy

from registry.gates import judge
from registry.records import Look, Outcome
from registry.stats import spent_alpha

SPEND = "data: {holdout: {max_looks: 50, correction: spend-alpha}}"


def test_the_level_of_each_check_shrinks_with_the_look() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    for position in (1, 2, 30):
        look = Look(number=40, of=50, position=position)
        judgement = judge(policy(FLOOR, BEATS, KEEPS, head=SPEND), candidate=candidate, baseline=baseline, look=look)
        assert {result.alpha for result in judgement.checks} == {spent_alpha(0.05, position)}


def test_a_gain_that_the_first_look_would_believe_is_not_enough_for_the_fortieth() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=30, lost=10)
    found = [
        judge(policy(BEATS, head=SPEND), candidate=candidate, baseline=baseline, look=Look(number=40, position=at)).outcome
        for at in (1, 40)
    ]
    assert found == [Outcome.PASS, Outcome.INCONCLUSIVE]


def test_what_blocks_when_shown_is_not_made_harder_to_show() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=2, lost=20)
    rules = policy("id: a, metric: accuracy, test: not-worse, margin: 0", head=SPEND)
    found = only(judge(rules, candidate=candidate, baseline=baseline, look=Look(number=40, position=40)))
    assert (found.alpha, found.status) == (0.05, Outcome.FAIL)


@pytest.mark.parametrize("look", [None, Look(number=3)], ids=["not asked", "no position"])
def test_alpha_cannot_be_spent_uncounted(look: Look | None) -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=60, lost=5)
    judgement = judge(policy(BEATS, head=SPEND), candidate=candidate, baseline=baseline, look=look)
    assert judgement.outcome is Outcome.ERROR
    assert "lineage was not asked which look this is" in judgement.reason


@pytest.mark.parametrize(
    ("alpha", "correction", "outcome"),
    [(0.3, "none", Outcome.PASS), (0.3, "ladder", Outcome.INCONCLUSIVE), (0.05, "none", Outcome.INCONCLUSIVE)],
)
def test_the_ladder_asks_for_one_standard_error_above_the_gain(alpha: float, correction: str, outcome: Outcome) -> None:
    candidate, baseline = models(2000, baseline_wrong=270, gained=108, lost=96)
    head = f"alpha: {alpha}\ndata: {{holdout: {{max_looks: 50, correction: {correction}}}}}"
    found = only(judge(policy(BEATS, head=head), candidate=candidate, baseline=baseline))
    assert found.status is outcome
    assert ("the ladder asks more" in found.reason) == (correction == "ladder")
