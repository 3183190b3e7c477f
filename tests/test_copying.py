"""A folder arrives whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.copying import copy_folder
from registry.errors import BadData, UsageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "b.txt").write_text("b")
    return tmp_path / "source"


def test_a_new_folder_holds_the_files(source: Path, tmp_path: Path) -> None:
    assert (copy_folder(source, tmp_path / "x" / "target") / "a" / "b.txt").read_text() == "b"


def test_an_empty_folder_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (copy_folder(source, tmp_path / "empty") / "a" / "b.txt").exists()


def test_a_folder_with_something_in_it_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("1")
    with pytest.raises(UsageError, match="is not an empty folder"):
        copy_folder(source, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["precious"]


def test_a_failed_copy_leaves_nothing(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "a" / "pipe")
    with pytest.raises((UsageError, OSError)):
        copy_folder(source, tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("linked", ["file", "folder", "nothing"])
def test_a_symbolic_link_is_not_followed(source: Path, tmp_path: Path, linked: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("somebody's")
    (source / "a" / "link").symlink_to(tmp_path / linked)
    with pytest.raises(BadData, match="is a symbolic link"):
        copy_folder(source, tmp_path / "out" / "target")
    assert not (tmp_path / "out").exists()
