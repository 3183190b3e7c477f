"""A connection of reg leaves the SDK of the process as usable as it found it."""

from __future__ import annotations

import dataclasses
import os
import random
import socket
import time
from pathlib import Path

import pytest
import wandb

from registry import settings
from registry.connection import connect, connecting, environment
from registry.embedded import EmbeddedServer
from registry.errors import RegError


def test_the_sdk_works_after_a_connection_in_the_same_process(
    sdk: Path, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb.init(project=project):
        pass
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    elsewhere = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    with connect(elsewhere) as backend:
        assert backend.collections() == []
    with wandb.init(project=project) as run:
        run.log({"x": 1})
    assert len(wandb.Api().runs(f"local/{project}")) == 2


@pytest.mark.parametrize(("own", "told"), [(None, "1"), ("30", "30")], ids=["of itself", "by the user"])
def test_the_sdk_sends_to_a_server_on_this_machine_each_second_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, told: str
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    pace = "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"
    monkeypatch.delenv(pace, raising=False)
    if own is not None:
        monkeypatch.setenv(pace, own)
    here = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    elsewhere = dataclasses.replace(here, server="https://wandb.example.com")
    announced = dataclasses.replace(here, server="http://localhost:8686")
    with environment(announced, None):
        assert os.environ[pace] == told
    with EmbeddedServer(here.home) as server, environment(here, server):
        assert os.environ[pace] == told
    with environment(elsewhere, None):
        assert os.environ.get(pace) == own


def test_a_connection_made_in_the_background_is_one_and_ends_with_the_block(tmp_path: Path) -> None:
    before = dict(os.environ)
    here = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    with connecting(here) as connection:
        connection.begin()
        connection.begin()
        backend = connection.backend()
        assert backend is connection.backend()
        assert backend.collections() == []
        assert os.environ["WANDB_BASE_URL"] == backend.url
    assert dict(os.environ) == before


def test_a_connection_that_nobody_needed_in_the_end_leaves_nothing(tmp_path: Path) -> None:
    before, running = dict(os.environ), children()
    here = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    with connecting(here) as connection:
        connection.begin()
    assert dict(os.environ) == before
    assert children() == running


def test_what_went_wrong_in_the_background_is_said_to_whoever_needs_the_connection(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    here = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    with connecting(here) as connection:
        connection.begin()
        with pytest.raises(RegError, match="home"):
            connection.backend()


def test_a_server_elsewhere_is_asked_only_when_there_is_need(tmp_path: Path) -> None:
    here = settings.read({}, environment={"REG_HOME": str(tmp_path / "home")}, folder=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        elsewhere = dataclasses.replace(here, server=url, api_key="k" * 40)
        with connecting(elsewhere) as connection:
            connection.begin()
        listening.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()


def children() -> set[str]:
    """The processes that this one has started and that live."""
    return {child for thread in Path("/proc/self/task").iterdir() for child in (thread / "children").read_text().split()}


def test_a_server_that_nobody_asked_anything_ends_at_once_and_its_home_is_whole(tmp_path: Path) -> None:
    running, home = children(), tmp_path / "home"
    for _ in range(20):  # each is killed a little later in its start
        with EmbeddedServer(home):
            time.sleep(random.uniform(0, 0.4))
    assert children() == running
    here = settings.read({}, environment={"REG_HOME": str(home)}, folder=tmp_path)
    with connect(here) as backend:
        assert backend.collections() == []
