"""Images with masks: found in the layouts people have, read class by class, and refused with the file that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import images, publish, write_images, write_text
from numpy.typing import NDArray
from PIL import Image
from task_samples import CLASSES, write_scenes

from pipelines.data import summary
from pipelines.data.comparison import diff
from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from pipelines.data.spec import DatasetSpec
from registry.errors import BadData

PIXELS = images(3, shape=(4, 6))
MASK = np.array([[0, 0, 1, 1, 2, 255]] * 4, dtype=np.uint8)


def two(pattern: str, mask_pattern: str) -> dict[str, NDArray[np.uint8]]:
    """Two training images and one for the test, with their masks, under names made of `{split}` and `{name}`."""
    found = {}
    for at, (split, name) in enumerate((("train", "a"), ("train", "b"), ("test", "a"))):
        found[pattern.format(split=split, name=name)] = PIXELS[at]
        found[mask_pattern.format(split=split, name=name)] = MASK
    return found


@pytest.mark.parametrize(
    ("image", "mask", "ids"),
    [
        pytest.param("{split}/images/{name}.png", "{split}/masks/{name}.png", ["a", "b"], id="split first"),
        pytest.param("images/{split}/{name}.png", "labels/{split}/{name}.bmp", ["a", "b"], id="kind first"),
        pytest.param("{split}/p1/{name}.tif", "{split}/p1/{name}_mask.tif", ["p1/a", "p1/b"], id="beside each other"),
        pytest.param("{split}/images/p1/{name}.png", "{split}/masks/p1/{name}_mask.png", ["p1/a", "p1/b"], id="both"),
    ],
)
def test_image_and_mask_are_found_in_the_layouts_people_have(tmp_path: Path, image: str, mask: str, ids: list[str]) -> None:
    found = inspect(write_images(tmp_path / "scans", two(image, mask)))
    assert (found.spec.task, found.spec.format, found.spec.labels) == ("semantic-segmentation", "masks", ("0", "1", "2"))
    train = load(publish(found, tmp_path / "artifact")).split("train")
    assert train.items.tolist() == [f"train/{id_}" for id_ in ids]
    assert np.array_equal(train.inputs[..., 0], PIXELS[:2])
    assert np.array_equal(train.targets, [MASK, MASK])


def test_a_folder_of_people_with_and_without_a_mask_is_a_classification(tmp_path: Path) -> None:
    files = {f"train/{kind}/{at}.png": PIXELS[at] for at in range(3) for kind in ("mask", "no_mask")}
    assert inspect(write_images(tmp_path / "faces", files)).spec.task == "image-classification"


def test_what_is_said_wins_over_what_it_looks_like(tmp_path: Path) -> None:
    files = two("{split}/images/{name}.png", "{split}/masks/{name}.png")
    folder = write_images(tmp_path / "odd", files)
    assert inspect(folder, Options(task="image-classification")).spec.labels == ("images", "masks")


@pytest.mark.parametrize(
    ("values", "options", "labels", "expected"),
    [
        pytest.param([0, 1, 255], Options(), ("0", "1"), [0, 1, 255], id="255 is nobody's"),
        pytest.param([0, 255], Options(), ("0", "255"), [0, 1], id="black and white"),
        pytest.param([0, 255], Options(labels=("no", "yes")), ("no", "yes"), [0, 1], id="black and white, named"),
        pytest.param([0, 100, 200], Options(), ("0", "100", "200"), [0, 1, 2], id="values of their own"),
        pytest.param([0, 2], Options(labels=("a", "b", "c")), ("a", "b", "c"), [0, 2], id="a class that train lacks"),
        pytest.param([7, 9, 255], Options(mask_values=(9, 7)), ("9", "7"), [1, 0, 255], id="values said"),
        pytest.param(
            [7, 255], Options(mask_values=(7, 255), labels=("x", "y")), ("x", "y"), [0, 1], id="255 said to be a class"
        ),
    ],
)
def test_values_of_pixels_become_classes(
    tmp_path: Path, values: list[int], options: Options, labels: tuple[str, ...], expected: list[int]
) -> None:
    mask = np.resize(np.array(values, dtype=np.uint8), (4, 6))
    files = {"images/a.png": PIXELS[0], "masks/a.png": mask, "images/b.png": PIXELS[1], "masks/b.png": mask}
    found = inspect(write_images(tmp_path / "scans", files), replace(options, test_fraction=0))
    target = load(publish(found, tmp_path / "artifact")).split("train").targets[0]
    assert (found.spec.labels, np.unique(target).tolist()) == (labels, sorted(set(expected)))
    assert target.ravel()[: len(values)].tolist() == expected


def test_a_palette_keeps_its_indices(tmp_path: Path) -> None:
    files = two("{split}/images/{name}.png", "{split}/masks/{name}.png")
    folder = write_images(tmp_path / "voc", files)
    for name in ("train/masks/a.png", "train/masks/b.png", "test/masks/a.png"):
        indexed = Image.frombytes("P", (6, 4), MASK.tobytes())
        indexed.putpalette([*range(256)] * 3)
        indexed.save(folder / name)
    assert np.array_equal(load(publish(inspect(folder), tmp_path / "artifact")).split("test").targets[0], MASK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/masks/b.png": None}, "train/images/b.png has no mask (1 of 3 such files)"),
        ({"train/masks/c.png": MASK}, "train/masks/c.png has no image (1 of 4 such files)"),
        ({"train/masks/b.png": MASK[:3]}, "train/masks/b.png is 3×6, its image is 4×6"),
        ({"train/images/b.png": PIXELS[1][:3]}, "the images have 2 sizes, from 3×6 (train/images/b.png) to 4×6"),
        ({"test/masks/a.png": MASK + 7}, "test/masks/a.png has pixels of value 7, the classes are 0, 1, 2"),
        ({"test/masks/a.png": np.full_like(MASK, 255)}, "test/masks/a.png has no labelled pixel, all are 255"),
        ({"train/masks/a.png": PIXELS.transpose(1, 2, 0)}, "train/masks/a.png has the pixel format 'RGB'"),
        ({"train/images/a.jpg": PIXELS[0]}, "are both train/a"),
        ({"images/c.png": PIXELS[0], "masks/c.png": MASK}, "c lies in no split, others in train, test"),
    ],
    ids=["no mask", "no image", "mask size", "image size", "unknown value", "unlabelled", "colours", "twice", "outside"],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Mapping[str, NDArray[np.uint8] | None], message: str) -> None:
    files = {**two("{split}/images/{name}.png", "{split}/masks/{name}.png"), **change}
    folder = write_images(tmp_path / "scans", {name: pixels for name, pixels in files.items() if pixels is not None})
    with pytest.raises(BadData) as caught:
        inspect(folder)
    assert message in caught.value.message


def test_the_description_counts_images_and_pixels(tmp_path: Path) -> None:
    found = inspect(write_scenes(tmp_path / "scenes", train=9, test=3))
    test = found.spec.splits["test"]
    assert (found.spec.schema_version, found.spec.labels, found.spec.mask_values) == (2, CLASSES, (0, 1, 2))
    assert sum(test.pixels.values()) + test.ignored == 3 * 12 * 14
    assert (test.classes["paper"], test.ignored) == (3, 3)
    assert DatasetSpec.from_json(found.spec.to_json()) == found.spec
    assert dict(summary.facts(found.spec))["masks"] == "pixel values 0, 1, 2"
    assert summary.rows(found.spec)[1].balance.endswith("not labelled 0.595 %")


def test_folders_within_a_split_are_facts_about_the_items(tmp_path: Path) -> None:
    folder = publish(inspect(write_scenes(tmp_path / "scenes", train=9, test=4)), tmp_path / "artifact")
    assert load(folder).split("test").facts["folder"].tolist() == ["scanner0", "scanner1", "scanner2", "scanner3"]


def test_a_changed_mask_is_a_changed_label(tmp_path: Path) -> None:
    write_text(tmp_path / "scans/dataset.yaml", "labels: [a, b, c]")
    files = two("{split}/images/{name}.png", "{split}/masks/{name}.png")
    before = load(publish(inspect(write_images(tmp_path / "scans", files)), tmp_path / "before"))
    write_images(tmp_path / "scans", {"train/masks/b.png": MASK[::-1, ::-1]})
    after = load(publish(inspect(tmp_path / "scans"), tmp_path / "after"))
    found = diff(before, after)
    assert [(one.before, one.after) for one in found.relabelled] == [("train/b", "train/b")]
    assert (found.added, found.removed, found.unchanged) == ((), (), 2)


def test_data_without_a_test_split_get_one(tmp_path: Path) -> None:
    files = {
        f"{kind}/p{at % 2}/{at}.png": pixels
        for at in range(10)
        for kind, pixels in (("images", images(10, shape=(4, 6))[at]), ("masks", MASK))
    }
    found = inspect(write_images(tmp_path / "scans", files))
    assert {name: split.items for name, split in found.spec.splits.items()} == {"train": 8, "test": 2}
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert [item.split("/")[1] for item in test.items] == test.facts["folder"].tolist()


def test_arrays_hold_masks_too(tmp_path: Path) -> None:
    stack = np.stack([MASK, MASK[::-1], MASK])
    np.savez(tmp_path / "scans.npz", x_train=PIXELS, y_train=stack, x_test=PIXELS[:1], y_test=stack[:1, ..., np.newaxis])
    found = inspect(tmp_path / "scans.npz")
    assert (found.spec.task, found.spec.labels) == ("semantic-segmentation", ("0", "1", "2"))
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert np.array_equal(test.targets, stack[:1])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8) + np.arange(5, dtype=np.uint8), "has masks of (4, 5)"),
        (np.stack([MASK.astype(np.int32) + 256] * 3), "holds values from 256 to 511"),
        (np.stack([MASK] * 2), "holds 3 images"),
        (np.zeros((3, 4, 6), np.uint8), "have only pixels of value 0"),
    ],
    ids=["size", "range", "count", "one class"],
)
def test_arrays_that_are_no_masks_are_refused(tmp_path: Path, masks: NDArray[np.int32], message: str) -> None:
    np.savez(tmp_path / "scans.npz", images=PIXELS, masks=masks)
    with pytest.raises(BadData) as caught:
        inspect(tmp_path / "scans.npz")
    assert message in caught.value.message
