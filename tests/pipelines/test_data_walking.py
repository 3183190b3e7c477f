"""What lies below a folder is found in the order of names, here and by another process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import walker, walking
from pipelines.data.files import Files, file_at
from pipelines.data.walker import Walker
from pipelines.data.walking import walk

NAMES = ["B.png", "a", "a-b/x.png", "a.b/x.png", "a0/x.png", "b/.hidden", "b/Thumbs.db", "b/c/d.png", "b/c.png", "é.png"]
SEEN = sorted(name for name in NAMES if not name.startswith("b/.") and "Thumbs" not in name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    (tmp_path / "data" / ".git").mkdir()
    (tmp_path / "data" / ".git" / "config").touch()
    (tmp_path / "data" / "b" / "link.png").symlink_to("c.png")
    (tmp_path / "data" / "link").symlink_to("b")
    os.mkfifo(tmp_path / "data" / "pipe")
    return tmp_path / "data"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walker, "_MANY", 1)


def test_names_are_sorted_as_a_whole(folder: Path) -> None:
    found = walk(str(folder))
    assert (found.names, sorted(found.links)) == (SEEN, ["b/link.png", "link"])


def test_each_name_has_its_status(folder: Path) -> None:
    found = walk(str(folder))
    stamps = np.frombuffer(found.stamps, dtype=np.int64).reshape(-1, 4).tolist()
    wanted = [(folder / name).stat() for name in SEEN]
    assert stamps == [[one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino] for one in wanted]


@pytest.mark.usefixtures("many")
def test_another_process_finds_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = walk(str(folder))
    with Walker(folder, expected=9) as there:
        monkeypatch.setattr(walking, "walk", None)
        assert there.found(str(folder)) == here


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("trouble", ["killed", "cannot start", "fails"])
def test_a_process_that_comes_to_nothing_costs_nothing_but_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "cannot start":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    if trouble == "fails":
        monkeypatch.setattr(walking, "__file__", "/nowhere/walking.py")
    with Walker(folder, expected=9) as there:
        if trouble == "killed":
            assert there._child is not None
            there._child.kill()
        assert there.found(str(folder)) == walk(str(folder))


@pytest.mark.usefixtures("many")
def test_a_walk_that_nobody_asks_for_leaves_no_process(folder: Path) -> None:
    with Walker(folder, expected=9) as there:
        child = there._child
        assert child is not None
    assert child.poll() is not None


def test_of_few_files_there_is_no_process(folder: Path) -> None:
    with Walker(folder, expected=9) as there:
        assert there._child is None
        assert there.found(str(folder)).names == SEEN


@pytest.mark.usefixtures("many")
def test_a_folder_that_is_gone_is_named(folder: Path) -> None:
    with Walker(folder / "gone", expected=9) as there, pytest.raises(OSError, match="gone"):
        there.found(str(folder / "gone"))


def test_an_inode_of_any_size_is_a_stamp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems use all 64 bits of it."""
    real = os.stat(folder / "a")
    large = os.stat_result((real.st_mode, (1 << 64) - 1, *real[2:]), {"st_mtime_ns": 5, "st_ctime_ns": 6})
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path: large)
        file = file_at("a", str(folder / "a"))
    assert Files.of([file]).stamps.tolist() == [[1, 5, 6, (1 << 63) - 1]]
