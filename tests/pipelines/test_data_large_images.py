"""Large images are compared by a few pieces of them, and no answer is another one for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import images
from numpy.typing import NDArray

from pipelines.data.contents import Deferred, Digests, duplicates, image_digest, image_digests, numbered
from pipelines.data.inputs import Inputs, Room, Rows
from pipelines.data.reading import inspect
from registry.errors import BadData

SHAPE = (256, 256, 1)
# Beside what the digest of the pieces is made of: a piece has 1,024 bytes, and more than 20,000 lie between two of them.
UNSEEN = 5_000


def many() -> NDArray[np.uint8]:
    """Eight large images: 5 is 1, 6 differs from 2 in one pixel that no piece holds, 7 from 3 in the last one of all."""
    found = images(8, shape=SHAPE)
    found[5], found[6], found[7] = found[1], found[2], found[3]
    found[6].reshape(-1)[UNSEEN] ^= 1
    found[7].reshape(-1)[-1] ^= 1
    return found


@pytest.fixture(params=["in memory", "on disk"])
def inputs(request: pytest.FixtureRequest, tmp_path: Path) -> Inputs:
    array = many()
    if request.param == "in memory":
        return array
    return Room(0, tmp_path).unpacked([array], shape=array.shape, dtype=array.dtype, name="array")


def test_the_digests_of_large_images_are_those_of_any_image(inputs: Inputs) -> None:
    found = image_digests(inputs)
    assert isinstance(found, Deferred)
    assert list(found) == [image_digest(image) for image in many()]
    assert (found[3], len(found)) == (image_digest(many()[3]), 8)


def test_only_images_that_agree_in_their_pieces_are_read_whole(inputs: Inputs) -> None:
    found = image_digests(inputs)
    assert isinstance(found, Deferred)
    (numbers,) = numbered(found)
    alike = sorted(np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers))
    assert alike == [[0], [1, 5], [2], [3], [4], [6], [7]]
    assert np.flatnonzero(found._is_found).tolist() == [1, 2, 5, 6]


def test_large_images_of_two_splits_are_compared_with_each_other(inputs: Inputs) -> None:
    others = many()[[1, 6, 0]]
    others[2] ^= 255
    ours, theirs = numbered(image_digests(inputs), image_digests(others))
    assert [np.flatnonzero(ours == number).tolist() for number in theirs] == [[1, 5], [6], []]


def test_an_image_of_black_but_for_its_middle_is_not_every_other(tmp_path: Path) -> None:
    """Scans have borders: then all pieces may be of the border, and the images are read whole."""
    array = np.zeros((6, *SHAPE), dtype=np.uint8)
    array[:, 10, 10] = np.arange(6)[:, None]
    array[5] = array[4]
    (numbers,) = numbered(image_digests(array))
    assert len(np.unique(numbers)) == 5


def test_small_images_and_none_at_all() -> None:
    assert not isinstance(image_digests(images(3, shape=(5, 5, 1))), Deferred)
    assert numbered(image_digests(np.empty((0, *SHAPE), dtype=np.uint8)))[0].shape == (0,)


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_duplicates_and_leaks_among_large_images_are_counted(tmp_path: Path, memory: int) -> None:
    train, test = many(), images(3, seed=9, shape=SHAPE)
    test[1] = train[6]
    for split, array in (("train", train), ("test", test)):
        np.save(tmp_path / f"x_{split}.npy", array)
        np.save(tmp_path / f"y_{split}.npy", np.arange(len(array)) % 2)
    spec = inspect(tmp_path, room=Room(memory, tmp_path)).spec
    assert {name: split.duplicates for name, split in spec.splits.items()} == {"train": 1, "test": 0}
    assert [(overlap.items, overlap.examples) for overlap in spec.overlaps] == [(1, (("train/6", "test/1"),))]


def test_a_file_that_became_shorter_is_noticed_in_its_pieces(tmp_path: Path) -> None:
    array = many()
    file = tmp_path / "array"
    file.write_bytes(array.tobytes())
    found = image_digests(Rows(file.open("rb", buffering=0), offset=0, shape=array.shape, dtype=array.dtype, name="array"))
    with file.open("rb+") as stream:
        stream.truncate(array.nbytes - 1)
    with pytest.raises(BadData, match=r"^array became shorter while it was read$"):
        numbered(found)


def test_digests_that_agree_in_one_half_are_not_the_same() -> None:
    halves = [bytes(8), b"\1" * 8, b"\2" * 8]
    digests = Digests.of([halves[a] + halves[b] for a, b in [(0, 1), (0, 2), (0, 1), (1, 0), (2, 0), (0, 2), (0, 1)]])
    (numbers,) = numbered(digests)
    assert [np.flatnonzero(numbers == number).tolist() for number in dict.fromkeys(numbers)] == [[0, 2, 6], [1, 5], [3], [4]]
    assert duplicates(digests) == 3
