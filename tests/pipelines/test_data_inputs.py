"""Items on disk answer like an array in memory would, whatever the format they came in, and without being in memory."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, images, publish, write_idx, write_images, write_text
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.inputs import OnDisk, Room, Rows, Selected, chunks, select
from pipelines.data.pictures import Pictures
from pipelines.data.reading import inspect, load
from registry.errors import BadData, EnvironmentProblem

ARRAY = np.random.default_rng(0).integers(0, 256, size=(300, 5, 4, 1), dtype=np.uint8)
NO_ROOM = 0


def rows(array: np.ndarray = ARRAY, folder: Path | None = None) -> Rows:
    return Room(NO_ROOM, folder).unpacked([array], shape=array.shape, dtype=array.dtype, name="array")


def arrays(folder: Path, write: Callable[[Path, dict[str, np.ndarray]], None], *, dtype: str = "uint8") -> Path:
    folder.mkdir()
    found = {}
    for seed, (split, n) in enumerate({"train": 30, "test": 20}.items()):
        found |= {f"x_{split}": images(n, seed=seed).astype(dtype), f"y_{split}": np.arange(n) % 3}
    write(folder, found)
    return folder


def _npy(folder: Path, found: dict[str, np.ndarray]) -> None:
    for name, array in found.items():
        np.save(folder / f"{name}.npy", array)


def _png(folder: Path, found: dict[str, np.ndarray]) -> None:
    for split in ("train", "test"):
        pairs = zip(found[f"x_{split}"], found[f"y_{split}"], strict=True)
        write_images(folder, {f"{split}/{label}/{at:02d}.png": pixels for at, (pixels, label) in enumerate(pairs)})


FORMATS = {
    "idx": lambda place: write_idx(place, packed=False),
    "idx.gz": lambda place: write_idx(place, packed=True),
    "npz": lambda place: arrays(place, lambda folder, found: np.savez(folder / "data.npz", **found)),
    "npz compressed": lambda place: arrays(place, lambda folder, found: np.savez_compressed(folder / "data.npz", **found)),
    "npz int64": lambda place: arrays(place, lambda folder, found: np.savez(folder / "data.npz", **found), dtype="int64"),
    "npy": lambda place: arrays(place, _npy),
    "npy int32": lambda place: arrays(place, _npy, dtype="int32"),
    "images": lambda place: arrays(place, _png),
}


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS.keys())
def test_a_format_reads_the_same_from_disk_as_into_memory(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = publish(inspect(make(tmp_path / "data")), tmp_path / "artifact")
    kept, streamed = load(folder), load(folder, memory=NO_ROOM)
    for name in kept.spec.splits:
        ours, theirs = kept.split(name), streamed.split(name)
        assert isinstance(ours.inputs, np.ndarray)
        assert isinstance(theirs.inputs, OnDisk)
        assert (theirs.inputs.shape, theirs.inputs.dtype) == (ours.inputs.shape, ours.inputs.dtype)
        np.testing.assert_array_equal(theirs.inputs[:], ours.inputs)
        np.testing.assert_array_equal(theirs.targets, ours.targets)
        assert (theirs.items.tolist(), list(theirs.digests())) == (ours.items.tolist(), list(ours.digests()))


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS.keys())
def test_a_look_finds_the_same_whether_or_not_there_is_room(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "data")
    assert inspect(folder, room=Room(NO_ROOM, tmp_path)).spec == inspect(folder).spec


def test_a_split_that_reg_makes_is_the_same_from_disk(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=images(60), labels=np.arange(60) % 2)
    folder = publish(inspect(tmp_path / "data.npz"), tmp_path / "artifact")
    kept, streamed = load(folder).split("test"), load(folder, memory=NO_ROOM).split("test")
    assert isinstance(streamed.inputs, Selected)
    np.testing.assert_array_equal(streamed.inputs[:], kept.inputs)
    assert list(streamed.digests()) == list(kept.digests())


INDEXES = st.one_of(
    st.integers(-300, 299),
    st.slices(300),
    st.lists(st.integers(-300, 299)).map(lambda positions: np.array(positions, dtype=np.int64)),
    st.lists(st.booleans(), min_size=300, max_size=300).map(np.array),
)


@given(index=INDEXES)
def test_any_index_gives_what_an_array_gives(index: int | slice | np.ndarray) -> None:
    np.testing.assert_array_equal(ROWS[index], ARRAY[index])


@given(positions=st.lists(st.integers(0, 299)), index=st.slices(40))
def test_a_selection_is_what_the_array_would_select(positions: list[int], index: slice) -> None:
    some = np.array(positions, dtype=np.int64)
    np.testing.assert_array_equal(select(ROWS, some)[index], ARRAY[some][index])


ROWS = rows()


@pytest.mark.parametrize("index", [300, -301, np.array([0, 300])], ids=["beyond", "before", "one of several"])
def test_a_position_outside_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match="of 300"):
        ROWS[index]


def test_items_that_lie_far_apart_come_in_the_order_asked_for(tmp_path: Path) -> None:
    wide = np.arange(64 * 10_000, dtype=np.int64).reshape(64, 10_000)
    wanted = np.random.default_rng(1).integers(0, 64, size=200)
    np.testing.assert_array_equal(rows(wide, tmp_path)[wanted], wide[wanted])


def test_chunks_are_the_items_in_order_cut_alike_from_disk_and_memory(tmp_path: Path) -> None:
    wide = np.arange(9 * 300_000, dtype=np.int64).reshape(9, 300_000)
    ours, theirs = list(chunks(wide)), list(chunks(rows(wide, tmp_path)))
    assert [len(chunk) for chunk in theirs] == [len(chunk) for chunk in ours]
    assert len(ours) > 1
    np.testing.assert_array_equal(np.concatenate(theirs), wide)


def test_a_file_that_became_shorter_is_an_error_and_no_crash(tmp_path: Path) -> None:
    folder = publish(inspect(write_idx(tmp_path / "data", packed=False)), tmp_path / "artifact")
    split = load(folder, memory=NO_ROOM).split("train")
    (file,) = folder.glob("train-images*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadData, match=r"train-images-idx3-ubyte became shorter while it was read"):
        split.inputs[:]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def _longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("packed", "damage", "message"),
    [
        pytest.param(False, _cut, "its header promises 240 bytes, 237 follow", id="truncated"),
        pytest.param(False, _longer, "goes on after the 240 bytes that its header promises", id="longer"),
        pytest.param(True, _cut, "its gzip stream ends after", id="gzip truncated"),
        pytest.param(
            True,
            lambda file: file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()) + b"x")),
            "goes on after the 240 bytes",
            id="gzip longer",
        ),
        pytest.param(
            True,
            lambda file: file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-3])),
            "promises 240 bytes, 237 follow",
            id="gzip of a truncated file",
        ),
    ],
)
def test_damage_is_found_without_room_too(tmp_path: Path, packed: bool, damage: Callable[[Path], object], message: str) -> None:
    folder = write_idx(tmp_path / "data", packed=packed)
    damage(next(folder.glob("train-images*")))
    with pytest.raises(BadData, match=message):
        inspect(folder, room=Room(NO_ROOM, tmp_path))


def test_an_array_in_fortran_order_is_refused_only_where_it_does_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "x_train.npy", np.asfortranarray(images(20)))
    np.save(tmp_path / "y_train.npy", np.arange(20) % 2)
    assert inspect(tmp_path).spec.items == 20
    with pytest.raises(BadData, match="Fortran order") as refusal:
        inspect(tmp_path, room=Room(NO_ROOM, tmp_path))
    assert refusal.value.hint == "numpy.ascontiguousarray(images)"


def test_values_beyond_a_byte_are_found_chunk_by_chunk(tmp_path: Path) -> None:
    wide = images(20).astype(np.int64)
    wide[17, 0, 0] = 256
    np.savez(tmp_path / "data.npz", images=wide, labels=np.arange(20) % 2)
    with pytest.raises(BadData, match=r"data.npz \[images\] holds values from \d+ to 256"):
        inspect(tmp_path, room=Room(NO_ROOM, tmp_path))


def test_two_pairs_of_npy_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("x_train", "train_images"):
        np.save(tmp_path / f"{name}.npy", images(4))
    for name in ("y_train", "train_labels"):
        np.save(tmp_path / f"{name}.npy", np.arange(4) % 2)
    with pytest.raises(BadData, match="are both the split 'train'"):
        inspect(tmp_path)


def test_an_image_of_another_size_is_found_when_it_is_read(tmp_path: Path) -> None:
    folder = publish(inspect(arrays(tmp_path / "data", _png)), tmp_path / "artifact")
    write_images(folder, {"train/1/01.png": images(1, shape=(6, 6))[0]})
    inputs = load(folder, memory=NO_ROOM).split("train").inputs
    assert isinstance(inputs, Pictures)
    assert inputs[0].shape == (4, 3, 1)
    with pytest.raises(BadData, match=r"train/1/01.png is 6×6×1, train/0/00.png is 4×3×1"):
        inputs[:]


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "npz int64", "images"])
def test_another_process_can_be_handed_the_items(tmp_path: Path, kind: str) -> None:
    folder = publish(inspect(FORMATS[kind](tmp_path / "data")), tmp_path / "artifact")
    inputs = load(folder, memory=NO_ROOM).split("train").inputs
    some = select(inputs, np.array([7, 2, 2]))
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.load(sys.stdin.buffer)[:].tobytes())"
    told = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(some), stdout=subprocess.PIPE, check=True)
    assert told.stdout == inputs[np.array([7, 2, 2])].tobytes()


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    place = write_text(tmp_path / "file", "no folder")
    with pytest.raises(EnvironmentProblem, match=r"mnist takes 6,000 bytes unpacked, which cannot be written to .*file"):
        Room(NO_ROOM, place).unpacked([ARRAY], shape=ARRAY.shape, dtype=ARRAY.dtype, name="mnist")


@pytest.mark.parametrize("packed", [False, True], ids=["bare", "gzip"])
def test_a_large_file_is_looked_at_and_read_in_little_memory(tmp_path: Path, packed: bool) -> None:
    n, side = 192, 1024
    pixels = np.zeros((n, side, side), dtype=np.uint8)
    pixels[:, 0, 0] = np.arange(n)
    suffix = ".gz" * packed
    (tmp_path / "data").mkdir()
    with (gzip.open if packed else open)(tmp_path / "data" / f"train-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(idx_bytes(pixels))
    (tmp_path / "data" / "train-labels-idx1-ubyte").write_bytes(idx_bytes((np.arange(n) % 2).astype(np.uint8)))
    whole = pixels.nbytes
    del pixels
    tracemalloc.start()
    try:
        found = inspect(tmp_path / "data", room=Room(16 << 20, tmp_path))
        folder = publish(found, tmp_path / "artifact")
        tracemalloc.reset_peak()
        inputs = load(folder, memory=16 << 20).split("train").inputs
        assert sum(int(chunk[:, 0, 0].sum()) for chunk in chunks(inputs)) + _test_sum(folder) == n * (n - 1) // 2
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert whole == 192 << 20
    assert peak < 64 << 20


def _test_sum(folder: Path) -> int:
    return sum(int(chunk[:, 0, 0].sum()) for chunk in chunks(load(folder, memory=16 << 20).split("test").inputs))
