"""Files of a run: what is saved is listed, and comes back byte for byte."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb


@pytest.mark.parametrize("name", [
    "plain.txt",
    "folder/deep/er.bin",
    "with space & 100% #1?.txt",
    "Überraschung ☃.txt",
    "empty",
])  # fmt: skip
def test_a_saved_file_comes_back(sdk: Path, name: str) -> None:
    content = b"" if name == "empty" else bytes(range(256)) * 1000
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    with wandb.init(project="saved") as run:
        run.save(name, base_path=".")
    file = wandb.Api().run(f"local/saved/{run.id}").file(name)
    assert (file.name, file.size) == (name, len(content))
    file.download(root=str(sdk / "back")).close()
    assert (sdk / "back" / name).read_bytes() == content


def test_the_client_keeps_its_own_files_with_a_run(sdk: Path, project: str) -> None:
    with wandb.init(project=project, config={"a": 1}) as run:
        run.log({"x": 1})
    names = {file.name for file in wandb.Api().run(f"local/{project}/{run.id}").files()}
    assert names >= {"config.yaml", "wandb-summary.json", "requirements.txt", "wandb-metadata.json"}


def test_a_file_is_uploaded_to_a_finished_run_replaced_and_deleted(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        pass
    found = wandb.Api().run(f"local/{project}/{run.id}")
    for text in ("one", "second"):
        Path("note.txt").write_text(text)
        found.upload_file("note.txt")
    file = found.file("note.txt")
    assert (file.size, file.mimetype) == (6, "text/plain")
    with file.download(root=str(sdk / "back")) as back:
        assert back.read() == "second"
    file.delete()
    assert list(found.files(["note.txt"])) == []


def test_files_are_found_by_name_and_pattern(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        pass
    found = wandb.Api().run(f"local/{project}/{run.id}")
    for name in ("a.txt", "b.txt", "b.bin"):
        Path(name).write_text(name)
        found.upload_file(name)
    assert [file.name for file in found.files(["a.txt", "missing"])] == ["a.txt"]
    assert [file.name for file in found.files(["./a.txt"])] == ["a.txt"]
    assert [file.name for file in found.files(pattern="b.%")] == ["b.bin", "b.txt"]
    assert [file.name for file in found.files(pattern="%.txt", per_page=1)] == ["a.txt", "b.txt", "requirements.txt"]


def test_a_saved_file_arrives_as_its_policy_says(sdk: Path, project: str) -> None:
    policies = ("live", "now", "end")
    for policy in policies:
        Path(policy).write_text("first")
    with wandb.init(project=project, id="p") as run:
        for policy in policies:
            run.save(policy, policy=policy, base_path=".")  # type: ignore[arg-type]
        found = wandb.Api().run(f"local/{project}/p")
        patience = time.monotonic() + 120
        while {file.name for file in found.files(list(policies))} != {"live", "now"}:
            assert time.monotonic() < patience, "neither arrived while the run goes on"
            time.sleep(0.05)
        for policy in policies:
            Path(policy).write_text("second text")
    assert {policy: found.file(policy).size for policy in ("live", "end")} == {"live": 11, "end": 11}


def test_code_and_its_difference_from_the_commit_are_kept(
    script: Callable[..., subprocess.Popen[str]], sdk: Path, project: str
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    Path("main.py").write_text("x = 1\n")
    for command in (
        ["init", "-q"],
        ["remote", "add", "origin", "https://e.com/r.git"],
        ["add", "main.py"],
        ["commit", "-qm", "m"],
    ):
        subprocess.run([*git, *command], check=True)
    Path("main.py").write_text(
        "import wandb\n"
        f"with wandb.init(project={project!r}, id='c', settings=wandb.Settings(save_code=True)) as run:\n"
        "    run.log_code('.')\n"
    )
    source = "import runpy; runpy.run_path('main.py', run_name='__main__')"
    output = script(source, WANDB_DISABLE_GIT="false", WANDB_PROGRAM="main.py").communicate()
    found = wandb.Api().run(f"local/{project}/c")
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert {file.name for file in found.files()} >= {"diff.patch", "code/main.py"}, output
    assert (found.commit, [artifact.type for artifact in found.logged_artifacts()]) == (commit, ["code"])


def test_a_logged_page_is_a_file_of_the_run(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"page": wandb.Html("<b>hi</b>")})
    found = wandb.Api().run(f"local/{project}/{run.id}")
    (path,) = [file.name for file in found.files() if file.name.startswith("media/")]
    assert path.startswith("media/html/page_0_")
    with found.file(path).download(root=str(sdk / "back")) as back:
        assert "<b>hi</b>" in back.read()


def test_deleting_a_run_deletes_its_files(sdk: Path, project: str) -> None:
    with wandb.init(project=project, id="gone") as run:
        run.log({"x": 1})
    wandb.Api().run(f"local/{project}/gone").delete()
    with wandb.init(project=project, id="gone", settings=wandb.Settings(x_disable_meta=True)):
        pass
    found = wandb.Api().run(f"local/{project}/gone")
    assert "wandb-metadata.json" not in {file.name for file in found.files()}
