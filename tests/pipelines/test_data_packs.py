"""Many small files come back from shards as they were, and a changed file changes one shard."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import images, write_idx, write_images, write_text
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.files import File
from pipelines.data.folder import look
from pipelines.data.packs import members, opened, pack, unpacked
from pipelines.data.reading import inspect, load
from registry.errors import BadData, RegError, UsageError

NOISE = images(40, shape=(6, 5))
NAMES = [f"{split}/{'cat' if k % 2 else 'dog'}/{k:02d}.png" for k in range(20) for split in ("train", "test")]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = write_images(tmp_path / "pets", dict(zip(NAMES, NOISE, strict=True)))
    write_text(folder / "dataset.yaml", "name: pets\n")
    write_text(folder / "README.md", "pets")
    return folder


def packed(folder: Path, place: Path) -> Path:
    """The folder that a push with `--pack` makes a version of."""
    place.mkdir()
    (place.parent / f"{place.name}-shards").mkdir()
    found = inspect(folder, pack_into=place.parent / f"{place.name}-shards")
    for name, file in found.files:
        (place / name).write_bytes(file.read_bytes())
    (place / "reg.dataset.json").write_text(found.spec.to_json())
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_of_each_split_stand_beside_the_documents(pets: Path, tmp_path: Path) -> None:
    shards = [f"{split}-00000-of-00001.{kind}" for split in ("test", "train") for kind in ("idx", "tar")]
    assert sorted(contents(packed(pets, tmp_path / "p"))) == ["README.md", "dataset.yaml", "reg.dataset.json", *shards]


def test_packed_images_are_the_same_dataset(pets: Path, tmp_path: Path) -> None:
    loose, shards = inspect(pets), load(packed(pets, tmp_path / "p"))
    assert shards.spec == loose.spec
    for memory in (0, 1 << 20):
        split = load(tmp_path / "p", memory=memory).split("train")
        wanted = dict(zip(NAMES, NOISE, strict=True))
        assert split.items.tolist() == sorted(name for name in NAMES if name.startswith("train"))
        for item, pixels in zip(split.items, split.inputs, strict=True):
            np.testing.assert_array_equal(pixels[..., 0], wanted[str(item)])


def test_a_packed_folder_is_pushed_again_as_it_is(pets: Path, tmp_path: Path) -> None:
    folder = packed(pets, tmp_path / "p")
    for pack_into in (None, tmp_path / "unused"):
        again = inspect(folder, pack_into=pack_into)
        assert {name for name, _ in again.files} == set(contents(folder)) - {"reg.dataset.json"}
        assert again.ignored == ()


def test_unpacking_gives_the_very_files_back(pets: Path, tmp_path: Path) -> None:
    back = contents(unpacked(packed(pets, tmp_path / "p"), tmp_path / "back"))
    del back["reg.dataset.json"]
    assert back == contents(pets)


def test_any_tar_program_unpacks_a_shard(pets: Path, tmp_path: Path) -> None:
    with tarfile.open(packed(pets, tmp_path / "p") / "train-00000-of-00001.tar") as archive:
        archive.extractall(tmp_path / "back", filter="data")
    assert contents(tmp_path / "back") == {name: found for name, found in contents(pets).items() if name.startswith("train")}


def test_an_index_says_where_in_the_shard_a_file_lies(pets: Path, tmp_path: Path) -> None:
    folder = packed(pets, tmp_path / "p")
    head, *lines = (folder / "test-00000-of-00001.idx").read_text().splitlines()
    assert head == "v1.2 20"
    with tarfile.open(folder / "test-00000-of-00001.tar") as archive:
        wanted = [f"png {member.offset_data} {member.size} {member.name}" for member in archive]
    assert lines == wanted


def test_shards_do_not_depend_on_when_or_where(pets: Path, tmp_path: Path) -> None:
    first = contents(packed(pets, tmp_path / "p"))
    elsewhere = tmp_path / "elsewhere" / "animals"
    for name, content in contents(pets).items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes(content)
    assert contents(packed(elsewhere, tmp_path / "q")) == first


def many(folder: Path, *, count: int = 300) -> list[File]:
    for number in range(count):
        write_text(folder / f"train/a/{number}.txt", f"{number}" * 50)
    return list(look(folder).files)


def shards_of(files: list[File], place: Path) -> dict[str, str]:
    place.mkdir()
    return {
        shard.name: hashlib.md5(Path(shard.path).read_bytes()).hexdigest() for shard in pack(files, place, shard_size=40_000)
    }


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: write_text(folder / "train/a/7.txt", "a much longer text" * 99), id="changed"),
        pytest.param(lambda folder: (folder / "train/a/7.txt").unlink(), id="removed"),
        pytest.param(lambda folder: write_text(folder / "train/a/07.txt", "new"), id="added"),
    ],
)
def test_one_file_changes_one_shard(tmp_path: Path, change: Callable[[Path], object]) -> None:
    before = shards_of(many(tmp_path / "data"), tmp_path / "1")
    change(tmp_path / "data")
    after = shards_of(list(look(tmp_path / "data").files), tmp_path / "2")
    assert len(before) == 2 * 8, "300 files of 1 KiB each, header included"
    assert after.keys() == before.keys()
    assert len({name.partition(".")[0] for name in after if after[name] != before[name]}) == 1


_LETTERS = st.characters(exclude_characters="/\0\n\r", codec="utf-8")


@given(
    names=st.sets(
        st.lists(
            st.text(st.characters(exclude_characters="/\0\n\r", codec="utf-8"), min_size=1, max_size=40), min_size=1, max_size=4
        )
        .filter(lambda parts: not {".", ".."} & set(parts))
        .map("/".join),
        max_size=12,
    )
)
def test_any_name_and_content_survives(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("any")
    files = []
    for number, name in enumerate(sorted(names)):
        path = place / f"{number}"
        path.write_bytes(name.encode() * number)
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        files.append(File(name=name, path=str(path), size=found.st_size, stamp=stamp))
    (place / "shards").mkdir()
    shards = pack(files, place / "shards", shard_size=200)
    back = {member.name: member.read() for member in members(shards)}
    assert back == {file.name: Path(file.path).read_bytes() for file in files}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        pytest.param("train-00000-of-00001.idx", None, "train-00000-of-00001.tar stands alone", id="no index"),
        pytest.param("train-00000-of-00001.tar", None, "train-00000-of-00001.idx stands alone", id="no shard"),
        pytest.param("train-00000-of-00001.idx", "v1.2 2\npng 512 60 train/cat/01.png\n", "names 1 files", id="line missing"),
        pytest.param("train-00000-of-00001.idx", "v1.2 1\npng 512 99999999 train/a/1.png\n", "does not lie in", id="beyond"),
        pytest.param("train-00000-of-00001.idx", "v1.2 1\npng -1 60 train/a/1.png\n", "does not lie in", id="before"),
        pytest.param("train-00000-of-00001.idx", "v1.2 1\npng 512 60 ../../a.png\n", "does not lie in", id="way out"),
        pytest.param("train-00000-of-00001.idx", "v1.2 1\npng 512 60 /etc/a.png\n", "does not lie in", id="absolute"),
        pytest.param("train-00000-of-00001.idx", "v9 1\npng 512 60 a/b.png\n", "begins with 'v9 1'", id="version"),
        pytest.param("train-00000-of-00001.idx", "nonsense\nmore\n", "cannot be read", id="nonsense"),
    ],
)
def test_a_damaged_shard_is_refused(pets: Path, tmp_path: Path, file: str, content: str | None, message: str) -> None:
    folder = packed(pets, tmp_path / "p")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(BadData, match=message):
        load(folder)


def test_a_file_inside_and_beside_a_shard_is_refused(pets: Path, tmp_path: Path) -> None:
    folder = packed(pets, tmp_path / "p")
    write_images(folder, {NAMES[0]: NOISE[0]})
    with pytest.raises(BadData, match=f"{NAMES[0]} is there twice"):
        opened(look(folder))


def test_a_file_that_changes_while_it_is_packed_is_noticed(pets: Path, tmp_path: Path) -> None:
    files = list(look(pets).files)
    Path(files[3].path).write_bytes(b"other")
    (tmp_path / "shards").mkdir()
    with pytest.raises(BadData, match=f"{files[3].name} changed while it was being packed"):
        pack(files, tmp_path / "shards")


def test_packing_few_large_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--pack is for many small files, these are 4 files of the format idx"):
        inspect(write_idx(tmp_path / "data"), pack_into=tmp_path)


def test_a_target_that_holds_something_is_left_alone(pets: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "mine" / "file", "mine")
    with pytest.raises(RegError, match="is not an empty folder"):
        unpacked(packed(pets, tmp_path / "p"), tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"file": b"mine"}
