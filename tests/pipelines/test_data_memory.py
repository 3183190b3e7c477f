"""What is remembered of files is never more than what is in them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data import memory as module
from pipelines.data.album import Album
from pipelines.data.files import Files
from pipelines.data.folder import look
from pipelines.data.memory import Memory, recall
from pipelines.data.reading import Inspection, inspect
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


def remembered(home: Path, data: Path, md5: str = "0" * 32) -> Memory:
    files = look(data).files
    keep(home, data, files, [md5] * len(files), Album(files.names))
    return recall(home, data)


def keep(home: Path, data: Path, files: Files, md5s: list[str], pictures: Album, **others: Any) -> None:
    rows = np.frombuffer(bytes.fromhex("".join(md5s)), np.uint8).reshape(-1, 16)
    recall(home, data).keep(files, rows, others.pop("others", Files.of(())), pictures, **{"rendered": "", **others})


def md5_of(known: Memory, data: Path) -> str:
    """The md5 that is remembered of the one file there; empty where none is."""
    files = look(data).files
    (is_known,) = known.knows(files)
    return known.md5s(files).tobytes().hex() if is_known else ""


def test_a_file_that_did_not_change_is_known(tmp_path: Path, data: Path) -> None:
    known = remembered(tmp_path / "home", data)
    assert md5_of(known, data) == "0" * 32


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
    assert md5_of(known, data) == ""


def test_a_file_that_changed_a_moment_ago_is_not_remembered(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK_NS", 2_000_000_000)
    assert md5_of(remembered(tmp_path / "home", data), data) == ""


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: b"",
        lambda content: b"[]\n",
        lambda content: b'{"format": 99}\n',
        lambda content: content[:-1],
        lambda content: content.replace(b"a.csv", b"b.csv"),
        lambda content: content[:200].replace(b"\0", b"\1") + content[200:],
        lambda content: content.replace(b'"rows": 1', b'"rows": 9'),
        lambda content: content.replace(b'"looks": []', b'"looks": 5'),
    ],
)
def test_a_memory_that_is_damaged_is_made_anew(tmp_path: Path, data: Path, damaged: Callable[[bytes], bytes]) -> None:
    known = remembered(tmp_path / "home", data)
    content = known.file.read_bytes()
    assert damaged(content) != content
    known.file.write_bytes(damaged(content))
    assert md5_of(recall(tmp_path / "home", data), data) == ""
    assert md5_of(remembered(tmp_path / "home", data, "1" * 32), data) == "1" * 32


def test_a_home_that_cannot_be_written_to_remembers_nothing(tmp_path: Path, data: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    assert md5_of(remembered(tmp_path / "home", data), data) == ""


def kept(home: Path, data: Path, found: Inspection) -> None:
    none = Files.of(())
    keep(home, data, none, [], found.pictures, others=found.data, rendered=found.rendered)


def test_what_is_remembered_of_images_gives_the_same_description(tmp_path: Path, digits: Path) -> None:
    first = inspect(digits)
    kept(tmp_path, digits, first)
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", lambda path: opened.append(path))
        again = inspect(digits, memory=recall(tmp_path, digits))
    assert (again.spec, opened) == (first.spec, [])
    assert [again.pictures[name] for name in again.data.names] == [first.pictures[name] for name in first.data.names]


def test_an_image_that_changed_is_decoded_again(tmp_path: Path, digits: Path) -> None:
    digits = shutil.copytree(digits, tmp_path / "own")
    first = inspect(digits)
    kept(tmp_path, digits, first)
    changed = digits / first.kept[-1].name
    Image.new("L", (9, 8)).save(changed)
    with pytest.raises(BadData, match=r"2 sizes, from 8×8 .* to 8×9"):
        inspect(digits, memory=recall(tmp_path, digits))


@pytest.mark.parametrize("documents", [(), ("LICENSE", "tests.md", "README.md")], ids=["alone", "with documents"])
def test_what_came_went_and_changed_is_found(tmp_path: Path, digits: Path, documents: tuple[str, ...]) -> None:
    digits = shutil.copytree(digits, tmp_path / "own")
    for document in documents:
        (digits / document).write_text(document)
    first = inspect(digits)
    md5s = {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in first.files}
    made = {"description": bytes(16)}
    keep(tmp_path, digits, first.kept, [*md5s.values()], first.pictures, rendered=first.rendered, version="ab", made=made)
    known = recall(tmp_path, digits)
    assert (known.version, known.count) == ("ab", len(md5s) + 1)
    assert known.pushed(first.kept, known.md5s(first.kept)).all()
    assert known.lacks_none(first.kept)
    gone, *_, changed = first.data.names
    (digits / changed).write_bytes((digits / changed).read_bytes() + b"\0")
    (digits / gone).rename(digits / "train" / "7" / "0000000.png")
    second = inspect(digits, memory=known)
    new = {changed, "train/7/0000000.png"}
    is_new = np.isin(second.kept.names, [*new])
    assert (known.knows(second.kept) == ~is_new).all()
    assert (known.pushed(second.kept, known.md5s(second.kept)) == ~is_new).all()
    assert not known.lacks_none(second.kept)
    old = second.kept.at(~is_new)
    assert known.md5s(old).tobytes().hex() == "".join(md5s[name] for name in old.names)
    assert not known.md5s(second.kept)[is_new].any()
    anew = inspect(digits)
    assert (second.spec, second.kept.names, second.ignored) == (anew.spec, anew.kept.names, anew.ignored)
    assert [second.pictures[name] for name in anew.data.names] == [anew.pictures[name] for name in anew.data.names]


def test_what_was_packed_is_remembered_as_pictures(tmp_path: Path, digits: Path) -> None:
    (tmp_path / "shards").mkdir()
    first = inspect(digits, pack_into=tmp_path / "shards")
    md5s = ["1" * 32] * len(first.kept)
    keep(tmp_path, digits, first.kept, md5s, first.pictures, rendered=first.rendered, version="ab", others=first.data)
    known = recall(tmp_path, digits)
    plain = inspect(digits, memory=known)
    assert not known.knows(plain.data).any(), "nobody hashed them by themselves"
    assert not known.lacks_none(plain.kept), "the version has shards"
    assert plain.spec.splits == first.spec.splits
    assert (plain.pictures.which[plain.pictures.rows(plain.data.names)] >= 0).all()
