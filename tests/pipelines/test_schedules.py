"""The learning rate goes as its name says, step by step, and goes on where it was."""

from __future__ import annotations

import itertools
import math

import pytest

from pipelines.config import ScheduleOptions
from pipelines.schedules import Schedule, one_cycle


def shares(options: ScheduleOptions, *, total: int = 100, per_epoch: int = 10) -> list[float]:
    schedule = Schedule(options, total=total, per_epoch=per_epoch)
    return [schedule.share(step) for step in range(1, total + 1)]


def test_cosine_falls_from_the_whole_rate_to_near_the_floor() -> None:
    found = shares(ScheduleOptions(name="cosine", floor=0.2))
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.6)
    assert found[-1] == pytest.approx(0.2, abs=1e-3)
    assert found == sorted(found, reverse=True)


def test_step_drops_after_every_so_many_epochs() -> None:
    found = shares(ScheduleOptions(name="step", every=3, factor=0.5))
    assert [(share, len(list(run))) for share, run in itertools.groupby(found)] == [
        (1.0, 30),
        (0.5, 30),
        (0.25, 30),
        (0.125, 10),
    ]


def test_constant_stays() -> None:
    assert set(shares(ScheduleOptions(name="constant"))) == {1.0}


@pytest.mark.parametrize("name", ["cosine", "step", "constant", "plateau"])
def test_a_warm_up_climbs_to_the_whole_rate(name: str) -> None:
    found = shares(ScheduleOptions.model_validate({"name": name, "warmup": 0.1, "every": 100}))
    assert found[:10] == [step / 10 for step in range(1, 11)]
    assert found[10] == 1.0


def test_one_cycle_climbs_as_long_as_it_is_told() -> None:
    found = shares(ScheduleOptions(name="one-cycle", warmup=0.5))
    assert found.index(max(found)) == 49
    assert shares(ScheduleOptions(name="one-cycle")) == [one_cycle(step, total=100) for step in range(1, 101)]


def test_a_plateau_drops_when_nothing_got_better_for_long_enough() -> None:
    schedule = Schedule(ScheduleOptions(name="plateau", patience=2, factor=0.1, floor=0.005), total=100, per_epoch=10)
    found = []
    for better in (True, False, True, False, False, False, False, False, False, False):
        schedule.hear(better=better)
        found.append(schedule.share(1))
    assert [round(share, 6) for share in found] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005]


def test_a_plateau_goes_on_where_it_was() -> None:
    options = ScheduleOptions(name="plateau", patience=2)
    first, second = (Schedule(options, total=100, per_epoch=10) for _ in range(2))
    for better in (False, False, False):
        first.hear(better=better)
    second.restore(first.state())
    for schedule in (first, second):
        schedule.hear(better=False)
    assert first.share(50) == second.share(50) == pytest.approx(0.01)
    assert math.isclose(first.share(50), options.factor**2)
