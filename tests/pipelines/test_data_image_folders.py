"""Folders of images become splits and classes by their names, with every decision about pixels made in one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import images, publish, write_images
from PIL import Image

from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from pipelines.data.spec import Division, ImageInput, Overlap
from registry.errors import BadData

NOISE = images(40)
SPLIT = {
    f"{split}/{label}/{number}.png": NOISE[number + 4 * k]
    for k, (split, label) in enumerate((s, c) for s in ("train", "test") for c in ("cat", "dog"))
    for number in range(4)
}
CLASSES = {f"{label}/{number}.png": NOISE[number + 20 * k] for k, label in enumerate(("cat", "dog")) for number in range(20)}


def test_items_are_named_by_split_and_path(tmp_path: Path) -> None:
    train = load(publish(inspect(write_images(tmp_path / "pets", SPLIT)), tmp_path / "artifact")).split("train")
    assert train.items.tolist() == [f"train/{label}/{number}.png" for label in ("cat", "dog") for number in range(4)]
    assert train.targets.tolist() == [0] * 4 + [1] * 4
    assert train.inputs[5, :, :, 0].tolist() == SPLIT["train/dog/1.png"].tolist()


def test_classes_alone_get_a_recorded_split_that_a_loader_repeats(tmp_path: Path) -> None:
    found = inspect(write_images(tmp_path / "pets", CLASSES), Options(seed=3, test_fraction=0.25))
    dataset = load(publish(found, tmp_path / "artifact"))
    test, train = dataset.split("test"), dataset.split("train")
    assert found.spec.division == Division(seed=3, test_fraction=0.25)
    assert found.spec.splits["test"].classes == {"cat": 5, "dog": 5}
    assert {item.partition("/")[2] for item in [*test.items.tolist(), *train.items.tolist()]} == set(CLASSES)
    assert all(
        CLASSES[item.removeprefix("test/")].tolist() == test.inputs[k, :, :, 0].tolist() for k, item in enumerate(test.items)
    )


def test_another_seed_draws_another_split(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", CLASSES)
    drawn = [
        load(publish(inspect(folder, Options(seed=seed)), tmp_path / str(seed))).split("test").items.tolist() for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def test_copies_of_an_image_stay_on_one_side_of_a_drawn_split(tmp_path: Path) -> None:
    copies = {f"cat/copy of {number}.png": CLASSES[f"cat/{number}.png"] for number in range(20)}
    spec = inspect(write_images(tmp_path / "pets", {**CLASSES, **copies})).spec
    assert spec.overlaps == ()
    assert sum(split.duplicates for split in spec.splits.values()) == 20


def test_the_same_picture_in_two_splits_is_found_under_any_name_and_format(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", {**SPLIT, "test/cat/other.bmp": SPLIT["train/dog/2.png"]})
    assert inspect(folder).spec.overlaps == (
        Overlap(a="train", b="test", items=1, examples=(("train/dog/2.png", "test/cat/other.bmp"),)),
    )


def test_examples_of_an_overlap_end_at_five(tmp_path: Path) -> None:
    leaked = {
        name.replace("train", "test").replace(".png", "x.png"): pixels for name, pixels in SPLIT.items() if "train" in name
    }
    (overlap,) = inspect(write_images(tmp_path / "pets", {**SPLIT, **leaked})).spec.overlaps
    assert (overlap.items, len(overlap.examples)) == (8, 5)


def test_names_with_spaces_percent_and_unicode_survive(tmp_path: Path) -> None:
    names = ("train/Käse 100%/a b.png", "train/#1 ☃/ü?.PNG", "test/Käse 100%/%20.png")
    found = inspect(write_images(tmp_path / "pets", dict(zip(names, NOISE, strict=False))))
    dataset = load(publish(found, tmp_path / "artifact"))
    assert sorted([*dataset.split("train").items.tolist(), *dataset.split("test").items.tolist()]) == sorted(names)


def test_one_folder_around_the_data_is_looked_through(tmp_path: Path) -> None:
    inner = {f"pets/{name}": pixels for name, pixels in SPLIT.items()}
    found = inspect(write_images(tmp_path / "data", inner))
    assert found.spec.labels == ("cat", "dog")
    assert found.files[0][0] == "pets/test/cat/0.png"


@pytest.mark.parametrize(
    ("mode", "shape", "channels"),
    [
        pytest.param("L", (4, 3), 1, id="grey"),
        pytest.param("1", (4, 3), 1, id="black and white"),
        pytest.param("RGB", (4, 3, 3), 3, id="colour"),
        pytest.param("RGBA", (4, 3, 4), 4, id="transparent"),
        pytest.param("P", (4, 3, 3), 3, id="palette"),
    ],
)
def test_pixel_formats_become_channels(tmp_path: Path, mode: str, shape: tuple[int, ...], channels: int) -> None:
    for k, pixels in enumerate(images(20, shape=shape)):
        file = tmp_path / "pets" / ("cat", "dog")[k % 2] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(file)
    assert inspect(tmp_path / "pets").spec.input == ImageInput(height=4, width=3, channels=channels)


def test_an_image_may_be_one_pixel(tmp_path: Path) -> None:
    dots = {f"{label}/{k}.png": np.full((1, 1), k + 20 * n, np.uint8) for n, label in enumerate("ab") for k in range(10)}
    assert inspect(write_images(tmp_path / "dots", dots)).spec.input == ImageInput(height=1, width=1, channels=1)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param(
            {"test/bird/9.png": NOISE[0]}, "test/bird/9.png lies in the class 'bird', which is not one of the 2", id="new class"
        ),
        pytest.param(
            {"bird/9.png": NOISE[0]}, "the folders 'test' (a split) and 'bird' (a class?) stand side by side", id="mixed levels"
        ),
        pytest.param({"9.png": NOISE[0]}, "9.png lies in no class folder", id="image beside folders"),
        pytest.param({"train/9.png": NOISE[0]}, "train/9.png lies in no class folder", id="image beside classes"),
        pytest.param(
            {"testing/cat/9.png": NOISE[0]}, "the folders 'test' and 'testing' are both the split 'test'", id="split twice"
        ),
        pytest.param(
            {"train/cat/9.png": np.zeros((4, 3), np.uint16)}, "train/cat/9.png has the pixel format 'I;16'", id="16 bits"
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, extra: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadData) as caught:
        inspect(write_images(tmp_path / "pets", {**SPLIT, **extra}))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "train/cat/9.png is empty (0 bytes)", id="zero bytes"),
        pytest.param(b"hello", "train/cat/9.png is no image that Pillow knows", id="no image"),
        pytest.param(None, "train/cat/9.png cannot be read: image file is truncated", id="cut"),
    ],
)
def test_a_broken_image_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    folder = write_images(tmp_path / "pets", SPLIT)
    whole = (folder / "train/cat/0.png").read_bytes()
    (folder / "train/cat/9.png").write_bytes(whole[:50] if content is None else content)
    with pytest.raises(BadData) as caught:
        inspect(folder)
    assert message in caught.value.message


def test_an_animation_is_not_taken_for_its_first_frame(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", SPLIT)
    Image.new("L", (3, 4)).save(folder / "train/cat/9.gif", save_all=True, append_images=[Image.new("L", (3, 4), 200)])
    with pytest.raises(BadData, match=r"train/cat/9\.gif has 2 frames"):
        inspect(folder)
