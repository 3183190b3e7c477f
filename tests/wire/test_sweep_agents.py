"""Agents as people start them: processes of the genuine client, one of which the machine kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.wire.conftest import Server, running

TRIALS = 20
UPSERT = "mutation ($input: UpsertSweepInput!) { upsertSweep(input: $input) { sweep { name } } }"
SHOW = """query ($project: String!, $name: String!) { project(name: $project, entityName: "local") { sweep(sweepName: $name) {
    state bestLoss runs { edges { node { name state config summaryMetrics sweepName } } }
    agents { edges { node { state totalRuns } } } } } }"""
AGENT = """
import sys, wandb
from wandb.agents.pyagent import Agent

Agent.HEARTBEAT_SLEEP_SECONDS = 0.3

def train():
    with wandb.init() as run:
        x = run.config.x
        run.log({"loss": (x - 13) ** 2})
        print("tried", x, flush=True)
        if sys.argv[2] == str(x):
            sys.stdin.read()

wandb.agent(sys.argv[1], function=train)
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that gives who is silent up for lost after seconds."""
    with running(tmp_path_factory.mktemp("impatient"), "--crashed-after", "5") as server:
        yield server


def created(server: Server, project: str, config: dict[str, Any]) -> str:
    values = {"entityName": "local", "projectName": project, "config": yaml.safe_dump(config)}
    answer: Any = server.ask(UPSERT, input=values)
    return f"local/{project}/{answer['upsertSweep']['sweep']['name']}"


def shown(server: Server, path: str) -> dict[str, Any]:
    _, project, name = path.split("/")
    answer: Any = server.ask(SHOW, project=project, name=name)
    found: dict[str, Any] = answer["project"]["sweep"]
    return found


def start(server: Server, folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= server.environment(folder)
    # The client's agent starts a program with whatever is called `python`.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
    )


def test_twenty_trials_are_all_made_though_one_of_two_agents_is_killed(impatient: Server, project: str, tmp_path: Path) -> None:
    grid = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": 0, "max": TRIALS - 1}},
    }
    path = created(impatient, project[:60], grid)
    doomed = start(impatient, tmp_path / "doomed", "-c", AGENT, path, "0")
    assert doomed.stdout is not None
    # The first agent to come gets the first point, and waits in the middle of its trial to be killed.
    assert any(line.startswith("tried 0") for line in doomed.stdout)
    other = start(impatient, tmp_path / "other", "-c", AGENT, path, "none")
    doomed.send_signal(signal.SIGKILL)
    doomed.communicate()
    printed, _ = other.communicate(timeout=240)
    assert other.returncode == 0, printed
    sweep = shown(impatient, path)
    runs = [edge["node"] for edge in sweep["runs"]["edges"]]
    finished = sorted(json.loads(run["config"])["x"]["value"] for run in runs if run["state"] == "finished")
    assert finished == list(range(TRIALS))
    assert [json.loads(run["config"])["x"]["value"] for run in runs if run["state"] != "finished"] == [0]
    assert (sweep["state"], sweep["bestLoss"]) == ("FINISHED", 0)
    assert [edge["node"] for edge in sweep["agents"]["edges"]] == [
        {"state": "CRASHED", "totalRuns": 1},
        {"state": "FINISHED", "totalRuns": TRIALS},
    ]


PROGRAM = """
import sys, time, wandb

with wandb.init() as run:
    kind, width = run.config.kind, run.config.model["width"]
    assert f"--kind={kind}" in sys.argv, sys.argv
    for step in range(3_000 if kind == "bad" else 6):  # the bad one for minutes, unless it is stopped
        run.log({"loss": 10 * width + step if kind == "bad" else 1 / (step + width)})
        time.sleep(0.05)
"""


def test_wandb_agent_runs_a_program_and_ends_what_hyperband_stops(server: Server, project: str, tmp_path: Path) -> None:
    config = {
        "method": "grid",
        "program": "train.py",
        "metric": {"name": "loss", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3},
        "parameters": {"kind": {"values": ["good", "bad"]}, "model": {"parameters": {"width": {"value": 2}}}},
    }
    path = created(server, project[:60], config)
    quick = "import wandb.wandb_agent as a; a.Agent.POLL_INTERVAL = 0.5; from wandb.cli.cli import cli; cli()"
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    agent = start(server, folder, "-c", quick, "agent", path)
    printed, _ = agent.communicate(timeout=240)
    assert agent.returncode == 0, printed
    sweep = shown(server, path)
    runs = [edge["node"] for edge in sweep["runs"]["edges"]]
    states = [(json.loads(run["config"])["kind"]["value"], run["state"]) for run in runs]
    assert states == [("good", "finished"), ("bad", "killed")]
    assert sweep["state"] == "FINISHED"
    assert {run["sweepName"] for run in runs} == {path.rpartition("/")[2]}
