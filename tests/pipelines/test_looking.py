"""Looking before a push: by several processes where there is much, and never at something else than what is then pushed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pipelines import dataset
from pipelines.data import glancing
from pipelines.data.folder import look
from pipelines.data.options import Options
from pipelines.data.reading import inspect
from pipelines.data.samples import write_digits
from pipelines.looking import looking
from registry import settings
from registry.errors import BadData, RegError


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "digits")


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glancing, "_MANY", 4)


def elsewhere(tmp_path: Path) -> settings.Settings:
    """Settings that name a server which nobody asks."""
    environment = {"REG_HOME": str(tmp_path / "home"), "WANDB_BASE_URL": "http://localhost:9", "WANDB_API_KEY": "k" * 40}
    return settings.read({}, environment=environment, folder=tmp_path)


def test_several_processes_see_what_one_sees(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = inspect(digits)
    monkeypatch.setattr(glancing, "_MANY", 4)
    together = inspect(digits)
    assert together.spec == alone.spec
    assert [together.pictures[name] for name in together.data.names] == [alone.pictures[name] for name in alone.data.names]


@pytest.mark.usefixtures("several")
def test_several_processes_name_the_file_that_is_no_image(digits: Path) -> None:
    (digits / "train" / "3" / "9999.png").write_bytes(b"no picture")
    with pytest.raises(BadData, match=r"^train/3/9999.png is no image that Pillow knows$") as refusal:
        inspect(digits)
    assert refusal.value.hint is not None


@pytest.mark.usefixtures("several")
def test_a_process_that_is_killed_is_no_result(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = glancing._child

    def killed() -> subprocess.Popen[str]:
        child = start()
        os.kill(child.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(glancing, "_child", killed)
    with pytest.raises(RegError, match="ended before it was done"):
        list(glancing.glance(look(digits).files, None))


def test_what_is_pushed_has_the_digests_of_its_bytes(tmp_path: Path, digits: Path) -> None:
    with looking(elsewhere(tmp_path), digits, Options()) as found:
        hashed = dataset._hashed(found.found.kept, found, embedded=False).rows()
    wanted = {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in found.found.files}
    assert {name: file.md5 for name, file in hashed.items()} == wanted
    assert not any(file.stored for file in hashed.values()), "nothing is taken for stored on a server elsewhere"


def test_a_file_that_changes_between_look_and_push_is_noticed(tmp_path: Path, digits: Path) -> None:
    with looking(elsewhere(tmp_path), digits, Options()) as found:
        changed = Path(found.found.kept[-1].path)
        content = changed.read_bytes()
        changed.write_bytes(content[:-1] + b"\0")
        with pytest.raises(BadData, match=f"{found.found.kept[-1].name} changed while it was being pushed"):
            dataset._hashed(found.found.kept, found, embedded=False)
