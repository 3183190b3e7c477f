"""Any check over items can be asked of a part of them, and slice by slice; a slice too small to ask is never silent."""

from __future__ import annotations

import numpy as np
import pytest
from gate_evidence import change, evidence, models, only, policy

from registry.gates import ABSENT, Evidence, judge
from registry.records import Outcome

N = 600
SITE = np.array(["oslo", "umea", "turku"] * (N // 3), dtype=object)
AGE = np.where(np.arange(N) % 50 == 0, np.nan, np.arange(N) % 90.0)


def sides(gained: int = 60, lost: int = 5) -> tuple[Evidence, Evidence]:
    return tuple(  # type: ignore[return-value]
        change(one, items={"site": SITE, "age": AGE}) for one in models(N, baseline_wrong=70, gained=gained, lost=lost)
    )


@pytest.mark.parametrize(
    ("check", "slices"),
    [
        ("test: superiority, by: site", {"site=oslo", "site=turku", "site=umea"}),
        ("test: non-inferiority, margin: 0.02, by: site", {"site=oslo", "site=turku", "site=umea"}),
        ("test: not-worse, margin: 0, by: site", {"site=oslo", "site=turku", "site=umea"}),
        ("test: absolute, min: 0.9, by: site", {"site=oslo", "site=turku", "site=umea"}),
        ("test: superiority, by: {old: age >= 40, nordic: \"site in ('oslo', 'umea')\"}", {"old", "nordic"}),
        ("test: superiority, where: age >= 20", {"where age >= 20"}),
        (
            "test: not-worse, margin: 0, by: site, where: age >= 20, min_items: 9",
            {f"site={one} where age >= 20" for one in set(SITE)},
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("metric", ["accuracy", "nll", "f1_macro"])
def test_every_test_and_kind_of_metric_is_asked_slice_by_slice(check: str, slices: set[str], metric: str) -> None:
    check = check.replace("min: 0.9", "max: 9" if metric == "nll" else "min: 0.1")
    judgement = judge(policy(f"id: a, metric: {metric}, {check}"), candidate=sides()[0], baseline=sides()[1])
    assert judgement.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)
    assert {result.slice for result in judgement.checks} == slices


def test_a_slice_counts_its_items_and_no_others() -> None:
    candidate, baseline = sides()
    found = only(
        judge(policy("id: a, metric: accuracy, where: age >= 40, test: superiority"), candidate=candidate, baseline=baseline)
    )
    rows = AGE >= 40
    assert found.counts["items"] == rows.sum()
    assert found.candidate == candidate.items["correct"][rows].mean()
    assert found.reason.startswith(f"accuracy where age >= 40 {found.candidate:.4g} against")


def test_all_slices_must_pass() -> None:
    right = np.arange(N) % 10 != 0
    better = np.where(SITE == "oslo", right, True)
    judgement = judge(
        policy("id: a, metric: accuracy, by: site, test: superiority"),
        candidate=evidence(better, site=SITE),
        baseline=evidence(right, site=SITE),
    )
    assert {result.slice: str(result.status) for result in judgement.checks} == {
        "site=oslo": "INCONCLUSIVE",
        "site=turku": "PASS",
        "site=umea": "PASS",
    }
    assert judgement.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("on_small", "outcome", "small", "noted"),
    [
        ("skip", Outcome.PASS, None, True),
        ("warn", Outcome.PASS, Outcome.INCONCLUSIVE, False),
        ("error", Outcome.ERROR, Outcome.ERROR, False),
    ],
)
def test_a_small_slice_is_named_whatever_becomes_of_it(
    on_small: str, outcome: Outcome, small: Outcome | None, noted: bool
) -> None:
    label = np.where(np.arange(N) < 10, 1, 0).astype(np.int32)
    right = np.ones(N, dtype=np.bool_)
    rules = policy(f"id: a, metric: accuracy, by: label, test: not-worse, margin: 0, min_items: 30, on_small: {on_small}")
    side = evidence(right, label=label, prediction=label)
    judgement = judge(rules, candidate=side, baseline=side)
    found = {result.slice: result for result in judgement.checks}
    assert judgement.outcome is outcome
    assert (found["label=1"].status if "label=1" in found else None) == small
    if small is not None:
        assert found["label=1"].reason == "accuracy on label 1 has 10 items, the check wants 30 at least"
    assert any("fewer than 30 items and were not asked: 1" in note for note in judgement.notes) is noted


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("where: age > 1000, test: superiority", "0 items where age > 1000, the check wants 2 at least"),
        ("where: age > 80, min_items: 500, test: superiority", "where age > 80, the check wants 500 at least"),
        ("where: weight > 80, test: superiority", "no column 'weight'"),
        ("where: age > 'old', test: superiority", "column 'age' holds numbers"),
        ("where: nll > 1, test: superiority", "'nll' of item"),
        ("by: age, test: superiority", "column 'age' holds float64; slices need names or whole numbers"),
        ("by: {one: label == 'ten'}, test: superiority", "there is no class 'ten'"),
        ("by: {none: age > 1000}, test: superiority", "no slice by expression has 2 items, the largest has 0"),
    ],
    ids=lambda text: text[:30],
)
def test_a_slice_that_cannot_be_cut_is_an_error(check: str, says: str) -> None:
    candidate, baseline = sides()
    judgement = judge(policy(f"id: a, metric: accuracy, {check}"), candidate=candidate, baseline=baseline)
    assert judgement.outcome is Outcome.ERROR
    assert says in judgement.reason


def test_items_that_differ_in_what_they_are_cut_by_are_an_error() -> None:
    candidate, baseline = sides()
    other = change(baseline, items={"age": np.where(np.isnan(AGE), 3.0, AGE)})
    rules = policy("id: a, metric: accuracy, where: age > 3, test: superiority")
    assert judge(rules, candidate=candidate, baseline=baseline).outcome is not Outcome.ERROR
    assert "'age' of item 'test/0' is nan" in judge(rules, candidate=candidate, baseline=other).reason


def test_a_first_model_is_cut_by_its_own_columns() -> None:
    candidate, _ = sides()
    judgement = judge(
        policy("id: a, metric: accuracy, by: site, test: absolute, min: 0.9"), candidate=candidate, baseline=ABSENT
    )
    assert (judgement.outcome, len(judgement.checks)) == (Outcome.PASS, 3)
    assert judgement.checks[0].reason.startswith("accuracy on site oslo ")
