"""A configuration file says its modes in terms of each other, and every value keeps the place it was written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import explain, resolve, restore
from registry.errors import BadSettings

IMAGES = "image-classification"
FILE = """\
lr: 3e-3
mode: quick
modes:
  base: {epochs: 40, model: {width: 8, depth: 3}}
  quick:
    inherits: base
    epochs: 2
    model: {width: 4}
  wide: {inherits: base, model: {width: 64}}
  both: {inherits: [wide, quick]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("mode", "epochs", "width", "depth"),
    [(None, 2, 4, 3), ("base", 40, 8, 3), ("wide", 40, 64, 3), ("both", 2, 4, 3)],
    ids=["the file's choice", "base", "one parent", "two parents, the later wins"],
)
def test_a_mode_adds_to_what_it_inherits(file: Path, mode: str | None, epochs: int, width: int, depth: int) -> None:
    config = resolve(task=IMAGES, file=file, mode=mode)
    assert (config.lr, config.epochs) == (0.003, epochs)
    assert (config.model.model_dump()["width"], config.model.model_dump()["depth"]) == (width, depth)


def test_every_value_says_where_it_comes_from(file: Path) -> None:
    explained = explain(task=IMAGES, file=file, assignments=["seed=4"])
    origins = {key: origin for key, _, origin in explained.rows()}
    wanted = {
        "lr": f"{file}:1",
        "epochs": f"{file}:7 (mode quick)",
        "model.width": f"{file}:8 (mode quick)",
        "model.depth": f"{file}:4 (mode base)",
        "seed": "--set seed=4",
        "batch_size": f"recipe {IMAGES}",
        "clip": "default",
    }
    assert {key: origins[key] for key in wanted} == wanted
    assert explained.mode == "quick"


def test_without_a_choice_the_mode_is_base(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("modes: {quick: {epochs: 1}, base: {epochs: 3}}")
    assert resolve(task=IMAGES, file=file).epochs == 3


@pytest.mark.parametrize(
    ("content", "mode", "message", "hint"),
    [
        (FILE, "quik", "--mode quik: there is no mode 'quik'", "did you mean 'quick'?"),
        (
            FILE + "  odd: {inherits: bas}\n",
            "odd",
            "{file}: mode odd inherits bas: there is no mode 'bas'",
            "did you mean 'base'?",
        ),
        (
            "modes: {a: {inherits: b}, b: {inherits: c}, c: {inherits: b}}",
            "a",
            "{file}: the modes inherit in a circle: b → c → b",
            "remove 'inherits' from c",
        ),
        ("modes: {a: {lr: 1}, b: {lr: 2}}", None, "{file} has the modes a, b, and none was chosen", "--mode a"),
        ("lr: 1", "a", "--mode a: {file} has no modes", "modes: {a: {epochs: 5}}"),
        ("modes: {a: 3}", "a", "{file}:1: mode a is 3, keys and values were expected", "epochs: 5"),
        ("modes: {a: {inherits: 3}}", "a", "{file}: mode a inherits 3, a mode's name was expected", "inherits: base"),
        ("modes: []", "a", "{file}:1: modes is [], names and their values were expected", "modes: {base: {epochs: 5}}"),
        ("mode: b\nmodes: {a: {lr: 1}}", None, "{file}:1: mode: b: there is no mode 'b'", "modes: a"),
        (
            "lr: 1\nmodes:\n  a:\n    epoch: 3\n",
            "a",
            "{file}:4 (mode a): unknown key 'epoch'",
            "did you mean 'epochs'?",
        ),
        ("lr: 1\nlr: 2\n", None, "{file}:2: key 'lr' again, it is already in line 1", None),
    ],
    ids=lambda value: "" if value is None else value.split("\n")[0][:40],
)
def test_a_mistake_names_its_place_and_the_way_out(
    tmp_path: Path, content: str, mode: str | None, message: str, hint: str | None
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(content)
    with pytest.raises(BadSettings) as caught:
        resolve(task=IMAGES, file=file, mode=mode)
    assert (caught.value.message, caught.value.hint) == (message.format(file=file), hint)


def test_a_mode_without_a_file_is_refused() -> None:
    with pytest.raises(BadSettings, match="--mode quick names a mode of a configuration file, and there is none"):
        resolve(task=IMAGES, mode="quick")


def test_a_configuration_comes_back_from_what_a_run_keeps_of_it(file: Path) -> None:
    config = resolve(task=IMAGES, file=file, assignments=["schedule.name=step", "checkpoint.every=never", "amp=off"])
    kept = {**config.model_dump(mode="json"), "dataset": "mnist:v0", "nproc": 1}
    assert restore(kept, origin="run x") == config


def test_a_runs_configuration_of_another_version_is_refused_by_key() -> None:
    kept = {**resolve(task=IMAGES).model_dump(mode="json"), "schedule": {"nam": "cosine"}}
    with pytest.raises(BadSettings, match=r"run x: unknown key 'schedule\.nam'"):
        restore(kept, origin="run x")
