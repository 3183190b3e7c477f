"""Several processes train one network as one process would, and one that fails ends them all with one clear error."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_problems import Given, digits, weights, wines

from pipelines.processes import train
from pipelines.training import Arrays, Trained
from registry.errors import BadSettings, EnvironmentProblem, RegError

# Double precision, so that only a mistake and no rounding can make a difference that is seen.
SETTINGS = ("recipe=odd_recipes:EXACT", "model.width=4", "epochs=2", "log_every=1", "augment.shift=1", "clip=1.0")


class Logged:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def __call__(self, values: Mapping[str, Any], step: int) -> None:
        self.rows.append((step, {key: value for key, value in values.items() if key != "train/samples_per_s"}))


def run(given: Given, *settings: str, processes: int, **others: Any) -> tuple[list[tuple[int, dict[str, Any]]], Trained]:
    logged = Logged()
    usual: dict[str, Any] = {"on_progress": lambda done, total: None, "keep": lambda folder, facts, better: None, "start": None}
    trained = train(
        given.problem,
        given.config(*settings),
        items=Arrays(given.inputs, given.targets),
        validation=Arrays(given.test_inputs, given.test_targets),
        log=logged,
        processes=processes,
        **{**usual, **others},
    )
    return logged.rows, trained


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[int, dict[str, Any]]], Trained, Path]:
    """What two processes logged and made, and their checkpoint of the first epoch."""
    kept = tmp_path_factory.mktemp("kept") / "checkpoint"

    def keep(folder: Path, facts: Mapping[str, Any], better: bool) -> None:
        if facts["epoch"] == 1:
            folder.rename(kept)

    rows, trained = run(digits(), *SETTINGS, "checkpoint.every=1", processes=2, keep=keep)
    return rows, trained, kept


def test_two_processes_have_the_losses_of_one(together: tuple[list[tuple[int, dict[str, Any]]], Trained, Path]) -> None:
    alone, _ = run(digits(), *SETTINGS, processes=1)
    rows = together[0]
    assert [(step, row.keys()) for step, row in rows] == [(step, row.keys()) for step, row in alone]
    for (step, row), (_, expected) in zip(rows, alone, strict=True):
        # The 16 digits of a double, less the few that sums in another order cost.
        assert row == pytest.approx(expected, rel=1e-12), step


def test_the_network_of_two_processes_comes_back_as_it_was_trained(
    together: tuple[list[tuple[int, dict[str, Any]]], Trained, Path],
) -> None:
    trained, alone = together[1], run(digits(), *SETTINGS, processes=1)[1]
    assert (trained.processes, trained.epochs, trained.steps) == (2, alone.epochs, alone.steps)
    expected = alone.network.state_dict()
    for name, tensor in trained.network.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), expected[name].numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_what_two_processes_began_one_can_go_on_with(
    together: tuple[list[tuple[int, dict[str, Any]]], Trained, Path],
) -> None:
    rows, _, kept = together
    later, trained = run(digits(), *SETTINGS, "checkpoint.every=1", processes=1, start=kept)
    assert trained.resumed == 1
    assert [step for step, _ in later] == [step for step, _ in rows if step > len(rows) / 2]
    assert later[-1][1] == pytest.approx(rows[-1][1], rel=1e-12)


def test_a_process_that_fails_ends_all_with_its_own_error() -> None:
    with pytest.raises(RegError, match=r"training process [01] of 2 failed: RuntimeError\('no such pixel'\)"):
        run(digits(), "recipe=odd_recipes:BROKEN", "epochs=1", processes=2)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_ends_all_and_is_named() -> None:
    def kill(done: int, total: int) -> None:
        second = max(multiprocessing.active_children(), key=lambda process: process.pid or 0)
        if second.pid is not None and second.is_alive():
            os.kill(second.pid, signal.SIGKILL)

    with pytest.raises(EnvironmentProblem, match=r"training process 1 of 2 was ended by SIGKILL; the others were stopped"):
        run(digits(), "epochs=100", "model.width=4", "patience=null", processes=2, on_progress=kill)
    assert multiprocessing.active_children() == []


def test_more_processes_than_items_in_a_batch_are_refused_before_any_starts() -> None:
    with pytest.raises(BadSettings, match="a batch of 2 items is too small for 3 processes"):
        run(wines(), "batch_size=2", processes=3)


def test_accumulated_parts_give_the_losses_of_the_whole_batch() -> None:
    settings = ("epochs=2", "log_every=1", "model.dropout=0", "batch_size=30")
    (whole, _), (parts, trained) = (run(wines(), *settings, f"accumulate={count}", processes=1) for count in (1, 4))
    for (_, row), (_, expected) in zip(parts, whole, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert weights(trained).keys() == weights(run(wines(), *settings, processes=1)[1]).keys()
