"""A policy in sentences, and what it can see: held against the statistics that judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
import numpy as np
import pytest
import yaml
from gate_evidence import KEEPS, SLICES, policy

from registry import explanation, stats
from registry.explanation import Items
from registry.policy import Policy, load

SHIPPED = sorted((Path(__file__).parents[1] / "pipelines").glob("policy*.yaml"))
ITEMS = Items(split="test", total=10_000, by_label={"0": 980, "5": 892, "rare": 25})


def sees(*checks: str, items: Items = ITEMS) -> str:
    return "\n".join(explanation.visible(policy(*checks), items))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_check_of_a_shipped_policy_is_a_sentence(file: Path) -> None:
    shipped = load(file.read_text(), name=file.name)
    said = list(explanation.sentences(shipped))
    for check in shipped.checks:
        (line,) = [line for line in said if line.startswith(f"  {check.id}: ")]
        assert check.metric in line
        assert ("It only warns." in line) == (check.severity == "warn")


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            "id: a, metric: accuracy, test: absolute, min: 0.97",
            "the 95% confidence bound of accuracy must be at least 0.97.",
        ),
        ("id: a, metric: bytes, test: absolute, max: 50MiB", "bytes must be at most 50 MiB."),
        ("id: a, metric: accuracy, test: superiority", "accuracy must be better than the baseline's, beyond chance."),
        (
            "id: a, metric: accuracy, test: superiority, min_gain: 0.01",
            "accuracy must be better than the baseline's by more than 0.01, beyond chance.",
        ),
        (
            "id: a, metric: nll, test: non-inferiority, margin: {relative: 0.05}",
            "nll must be shown to be at most 0.05 of its value worse than the baseline's.",
        ),
        (
            "id: a, metric: accuracy, by: label, test: not-worse, margin: 0.01, min_items: 200",
            "accuracy must not be shown to be more than 0.01 worse than the baseline's. Asked of each 'label' with 200 items "
            "or more.",
        ),
        (
            "id: a, metric: latency_ms.p95, batch: 1, test: ratio, max: 1.1",
            "latency_ms.p95 at batch size 1, timed together in one process, must be at most 1.1 times the baseline's.",
        ),
    ],
    ids=["absolute", "size", "superiority", "gain", "relative", "slices", "ratio"],
)
def test_a_check_is_said_as_it_is_judged(check: str, sentence: str) -> None:
    rules = policy(check)
    assert explanation.asked(rules.checks[0], rules.alpha) == sentence


def test_a_split_too_small_for_the_policy_is_said_at_once() -> None:
    said = sees(KEEPS, items=Items(split="test", total=20, by_label={}))
    assert "fewer than data.min_items = 100: every check would be an ERROR" in said


def test_classes_that_no_check_will_ask_are_named() -> None:
    assert "classes with fewer than 30 items are not asked (skip): rare (25)" in sees(SLICES)


@pytest.mark.parametrize("share", explanation.DISAGREEMENTS)
def test_a_gain_of_the_visible_size_is_seen_about_four_times_in_five(share: float) -> None:
    rng = np.random.default_rng(4)
    n, alpha = 10_000, 0.05
    gain = stats.smallest_visible(share**0.5, n, alpha=alpha)
    gained = rng.binomial(n, (share + gain) / 2, size=2000)
    lost = rng.binomial(n - gained, (share - gain) / 2 / (1 - (share + gain) / 2))
    seen = [stats.paired_gain(int(b), int(c), n, alpha=alpha).lower > 0 for b, c in zip(gained, lost, strict=True)]
    assert 0.75 < np.mean(seen) < 0.86


@pytest.fixture(scope="module")
def valid() -> Callable[[str], bool]:
    checker = jsonschema_rs.Draft202012Validator(Policy.model_json_schema())
    return lambda text: checker.is_valid(json.loads(json.dumps(yaml.safe_load(text))))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_the_schema_for_editors_accepts_what_ships(valid: Callable[[str], bool], file: Path) -> None:
    assert valid(file.read_text())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("min_gain", "mingain"), ("test: superiority", "test: superior"), ("alpha: 0.05", "alpha: 5"), ("id: floor", "id: -")],
)
def test_the_schema_for_editors_refuses_what_load_refuses(valid: Callable[[str], bool], right: str, wrong: str) -> None:
    text = SHIPPED[0].read_text()
    assert right in text
    assert not valid(text.replace(right, wrong))


def test_every_key_of_a_policy_is_described_for_editors() -> None:
    schema = Policy.model_json_schema()
    silent = [
        f"{name}.{key}"
        for name, section in {**schema["$defs"], "Policy": schema}.items()
        for key, value in section.get("properties", {}).items()
        if not value.get("description")
    ]
    assert silent == []
