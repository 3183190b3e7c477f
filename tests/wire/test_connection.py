"""A connection of reg leaves the SDK of the process as usable as it found it."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb

from registry import settings
from registry.connection import connect


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
