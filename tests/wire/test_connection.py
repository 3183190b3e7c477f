"""A connection of reg leaves the SDK of the process as usable as it found it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import wandb

from registry import settings
from registry.connection import connect, environment
from registry.embedded import EmbeddedServer


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
    with EmbeddedServer(here.home) as server, environment(here, server):
        assert os.environ[pace] == told
    with environment(elsewhere, None):
        assert os.environ.get(pace) == own
