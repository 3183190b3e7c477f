"""A fresh checkout, a fresh Python and a server with models: what a runner of GitHub Actions finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry import policy, promotion, questions
from registry.backend import Backend
from registry.connection import connect
from registry.embedded import announce
from registry.provenance import Provenance
from registry.records import Target
from registry.references import parse
from tests import models_on_a_server as made
from tests.actions import runner
from tests.wire.conftest import Server, running

ROOT = Path(__file__).parents[2]
PRODUCTION = Target(registry="model", collection="model", alias="production")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone of this tree holds."""
    folder = tmp_path_factory.mktemp("checkout") / "main"
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment that has our dependencies but not us: the workflow's own install step brings reg."""
    place = tmp_path_factory.mktemp("python") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    paths = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})
    Path(paths["purelib"], "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return place / "bin"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A fresh runner with a server: what its steps find."""

    server: Server
    folder: Path
    environment: Mapping[str, str]
    temporary: Path

    def contexts(self, **given: Any) -> dict[str, Any]:
        return {
            "inputs": {},
            "vars": {"WANDB_BASE_URL": self.server.url, "REG_DEVICE": "cpu"},
            "secrets": {"WANDB_API_KEY": self.server.key},
            "github": {"event_name": "workflow_dispatch", "event": {}, "token": "a token", "ref": "main"},
            "needs": {},
            "runner": {"temp": str(self.temporary)},
            **given,
        }


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three evaluated models, of which v0 holds `production`; v1 is better and v2 worse."""
    home = tmp_path_factory.mktemp("evaluated") / "home"
    with our_user(home) as backend:
        data = made.dataset(backend)
        for name, wrong in (("baseline", 60), ("better", 8), ("worse", 120)):
            made.model(backend, data, name, wrong=wrong)
        first = questions.ask(backend, parse("model:v0"), policy.load(made.RULES, name="first"))
        promotion.promote(backend, first, None, by=Provenance(actor="ann"))
    return home


@pytest.fixture
def machine(request: pytest.FixtureRequest, checkout: Path, python: Path, tmp_path: Path) -> Iterator[Machine]:
    if "models" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("evaluated"), tmp_path / "home")
    with running(tmp_path / "home") as server, announce(tmp_path / "home", server.url):
        homes = {name: str(tmp_path / "user") for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        # The setuptools that is here builds the package; pip itself would fetch another each time. "0" is pip's "no".
        homes["PIP_NO_BUILD_ISOLATION"] = "0"
        path = f"{python}{os.pathsep}{os.environ['PATH']}"
        environment = runner.machine(PATH=path, **homes, GITHUB_ACTOR="ann", GITHUB_REPOSITORY="team/repository")
        # The checkout's own packages must not be found before they are installed.
        environment.pop("PYTHONPATH", None)
        yield Machine(server=server, folder=checkout, environment=environment, temporary=tmp_path / "temporary")


@contextmanager
def our_user(home: Path) -> Iterator[Backend]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(home.parent / "us"))
        with connect(made.settings_of(home)) as backend:
            yield backend


@pytest.fixture
def models(machine: Machine) -> Callable[[], str]:
    """The machine's server is that of `evaluated`. Returns who holds `production`."""

    def holder() -> str:
        with our_user(machine.server.home) as backend:
            found = backend.holder(PRODUCTION)
            assert found is not None
            return found.origin.tag or ""

    return holder
