"""What `reg init` writes into a repository works there as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from registry import policy
from tests.actions import runner
from tests.actions.conftest import Machine

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(machine: Machine, tmp_path: Path) -> Path:
    """A user's repository with data, on a branch of their own name, after `pip install` and `reg init`."""
    folder = tmp_path / "my digits"
    shutil.copytree(machine.folder / "tests" / "data" / "digits", folder / "dataset")
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "trunk", str(folder)], check=True)
    for command in (f"python -m pip install --quiet {machine.folder}", f"cd '{folder}' && reg init"):
        done = subprocess.run(["bash", "-ec", command], env=dict(machine.environment), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_finds_out_what_it_can_its_workflow_passes_without_a_secret_and_it_overwrites_nothing(
    machine: Machine, repository: Path
) -> None:
    assert (repository / "reg.yaml").read_text().splitlines()[1:] == ["project: my-digits", "policy: policy.yaml"]
    assert policy.load((repository / "policy.yaml").read_text(), name="policy.yaml").target.alias == "production"
    promoting = runner.load(repository / ".github" / "workflows" / "gate-and-promote.yml")
    assert promoting[True]["push"] == {"branches": ["trunk"]}
    assert (promoting["env"]["REG_PACKAGE"], promoting["env"]["REG_POLICY"]) == ("reg-lifecycle", "policy.yaml")
    validating = runner.load(repository / ".github" / "workflows" / "validate.yml")
    assert validating["jobs"]["life"]["env"]["REG_DATA"] == "dataset/"
    contexts = machine.contexts(secrets={}, vars={}, github={"event_name": "pull_request", "ref": "x", "event": {}})
    life = runner.run_job(validating, "life", folder=repository, contexts=contexts, environment=machine.environment)
    assert life.failed is None, life.log
    assert "# PASS" in life["Promote, by a policy that asks only whether there is evidence"].summary
    assert "flowchart LR" in life["Show the lineage"].out
    (repository / "policy.yaml").write_text("mine")
    again = subprocess.run(
        ["bash", "-ec", "reg init"], cwd=repository, env=dict(machine.environment), capture_output=True, text=True
    )
    assert (again.returncode, (repository / "policy.yaml").read_text()) == (2, "mine")
    assert "nothing was written" in again.stderr
