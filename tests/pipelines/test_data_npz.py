"""Archives under the names that people use become splits; nothing in them is guessed or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import images, publish

from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from registry.errors import BadData

X, Y = images(20), np.arange(20) % 2


def save(folder: Path, name: str = "data.npz", **arrays: Any) -> Path:
    np.savez(folder / name, **arrays)
    return folder


@pytest.mark.parametrize(
    ("arrays", "items"),
    [
        pytest.param(
            {"x_train": X[:15], "y_train": Y[:15], "x_test": X[15:], "y_test": Y[15:]}, {"train": 15, "test": 5}, id="Keras"
        ),
        pytest.param(
            {
                "train_images": X[:10],
                "train_labels": Y[:10, None],
                "val_images": X[10:15],
                "val_labels": Y[10:15, None],
                "test_images": X[15:],
                "test_labels": Y[15:, None],
            },
            {"train": 10, "val": 5, "test": 5},
            id="MedMNIST",
        ),
        pytest.param({"images": X, "labels": Y}, {"train": 16, "test": 4}, id="without a split"),
        pytest.param(
            {"x_train": X.astype(np.int32), "y_train": Y.astype(np.uint8)}, {"train": 16, "test": 4}, id="wider whole numbers"
        ),
    ],
)
def test_the_names_of_the_arrays_say_the_splits(tmp_path: Path, arrays: dict[str, Any], items: dict[str, int]) -> None:
    spec = inspect(save(tmp_path, **arrays), Options(name="data")).spec
    assert {name: split.items for name, split in spec.splits.items()} == items


def test_archives_named_after_splits_are_one_dataset(tmp_path: Path) -> None:
    save(tmp_path, "train.npz", x=X[:15], y=Y[:15])
    spec = inspect(save(tmp_path, "test.npz", x=X[15:], y=Y[15:]), Options(name="data")).spec
    assert {name: split.items for name, split in spec.splits.items()} == {"train": 15, "test": 5}


def test_colour_images_keep_their_channels(tmp_path: Path) -> None:
    colours = images(20, shape=(4, 3, 3))
    found = inspect(save(tmp_path, x_train=colours, y_train=Y, x_test=colours[:2], y_test=Y[:2]), Options(name="data"))
    assert load(publish(found, tmp_path / "artifact")).split("train").inputs.tolist() == colours.tolist()


@pytest.mark.parametrize(
    ("arrays", "message", "hint"),
    [
        pytest.param(
            {"images": X / 255, "labels": Y},
            "data.npz [images] holds float64",
            "(images * 255).round().astype('uint8')",
            id="floats",
        ),
        pytest.param(
            {"images": X.astype(int) * 2, "labels": Y},
            "data.npz [images] holds values from",
            "images.astype('uint8')",
            id="beyond 255",
        ),
        pytest.param(
            {"images": X, "labels": np.eye(2)[Y]}, "data.npz [labels] holds float64", "labels.argmax(axis=1)", id="one-hot"
        ),
        pytest.param(
            {"images": images(20, shape=(3, 8, 9)), "labels": Y},
            "[20, 3, 8, 9]",
            "numpy.moveaxis(images, 1, -1)",
            id="channels first",
        ),
        pytest.param(
            {"images": images(20, shape=()), "labels": Y}, "data.npz [images] has the shape [20]", None, id="no images"
        ),
        pytest.param({"x": X, "y": Y - 1}, "data.npz [y]: item 0 has label -1", None, id="negative label"),
        pytest.param(
            {"x": X, "y": np.array([{}] * 20)}, "data.npz [y] holds Python objects", "labels.astype('int64')", id="pickles"
        ),
        pytest.param({"x_train": X}, "data.npz holds 'x_train' and no labels for it", "rename them to x_train", id="no labels"),
        pytest.param({"a": X, "b": Y}, "data.npz holds 'a', 'b'", "numpy.savez('data.npz'", id="unknown names"),
    ],
)
def test_arrays_that_would_have_to_be_guessed_are_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str, hint: str | None
) -> None:
    with pytest.raises(BadData) as caught:
        inspect(save(tmp_path, **arrays))
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda b: b[:400], "data.npz cannot be read: File is not a zip file", id="cut"),
        pytest.param(lambda b: b[:200] + b"\0\xff" + b[202:], "data.npz [x] cannot be read: Bad CRC-32", id="bits"),
        pytest.param(lambda b: b"", "data.npz is empty (0 bytes)", id="zero bytes"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    file = save(tmp_path, x=X, y=Y) / "data.npz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadData) as caught:
        inspect(tmp_path)
    assert message in caught.value.message
