"""`reg` as a person runs it: its own home, nothing of this machine's settings; and a process of its own, where that matters.

A new process takes two to four seconds to load what this one has loaded already. So a test that is about what a command says
and does asks in this process; one about processes, signals, starting or a whole life as it is typed starts them for real.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from registry.cli import run
from registry.embedded import announce
from tests.wire.conftest import running


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


class Inside(Reg):
    """The same in this process."""

    def __call__(self, *words: str) -> Done:
        from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

        # The client keeps artifacts by id, and two servers that one process has known give the same ids to different ones.
        artifact_instance_cache.clear()
        out, err = io.StringIO(), io.StringIO()
        with self.surroundings(), redirect_stdout(out), redirect_stderr(err):
            code = run(list(words))
        return Done(code=code, out=out.getvalue(), err=err.getvalue())

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The folder and the variables of its commands, for the time of the block."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield


@contextmanager
def serving(reg: Reg) -> Iterator[None]:
    """As while `reg serve` runs: commands use this server, and need not start one each."""
    with running(reg.home) as server, announce(reg.home, server.url):
        yield


@pytest.fixture
def reg(tmp_path: Path) -> Reg:
    """`reg` in a process of its own, with an empty home in an empty folder."""
    (tmp_path / "work").mkdir()
    return Reg(home=tmp_path / "home", folder=tmp_path / "work")


@pytest.fixture
def inside(reg: Reg) -> Inside:
    """The same home and folder, in this process."""
    return Inside(home=reg.home, folder=reg.folder)


@pytest.fixture(scope="session")
def make_reg(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reg]:
    """`reg` with a home that the tests of a module share."""

    def make(name: str) -> Reg:
        place = tmp_path_factory.mktemp(name)
        (place / "work").mkdir()
        return Reg(home=place / "home", folder=place / "work")

    return make


@pytest.fixture(scope="module")
def make_served(make_reg: Callable[[str], Reg]) -> Iterator[Callable[[str], Inside]]:
    """`reg` in this process with such a home, and one server of it for all that the module asks."""
    with ExitStack() as stack:

        def make(name: str) -> Inside:
            made = make_reg(name)
            stack.enter_context(serving(made))
            return Inside(home=made.home, folder=made.folder)

        yield make
