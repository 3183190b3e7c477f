"""The training loop keeps the best network, repeats itself bit for bit, and never keeps a broken one."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from training_problems import Given, digits, weights, wines

from pipelines.config import TrainConfig
from pipelines.loop import Loop
from pipelines.recipes import Problem
from pipelines.schedules import one_cycle
from pipelines.training import Arrays, choose_device, fit, split
from registry.errors import BadData, BadSettings, DeviceUnavailable, EnvironmentProblem

QUICK = ("epochs=3", "model.width=4", "train_fraction=0.3")


class Logged:
    """Everything that was logged, by step."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))

    def series(self, key: str) -> list[float]:
        return [values[key] for _, values in self.rows if key in values]


def accuracy(given: Given, *assignments: str) -> float:
    network = given.fit(*assignments).network
    with torch.inference_mode():
        predicted = network(torch.tensor(given.test_inputs)).argmax(dim=1).numpy()
    return float((predicted == given.test_targets).mean())


def test_a_strong_image_classifier_comes_out_of_the_defaults() -> None:
    assert accuracy(digits(), "epochs=12") > 0.97


def test_a_weak_image_classifier_takes_nothing_but_settings() -> None:
    assert 0.75 < accuracy(digits(), "train_fraction=0.05", "batch_size=8", "epochs=15") < 0.96


def test_a_table_with_gaps_and_categories_is_learned() -> None:
    assert accuracy(wines()) > 0.85


@pytest.mark.parametrize("given", [digits(), wines()], ids=["images", "table"])
def test_one_seed_gives_one_model_bit_for_bit(given: Given) -> None:
    settings = ("epochs=3", "model.dropout=0.2", "train_fraction=0.5")
    first, again, other = (given.fit(*settings, f"seed={seed}") for seed in (1, 1, 2))
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)


def test_augmentation_follows_the_seed_too() -> None:
    settings = (*QUICK, "augment.shift=1", "augment.mirror=true")
    assert weights(digits().fit(*settings)) == weights(digits().fit(*settings))


def test_the_callers_random_state_and_threads_are_left_alone() -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    digits().fit(*QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_best_epoch_is_the_one_that_is_kept() -> None:
    logged = Logged()
    trained = digits().fit("epochs=6", "model.width=4", log=logged)
    losses = logged.series("val/loss")
    assert trained.best_epoch == 1 + int(np.argmin(losses))
    assert trained.validation["loss"] == min(losses)


def test_the_kept_network_has_the_validation_metrics_that_were_reported() -> None:
    given = digits()
    trained = given.fit("epochs=4", "model.width=4")
    _, held_out = split(given.targets, fraction=0.1, seed=0)
    with torch.inference_mode():
        scores = trained.network(torch.tensor(given.inputs[held_out]))
    assert float((scores.argmax(dim=1).numpy() == given.targets[held_out]).mean()) == trained.validation["accuracy"]


def test_training_stops_when_patience_is_gone() -> None:
    # No step is small enough to matter: the loss stands still and no checkpoint after the first is better by much.
    logged = Logged()
    trained = digits().fit("epochs=30", "patience=2", "monitor=accuracy", "lr=1e-9", "train_fraction=0.2", log=logged)
    assert trained.epochs < 30
    assert trained.epochs == trained.best_epoch + 2
    assert len(logged.series("epoch")) == trained.epochs


def test_every_epoch_and_every_nth_step_is_logged() -> None:
    logged = Logged()
    trained = digits().fit("epochs=2", "batch_size=64", "model.width=4", "log_every=8", log=logged)
    per_epoch = trained.items // 64
    assert [step for step, values in logged.rows if "epoch" in values] == [per_epoch, 2 * per_epoch]
    assert [step for step, values in logged.rows if "train/loss" in values] == [8, 16, 24, 32]
    assert {key for _, values in logged.rows for key in values} == {
        *("train/loss", "train/lr", "train/samples_per_s"),
        *("epoch", "train/epoch_loss", "val/loss", "val/accuracy"),
    }


def test_few_steps_are_logged_all_the_same() -> None:
    logged = Logged()
    digits().fit("epochs=1", "model.width=4", "train_fraction=0.1", "log_every=1000", log=logged)
    assert len(logged.series("train/loss")) == 1


def test_progress_ends_at_the_steps_planned() -> None:
    seen: list[tuple[int, int]] = []
    trained = digits().fit(*QUICK, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, trained.steps) for done in range(1, trained.steps + 1)]


def test_an_exploding_loss_is_an_error_and_no_model() -> None:
    with pytest.raises(BadSettings, match=r"the loss became (nan|inf) in epoch \d, step \d+, with lr=1e\+30") as caught:
        wines().fit("lr=1e30")
    assert caught.value.hint == "--set lr=1e+29"


def test_an_interruption_comes_through() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digits().fit(*QUICK, on_progress=interrupt)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match="finds no cuda device here"):
        choose_device("cuda")


def test_a_gpu_that_is_too_small_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here, so the loop raises what torch would."""

    def full(_loop: Loop) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")

    monkeypatch.setattr(Loop, "run", full)
    with pytest.raises(EnvironmentProblem) as caught:
        digits().fit("batch_size=64", "accumulate=2")
    assert caught.value.message == ("the memory of cpu is too small for batches of 64 computed in 2 parts: CUDA out of memory")
    assert caught.value.hint == "--set accumulate=4, which computes each batch in more parts"


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(BadSettings, match="amp is fp16"):
        digits().fit("amp=fp16")


def test_bfloat16_trains_on_a_cpu_when_asked() -> None:
    assert digits().fit(*QUICK, "amp=bf16").amp == "bf16"


@pytest.mark.parametrize("classes", [(50, 30, 20), (100, 2, 1)], ids=["usual", "a class of one"])
def test_the_validation_split_is_stratified_and_seeded(classes: tuple[int, ...]) -> None:
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(classes)), classes))
    rest, share = split(targets, fraction=0.2, seed=3)
    assert sorted([*rest, *share]) == list(range(len(targets)))
    expected = [min(max(round(0.2 * n), 1), n - 1) for n in classes]
    assert np.bincount(targets[share], minlength=len(classes)).tolist() == expected
    assert split(targets, fraction=0.2, seed=3)[1].tolist() == share.tolist()
    assert split(targets, fraction=0.2, seed=4)[1].tolist() != share.tolist()


def test_preprocessing_learns_from_the_items_trained_on_alone() -> None:
    given = digits()
    kept, held_out = split(given.targets, fraction=0.1, seed=0)
    poisoned = given.inputs.copy()
    poisoned[held_out] = 255
    clean, other = (
        fit(given.problem, given.config("epochs=1"), inputs=inputs, targets=given.targets, log=lambda values, step: None)
        for inputs in (given.inputs, poisoned)
    )
    assert float(clean.network.get_buffer("mean")) == pytest.approx(given.inputs[kept].mean(), rel=1e-6)
    assert torch.equal(clean.network.get_buffer("mean"), other.network.get_buffer("mean"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": digits().inputs[:, :7]}, r"uint8\[1197, 7, 8, 1\], uint8\[n, 8, 8, 1\] was expected"),
        ({"inputs": digits().inputs.astype(np.float32)}, r"float32\[1197, 8, 8, 1\], uint8\[n, 8, 8, 1\] was expected"),
        ({"targets": digits().targets[:5]}, "1197 inputs and 5 targets"),
        ({"targets": digits().targets + 1}, "targets run from 1 to 10, there are 10 labels"),
        ({"inputs": digits().inputs[:1], "targets": digits().targets[:1]}, "1 items to train on and 0 to validate on"),
    ],
    ids=["shape", "dtype", "length", "label", "too few"],
)
def test_arrays_that_do_not_fit_the_problem_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    arrays = {"inputs": digits().inputs, "targets": digits().targets, **change}
    with pytest.raises(BadData, match=message):
        fit(digits().problem, digits().config(), **arrays, log=lambda values, step: None)


def test_an_infinite_feature_is_named() -> None:
    given = wines()
    inputs = given.inputs.copy()
    inputs[7, 2] = np.inf
    with pytest.raises(BadData, match="feature 'ash' of item 7 is infinite"):
        dataclasses.replace(given, inputs=inputs).fit()


def test_read_only_arrays_are_fine() -> None:
    given = digits()
    frozen = given.inputs.copy()
    frozen.setflags(write=False)
    assert weights(dataclasses.replace(given, inputs=frozen).fit(*QUICK)) == weights(given.fit(*QUICK))


@pytest.mark.parametrize("total", [1, 2, 3, 100])
def test_the_learning_rate_climbs_to_its_peak_once_and_stays_positive(total: int) -> None:
    rates = [one_cycle(step, total=total) for step in range(1, total + 1)]
    peak = rates.index(max(rates))
    assert max(rates) == 1.0
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0


def test_epochs_follow_from_the_recipes_number_of_steps() -> None:
    config: TrainConfig = wines().config("train_fraction=0.5")
    problem: Problem = wines().problem
    planned: list[int] = []

    def first(done: int, total: int) -> None:
        planned.append(total)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(problem, config, inputs=wines().inputs, targets=wines().targets, log=lambda values, step: None, on_progress=first)
    assert planned == [100]  # 53 items are one batch, and 100 epochs the most that `auto` takes


def test_the_datasets_own_validation_items_are_validated_on_and_all_others_trained_on() -> None:
    given = digits()
    trained = given.fit("epochs=2", "model.width=4", validation=Arrays(given.test_inputs, given.test_targets))
    assert (trained.items, trained.validation_items) == (len(given.targets), len(given.test_targets))
    with torch.inference_mode():
        predicted = trained.network(torch.tensor(given.test_inputs)).argmax(dim=1).numpy()
    assert float((predicted == given.test_targets).mean()) == trained.validation["accuracy"]


def test_the_parts_of_a_loss_are_logged_and_add_up() -> None:
    logged = Logged()
    wines().fit("recipe=odd_recipes:TWO_PARTS", "epochs=3", "log_every=1", log=logged)
    parts = [logged.series(f"train/loss/{name}") for name in ("fit", "size")]
    assert np.sum(parts, axis=0) == pytest.approx(logged.series("train/loss"), rel=1e-6)
    assert len(parts[0]) == 3


def test_the_learning_rates_of_the_schedule_are_those_of_the_optimiser() -> None:
    logged = Logged()
    wines().fit("epochs=4", "log_every=1", "schedule.name=step", "schedule.every=2", "lr=0.1", log=logged)
    assert logged.series("train/lr") == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    "settings", [("clip=1e-12", "optimizer=sgd"), ("optimizer=sgd", "lr=1e-12")], ids=["clipped to nothing", "no rate"]
)
def test_clipped_gradients_move_nothing(settings: tuple[str, ...]) -> None:
    kept, moved = (weights(wines().fit("epochs=3", "weight_decay=0", *more)) for more in (settings, ("optimizer=sgd",)))
    torch.manual_seed(0)
    started = wines().fit("epochs=1", "optimizer=sgd", "lr=1e-30", "weight_decay=0")
    for name, tensor in started.network.state_dict().items():
        assert np.frombuffer(kept[name], dtype=tensor.numpy().dtype) == pytest.approx(tensor.numpy().ravel(), abs=1e-6), name
    assert kept != moved


def test_the_optimiser_is_the_one_that_is_asked_for() -> None:
    one, other, third = (
        weights(wines().fit("epochs=3", *more)) for more in ((), ("optimizer=sgd",), ("optimizer=sgd", "momentum=0.0"))
    )
    assert one != other != third


def test_a_gain_that_is_too_small_counts_as_none() -> None:
    assert wines().fit("epochs=30", "patience=3", "min_delta=100").epochs == 4


def test_watching_logs_histograms_of_weights_and_gradients() -> None:
    logged = Logged()
    trained = digits().fit("epochs=13", "model.width=4", "patience=null", "watch=true", log=logged)
    rows = [(step, values) for step, values in logged.rows if any("/head.weight" in key for key in values)]
    assert [step for step, _ in rows] == [100]
    found: Any = rows[0][1]
    names = {name for name, _ in trained.network.named_parameters()}
    assert {key for key in found if key.startswith(("weights/", "gradients/"))} == {
        f"{what}/{name}" for what in ("weights", "gradients") for name in names
    }
    for name, parameter in trained.network.named_parameters():
        assert sum(found[f"weights/{name}"].counts) == parameter.numel()
        assert list(found[f"gradients/{name}"].edges) == sorted(found[f"gradients/{name}"].edges)


def test_python_and_numpy_draw_for_the_caller_as_if_nothing_had_happened() -> None:
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    wines().fit("epochs=1", "recipe=odd_recipes:GAMBLER")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
