"""What is remembered of files is never more than what is in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipelines.data import memory as module
from pipelines.data.folder import File, look
from pipelines.data.memory import Memory, recall
from pipelines.data.reading import inspect
from pipelines.data.samples import write_digits
from registry.errors import BadData


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("x,y\n1,2\n")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """These files were changed a moment ago, and may be remembered all the same."""
    monkeypatch.setattr(module, "_TICK_NS", -60_000_000_000)


def the_file(data: Path) -> File:
    (file,) = look(data).files
    return file


def remembered(home: Path, data: Path) -> Memory:
    recall(home, data).keep({"a.csv": "0" * 32}, [the_file(data)], {}, pushed={"a.csv": "0" * 32}, rendered="")
    return recall(home, data)


def test_a_file_that_did_not_change_is_known(tmp_path: Path, data: Path) -> None:
    known = remembered(tmp_path / "home", data)
    assert (known.md5(the_file(data)), known.pushed) == ("0" * 32, {"a.csv": "0" * 32})


def _rewritten_in_place(path: Path) -> None:
    before = path.stat()
    path.write_text("x,y\n3,4\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(path: Path) -> None:
    before = path.stat()
    path.rename(path.with_suffix(".old"))
    path.write_text("x,y\n3,4\n")
    path.with_suffix(".old").unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [_rewritten_in_place, _replaced, lambda path: path.write_text("x,y\n1,2\n5,6\n")],
    ids=["same-times", "replaced", "longer"],
)
def test_a_file_that_changed_is_not(tmp_path: Path, data: Path, change: Callable[[Path], object]) -> None:
    known = remembered(tmp_path / "home", data)
    change(data / "a.csv")
    assert known.md5(the_file(data)) is None


def test_a_file_that_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK_NS", 2_000_000_000)
    assert remembered(tmp_path / "home", data).md5(the_file(data)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 99, "seen": {}, "pushed": {}}',
        '{"version": 3, "seen": []}',
        '{"version": 3, "rendered": "", "seen": {"a.csv": "1 2"}, "pushed": {}}',
        '{"version": 3, "rendered": "", "seen": {"a.csv": 5}, "pushed": {}}',
    ],
)
def test_a_memory_that_cannot_be_read_is_made_anew(tmp_path: Path, data: Path, text: str) -> None:
    known = remembered(tmp_path / "home", data)
    known.file.write_text(text)
    assert recall(tmp_path / "home", data).md5(the_file(data)) is None


def test_a_home_that_cannot_be_written_to_remembers_nothing(tmp_path: Path, data: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    assert remembered(tmp_path / "home", data).md5(the_file(data)) is None


def test_what_is_remembered_of_images_gives_the_same_description(tmp_path: Path, digits: Path) -> None:
    first = inspect(digits)
    recall(tmp_path, digits).keep(
        {file.name: "" for file in first.kept}, first.kept, first.pictures, pushed={}, rendered=first.rendered
    )
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", lambda path: opened.append(path))
        again = inspect(digits, memory=recall(tmp_path, digits))
    assert (again.spec, opened) == (first.spec, [])
    assert again.pictures == first.pictures


def test_an_image_that_changed_is_decoded_again(tmp_path: Path, digits: Path) -> None:
    digits = shutil.copytree(digits, tmp_path / "own")
    first = inspect(digits)
    recall(tmp_path, digits).keep(
        {file.name: "" for file in first.kept}, first.kept, first.pictures, pushed={}, rendered=first.rendered
    )
    changed = digits / first.kept[-1].name
    Image.new("L", (9, 8)).save(changed)
    with pytest.raises(BadData, match=r"2 sizes, from 8×8 .* to 8×9"):
        inspect(digits, memory=recall(tmp_path, digits))


def test_what_a_later_push_finds_is_added_to_what_is_remembered(tmp_path: Path, digits: Path) -> None:
    digits = shutil.copytree(digits, tmp_path / "own")
    first = inspect(digits)
    md5s = {file.name: "0" * 32 for file in first.kept}
    recall(tmp_path, digits).keep(md5s, first.kept, first.pictures, pushed=md5s, rendered=first.rendered)
    gone, *_, changed = first.kept
    (digits / changed.name).write_bytes(changed.read() + b"\0")
    known = recall(tmp_path, digits)
    second = inspect(digits, memory=known)
    again = {**md5s, changed.name: "1" * 32}
    del again[gone.name]
    known.keep(again, second.kept, second.pictures, pushed=again, rendered=second.rendered)
    assert len(known.file.read_text().splitlines()) == 2
    later = recall(tmp_path, digits)
    assert later.pushed == again
    assert {file.name: later.md5(file) for file in second.kept} == {gone.name: None, **again}


def test_a_line_that_was_cut_off_is_not_built_upon(tmp_path: Path, data: Path) -> None:
    known = remembered(tmp_path / "home", data)
    with known.file.open("a") as stream:
        stream.write('{"version":3,"seen":{"a.c')
    anew = recall(tmp_path / "home", data)
    assert anew.md5(the_file(data)) is None
    anew.keep({"a.csv": "1" * 32}, [the_file(data)], {}, pushed={"a.csv": "1" * 32}, rendered="")
    assert recall(tmp_path / "home", data).md5(the_file(data)) == "1" * 32
