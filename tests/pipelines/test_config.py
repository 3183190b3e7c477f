"""A configuration is refused before any work, with the place, the key and the nearest known key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config import flat, resolve
from registry.errors import BadSettings

ROOT = Path(__file__).parents[2]
IMAGES, TABLES = "image-classification", "tabular-classification"


def test_defaults_are_the_recipes() -> None:
    assert [resolve(task=task).lr for task in (IMAGES, TABLES)] == [0.005, 0.005]
    assert [resolve(task=task).batch_size for task in (IMAGES, TABLES)] == [128, 64]


def test_a_file_beats_the_recipe_and_an_assignment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("epochs: 7\nbatch_size: 32\nmodel:\n  width: 8\n  depth: 1\n")
    config = resolve(task=IMAGES, file=file, assignments=["epochs=9", "model.width=4", "model.width=5"])
    assert (config.epochs, config.batch_size, config.lr) == (9, 32, 0.005)
    assert config.model.model_dump() == {"width": 5, "depth": 1, "dropout": 0.0}


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("lr=1e-3", "lr", 0.001),
        ("lr=1", "lr", 1.0),
        ("amp=off", "amp", "off"),
        ("patience=null", "patience", None),
        ("patience=", "patience", None),
        ("epochs=auto", "epochs", "auto"),
        ("seed = 3", "seed", 3),
    ],
)
def test_a_value_is_yaml(assignment: str, key: str, value: object) -> None:
    assert resolve(task=IMAGES, assignments=[assignment]).model_dump()[key] == value


@pytest.mark.parametrize(
    ("assignment", "message", "hint"),
    [
        ("epoch=3", "--set epoch=3: unknown key 'epoch'", "did you mean 'epochs'?"),
        ("model.widht=3", "--set model.widht=3: unknown key 'model.widht'", "did you mean 'model.width'?"),
        ("model=3", "--set model=3: model is a group, not a value", "it has model.width, model.depth, model.dropout"),
        ("epochs=0", "--set epochs=0: epochs is 0: input should be greater than or equal to 1", "--set epochs=auto"),
        ("epochs=2.5", "--set epochs=2.5: epochs is 2.5: input should be a valid integer", "--set epochs=auto"),
        ("epochs=true", "--set epochs=true: epochs is True: input should be a valid integer", "--set epochs=auto"),
        ("lr=fast", "--set lr=fast: lr is 'fast': input should be a valid number", "--set lr=0.005"),
        ("lr=.nan", "--set lr=.nan: lr is nan: input should be a finite number", "--set lr=0.005"),
        (
            "model.width=0",
            "--set model.width=0: model.width is 0: input should be greater than or equal to 1",
            "--set model.width=16",
        ),
        (
            "device=gpu",
            "--set device=gpu: device is 'gpu': input should be 'auto', 'cpu', 'cuda' or 'mps'",
            "--set device=auto",
        ),
        ("epochs", "--set epochs: key=value was expected", "--set epochs=5"),
    ],
    ids=lambda value: value.split(":")[0],
)
def test_a_mistake_names_the_flag_the_key_and_the_way_out(assignment: str, message: str, hint: str) -> None:
    with pytest.raises(BadSettings) as caught:
        resolve(task=IMAGES, assignments=[assignment])
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("model: {width: wide}\n")
    with pytest.raises(BadSettings, match=r"train\.yaml:1: model\.width is 'wide': input should be a valid integer"):
        resolve(task=IMAGES, file=file)


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n", "\udcff"], ids=["a list", "broken YAML", "not UTF-8"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "train.yaml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadSettings, match=r"train\.yaml"):
        resolve(task=IMAGES, file=file)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot read .*absent\.yaml"):
        resolve(task=IMAGES, file=tmp_path / "absent.yaml")


def test_the_flag_chooses_the_recipe_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("recipe: no-such-recipe\n")
    assert resolve(task=TABLES, recipe=TABLES, file=file).recipe == TABLES


def test_a_recipe_for_another_task_is_refused() -> None:
    with pytest.raises(
        BadSettings, match=f"--recipe {TABLES}: recipe '{TABLES}' solves {TABLES}, the dataset's task is {IMAGES}"
    ):
        resolve(task=IMAGES, recipe=TABLES)


def test_a_configuration_is_checked_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipelines.config import resolve\n"
        "import pipelines.model_files\n"
        f"assert resolve(task='{IMAGES}', assignments=['model.width=4']).model.width == 4"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_training_without_torch_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from registry.errors import MissingDependency\n"
        "try:\n    import pipelines.training\n"
        "except MissingDependency as exc:\n    sys.stdout.write(exc.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("pip install 'reg-lifecycle[cpu]'", "")


def test_every_key_is_explained() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "docs" / "training.md").read_text(), flags=re.DOTALL)
    explained = re.findall(r"`([^`]+)`", text)
    words = {word for code in explained for word in re.findall(r"[a-z_]+", code)}
    keys = {key for key in flat(resolve(task=TABLES)) if not key.startswith(("model.", "augment."))} - {"recipe"}
    assert {key for key in keys if key.rpartition(".")[2] not in words} == set()
