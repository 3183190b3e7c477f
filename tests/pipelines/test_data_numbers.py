"""Numbers to predict: told from classes, read from tables, from a metadata.csv beside images and from arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import images, publish, write_images, write_text
from task_samples import write_diabetes, write_ink

from pipelines.data import summary
from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from registry.errors import BadData

PIXELS = images(40, shape=(4, 3))


def table(tmp_path: Path, values: list[str], *, column: str = "target") -> Path:
    rows = "".join(f"{at},{value}\n" for at, value in enumerate(values))
    return write_text(tmp_path / "t" / "t.csv", f"a,{column}\n{rows}")


@pytest.mark.parametrize(
    ("values", "task"),
    [
        pytest.param(["0.5", "1", "2"], "tabular-regression", id="fractions"),
        pytest.param([str(k) for k in range(60)], "tabular-regression", id="whole numbers, nearly all different"),
        pytest.param([f"{k % 40}.0" for k in range(200)], "tabular-regression", id="many whole numbers written as floats"),
        pytest.param([str(k % 3) for k in range(60)], "tabular-classification", id="few whole numbers"),
        pytest.param([f"{k % 3}.0" for k in range(60)], "tabular-classification", id="few written as floats"),
        pytest.param([str(k % 40) for k in range(200)], "tabular-classification", id="forty classes"),
        pytest.param(["low", "high"] * 5, "tabular-classification", id="words"),
    ],
)
def test_a_regression_is_told_from_a_classification_by_its_numbers(tmp_path: Path, values: list[str], task: str) -> None:
    assert inspect(table(tmp_path, values)).spec.task == task


def test_what_is_said_wins_over_the_numbers(tmp_path: Path) -> None:
    ages = table(tmp_path, [str(k % 3) for k in range(60)])
    assert inspect(ages, Options(task="tabular-regression")).spec.targets == ("target",)
    write_text(ages.parent / "dataset.yaml", "task: tabular-regression")
    assert inspect(ages).spec.task == "tabular-regression"
    assert inspect(ages, Options(task="tabular-classification")).spec.labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("values", "options", "message", "hint"),
    [
        pytest.param(
            ["1.5", "", "2"], Options(), "t.csv, row 1: the target 'target' is missing (1 of 3 rows)", "remove", id="gap"
        ),
        pytest.param(["1.5", "inf", "2"], Options(), "t.csv, row 1: the target 'target' is infinite", "remove", id="infinite"),
        pytest.param(
            ["3"] * 9, Options(task="tabular-regression"), "is 3 for all 7 items of the split 'train'", None, id="constant"
        ),
        pytest.param(
            ["a", "b", "b"],
            Options(task="tabular-regression"),
            "the target 'target' holds string, a regression predicts numbers",
            "--task tabular-classification",
            id="words",
        ),
        pytest.param(
            ["0.5", "1", "2"],
            Options(task="tabular-classification"),
            "row 0: the target 'target' is 0.5, which is no class",
            "--task tabular-regression",
            id="fractions as classes",
        ),
        pytest.param(["0.5", "1"], Options(targets=("target", "x")), "has no column 'x'", None, id="no such target"),
        pytest.param(
            ["0.5", "1"],
            Options(task="image-regression"),
            "is data for tabular-classification or tabular-regression",
            "task:",
            id="task",
        ),
    ],
)
def test_numbers_that_cannot_be_learned_are_named(
    tmp_path: Path, values: list[str], options: Options, message: str, hint: str | None
) -> None:
    with pytest.raises(BadData) as caught:
        inspect(table(tmp_path, values), options)
    assert message in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_a_table_keeps_its_numbers_exactly_and_cuts_a_test_split(tmp_path: Path) -> None:
    found = inspect(write_diabetes(tmp_path / "d"))
    assert {name: split.items for name, split in found.spec.splits.items()} == {"train": 354, "test": 88}
    numbers = [load(publish(found, tmp_path / "artifact")).split(name) for name in ("train", "test")]
    assert sum(split.targets.sum() for split in numbers) == 67_243  # of all 442 patients
    assert numbers[0].targets.shape == (354, 1)
    assert "target" not in numbers[0].facts
    assert summary.rows(found.spec)[0].balance == "target 155.1 ± 78.25 (25 to 346)"


def test_several_columns_can_be_predicted_together(tmp_path: Path) -> None:
    file = write_text(tmp_path / "t.csv", "a,x,y\n" + "".join(f"{k},{k / 2},{-k}\n" for k in range(20)))
    found = inspect(file, Options(targets=("y", "x"), test_fraction=0))
    assert (found.spec.targets, [column.name for column in found.spec.input.columns]) == (("y", "x"), ["a"])  # type: ignore[union-attr]
    assert load(publish(found, tmp_path / "artifact")).split("train").targets[3].tolist() == [-3.0, 1.5]


def test_a_metadata_csv_names_images_numbers_and_facts(tmp_path: Path) -> None:
    found = inspect(write_ink(tmp_path / "ink", items=30))
    assert (found.spec.task, found.spec.format, found.spec.targets) == ("image-regression", "metadata", ("ink",))
    split = load(publish(found, tmp_path / "artifact")).split("test")
    at = int(split.items[0].removeprefix("test/").removesuffix(".png"))
    assert split.facts["pen"][0] == ("red" if at % 3 else "blue")
    assert 5000 < split.targets[0, 0] < 5400


@pytest.mark.parametrize(
    ("tables", "place"),
    [
        pytest.param(
            {"train/metadata.csv": ("", range(6)), "test/metadata.csv": ("", range(6, 9))}, "{split}/{at}.png", id="one each"
        ),
        pytest.param({"metadata.csv": ("{split}/", range(9))}, "{split}/{at}.png", id="one for all"),
    ],
)
def test_a_metadata_csv_may_lie_in_each_split_or_above(
    tmp_path: Path, tables: dict[str, tuple[str, range]], place: str
) -> None:
    where = ["train"] * 6 + ["test"] * 3
    write_images(tmp_path / "d", {place.format(split=where[at], at=at): PIXELS[at] for at in range(9)})
    for name, (prefix, rows) in tables.items():
        lines = "".join(f"{prefix.format(split=where[at])}{at}.png,{at / 4}\n" for at in rows)
        write_text(tmp_path / "d" / name, f"file_name,value\n{lines}")
    found = inspect(tmp_path / "d")
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert (test.items.tolist(), test.targets[:, 0].tolist()) == (["test/6.png", "test/7.png", "test/8.png"], [1.5, 1.75, 2.0])


@pytest.mark.parametrize(
    ("text", "options", "message", "hint"),
    [
        ("file_name,v\n0.png,1\n9.png,2\n", Options(), "metadata.csv, row 1: the image '9.png' is not there", "relative"),
        ("file_name,v\n0.png,1\n0.png,2\n", Options(), "row 1: the image '0.png' is named twice", "relative"),
        (
            "name,v\n0.png,1\n1.png,2\n",
            Options(),
            "metadata.csv has no column 'file_name'; its columns are name, v",
            "file_name",
        ),
        ("file_name,v,w\n0.png,1,3\n1.png,2,4\n", Options(), "those with numbers are v, w", "--target v"),
        (
            "file_name,v\n0.png,x\n1.png,y\n",
            Options(target="v"),
            "the target 'v' holds string, numbers were expected",
            "--target",
        ),
        ("file_name,v\n0.png,1.5\n1.png,\n", Options(), "the target 'v' of item 1 is nan (1 such values)", "leave"),
    ],
    ids=["not there", "twice", "no names", "which", "words", "gap"],
)
def test_a_metadata_csv_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, options: Options, message: str, hint: str
) -> None:
    write_images(tmp_path / "d", {f"{at}.png": PIXELS[at] for at in range(2)})
    write_text(tmp_path / "d/metadata.csv", text)
    with pytest.raises(BadData) as caught:
        inspect(tmp_path / "d", options)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_images_that_no_table_names_stay_behind(tmp_path: Path) -> None:
    write_images(tmp_path / "d", {f"{at}.png": PIXELS[at] for at in range(12)})
    write_text(tmp_path / "d/metadata.csv", "file_name,v\n" + "".join(f"{at}.png,{at / 3}\n" for at in range(10)))
    assert inspect(tmp_path / "d").ignored == ("10.png", "11.png")


def test_a_class_folder_with_a_csv_beside_it_is_still_asked_about(tmp_path: Path) -> None:
    write_images(tmp_path / "d", {f"{'ab'[at % 2]}/{at}.png": PIXELS[at] for at in range(8)})
    write_text(tmp_path / "d/notes.csv", "file_name,v\n")
    with pytest.raises(BadData, match=r"which are the data\?"):
        inspect(tmp_path / "d")


@pytest.mark.parametrize(("targets", "names"), [((40,), ("target",)), ((40, 2), ("target0", "target1"))], ids=["one", "two"])
def test_arrays_hold_numbers_too(tmp_path: Path, targets: tuple[int, ...], names: tuple[str, ...]) -> None:
    values = np.random.default_rng(0).normal(size=targets)
    np.savez(tmp_path / "d.npz", images=PIXELS, targets=values)
    found = inspect(tmp_path / "d.npz", Options(test_fraction=0))
    assert (found.spec.task, found.spec.targets) == ("image-regression", names)
    assert np.array_equal(load(publish(found, tmp_path / "artifact")).split("train").targets, values.reshape(40, -1))


def test_whole_numbers_in_arrays_are_a_regression_when_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=PIXELS, labels=np.arange(40) % 5)
    assert inspect(tmp_path / "d.npz").spec.task == "image-classification"
    assert inspect(tmp_path / "d.npz", Options(task="image-regression", target="age")).spec.targets == ("age",)
