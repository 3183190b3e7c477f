"""`wandb sync` of a run that was offline: everything arrives, and only once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb

from tests.wire.conftest import Server

OFFLINE = """if True:
    import wandb
    from pathlib import Path
    with wandb.init(project="synced", id="off", config={"lr": 1}, tags=["t"]) as run:
        for value in range(4):
            run.log({"x": value})
        run.log({"table": wandb.Table(columns=["a"], data=[[1]]), "page": wandb.Html("<b>hi</b>")})
        Path("saved.txt").write_text("kept")
        run.save("saved.txt")
        artifact = wandb.Artifact("made-offline", "dataset")
        artifact.add_file("saved.txt")
        run.log_artifact(artifact, aliases=["first"])
"""
SYNC = "import sys; from wandb.cli.cli import cli; sys.argv = ['wandb', *{arguments!r}]; cli()"


@pytest.fixture(scope="module")
def offline(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an offline run, moved away from where it was written."""
    folder = tmp_path_factory.mktemp("offline")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment = outside | server.environment(folder) | {"WANDB_MODE": "offline"}
    subprocess.run([sys.executable, "-c", OFFLINE], check=True, cwd=folder, env=environment, capture_output=True)
    (written,) = (folder / "wandb").glob("offline-run-*-off")
    moved = folder / "elsewhere" / written.name
    shutil.copytree(written, moved)
    shutil.rmtree(folder / "wandb")
    return moved


def forget_syncs(folder: Path) -> None:
    """Without the marks by which the client skips what it has sent before."""
    for mark in folder.glob("*.sync*"):
        mark.unlink()


def test_an_offline_run_arrives_whole_and_once_however_often_it_is_synced(
    script: Callable[..., subprocess.Popen[str]], sdk: Path, offline: Path
) -> None:
    for command in (["sync"], ["beta", "sync"]):
        forget_syncs(offline)
        process = script(SYNC.format(arguments=[*command, str(offline)]), WANDB_SILENT="false")
        output = process.communicate("y\n")
        assert process.returncode == 0, output
        found = wandb.Api().run("local/synced/off")
        assert [row.get("x") for row in found.scan_history()] == [0, 1, 2, 3, None], output
        assert found.history_keys["keys"]["x"]["typeCounts"] == [{"type": "number", "count": 4}]
        assert (found.state, found.config, found.tags, found.summary["x"]) == ("finished", {"lr": 1}, ["t"], 3)
        assert {file.name.split("/")[0] for file in found.files()} >= {"saved.txt", "media"}
        artifacts = {artifact.name: sorted(artifact.aliases) for artifact in found.logged_artifacts()}
        assert artifacts == {"run-off-table:v0": ["latest"], "made-offline:v0": ["first", "latest"]}
    assert found.file("saved.txt").size == 4


def test_an_offline_run_may_be_synced_under_another_name(
    script: Callable[..., subprocess.Popen[str]], sdk: Path, offline: Path
) -> None:
    forget_syncs(offline)
    arguments = ["sync", "--id", "copy", "-p", "synced-2", str(offline)]
    process = script(SYNC.format(arguments=arguments), WANDB_SILENT="false")
    output = process.communicate("y\n")
    rows = wandb.Api().run("local/synced-2/copy").scan_history()
    assert [row.get("x") for row in rows] == [0, 1, 2, 3, None], output
