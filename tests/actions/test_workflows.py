"""Every `run:` step of our workflows, run in a clean checkout against the embedded server, with candidates good and bad.

The whole life of `validate.yml` passes in `test_init`: ours is the file that `reg init` writes, but for a few words.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.starter import Words, github_files
from tests.actions import runner
from tests.actions.conftest import ROOT, Machine

pytestmark = pytest.mark.slow


def test_our_workflows_are_the_ones_that_reg_init_writes() -> None:
    ours = Words(package=".", policy="pipelines/policy.yaml", data="tests/data/digits", project="reg", branch="main")
    written = github_files(ours)
    assert {name: (ROOT / name).read_text() for name in written} == written


def gate_and_promote(machine: Machine, model: str) -> tuple[runner.Job, runner.Job | None]:
    workflow = runner.load(machine.folder / ".github" / "workflows" / "gate-and-promote.yml")
    contexts = machine.contexts(inputs={"model": model, "alias": "production"})
    place = {"folder": machine.folder, "environment": machine.environment}
    gate = runner.run_job(workflow, "gate", contexts=contexts, **place)
    if gate.failed:
        return gate, None
    later = {**contexts, "needs": {"gate": {"outputs": gate.outputs}}}
    return gate, runner.run_job(workflow, "promote", contexts=later, **place)


def test_a_candidate_that_beats_the_baseline_is_promoted(machine: Machine, models: Callable[[], str]) -> None:
    gate, promote = gate_and_promote(machine, "model:v1")
    assert gate.failed is None, gate.log
    assert promote is not None
    assert promote.failed is None, promote.log
    assert gate.outputs == {"outcome": "PASS", "candidate": "local/reg/model:v1"}
    assert promote.outputs == {"moved": "true"}
    assert "# PASS: the candidate may take the alias" in promote["Promote"].summary
    assert "local/reg/model:v1" in promote["Why it is there"].out
    assert models() == "v1"


def test_a_candidate_that_fails_is_stopped_at_the_gate(machine: Machine, models: Callable[[], str]) -> None:
    gate, promote = gate_and_promote(machine, "model:v2")
    assert gate.failed is not None, gate.log
    assert (gate.failed.name, gate.failed.code) == ("Evaluate candidate and baseline, and judge", 3)
    assert gate.outputs["outcome"] == "FAIL"
    assert "::error title=FAIL%3A beats::" in gate.failed.out
    assert "# FAIL: the candidate is refused" in gate.failed.summary
    assert promote is None
    assert models() == "v0"


def test_a_runner_without_the_device_stops_before_anything_is_judged(machine: Machine) -> None:
    workflow = runner.load(machine.folder / ".github" / "workflows" / "gate-and-promote.yml")
    contexts = machine.contexts(inputs={"model": "model:v1", "alias": "production"})
    contexts["vars"] = contexts["vars"] | {"REG_DEVICE": "cuda"}
    # pip would fetch gigabytes for the GPU; that it is asked for is enough here.
    for step in workflow["jobs"]["gate"]["steps"]:
        if step.get("name") == "Install":
            step["run"] = 'echo "${REG_PACKAGE}[${EXTRA}]"; ' + step["run"].replace("${EXTRA}", "cpu")
    gate = runner.run_job(workflow, "gate", folder=machine.folder, contexts=contexts, environment=machine.environment)
    assert gate["Install"].out.startswith(".[gpu]\n")
    assert gate.failed is not None
    if (gate.failed.name, gate.failed.code) != ("Is the device really here?", 7):
        pytest.skip("this machine has a GPU") if gate.failed.name != "Install" else pytest.fail(gate.log)


def test_a_push_does_nothing_until_a_model_is_named(machine: Machine) -> None:
    workflow = runner.load(machine.folder / ".github" / "workflows" / "gate-and-promote.yml")
    contexts = machine.contexts(github={"event_name": "push", "event": {}})
    gate = runner.run_job(workflow, "gate", folder=machine.folder, contexts=contexts, environment=machine.environment)
    assert gate.skipped


def test_a_pull_request_with_a_broken_policy_is_refused(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(machine.folder, folder)
    file = folder / "pipelines" / "policy.yaml"
    file.write_text(file.read_text().replace("min_gain", "mingain"))
    workflow = runner.load(folder / ".github" / "workflows" / "validate.yml")
    workflow["jobs"]["life"]["steps"] = workflow["jobs"]["life"]["steps"][:4]
    contexts = machine.contexts(secrets={}, vars={}, github={"event_name": "pull_request", "ref": "x", "event": {}})
    life = runner.run_job(workflow, "life", folder=folder, contexts=contexts, environment=machine.environment)
    assert life.failed is not None
    assert (life.failed.name, life.failed.code) == ("Check the policy", 2)
    assert "did you mean 'min_gain'" in life.failed.out
