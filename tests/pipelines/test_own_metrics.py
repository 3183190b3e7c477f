"""A metric of your own is measured, recorded with its code's digest, and believed by a gate only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.own_metrics import load, measure
from pipelines.recipes import sources
from pipelines.recipes.sources import CodeFailed
from registry.errors import BadData, BadSettings
from registry.gates import ABSENT, Evidence, judge
from registry.records import Outcome
from tests.gate_evidence import change, evidence, models, only, policy

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
    assert values is not None
    assert values.tolist() == [5.0] * 20 + [0.0] * 180
    assert (metric.value, metric.kind, metric.direction, metric.unit, metric.column) == (0.5, "mean", "lower", "EUR", "cost")
    assert metric.source == sources.digest(file)
    assert metric.interval == pytest.approx((0.2903, 0.7097), abs=1e-3)


def test_bools_per_item_become_a_share(file: Path) -> None:
    metric, values = measure(load(f"{file}:sure"), scored().items)
    assert values is not None
    assert (metric.kind, metric.value, values.dtype.kind) == ("correctness", 0.9, "b")


def test_one_number_gets_an_interval_by_resampling(file: Path) -> None:
    metric, values = measure(load(f"{file}:worst"), scored().items)
    assert values is None
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
        ("raises", CodeFailed, r"line 31, in raises: KeyError: 'lable'"),
        ("changes", CodeFailed, "in changes: ValueError: assignment destination is read-only"),
        ("nll", BadData, "there is a column 'nll' already"),
    ],
)
def test_a_function_that_cannot_be_a_metric_is_refused(file: Path, name: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        measure(load(f"{file}:{name}"), scored().items)


def with_metric(of: Evidence, file: Path, name: str) -> Evidence:
    metric, values = measure(load(f"{file}:{name}"), of.items)
    known = change(of, metrics=of.evaluation.metrics | {name: metric})
    return known if values is None else change(known, items={name: values})


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


def test_one_number_can_be_held_against_a_limit_and_not_compared(file: Path) -> None:
    pair: Any = tuple(with_metric(one, file, "worst") for one in models(400, baseline_wrong=80, gained=40))
    limit = only(judge(policy("id: it, metric: worst, test: absolute, min: 0.1"), candidate=pair[0], baseline=ABSENT))
    assert limit.status is Outcome.PASS
    compared = only(judge(policy("id: it, metric: worst, test: superiority"), candidate=pair[0], baseline=pair[1]))
    assert (compared.status, "no formula 'worst'" in compared.reason) == (Outcome.ERROR, True)
