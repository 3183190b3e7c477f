"""A recipe in a file: ten lines train, and what goes wrong in them is told with the line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import onnx_export, starter
from pipelines.config import resolve
from pipelines.own_items import own_split
from pipelines.recipes import Feature, Problem, find, sources
from pipelines.recipes.sources import CodeFailed
from pipelines.recipes.standardised import Standardised
from pipelines.training import fit
from registry.errors import BadSettings, MissingDependency
from tests.pipelines.own_code import TEN_LINES
from tests.pipelines.training_problems import Given, digits, weights, wines

STARTER = Path(starter.__file__).parent / "recipe.py"


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def trained(given: Given, recipe: str, *assignments: str) -> Any:
    config = resolve(task=given.problem.task, recipe=recipe, assignments=["device=cpu", "epochs=8", *assignments])
    return fit(given.problem, config, inputs=given.inputs, targets=given.targets, log=lambda values, step: None)


@pytest.mark.parametrize("given", [digits, wines], ids=["images", "table"])
def test_ten_lines_are_a_recipe_for_images_and_tables(tmp_path: Path, given: Any) -> None:
    found = trained(given(), f"{write(tmp_path, TEN_LINES)}:Linear", "lr=0.03")
    assert found.validation["accuracy"] > 0.85


def test_the_starter_trains_on_the_digits_as_it_is(tmp_path: Path) -> None:
    shutil.copy(STARTER, tmp_path / "recipe.py")
    found = trained(digits(), f"{tmp_path}/recipe.py:Recipe", "model.width=16")
    assert found.validation["accuracy"] > 0.85
    parity = onnx_export.export(found.network, digits().problem, tmp_path / "m.onnx", items=digits().test_inputs)
    assert parity.flips == 0


def test_the_kept_file_trains_the_same_model_again(tmp_path: Path) -> None:
    first = trained(digits(), f"{write(tmp_path, TEN_LINES)}:Linear")
    (tmp_path / "artifact").mkdir()
    assert sources.keep(find(f"{tmp_path}/mine.py:Linear"), tmp_path / "artifact") == ("recipe.py",)
    (tmp_path / "mine.py").unlink()
    again = trained(digits(), f"{tmp_path}/artifact/recipe.py:Linear")
    assert weights(again) == weights(first)


def test_a_recipe_is_named_without_the_place_of_this_machine(tmp_path: Path) -> None:
    assert sources.label(f"{tmp_path}/mine.py:Linear") == "recipe.py:Linear"
    assert sources.label("image-classification") == "image-classification"


def test_a_recipe_may_read_its_own_training_items(tmp_path: Path) -> None:
    reading = TEN_LINES + (
        "    def read(self, folder, problem):\n"
        "        import numpy as np\n"
        "        return np.load(folder / 'x.npy'), np.load(folder / 'y.npy')\n"
    )
    np.save(tmp_path / "x.npy", digits().inputs[:50])
    np.save(tmp_path / "y.npy", digits().targets[:50])
    found = own_split(find(f"{write(tmp_path, reading)}:Linear"), tmp_path, digits().problem)
    assert found is not None
    assert (found.inputs.shape, found.targets.shape, found.items[49]) == ((50, 8, 8, 1), (50,), "train/own-49")
    assert own_split(find("image-classification"), tmp_path, digits().problem) is None


def test_the_networks_items_are_standardised_with_gaps_and_categories_left_alone() -> None:
    import torch

    columns = (Feature(name="a", kind="numeric"), Feature(name="b", kind="categorical", categories=("x", "y")))
    problem = Problem(task="tabular-classification", labels=("0", "1"), features=columns)
    rows = np.array([[1.0, 0.0], [3.0, 1.0], [np.nan, -1.0]], np.float32)
    network = Standardised(torch.nn.Identity(), problem)
    network.learn(rows)
    assert network(torch.tensor(rows)).tolist() == [[-1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]


@pytest.mark.parametrize(
    ("text", "name", "kind", "message"),
    [
        ("def (", "X", CodeFailed, r"mine\.py, line 1: invalid syntax"),
        ("x = 1\nprint(y)", "X", CodeFailed, r"mine\.py, line 2, in <module>: NameError: name 'y' is not defined"),
        ("import nothing_here", "X", MissingDependency, r"mine\.py needs nothing_here"),
        (TEN_LINES, "Linaer", BadSettings, r"has no 'Linaer'"),
        ("X = 3", "X", BadSettings, r"is no recipe: it lacks name, task"),
        (
            "class X:\n  def __init__(self):\n    raise OSError('full')",
            "X",
            CodeFailed,
            r"line 3, in __init__: OSError: full",
        ),
    ],
    ids=["syntax", "import", "package", "name", "kind", "constructor"],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(
    tmp_path: Path, text: str, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        find(f"{write(tmp_path, text)}:{name}")


@pytest.mark.parametrize("name", ["nowhere.py:X", "nowhere.py"])
def test_a_file_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(BadSettings, match=r"nowhere\.py"):
        find(name)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return nn.Linaer(1, 1)", r"mine\.py, line 8, in build: AttributeError"),
        (
            "return nn.Sequential(nn.Flatten(), nn.Linear(3, 10))",
            r"mine\.py: what it made failed with RuntimeError: mat1 and mat2",
        ),
    ],
    ids=["in-the-file", "in-the-library"],
)
def test_an_exception_while_training_is_blamed_on_the_file(tmp_path: Path, body: str, message: str) -> None:
    lines = TEN_LINES.splitlines()
    name = f"{write(tmp_path, chr(10).join([*lines[:-1], '        ' + body]))}:Linear"
    with pytest.raises(CodeFailed, match=message), sources.blamed(find(name)):
        trained(digits(), name)


def test_a_fault_of_ours_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    recipe = find(f"{write(tmp_path, TEN_LINES)}:Linear")
    with pytest.raises(AttributeError), sources.blamed(recipe):
        resolve(task="x", recipe="image-classification", assignments=[3])  # type: ignore[list-item]
