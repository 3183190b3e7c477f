"""What a sweep's configuration and its runs say, read without a server."""

from __future__ import annotations

from typing import Any

import pytest

from registry import sweeps
from registry.records import RunFact
from registry.sweeps import Metric, Sweep

GROUPED = {"lr": {"min": 0.1, "max": 1.0}, "model": {"parameters": {"width": {"values": [1, 2]}, "depth": {"value": 3}}}}


def sweep_of(parameters: dict[str, Any], **config: Any) -> Sweep:
    whole = {"method": "random", "parameters": parameters, **config}
    return Sweep(id="s", entity="e", project="p", name="s", state="RUNNING", config=whole, url="", expected=None)


def run_of(config: dict[str, Any], summary: dict[str, Any], state: str = "finished") -> RunFact:
    return RunFact(
        id="r", entity="e", project="p", name="r", job_type="train", state=state, url="", config=config, summary=summary
    )


def test_a_parameter_has_a_dotted_name_whether_the_file_nests_it_or_writes_the_dots() -> None:
    assert list(sweep_of(GROUPED).parameters) == ["lr", "model.width", "model.depth"]
    assert list(sweep_of({"lr": {"value": 1}, "model.width": {"values": [1, 2]}}).parameters) == ["lr", "model.width"]


def test_constants_are_not_varied() -> None:
    assert sweep_of({**GROUPED, "one": {"values": [1]}}).varied == ["lr", "model.width"]


@pytest.mark.parametrize(
    ("parameters", "config"),
    [
        (GROUPED, {"lr": 0.5, "model": {"width": 2, "depth": 3}, "other": 1}),
        (
            {"lr": {}, "model.width": {}, "model.depth": {}},
            {"lr": 0.5, "model.width": 2, "model.depth": 3, "model": {"width": 9}},
        ),
    ],
    ids=["groups", "dots"],
)
def test_a_trial_tells_what_its_run_was_given(parameters: dict[str, Any], config: dict[str, Any]) -> None:
    (trial,) = sweeps.trials(sweep_of(parameters), [run_of(config, {})])
    assert trial.parameters == {"lr": 0.5, "model.width": 2, "model.depth": 3}


@pytest.mark.parametrize(
    ("summary", "value"),
    [
        ({"val/loss": 2}, 2.0),
        ({"val/loss": {"min": 1, "max": 3}}, 1.0),
        ({"val/loss": {"last": 4}}, 4.0),
        ({"val/loss": float("nan")}, None),
        ({"val/loss": "NaN"}, None),
        ({"val/loss": True}, None),
        ({}, None),
    ],
    ids=["number", "least", "last", "nan", "text", "truth", "absent"],
)
def test_the_metric_is_read_from_what_a_run_summarised(summary: dict[str, Any], value: float | None) -> None:
    assert sweeps.summarised(summary, Metric(name="val/loss", goal="minimize")) == value


@pytest.mark.parametrize(("goal", "order"), [("minimize", [3, 1, 4, 2]), ("maximize", [1, 4, 3, 2])])
def test_trials_are_ranked_by_the_goal_equals_by_their_number_and_those_without_a_value_last(
    goal: str, order: list[int]
) -> None:
    searched = sweep_of(GROUPED, metric={"name": "m", "goal": goal})
    tried = sweeps.trials(searched, [run_of({}, {"m": 5}), run_of({}, {}), run_of({}, {"m": 1}), run_of({}, {"m": 5})])
    assert [trial.number for trial in sweeps.ranked(searched, tried)] == order
    best = sweeps.best(searched, tried)
    assert best is not None
    assert best.number == order[0]


def test_without_a_value_or_a_metric_no_trial_is_the_best() -> None:
    searched = sweep_of(GROUPED, metric={"name": "m"})
    assert sweeps.best(searched, sweeps.trials(searched, [run_of({}, {"other": 1})])) is None
    aimless = sweep_of(GROUPED)
    assert sweeps.best(aimless, sweeps.trials(aimless, [run_of({}, {"m": 1})])) is None
