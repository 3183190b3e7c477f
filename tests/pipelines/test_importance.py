"""Which parameters mattered: found where it is known, and silent where there is too little to tell."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipelines.importance import importances
from registry import sweeps
from registry.records import RunFact
from registry.sweeps import Sweep, Trial

PARAMETERS = {
    "lr": {"min": 0.0, "max": 1.0},
    "kind": {"values": ["a", "b", "c"]},
    "seed": {"min": 0, "max": 9},
    "fixed": {"value": 1},
}


def sweep_and_trials(count: int, value: Any) -> tuple[Sweep, list[Trial]]:
    config = {"method": "random", "parameters": PARAMETERS, "metric": {"name": "loss", "goal": "minimize"}}
    made = Sweep(id="s", entity="e", project="p", name="s", state="RUNNING", config=config, url="", expected=None)
    draw = random.Random(0)
    runs = []
    for number in range(count):
        tried = {"lr": draw.random(), "kind": draw.choice("abc"), "seed": draw.randrange(10), "fixed": 1}
        said = {"loss": value(tried)}
        place = {"entity": "e", "project": "p", "job_type": "train", "url": ""}
        runs.append(RunFact(id=str(number), name=str(number), state="finished", config=tried, summary=said, **place))
    return made, sweeps.trials(made, runs)


@pytest.mark.parametrize(
    ("value", "first", "correlation"),
    [
        (lambda tried: 3 * tried["lr"] + 0.1 * (tried["kind"] == "a"), "lr", 1.0),
        (lambda tried: -3 * tried["lr"], "lr", -1.0),
        (lambda tried: (tried["kind"] == "b") + 0.1 * tried["lr"], "kind", None),
        (lambda tried: abs(tried["lr"] - 0.5), "lr", 0.0),
    ],
    ids=["rising", "falling", "a category", "a valley"],
)
def test_what_decides_is_found_first_with_its_direction(value: Any, first: str, correlation: float | None) -> None:
    found = importances(*sweep_and_trials(60, value))
    assert {one.name for one in found} == {"lr", "kind", "seed"}
    assert (found[0].name, found[0].share > 0.7) == (first, True)
    assert sum(one.share for one in found) == pytest.approx(1)
    if correlation is None:
        assert found[0].correlation is None
    else:
        assert found[0].correlation == pytest.approx(correlation, abs=0.25)


@pytest.mark.parametrize(
    ("count", "value"),
    [(3, lambda tried: tried["lr"]), (20, lambda tried: 1.0), (20, lambda tried: None)],
    ids=["few trials", "all equal", "no values"],
)
def test_too_little_is_not_called_knowledge(count: int, value: Any) -> None:
    assert importances(*sweep_and_trials(count, value)) == []
