"""IDX files are read exactly or not at all: every byte that is missing, left over or out of range is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import idx_bytes, images, publish, write_idx
from numpy.typing import NDArray

from pipelines.data.files import File
from pipelines.data.idx import read_idx
from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from pipelines.data.spec import ImageInput
from registry.errors import BadData


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_the_four_files_of_mnist_become_two_splits(tmp_path: Path, packed: bool) -> None:
    found = inspect(write_idx(tmp_path / "mnist", packed=packed))
    assert found.spec.input == ImageInput(height=4, width=3, channels=1)
    assert {name: split.classes for name, split in found.spec.splits.items()} == {
        "train": {"0": 10, "1": 10},
        "test": {"0": 5, "1": 5},
    }


def test_what_is_loaded_is_what_was_written(tmp_path: Path) -> None:
    found = inspect(write_idx(tmp_path / "mnist"))
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert test.inputs[..., 0].tolist() == images(10, seed=1).tolist()
    assert test.targets.tolist() == [0, 1] * 5
    assert test.items.tolist() == [f"test/{position}" for position in range(10)]


def test_loaded_images_may_be_written_to(tmp_path: Path) -> None:
    split = load(publish(inspect(write_idx(tmp_path / "mnist")), tmp_path / "artifact")).split("train")
    assert split.inputs.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([[1, 2], [3, 4]], dtype=np.uint8), id="uint8"),
        pytest.param(np.array([-1, 2], dtype=np.int8), id="int8"),
        pytest.param(np.array([-300, 300], dtype=np.int16), id="int16"),
        pytest.param(np.array([[[70000]]], dtype=np.int32), id="int32"),
        pytest.param(np.array([0.5, -2], dtype=np.float32), id="float32"),
        pytest.param(np.array([0.1, 1e300], dtype=np.float64), id="float64"),
    ],
)
def test_every_type_and_rank_of_the_format_is_read(tmp_path: Path, array: NDArray[Any]) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx_bytes(array))
    read = read_idx(File(name="x", path=path, size=path.stat().st_size))
    assert (read.tolist(), read.dtype) == (array.tolist(), array.dtype)


def test_of_a_file_and_its_gzip_only_the_gzip_is_pushed(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=True)
    found = inspect(write_idx(tmp_path, packed=False), Options(name="mnist"))
    assert all(name.endswith(".gz") for name, _ in found.files)
    assert len(found.ignored) == 4


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("packed", "damage", "message"),
    [
        pytest.param(
            True, edit(IMAGES + ".gz", lambda b: b[:-20]), "t10k-images-idx3-ubyte.gz is truncated: its gzip", id="gzip cut"
        ),
        pytest.param(
            True, edit(IMAGES + ".gz", lambda b: b[:60]), "t10k-images-idx3-ubyte.gz is truncated", id="gzip cut early"
        ),
        pytest.param(
            True,
            edit(IMAGES + ".gz", lambda b: b[:80] + b"\0\0" + b[82:]),
            "t10k-images-idx3-ubyte.gz cannot be read",
            id="bits",
        ),
        pytest.param(
            True, edit(LABELS + ".gz", lambda b: b + b"x"), "goes on after the end of its gzip stream", id="gzip and more"
        ),
        pytest.param(False, edit(IMAGES, lambda b: b[:-1]), "its header promises 120 bytes, 119 follow", id="cut"),
        pytest.param(
            False, edit(IMAGES, lambda b: b[:10]), "t10k-images-idx3-ubyte is truncated inside its header", id="cut header"
        ),
        pytest.param(
            False, edit(LABELS, lambda b: b + b"x"), "goes on after the 10 bytes that its header promises", id="and more"
        ),
        pytest.param(False, edit(LABELS, lambda b: b""), "t10k-labels-idx1-ubyte is empty (0 bytes)", id="zero bytes"),
        pytest.param(False, edit(LABELS, lambda b: b"<html>"), "is no IDX file: it begins with 3c 68 74 6d", id="a web page"),
        pytest.param(
            True,
            edit(IMAGES + ".gz", lambda b: gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12)),
            "bytes, a file of 26 bytes cannot hold them",
            id="a header that lies",
        ),
        pytest.param(
            False,
            edit(LABELS, lambda b: idx_bytes(np.zeros(9, np.uint8))),
            "t10k-images-idx3-ubyte holds 10 images, t10k-labels-idx1-ubyte 9 labels",
            id="counts differ",
        ),
        pytest.param(
            False,
            edit(LABELS, lambda b: idx_bytes(np.arange(10, dtype=np.uint8))),
            "t10k-labels-idx1-ubyte: item 2 has label 2, the labels of train-labels-idx1-ubyte end at 1",
            id="label out of range",
        ),
        pytest.param(
            False,
            edit(IMAGES, lambda b: idx_bytes(images(10, shape=(5, 3)))),
            "t10k-images-idx3-ubyte holds image 5×3×1, uint8, the split before it image 4×3×1, uint8",
            id="another shape",
        ),
        pytest.param(
            False, lambda folder: (folder / IMAGES).unlink(), "stands alone, its images file is missing", id="half a pair"
        ),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    tmp_path: Path, packed: bool, damage: Callable[[Path], None], message: str
) -> None:
    damage(write_idx(tmp_path / "mnist", packed=packed))
    with pytest.raises(BadData) as caught:
        inspect(tmp_path / "mnist")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("test", "classes", "message"),
    [
        pytest.param(10, 1, "all 20 items of the split 'train'", id="one class"),
        pytest.param(0, 2, "the split 'test' of", id="empty split"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(tmp_path: Path, test: int, classes: int, message: str) -> None:
    with pytest.raises(BadData, match=message):
        inspect(write_idx(tmp_path / "mnist", test=test, classes=classes))
