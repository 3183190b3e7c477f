"""A real server as a subprocess, and the genuine wandb client pointed at it, away from everything else on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.version import Version

# The client retries for minutes by default; a test wants to hear at once.
_QUICK = {
    f"WANDB_X_{channel}_{setting}": value
    for channel in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
    for setting, value in (
        ("RETRY_MAX", "2"),
        ("RETRY_WAIT_MIN_SECONDS", "0.1"),
        ("RETRY_WAIT_MAX_SECONDS", "0.2"),
        ("TIMEOUT_SECONDS", "20"),
    )
}
_QUIET = {
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_DISABLE_JOB_CREATION": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
    "WANDB_INIT_TIMEOUT": "30",
    "WANDB_HTTP_TIMEOUT": "20",
    "WANDB_MODE": "online",
}


def since(sdk: str) -> pytest.MarkDecorator:
    """For a test of what the SDK itself can do only since this version: it is skipped with an older one."""
    return pytest.mark.skipif(Version(version("wandb")) < Version(sdk), reason=f"wandb can do this since {sdk}")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: its address, the key of its local user, its home, its process id."""

    url: str
    key: str
    home: Path
    pid: int

    def environment(self, folder: Path) -> dict[str, str]:
        """What a wandb process needs to use this server and to leave its traces in `folder` only."""
        folders = {f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("CACHE", "DATA", "CONFIG", "ARTIFACT")}
        for path in folders.values():
            Path(path).mkdir(parents=True, exist_ok=True)
        return {
            **_QUICK,
            **_QUIET,
            **folders,
            "WANDB_DIR": str(folder),
            "NETRC": str(folder / "netrc"),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.key,
        }

    def client(self) -> httpx.Client:
        """Raw requests with the local user's key."""
        # Reading the certificates that nobody presents here takes longer than the request.
        return httpx.Client(base_url=self.url, auth=("api", self.key), timeout=30, trust_env=False, verify=False)

    def ask(self, query: str, **variables: object) -> dict[str, object]:
        """The data of a GraphQL request that must succeed."""
        with self.client() as client:
            answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        data: dict[str, object] = answer["data"]
        return data


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[Server]:
    """A server of this home, ended by closing its standard input, as a command's child ends."""
    command = [sys.executable, "-m", "registry.server", "--home", str(home), "--until-stdin-closes", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_"))}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        yield Server(url=ready["url"], key=(home / "key").read_text().strip(), home=home, pid=ready["pid"])
    finally:
        process.stdin.close()
        code = process.wait(timeout=30)
        process.stdout.close()
    assert code == 0


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests: they keep apart by project name."""
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="session")
def session_sdk(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wandb client of this process, set up once: its service reads the environment when it starts."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in server.environment(folder).items():
            patch.setenv(name, value)
        import wandb

        yield folder
        wandb.teardown()


@pytest.fixture
def sdk(session_sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wandb client, working in an empty folder with an empty artifact cache; returns the folder."""
    from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

    # The client keeps artifacts by id, and two servers that one process has known give the same ids to different ones.
    artifact_instance_cache.clear()
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / f".{name.lower()}"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, session_sdk: Path) -> Iterator[Any]:
    """One run that logs for all tests of a module, in its PROJECT; collections keep them apart."""
    import wandb

    with wandb.init(project=request.module.PROJECT, dir=session_sdk) as run:
        yield run


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A collection of this test's own."""
    node: str = request.node.name
    return "".join(letter if letter.isalnum() else "-" for letter in node)[:100]


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of this test's own."""
    name: str = request.node.name
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:100]


@pytest.fixture
def script(server: Server, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts Python source as a wandb process of its own."""

    def start(source: str, **environment: str) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        env |= server.environment(tmp_path) | environment
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", source], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=tmp_path
        )

    return start
