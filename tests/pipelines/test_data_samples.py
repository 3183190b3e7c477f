"""The samples are the files that people have, the same in every place; and the real MNIST is what its authors say it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from data_files import publish

from pipelines.data import summary
from pipelines.data.reading import inspect, load
from pipelines.data.samples import write_digits, write_table
from pipelines.data.spec import ImageInput

MNIST = Path(os.environ.get("REG_TEST_MNIST", Path(__file__).parents[2] / "../shared/data/mnist"))


def test_the_digits_are_an_honest_dataset(tmp_path: Path) -> None:
    spec = inspect(write_digits(tmp_path / "anywhere")).spec
    assert (spec.name, spec.input, spec.labels) == ("digits", ImageInput(height=8, width=8, channels=1), tuple("0123456789"))
    assert {name: split.items for name, split in spec.splits.items()} == {"train": 1198, "test": 599}
    assert summary.warnings(spec) == ()


def test_the_digits_are_the_same_bytes_everywhere(tmp_path: Path) -> None:
    first, second = (inspect(write_digits(tmp_path / name)) for name in "ab")
    assert [(name, path.read_bytes()) for name, path in first.files] == [
        (name, path.read_bytes()) for name, path in second.files
    ]


@pytest.mark.parametrize(
    ("name", "items", "columns", "labels"),
    [
        ("iris", 150, 4, ("setosa", "versicolor", "virginica")),
        ("wine", 178, 13, ("class_0", "class_1", "class_2")),
        ("breast_cancer", 569, 30, ("benign", "malignant")),
    ],
)
def test_a_table_is_ready_to_push(
    tmp_path: Path, name: Literal["iris", "wine", "breast_cancer"], items: int, columns: int, labels: tuple[str, ...]
) -> None:
    spec = inspect(write_table(tmp_path, name)).spec
    assert (spec.name, spec.items, spec.input.shape, spec.labels, spec.overlaps) == (name, items, (columns,), labels, ())


@pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST files; set REG_TEST_MNIST to their folder")
def test_mnist_is_what_its_authors_say(tmp_path: Path) -> None:
    found = inspect(MNIST)
    assert found.spec.input == ImageInput(height=28, width=28, channels=1)
    assert found.spec.labels == tuple("0123456789")
    assert [(row.split, row.items, row.balance) for row in summary.rows(found.spec)] == [
        ("train", 60_000, "5421 (5) to 6742 (1) per class"),
        ("test", 10_000, "892 (5) to 1135 (1) per class"),
    ]
    assert summary.warnings(found.spec) == ()
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert (test.inputs.shape, test.targets[:5].tolist(), test.items[9_999]) == (
        (10_000, 28, 28, 1),
        [7, 2, 1, 0, 4],
        "test/9999",
    )
