"""A training that was interrupted and goes on from its checkpoint ends with the very bits of one that was not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from training_problems import Given, digits, weights, wines

from pipelines import checkpoints, loop
from registry.errors import BadData

QUICK = ("epochs=4", "checkpoint.every=1")


class Interrupted(Exception):
    """The end of the first part."""


def rows_and_weights(
    given: Given, *settings: str, **others: Any
) -> tuple[list[tuple[int, dict[str, Any]]], Mapping[str, bytes]]:
    rows: list[tuple[int, dict[str, Any]]] = []

    def log(values: Mapping[str, Any], step: int) -> None:
        rows.append((step, {key: value for key, value in values.items() if key != "train/samples_per_s"}))

    return rows, weights(given.fit(*settings, log=log, **others))


def interrupted(given: Given, *settings: str, folder: Path, after: int) -> None:
    """Train until some steps after the checkpoint of an epoch."""
    saved = 0

    def save(state: Mapping[str, Any], better: bool) -> None:
        nonlocal saved
        if state["epoch"] == after:
            saved = state["step"]
            checkpoints.write(folder, state)

    def on_progress(done: int, total: int) -> None:
        if saved and done > saved:
            raise Interrupted

    with pytest.raises(Interrupted):
        given.fit(*settings, save=save, on_progress=on_progress)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        (digits(), ("model.width=4", "train_fraction=0.3", "model.dropout=0.2", "augment.shift=1")),
        (wines(), ("optimizer=sgd", "schedule.name=plateau", "schedule.patience=1", "clip=0.5", "accumulate=2", "amp=bf16")),
        (wines(), ("recipe=odd_recipes:GAMBLER", "schedule.name=cosine", "schedule.warmup=0.2")),
        (wines(), ("monitor=accuracy", "patience=2", "lr=1e-9")),
    ],
    ids=["images with dropout", "sgd, plateau, parts, bf16", "a recipe with chances of its own", "patience runs on"],
)
def test_it_ends_with_the_very_bits_of_one_that_was_not_interrupted(
    given: Given, settings: tuple[str, ...], tmp_path: Path
) -> None:
    settings = (*QUICK, *settings)
    rows, whole = rows_and_weights(given, *settings)
    interrupted(given, *settings, folder=tmp_path / "c", after=2)
    state = checkpoints.read(tmp_path / "c")
    later, resumed = rows_and_weights(given, *settings, start=state)
    assert resumed == whole
    assert later == [row for row in rows if row[0] > state["step"]]


def test_the_epochs_before_and_after_are_counted_together(tmp_path: Path) -> None:
    interrupted(wines(), *QUICK, folder=tmp_path / "c", after=3)
    state = {**checkpoints.read(tmp_path / "c"), "seconds": 1000.0}
    trained = wines().fit(*QUICK, start=state)
    assert (trained.epochs, trained.resumed, trained.steps) == (4, 3, 4)
    assert trained.seconds > 1000


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    interrupted(wines(), *QUICK, folder=tmp_path / "c", after=1)
    with pytest.raises(BadData, match=r"the checkpoint is of another network: .*size mismatch"):
        wines().fit(*QUICK, "model.width=8", start=checkpoints.read(tmp_path / "c"))


def test_a_checkpoint_of_other_items_is_refused(tmp_path: Path) -> None:
    interrupted(wines(), *QUICK, folder=tmp_path / "c", after=1)
    with pytest.raises(BadData, match="the checkpoint trained on 107 items in batches of 64, here are 54 in 54"):
        wines().fit(*QUICK, "train_fraction=0.5", start=checkpoints.read(tmp_path / "c"))


def test_a_long_training_has_a_checkpoint_now_and_then_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0)
    saved: list[int] = []
    wines().fit("epochs=3", save=lambda state, better: saved.append(state["epoch"]))
    assert saved == [1, 2, 3]


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    interrupted(wines(), *QUICK, folder=tmp_path / "c", after=1)
    state = checkpoints.read(tmp_path / "c")
    del state["schedule"]
    with pytest.raises(BadData, match="the checkpoint has no 'schedule': another version of reg wrote it"):
        wines().fit(*QUICK, start=state)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("checkpoint.every=2", "checkpoint.best=false"), [2, 4, 6]),
        (("checkpoint.every=4",), [1, 4]),
        (("checkpoint.every=never",), []),
        (("checkpoint.every=auto",), []),
    ],
    ids=["every other epoch", "and the best", "never", "a short one needs none"],
)
def test_checkpoints_come_when_they_are_asked_for(settings: tuple[str, ...], expected: list[int]) -> None:
    # A rate so small that rounding alone decides would make other epochs the best; accuracy stands still after the first.
    asked = ("epochs=6", "monitor=accuracy", "lr=1e-9", "train_fraction=0.5", *settings)
    saved: list[int] = []
    wines().fit(*asked, save=lambda state, better: saved.append(state["epoch"]))
    assert saved == expected
