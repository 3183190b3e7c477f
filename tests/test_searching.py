"""What a sweep tries next and stops early: pure functions, so plain values in and out."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
from collections.abc import Mapping, Sequence, Set
from typing import Any

import pytest
import yaml

from registry.errors import BadData, MissingDependency
from registry.server import searching, spaces
from registry.server.searching import Curve, Hyperband, Past, Search

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
LOSS = {"name": "loss", "goal": "minimize"}


def search_of(parameters: Any, **config: Any) -> Search:
    text = yaml.safe_dump({"method": "random", **config, "parameters": parameters})
    return searching.parse(text)[0]


def drawn(spec: dict[str, Any], count: int = 400) -> list[Any]:
    search = search_of({"p": spec})
    trials = (searching.propose(search, (), taken=set(), seed="s", number=number) for number in range(count))
    return [trial.values[("p",)] for trial in trials]


def points(search: Search) -> list[dict[str, Any]]:
    taken: set[int] = set()
    found = []
    while not searching.exhausted(search, taken, len(taken)):
        proposal = searching.propose(search, (), taken=taken, seed="s", number=len(taken))
        assert proposal.point is not None
        taken.add(proposal.point)
        found.append(spaces.arguments(proposal.values))
    return found


def test_a_grid_is_every_combination_once_and_then_exhausted() -> None:
    search = search_of({"a": {"values": [1, 2]}, "b": {"min": 3, "max": 5}, "c": {"value": "x"}}, method="grid")
    found = [tuple(name["value"] for name in point.values()) for point in points(search)]
    assert found == [(1, 3, "x"), (1, 4, "x"), (1, 5, "x"), (2, 3, "x"), (2, 4, "x"), (2, 5, "x")]
    assert search.expected == 6


def test_a_grid_of_multiples_reads_as_people_write_them() -> None:
    search = search_of({"p": {"distribution": "q_uniform", "min": 0.1, "max": 0.4, "q": 0.1}}, method="grid")
    assert [point["p"]["value"] for point in points(search)] == [0.1, 0.2, 0.3, 0.4]


def test_a_grid_gives_a_freed_point_before_new_ones() -> None:
    search = search_of({"p": {"values": [10, 20, 30, 40]}}, method="grid")
    proposal = searching.propose(search, (), taken={0, 2}, seed="s", number=7)
    assert (proposal.point, proposal.values) == (1, {("p",): 20})


def test_a_huge_grid_is_never_written_out() -> None:
    search = search_of({name: {"min": 1, "max": 10_000} for name in "abc"}, method="grid")
    proposal = searching.propose(search, (), taken=set(range(5)), seed="s", number=5)
    assert (search.grid_size, proposal.values) == (10**12, {("a",): 1, ("b",): 1, ("c",): 6})


def test_a_grid_point_is_known_again_by_its_values() -> None:
    search = search_of(
        {"a": {"values": ["x", [1, 2]]}, "b": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}}, method="grid"
    )
    for point in range(search.grid_size):
        values = searching.propose(search, (), taken=set(range(point)), seed="s", number=0).values
        told = json.loads(json.dumps(spaces.arguments(values)))
        assert searching.point_of(search, spaces.values_in(search.parameters, told)) == point


def test_groups_of_parameters_nest() -> None:
    search = search_of(
        {"optimizer": {"parameters": {"name": {"value": "sgd"}, "inner": {"parameters": {"lr": {"values": [0.1]}}}}}},
        method="grid",
    )
    assert points(search) == [{"optimizer": {"value": {"name": "sgd", "inner": {"lr": 0.1}}}}]


def test_run_cap_ends_every_method() -> None:
    grid = search_of({"p": {"values": [1, 2, 3]}}, method="grid", run_cap=2)
    chance = search_of({"p": {"min": 0.0, "max": 1.0}}, run_cap=2)
    assert (grid.expected, chance.expected, len(points(grid))) == (2, 2, 2)
    assert [searching.exhausted(chance, set(), tried) for tried in (0, 1, 2)] == [False, False, True]


@pytest.mark.parametrize(
    ("spec", "low", "high", "median"),
    [
        ({"min": 2.0, "max": 4.0}, 2, 4, 3),
        ({"min": 1, "max": 9}, 1, 9, 5),
        ({"distribution": "q_uniform", "min": 0, "max": 100, "q": 5}, 0, 100, 50),
        ({"distribution": "log_uniform", "min": -4, "max": 0}, math.exp(-4), 1, math.exp(-2)),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}, 1e-4, 1, 1e-2),
        ({"distribution": "q_log_uniform", "min": 0, "max": 6, "q": 2}, 0, 404, math.exp(3)),
        ({"distribution": "q_log_uniform_values", "min": 32, "max": 512, "q": 8}, 32, 512, 128),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 4}, math.exp(-4), 1, math.exp(-2)),
        ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1.0}, 0.01, 1, 0.1),
        ({"mu": 10, "sigma": 2}, 0, 20, 10),
        ({"distribution": "q_normal", "mu": 10, "sigma": 4, "q": 2}, -10, 30, 10),
        ({"distribution": "log_normal", "mu": 1, "sigma": 0.5}, 0, 20, math.e),
        ({"distribution": "q_log_normal", "mu": 4, "sigma": 0.5, "q": 1}, 0, 500, math.exp(4)),
    ],
    ids=lambda value: value.get("distribution", "implied") if isinstance(value, dict) else "",
)
def test_random_search_draws_from_the_distribution(spec: dict[str, Any], low: float, high: float, median: float) -> None:
    values = drawn(spec)
    assert all(low <= value <= high for value in values)
    assert statistics.median(values) == pytest.approx(median, rel=0.2)


@pytest.mark.parametrize(
    "spec", [{"min": 1, "max": 9}, {"distribution": "q_log_uniform_values", "min": 32, "max": 512, "q": 8}], ids=["int", "q"]
)
def test_whole_numbers_stay_whole(spec: dict[str, Any]) -> None:
    values = drawn(spec)
    assert {type(value) for value in values} == {int}
    assert {value % spec.get("q", 1) for value in values} == {0}


def test_probabilities_are_respected() -> None:
    values = drawn({"values": ["a", "b", "c"], "probabilities": [0.7, 0.3, 0]})
    assert values.count("c") == 0
    assert values.count("a") / len(values) == pytest.approx(0.7, abs=0.07)


@pytest.mark.parametrize("position", [0.0, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("distribution", ["uniform", "log_uniform_values", "inv_log_uniform_values", "normal", "log_normal"])
def test_position_and_value_are_inverse(distribution: str, position: float) -> None:
    spec = {"distribution": distribution, **({} if "normal" in distribution else {"min": 0.5, "max": 8})}
    (parameter,) = search_of({"p": spec}).parameters
    assert isinstance(parameter, spaces.Range)
    assert parameter.position(parameter.at(position)) == pytest.approx(position, abs=1e-8)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    search = search_of({"p": {"min": 0.0, "max": 1.0}})

    def sequence(seed: str) -> list[Any]:
        return [searching.propose(search, (), taken=set(), seed=seed, number=number).values for number in range(5)]

    assert sequence("a") == sequence("a")
    assert sequence("a") != sequence("b")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"method": "annealing", "parameters": {"p": {"value": 1}}}, "unknown method 'annealing'"),
        ({"parameters": {"p": {"value": 1}}}, "says no method"),
        ({"method": "random"}, "needs parameters"),
        ({"method": "random", "parameters": {}}, "needs parameters"),
        ({"method": "random", "parameters": {"p": 3}}, "parameter 'p' is 3"),
        ({"method": "random", "parameters": {"p": {}}}, "does not say which values"),
        ({"method": "random", "parameters": {"p": {"min": 2, "max": 1}}}, "min of parameter 'p' is 2, above its max 1"),
        ({"method": "random", "parameters": {"g": {"parameters": {"p": {"min": 2, "max": 1}}}}}, "parameter 'g.p'"),
        ({"method": "random", "parameters": {"p": {"min": "1e-3", "max": 1.0}}}, "min of parameter 'p' is \"1e-3\""),
        ({"method": "random", "parameters": {"p": {"distribution": "zipf"}}}, "unknown distribution 'zipf'"),
        ({"method": "random", "parameters": {"p": {"distribution": "uniform", "min": 1}}}, "max of parameter 'p' is missing"),
        ({"method": "random", "parameters": {"p": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "logarithm"),
        ({"method": "random", "parameters": {"p": {"values": []}}}, "no values"),
        ({"method": "random", "parameters": {"p": {"values": [1, 2], "probabilities": [1]}}}, "as many probabilities"),
        ({"method": "random", "parameters": {"p": {"values": [1, 2], "probabilities": [0.5, 0.6]}}}, "add up to 1.1"),
        ({"method": "random", "parameters": {"p": {"mu": 0, "sigma": 0}}}, "sigma of parameter 'p' is 0"),
        ({"method": "grid", "parameters": {"p": {"min": 0.0, "max": 1.0}}}, "endlessly many"),
        ({"method": "bayes", "parameters": {"p": {"value": 1}}}, "improves a metric"),
        ({"method": "random", "parameters": {"p": {"value": 1}}, "run_cap": 0}, "run_cap is 0"),
        ({"method": "random", "parameters": {"p": {"value": 1}}, "metric": {"name": "l", "goal": "best"}}, "goal is 'best'"),
        ({"method": "random", "parameters": {"p": {"value": 1}}, "early_terminate": {"type": "hyperband"}}, "min_iter"),
        (
            {"method": "random", "parameters": {"p": {"value": 1}}, "early_terminate": {"type": "hyperband", "min_iter": 3}},
            "names none",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_searched_is_refused_with_the_reason(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadData) as refused:
        searching.parse(yaml.safe_dump(config))
    assert complaint in refused.value.message


def test_what_is_odd_but_harmless_is_remarked() -> None:
    config = {
        "method": "grid",
        "metod": 1,
        "metric": {"name": "loss"},
        "parameters": {"p": {"values": [1, 1, 2], "mim": 0}},
    }
    search, remarks = searching.parse(yaml.safe_dump(config))
    assert remarks == (
        "'metod' is not known and has no effect",
        "parameter 'p': 'mim' is not known and has no effect",
        "parameter 'p': 1 of its values are repeated; each is tried once",
        "metric 'loss' has no goal; minimize is assumed",
    )
    assert search.grid_size == 2


@needs_optuna
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_bayes_without_torch_finds_a_valley_better_than_chance(goal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else known(name))
    search = search_of(
        {"x": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}, "kind": {"values": ["good", "bad"]}},
        method="bayes",
        metric={"name": "score", "goal": goal},
    )
    assert search.metric
    past: list[Past] = []
    for number in range(40):
        values = searching.propose(search, past, taken=set(), seed="c", number=number).values
        cost = abs(math.log10(values[("x",)]) + 2) + (values[("kind",)] == "bad")
        metric = cost if goal == "minimize" else -cost
        past.append(Past(values=values, point=None, loss=search.metric.loss(metric), running=False))
    early, late = (statistics.median(trial.loss or 0 for trial in part) for part in (past[:10], past[-20:]))
    assert late < early / 2


def branin(x: float, y: float) -> float:
    """A known valley: 0.398 at its three lowest points. Source: Dixon & Szegö (1978)."""
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def lowest(method: str, seed: str, *, trials: int) -> float:
    """The least of Branin's function that a search finds with four agents at a time, none of which knows the others' values."""
    search = search_of({"x": {"min": -5.0, "max": 10.0}, "y": {"min": 0.0, "max": 15.0}}, method=method, metric=LOSS)
    past: list[Past] = []
    for start in range(0, trials, 4):
        told = list(past)
        for number in range(start, start + 4):
            values = searching.propose(search, told, taken=set(), seed=seed, number=number).values
            told.append(Past(values=values, point=None, loss=None, running=True))
        for trial in told[start:]:
            loss = branin(trial.values[("x",)], trial.values[("y",)])
            past.append(Past(values=trial.values, point=None, loss=loss, running=False))
    return min(trial.loss for trial in past if trial.loss is not None)


@needs_optuna
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_bayes_finds_with_32_trials_what_random_does_not_find_with_100() -> None:
    found = lowest("bayes", "a", trials=32)
    assert found < lowest("random", "a", trials=100)
    assert found < 0.43, "the least is 0.398"


@needs_optuna
def test_bayes_keeps_agents_that_ask_at_once_apart_and_bears_failures_and_strangers() -> None:
    search = search_of({"x": {"min": 0.0, "max": 1.0}, "c": {"value": 3}}, method="bayes", metric=LOSS)
    past = [
        Past(values={("x",): 0.5, ("c",): 3}, point=None, loss=1.0, running=False),
        Past(values={("x",): 0.2, ("c",): 3}, point=None, loss=None, running=False),
        Past(values={}, point=None, loss=2.0, running=False),
    ]
    first = searching.propose(search, past, taken=set(), seed="s", number=3)
    running = [*past, Past(values=first.values, point=None, loss=None, running=True)]
    second = searching.propose(search, running, taken=set(), seed="s", number=4)
    assert first.values[("c",)] == second.values[("c",)] == 3
    assert first.values[("x",)] != second.values[("x",)]


def test_bayes_without_optuna_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    search = search_of({"x": {"min": 0.0, "max": 1.0}}, method="bayes", metric=LOSS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as refused:
        searching.check_installed(search)
    assert "pip install 'reg-lifecycle[sweeps]'" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("spec", "brackets"),
    [
        ({"min_iter": 3}, (3, 9, 27, 81)),
        ({"min_iter": 2, "eta": 2}, (2, 4, 8, 16)),
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 5, "s": 5, "eta": 2}, (1, 2)),
    ],
    ids=["min_iter", "min_iter-eta", "max_iter-s", "no bracket below 1"],
)
def test_brackets_are_those_of_the_documentation(spec: dict[str, Any], brackets: tuple[int, ...]) -> None:
    search = search_of({"p": {"value": 1}}, metric=LOSS, early_terminate={"type": "hyperband", **spec})
    assert search.hyperband
    assert search.hyperband.brackets[: len(brackets)] == brackets


def stopped(hyperband: Hyperband, logged: Mapping[str, Sequence[float]], running: Set[str]) -> set[str]:
    curves = {name: Curve().continued(losses, hyperband.brackets) for name, losses in logged.items()}
    return searching.to_stop(hyperband, curves, running)


# The example of W&B's own package `sweeps`.
_LOGGED = {"a": [10, 9], "b": [10, 10], "c": [10, 8, 8], "d": [10, 7, 7], "e": [10, 6, 6]}


def test_hyperband_stops_running_runs_that_are_too_bad_at_their_bracket() -> None:
    hyperband = Hyperband(brackets=(1, 2), eta=2, strict=False)
    assert stopped(hyperband, _LOGGED, {"b", "c", "d"}) == {"b"}


def test_only_strict_hyperband_forgets_that_a_run_was_good_before() -> None:
    losses = {"rival": [5, 5, 5], "third": [5, 6, 6], "mine": [1, 9, 9]}
    kept, ended = (stopped(Hyperband(brackets=(2,), eta=3, strict=strict), losses, {"mine"}) for strict in (False, True))
    assert (kept, ended) == (set(), {"mine"})


def test_a_quick_run_that_is_alone_at_its_last_bracket_is_judged_at_the_ones_before() -> None:
    losses = {"good": [5, 1], "quick": [9, 9, 9, 9, 9]}
    assert stopped(Hyperband(brackets=(1, 2, 4), eta=3, strict=False), losses, {"quick"}) == {"quick"}


def test_a_run_before_its_first_bracket_is_left_alone() -> None:
    hyperband = Hyperband(brackets=(3,), eta=3, strict=True)
    assert stopped(hyperband, {"a": [1, 1, 1], "b": [9, 9]}, {"b"}) == set()
