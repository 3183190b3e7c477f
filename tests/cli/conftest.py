"""`reg` as a person runs it: its own process, its own home, nothing of this machine's settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The one JSON document that `--json` prints."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True, kw_only=True)
class Reg:
    """Runs `reg` in a folder with a home; `reg("ls", "--json").data`."""

    home: Path
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_", "GITHUB_"))}
        user = {
            "HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        return {**ours, **user, "REG_HOME": str(self.home), **self.extra}

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "registry", *words]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A test run started in the background of a shell ignores Ctrl-C, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __call__(self, *words: str) -> Done:
        process = self.start(*words)
        out, err = process.communicate(timeout=560)
        return Done(code=process.returncode, out=out, err=err)


@pytest.fixture
def reg(tmp_path: Path) -> Reg:
    """`reg` with an empty home in an empty folder."""
    (tmp_path / "work").mkdir()
    return Reg(home=tmp_path / "home", folder=tmp_path / "work")


@pytest.fixture(scope="session")
def make_reg(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reg]:
    """`reg` with a home that the tests of a module share."""

    def make(name: str) -> Reg:
        place = tmp_path_factory.mktemp(name)
        (place / "work").mkdir()
        return Reg(home=place / "home", folder=place / "work")

    return make
