"""Past HTTP: files become blobs of their user's own home, and come back, by a process with no more rights than that user's."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.embedded_disk import Closed, Intake, deliver
from registry.errors import RegError, RemoteProblem
from registry.server.blobs import Blobs

CONTENTS = [f"picture {number}".encode() for number in range(100)]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(folder: Path) -> list[str]:
    folder.mkdir()
    for number, content in enumerate(CONTENTS):
        (folder / f"{number:03d}").write_bytes(content)
    return [str(folder / f"{number:03d}") for number in range(len(CONTENTS))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path, tmp_path: Path) -> Path:
    with Intake(home) as intake:
        intake.begin(write(tmp_path / "source"), size=0)
        intake.keep()
    return home


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the tests' own."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or os.stat(shared).st_dev == os.stat(tempfile.gettempdir()).st_dev:
        pytest.skip("no second file system at hand")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_files_become_blobs_in_the_order_they_were_named(home: Path, tmp_path: Path) -> None:
    paths = write(tmp_path / "source")
    with Intake(home) as intake:
        intake.begin(paths, size=0)
        assert intake.keep() == [(md5(content), len(content)) for content in CONTENTS]
    assert Blobs(home / "blobs").read(md5(CONTENTS[9])) == CONTENTS[9]


def test_nothing_is_a_blob_before_it_is_kept(home: Path, tmp_path: Path) -> None:
    with Intake(home) as intake:
        intake.begin(write(tmp_path / "source"), size=0)
    blobs = Blobs(home / "blobs")
    assert blobs.sizes(map(md5, CONTENTS)) == {}
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []


def test_a_few_small_files_go_the_ordinary_way(home: Path, tmp_path: Path) -> None:
    with Intake(home) as intake:
        intake.begin(write(tmp_path / "source")[:5], size=500)
        assert intake.keep() == []


def test_the_source_may_be_read_only_and_is_left_as_it_is(home: Path, tmp_path: Path) -> None:
    paths = write(tmp_path / "source")
    for path in paths:
        Path(path).chmod(0o444)
    (tmp_path / "source").chmod(0o555)
    with Intake(home) as intake:
        intake.begin(paths, size=0)
        intake.keep()
    (tmp_path / "source").chmod(0o755)
    Path(paths[0]).chmod(0o644)
    Path(paths[0]).write_bytes(b"changed afterwards")
    assert Blobs(home / "blobs").read(md5(CONTENTS[0])) == CONTENTS[0], "a copy, not a link"


def test_home_and_data_may_be_on_different_file_systems(elsewhere: Path, tmp_path: Path) -> None:
    with Intake(elsewhere) as intake:
        intake.begin(write(tmp_path / "source"), size=0)
        intake.keep()
    (tmp_path / "back").mkdir()
    assert deliver(elsewhere, tmp_path / "back", {"a": md5(CONTENTS[0])}) == []
    assert (tmp_path / "back" / "a").read_bytes() == CONTENTS[0]


def test_a_file_that_went_away_is_named(home: Path, tmp_path: Path) -> None:
    paths = write(tmp_path / "source")
    Path(paths[50]).unlink()
    with Intake(home) as intake:
        intake.begin(paths, size=0)
        with pytest.raises(RegError, match=r"source/050 cannot be read: No such file") as refusal:
            intake.keep()
    assert refusal.value.exit_code == 2


def test_a_home_that_cannot_be_written_to_leaves_the_files_to_http(home: Path, tmp_path: Path) -> None:
    (home / "blobs").write_text("not a folder")
    with Intake(home) as intake:
        intake.begin(write(tmp_path / "source"), size=0)
        assert intake.keep() == []


def test_blobs_come_back_as_files_in_their_folders(filled: Path, tmp_path: Path) -> None:
    wanted = {f"train/{number % 3}/{number}": content for number, content in enumerate(CONTENTS)}
    (tmp_path / "back").mkdir()
    assert deliver(filled, tmp_path / "back", {name: md5(content) for name, content in wanted.items()}) == []
    back = {str(p.relative_to(tmp_path / "back")): p.read_bytes() for p in (tmp_path / "back").rglob("*") if p.is_file()}
    assert back == wanted


def test_damaged_and_missing_bytes_are_named(filled: Path, tmp_path: Path) -> None:
    (pack,) = (filled / "blobs" / "packs").glob("*.pack")
    pack.write_bytes(pack.read_bytes().replace(CONTENTS[10], b"pictures!!"))
    (tmp_path / "back").mkdir()
    wanted = {"good": md5(CONTENTS[0]), "damaged": md5(CONTENTS[10]), "missing": md5(b"never seen")}
    assert deliver(filled, tmp_path / "back", wanted) == ["damaged", "missing"]


def test_no_name_leads_out_of_the_folder(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    with pytest.raises(RemoteProblem, match="outside"):
        deliver(filled, tmp_path / "back", {"../stolen": md5(CONTENTS[0])})
    assert not (tmp_path / "stolen").exists()


def test_a_home_that_cannot_be_read_says_so(home: Path, tmp_path: Path) -> None:
    (home / "blobs").write_text("not a folder")
    (tmp_path / "back").mkdir()
    with pytest.raises(Closed):
        deliver(home, tmp_path / "back", {"a": md5(CONTENTS[0])})
