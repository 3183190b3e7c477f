"""A folder for work under way is gone with its owner, however that ends, and never before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import scratch

OWNER = """\
import sys
from pathlib import Path
from registry.scratch import scratch
with scratch(Path(sys.argv[1]), "packing", hidden=sys.argv[2] == "hidden") as folder:
    (folder / "half").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(place: Path, kind: str = "seen") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that works in a folder until its standard input ends."""
    words = [sys.executable, "-c", OWNER, str(place), kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_when_its_owner_is_done(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, folder):
        assert folder.is_dir()
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_nobody_clears_a_folder_whose_owner_works(tmp_path: Path) -> None:
    with owner(tmp_path) as (_, folder):
        assert scratch.left_behind([tmp_path]) == []
        with scratch.scratch(tmp_path, "incoming"):
            assert (folder / "half").is_file()


@pytest.mark.parametrize("kind", ["seen", "hidden"])
def test_what_a_killed_owner_left_is_cleared_by_the_next(tmp_path: Path, kind: str) -> None:
    with owner(tmp_path, kind) as (process, folder):
        process.kill()
    assert [(one.path, one.size) for one in scratch.left_behind([tmp_path])] == [(folder.parent, 1000)]
    with scratch.scratch(tmp_path, "incoming") as mine:
        assert list(tmp_path.iterdir()) == [mine.parent]


def test_a_folder_that_only_has_such_a_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "packing-lists").mkdir()
    with scratch.scratch(tmp_path, "packing"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["packing-lists"]
