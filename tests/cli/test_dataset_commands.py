"""`reg dataset` on many small files, data elsewhere and two versions, as a person runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Inside

pytestmark = pytest.mark.slow

NOISE = np.random.default_rng(0).integers(0, 256, size=(60, 8, 8), dtype=np.uint8)


def draw(folder: Path, pixels: np.ndarray) -> dict[str, bytes]:
    """A folder of images of two classes in two splits; the content of its files by name."""
    found = {}
    for number, image in enumerate(pixels):
        name = f"{'test' if number % 3 == 0 else 'train'}/{'cat' if number % 2 else 'dog'}/{number:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
        found[name] = (folder / name).read_bytes()
    return found


@pytest.fixture(scope="module")
def packed(make_served: Callable[[str], Inside]) -> tuple[Inside, dict[str, bytes]]:
    """A home with a packed dataset, and the files that were packed."""
    reg = make_served("packed")
    files = draw(reg.folder / "pets", NOISE)
    done = reg("dataset", "push", "pets", "--pack")
    assert (done.code, done.out) == (0, "pets:v0 is new\n"), done.err
    assert "packed   60 files in 2 shards" in done.err
    return reg, files


def test_a_packed_dataset_is_unchanged_when_pushed_again(packed: tuple[Inside, dict[str, bytes]]) -> None:
    reg, _ = packed
    assert "pets:v0 is unchanged" in reg("dataset", "push", "pets", "--pack").out
    assert list(reg.home.glob("packing-*")) == []


def test_unpacking_gives_the_files_back(packed: tuple[Inside, dict[str, bytes]]) -> None:
    reg, files = packed
    assert reg("dataset", "pull", "pets:v0", "--unpack", "--to", "back").code == 0
    back = reg.folder / "back"
    assert {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*.png")} == files
    assert sorted(p.name for p in back.iterdir()) == ["reg.dataset.json", "test", "train"]


def test_two_versions_are_compared_by_items_leakage_and_drift(packed: tuple[Inside, dict[str, bytes]]) -> None:
    reg, _ = packed
    other = (NOISE[:40] // 4).astype(np.uint8)
    other[3] = NOISE[4]  # an item of train becomes one of test
    draw(reg.folder / "darker", other)
    assert reg("dataset", "push", "darker").code == 0
    page = reg.folder / "drift.html"
    found = reg("dataset", "diff", "pets", "darker", "--save", "drift.html", "--json").data
    assert (len(found["changed"]), len(found["removed"]), len(found["moved"]), len(found["relabelled"])) == (38, 21, 0, 1)
    assert found["relabelled"] == [["train/dog/04.png", "test/cat/03.png", "dog", "cat"]]
    assert [(seen["by"], seen["judged"], seen["items"]) for seen in map(_seen, found["seen"])] == [("after", "test", 1)]
    large = {(one["split"], one["feature"]) for one in found["drift"]["features"] if one["size"] == "large"}
    assert large == {("train", "brightness"), ("train", "contrast"), ("test", "brightness"), ("test", "contrast")}
    text = page.read_text(encoding="utf-8")
    assert "pets:v0 → darker:v0" in text
    assert "http" not in text, "the page needs no network"


def test_images_of_many_sizes_are_pushed_with_the_command_that_the_refusal_proposes(
    packed: tuple[Inside, dict[str, bytes]],
) -> None:
    reg, _ = packed
    for number in range(24):
        file = reg.folder / "photos" / ("cat" if number % 2 else "dog") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(NOISE[number][:, : 5 + number % 3]).resize((40 + number, 50)).save(file)
    refused = reg("dataset", "push", "photos")
    assert (refused.code, "the images have 24 sizes, from 50×40 (dog/0.png) to 50×63" in refused.err) == (2, True), refused.err
    hint = refused.err.partition("Hint: reg ")[2].split()
    assert hint == ["dataset", "push", "photos", "--size", "32"]
    done = reg(*hint)
    assert (done.code, done.out) == (0, "photos:v0 is new\n"), done.err
    assert reg("dataset", "show", "photos", "--json").data["description"]["rendering"]["size"] == [32, 32]
    assert reg("dataset", "push", "photos", "--size", "16").code == 0
    found = reg("dataset", "diff", "photos:v0", "photos:v1", "--save", "sizes.html", "--json").data
    assert (found["unchanged"], found["inputs"][0].partition(",")[0]) == (24, "image 32×32×1")
    assert "image 16×16×1" in (reg.folder / "sizes.html").read_text(encoding="utf-8")


def test_a_file_uri_is_a_reference(packed: tuple[Inside, dict[str, bytes]]) -> None:
    reg, _ = packed
    done = reg("dataset", "push", f"file://{reg.folder}/pets", "--name", "here")
    assert (done.code, done.out) == (0, "here:v0 is new\n"), done.err
    assert "the data stay where they are" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s3://bucket/data"], "need boto3, which is not installed"),
        (["pets", "--pack", "--reference"], "--pack writes files anew, --reference leaves them where they are"),
        (["s3://bucket/data", "--pack"], "--pack writes files anew"),
        (["missing"], "there is nothing at missing"),
    ],
    ids=["no boto3", "packed and left", "a bucket packed", "nothing there"],
)
def test_what_cannot_be_pushed_is_refused_before_a_server_starts(inside: Inside, words: list[str], message: str) -> None:
    done = inside("dataset", "push", *words)
    assert done.code in (2, 7)
    assert message in done.err
    assert not (inside.home / "blobs").exists()


def _seen(values: list[object]) -> dict[str, object]:
    return dict(zip(("by", "judged", "items", "of", "examples"), values, strict=True))
