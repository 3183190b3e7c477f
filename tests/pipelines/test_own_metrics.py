"""A metric of your own is measured, recorded with its code's digest, and believed by a gate only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.own_metrics import load, measure
from pipelines.recipes import sources
from pipelines.recipes.sources import CodeFailed
from registry.errors import BadData, BadSettings
from registry.evidence import read_evaluation, write_evaluation
from registry.gates import ABSENT, Evidence, judge
from registry.records import Outcome
from registry.replicates import Replicates
from tests.gate_evidence import a_model, change, evidence, models, only, policy

FILE = """\
import numpy as np

def cost(items):
    return np.where(items["correct"], 0.0, 5.0)
cost.direction, cost.unit = "lower", "EUR"

def sure(items):
    return items["nll"] < 1.0
sure.direction = "higher"

def worst(items):
    return min(items["correct"][items["label"] == k].mean() for k in np.unique(items["label"]))
worst.direction = "higher"

def share(items):
    return items["correct"].mean()
share.direction = "higher"

def last(items):
    return items["nll"][items["item"] == "test/199"][0]
last.direction = "lower"

def silent(items):
    return 1.0

def wrong_shape(items):
    return np.zeros((len(items["item"]), 2))
wrong_shape.direction = "lower"

def nan(items):
    return np.where(items["correct"], 0.0, np.nan)
nan.direction = "lower"

def text(items):
    return "good"
text.direction = "higher"

def raises(items):
    return items["lable"]
raises.direction = "higher"

def changes(items):
    items["label"][:] = 0
    return 1.0
changes.direction = "higher"

def nll(items):
    return items["correct"] * 1.0
nll.direction = "lower"

number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "metrics.py").write_text(FILE)
    return tmp_path / "metrics.py"


def scored() -> Evidence:
    return evidence(np.arange(200) >= 20)


def test_values_per_item_become_a_mean_with_a_column(file: Path) -> None:
    metric, values = measure(load(f"{file}:cost"), scored().items)
    assert isinstance(values, np.ndarray)
    assert values.tolist() == [5.0] * 20 + [0.0] * 180
    assert (metric.value, metric.kind, metric.direction, metric.unit, metric.column) == (0.5, "mean", "lower", "EUR", "cost")
    assert metric.source == sources.digest(file)
    assert metric.interval == pytest.approx((0.2903, 0.7097), abs=1e-3)


def test_bools_per_item_become_a_share(file: Path) -> None:
    metric, values = measure(load(f"{file}:sure"), scored().items)
    assert isinstance(values, np.ndarray)
    assert (metric.kind, metric.value, values.dtype.kind) == ("correctness", 0.9, "b")


def test_one_number_gets_an_interval_by_resampling(file: Path) -> None:
    metric, found = measure(load(f"{file}:worst"), scored().items)
    assert isinstance(found, Replicates)
    assert (len(found.values), found.drawn.cluster, found.drawn.units) == (1000, None, 200)
    assert (metric.kind, metric.column) == ("corpus", None)
    assert metric.interval is not None
    assert metric.interval[0] < metric.value <= metric.interval[1]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("silent", BadSettings, "does not say whether more is better"),
        ("number", BadSettings, "number is not a function"),
        ("nothing", BadSettings, "has no 'nothing'"),
        ("wrong_shape", BadData, r"gave float64\[200, 2\] for 200 items"),
        ("nan", BadData, "is nan for item 'test/0' \\(20 items\\)"),
        ("text", BadData, "gave good, a finite number was expected"),
        ("raises", CodeFailed, r"line 39, in raises: KeyError: 'lable'"),
        ("changes", CodeFailed, "in changes: ValueError: assignment destination is read-only"),
        ("nll", BadData, "there is a column 'nll' already"),
    ],
)
def test_a_function_that_cannot_be_a_metric_is_refused(file: Path, name: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        measure(load(f"{file}:{name}"), scored().items)


def with_metric(of: Evidence, file: Path, name: str, *, cluster: str | None = None) -> Evidence:
    metric, found = measure(load(f"{file}:{name}"), of.items, cluster=cluster)
    known = change(of, metrics=of.evaluation.metrics | {name: metric})
    if isinstance(found, Replicates):
        return replace(known, replicates={name: found})
    return change(known, items={name: found})


CHEAPER = "id: cheaper, metric: cost, test: superiority"


def test_a_gate_compares_two_models_on_it_item_by_item(file: Path) -> None:
    candidate, baseline = (with_metric(one, file, "cost") for one in models(400, baseline_wrong=80, gained=40))
    found = only(judge(policy(CHEAPER), candidate=candidate, baseline=baseline))
    assert (found.status, found.candidate, found.baseline, found.delta) == (Outcome.PASS, 0.5, 1.0, 0.5)


@pytest.mark.parametrize(("wanted", "status"), [(None, Outcome.PASS), ("a" * 64, Outcome.ERROR)], ids=["its-own", "another"])
@pytest.mark.parametrize("check", ["metric: cost, test: superiority", "metric: cost, test: absolute, max: 3"])
def test_a_check_may_ask_for_the_code(file: Path, check: str, wanted: str | None, status: Outcome) -> None:
    candidate, baseline = (with_metric(one, file, "cost") for one in models(400, baseline_wrong=80, gained=40))
    source = f"sha256:{wanted}" if wanted else sources.digest(file)
    found = only(judge(policy(f'id: it, {check}, source: "{source}"'), candidate=candidate, baseline=baseline))
    assert found.status is status
    assert wanted is None or f"the policy wants {source}" in found.reason


def test_two_models_measured_by_different_code_are_not_compared(file: Path, tmp_path: Path) -> None:
    candidate, baseline = models(400, baseline_wrong=80, gained=40)
    (tmp_path / "other.py").write_text(FILE.replace("5.0", "6.0"))
    pair = with_metric(candidate, file, "cost"), with_metric(baseline, tmp_path / "other.py", "cost")
    found = only(judge(policy(CHEAPER), candidate=pair[0], baseline=pair[1]))
    assert (found.status, "cost has source" in found.reason) == (Outcome.ERROR, True)


@pytest.fixture
def pair(file: Path) -> tuple[Evidence, Evidence]:
    """Two models with a metric that is one number: the candidate gained where the baseline was worst."""
    candidate, baseline = models(400, baseline_wrong=80, gained=60)
    return with_metric(candidate, file, "share"), with_metric(baseline, file, "share")


BETTER = "id: it, metric: share, test: superiority"


def test_two_models_are_compared_on_one_number_without_its_code(
    pair: tuple[Evidence, Evidence], file: Path, tmp_path: Path
) -> None:
    file.unlink()
    read = []
    for name, one in zip("cb", pair, strict=True):
        of = change(one, model=a_model(name))
        write_evaluation(tmp_path / name, of.evaluation, _complete(of.items), replicates=of.replicates)
        read.append(read_evaluation(tmp_path / name))
    found = only(judge(policy(BETTER), candidate=read[0], baseline=read[1]))
    assert (found.status, found.candidate, found.baseline, found.resamples) == (Outcome.PASS, 0.95, 0.8, 1000)
    # The very gate that pairs the items themselves has nearly the same bounds: this metric is a mean in disguise.
    known = only(judge(policy("id: it, metric: accuracy, test: superiority"), candidate=pair[0], baseline=pair[1]))
    assert found.interval == pytest.approx(known.interval, abs=0.006)


def test_swapped_models_swap_the_answer(pair: tuple[Evidence, Evidence]) -> None:
    one, other = (only(judge(policy(BETTER), candidate=a, baseline=b)) for a, b in (pair, pair[::-1]))
    assert one.delta == -(other.delta or 0)
    assert one.interval is not None
    assert other.interval is not None
    assert one.interval == pytest.approx([-(other.interval[1] or 0), -(other.interval[0] or 0)])
    assert (one.status, other.status) == (Outcome.PASS, Outcome.FAIL)


def test_equal_models_differ_by_nothing(pair: tuple[Evidence, Evidence]) -> None:
    found = only(judge(policy(BETTER), candidate=pair[0], baseline=pair[0]))
    assert (found.status, found.delta, found.interval) == (Outcome.FAIL, 0, (0, 0))


def test_the_order_of_the_items_changes_nothing(pair: tuple[Evidence, Evidence], file: Path) -> None:
    shuffled = np.random.default_rng(5).permutation(400)
    candidate, _ = models(400, baseline_wrong=80, gained=60)
    other = with_metric(change(candidate, rows=shuffled), file, "share")
    expected, found = (only(judge(policy(BETTER), candidate=one, baseline=pair[1])) for one in (pair[0], other))
    assert found == expected


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (f"{BETTER}, min_gain: 0.05", Outcome.PASS),
        (f"{BETTER}, min_gain: 0.3", Outcome.FAIL),
        (f"{BETTER}, min_gain: {{relative: 0.05}}", Outcome.PASS),
        ("id: it, metric: share, test: non-inferiority, margin: 0.01", Outcome.PASS),
        ("id: it, metric: share, test: not-worse, margin: 0.01", Outcome.PASS),
        ("id: it, metric: share, test: absolute, min: 0.9", Outcome.PASS),
        ("id: it, metric: share, test: absolute, min: 0.95", Outcome.INCONCLUSIVE),
    ],
)
def test_every_test_can_be_asked_of_one_number(pair: tuple[Evidence, Evidence], check: str, status: Outcome) -> None:
    assert only(judge(policy(check), candidate=pair[0], baseline=pair[1])).status is status


def test_items_that_belong_together_are_resampled_together(file: Path) -> None:
    patients = np.arange(400) // 10
    pair = [
        with_metric(change(one, items={"patient": patients}), file, "share", cluster="patient")
        for one in models(400, baseline_wrong=80, gained=60)
    ]
    head = "data: {cluster: patient, min_items: 1}"
    found = only(judge(policy(BETTER, head=head), candidate=pair[0], baseline=pair[1]))
    assert (found.status, found.counts["clusters"], "of clusters" in found.method) == (Outcome.PASS, 40, True)
    alone = only(judge(policy(BETTER), candidate=pair[0], baseline=pair[1]))
    assert (alone.status, "was resampled by patient, the policy clusters by nothing" in alone.reason) == (Outcome.ERROR, True)


def _drawn(**changes: Any) -> Callable[[Evidence], Evidence]:
    def changed(of: Evidence) -> Evidence:
        found = of.replicates["share"]
        other = replace(found, drawn=found.drawn.model_copy(update=changes))
        return replace(of, replicates={"share": other})

    return changed


@pytest.mark.parametrize(
    ("check", "break_", "reason"),
    [
        pytest.param(f"{BETTER}, by: label", lambda of: of, "cannot be asked of some of them", id="by"),
        pytest.param(BETTER, lambda of: replace(of, replicates={}), "keeps none of its values on resamples", id="none kept"),
        pytest.param(BETTER, _drawn(items="sha256:0"), "are of other items than its evaluation scored", id="other items"),
        pytest.param(BETTER, _drawn(seed=7), "cannot be paired: the draws differ (seeds 0 and 7", id="another seed"),
        pytest.param(BETTER, _drawn(resamples="sha256:0"), "cannot be paired: the draws differ", id="other draws"),
        pytest.param(BETTER, _drawn(cluster="site"), "one was resampled by items, the other by site", id="other clusters"),
        pytest.param(
            BETTER,
            lambda of: replace(of, replicates={"share": replace(of.replicates["share"], values=np.full(1000, np.nan))}),
            "1,000 of 1,000 resamples have no value",
            id="no values",
        ),
        pytest.param(
            BETTER,
            lambda of: replace(of, replicates={"share": replace(of.replicates["share"], values=np.full(50, 0.9))}),
            "50 resamples, 200 are needed",
            id="few values",
        ),
    ],
)
def test_what_cannot_be_paired_is_an_error_with_the_reason(
    pair: tuple[Evidence, Evidence], check: str, break_: Callable[[Evidence], Evidence], reason: str
) -> None:
    found = only(judge(policy(check), candidate=pair[0], baseline=break_(pair[1])))
    assert (found.status, reason in found.reason) == (Outcome.ERROR, True), found.reason


def test_a_number_that_some_resamples_do_not_have_is_kept_without_an_interval(file: Path) -> None:
    metric, found = measure(load(f"{file}:last"), scored().items)
    assert isinstance(found, Replicates)
    assert metric.interval is None
    assert 300 < np.isnan(found.values).sum() < 450  # (1 - 1/200)^200 of the resamples lack the last item


def test_an_evaluation_of_before_holds_one_number_against_a_limit_by_its_interval(pair: tuple[Evidence, Evidence]) -> None:
    bare = replace(pair[0], replicates={})
    found = only(judge(policy("id: it, metric: share, test: absolute, min: 0.9"), candidate=bare, baseline=ABSENT))
    assert (found.status, found.method) == (Outcome.PASS, "interval of the evaluation (2.5 % on each side)")


def _complete(items: Mapping[str, Any]) -> dict[str, Any]:
    n = len(items["item"])
    return {**items, "confidence": np.ones(n, np.float32), "scores": np.ones((n, 10), np.float32)}
