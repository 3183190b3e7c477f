"""A dataset of many small files: pushed by what changed, pulled whole, and never taken for stored when it is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from registry.server.blobs import Blobs
from tests.cli.conftest import Inside, Reg

pytestmark = pytest.mark.slow


def draw(folder: Path, count: int) -> Path:
    """Distinct 4×4 images of two classes, in both splits."""
    for number in range(count):
        split = "test" if number % 5 == 0 else "train"
        file = folder / split / ("cat" if number % 2 else "dog") / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(file, number)
    return folder


def picture(file: Path, number: int) -> None:
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)).save(file)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.fixture(scope="module")
def many(make_reg: Callable[[str], Reg]) -> tuple[Inside, Path]:
    """A home that holds 1,200 images, and where they lie."""
    made = make_reg("many")
    # A server for each command: these homes are changed behind their servers' backs.
    reg = Inside(home=made.home, folder=made.folder)
    folder = draw(reg.folder / "many", 1200)
    done = reg("dataset", "push", "many")
    assert (done.code, done.out) == (0, "many:v0 is new\n"), done.err
    return reg, folder


def test_what_changed_is_pushed_and_what_comes_back_is_the_whole(many: tuple[Inside, Path]) -> None:
    reg, folder = many
    assert len(list((reg.home / "blobs" / "packs").glob("*.pack"))) == 1
    (changed, added) = (folder / "train" / "cat" / "0001.png", folder / "train" / "dog" / "new.png")
    picture(changed, 5001)
    picture(added, 5002)
    assert reg("dataset", "push", "many").out == "many:v1 is new\n"
    manifests = [blob for blob in (reg.home / "blobs").glob("??/*") if blob.read_bytes().startswith(b'{"version"')]
    sizes = sorted(len(json.loads(blob.read_bytes())["contents"]) for blob in manifests)
    assert 3 in sizes, "one manifest names only what changed: two images and the description"
    done = reg("dataset", "pull", "many:v1", "--to", "back")
    assert done.code == 0, done.err
    assert files(reg.folder / "back") == files(folder)
    (folder / "test" / "dog" / "0000.png").unlink()
    done = reg("dataset", "push", "many", "--json")
    assert (done.data["source"], done.data["new"]) == ("local/reg/many:v2", True)
    listed = reg("show", "many:v2", "--json").data["files"]
    assert {name for name in listed if name.endswith(".png")} == set(files(folder))


def test_bytes_that_the_home_has_lost_are_sent_again(many: tuple[Inside, Path]) -> None:
    reg, _ = many
    folder = draw(reg.folder / "few", 80)
    assert reg("dataset", "push", "few").code == 0
    shutil.rmtree(reg.home / "blobs" / "packs")
    picture(folder / "train" / "cat" / "0001.png", 6001)
    done = reg("dataset", "push", "few")
    assert (done.code, done.out) == (0, "few:v1 is new\n"), done.err
    blobs = Blobs(reg.home / "blobs")
    assert sorted(files(folder).values()) == sorted(blobs.read(md5(content)) for content in files(folder).values())


def test_a_refused_folder_leaves_nothing_in_the_home(many: tuple[Inside, Path]) -> None:
    reg, _ = many
    folder = draw(reg.folder / "bad", 100)
    (folder / "train" / "cat" / "9999.png").write_bytes(b"no picture")
    packs = sorted((reg.home / "blobs" / "packs").glob("*.pack")) if (reg.home / "blobs" / "packs").exists() else []
    done = reg("dataset", "push", "bad")
    assert done.code == 2
    assert "train/cat/9999.png is no image that Pillow knows" in done.err
    assert sorted((reg.home / "blobs" / "packs").glob("*.pack")) == packs
