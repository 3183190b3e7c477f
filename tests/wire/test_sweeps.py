"""Sweeps: the genuine client creates and serves one; the rules of the heartbeat are asked for directly, without waiting."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from sqlalchemy import update

from registry.server.database import Database
from registry.server.tables import agents, runs
from tests.wire.conftest import Server

GRID = {"method": "grid", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2, 3, 4]}}}
RANDOM = {"method": "random", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
UPSERT = """mutation ($input: UpsertSweepInput!) { upsertSweep(input: $input) {
    sweep { id name state project { name } } configValidationWarnings } }"""
SHOW = """query ($project: String!, $name: String!) { project(name: $project, entityName: "local") { sweep(sweepName: $name) {
    state runCount runCountExpected bestLoss runs { edges { node { name state config sweepName } } }
    agents { edges { node { id state totalRuns } } } } } }"""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep of the server, and what agents of it say and hear, word by word."""

    server: Server
    project: str
    id: str
    name: str

    def agent(self) -> str:
        query = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }"
        answer: Any = self.server.ask(query, input={"host": "here", "projectName": self.project, "sweep": self.name})
        agent: str = answer["createAgent"]["agent"]["id"]
        return agent

    def beat(self, agent: str, *running: str) -> list[dict[str, Any]]:
        query = "mutation ($input: AgentHeartbeatInput!) { agentHeartbeat(input: $input) { agent { id } commands } }"
        state = json.dumps(dict.fromkeys(running, True))
        answer: Any = self.server.ask(query, input={"id": agent, "metrics": "{}", "runState": state})
        commands: list[dict[str, Any]] = json.loads(answer["agentHeartbeat"]["commands"])
        return commands

    def given(self, agent: str) -> tuple[str, Any]:
        """The run and the `x` that an agent without a run is told."""
        (command,) = self.beat(agent)
        assert command["type"] == "run"
        return command["run_id"], command["args"]["x"]["value"]

    def begin(self, run: str) -> None:
        query = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } inserted } }"
        bucket = {"name": run, "modelName": self.project, "entityName": "local", "host": "here", "sweep": self.name}
        self.server.ask(query, input=bucket)

    def log(self, run: str, *losses: float, **last: object) -> None:
        rows = [json.dumps({"_step": step, "loss": loss}) for step, loss in enumerate(losses)]
        summary = [json.dumps({"loss": losses[-1]})] if losses else []
        files = {"wandb-history.jsonl": {"offset": 0, "content": rows}, "wandb-summary.json": {"offset": 0, "content": summary}}
        with self.server.client() as client:
            client.post(f"/files/local/{self.project}/{run}/file_stream", json={"files": files, **last}).raise_for_status()

    def end(self, run: str, *losses: float, exitcode: int = 0) -> None:
        self.begin(run)
        self.log(run, *losses, complete=True, exitcode=exitcode)

    def set(self, **values: object) -> None:
        self.server.ask(UPSERT, input={"id": self.id, **values})

    def show(self) -> dict[str, Any]:
        answer: Any = self.server.ask(SHOW, project=self.project, name=self.name)
        shown: dict[str, Any] = answer["project"]["sweep"]
        shown["runs"] = [edge["node"] for edge in shown["runs"]["edges"]]
        shown["agents"] = [edge["node"] for edge in shown["agents"]["edges"]]
        return shown

    def vanish(self, agent: str) -> None:
        """Move the last word of an agent, and of its runs, far into the past."""
        number = int(base64.b64decode(agent).decode().rpartition(":")[2])
        database = Database(self.server.home / "reg.db")
        with database.writing() as connection:
            connection.execute(update(agents).where(agents.c.id == number).values(heartbeat_at="2020-01-01T00:00:00.000000Z"))
            for alive, lost in (("running", "crashed"), ("preempting", "preempted")):
                here = (runs.c.sweep == self.name) & (runs.c.state == alive)
                connection.execute(update(runs).where(here).values(state=lost))
        database.close()


def created(server: Server, project: str, config: dict[str, Any], **values: object) -> Sweep:
    text = yaml.safe_dump(config)
    answer: Any = server.ask(UPSERT, input={"entityName": "local", "projectName": project, "config": text, **values})
    sweep = answer["upsertSweep"]["sweep"]
    return Sweep(server=server, project=project, id=sweep["id"], name=sweep["name"])


def refusal(server: Server, query: str, **variables: object) -> tuple[int, str]:
    with server.client() as client:
        answer = client.post("/graphql", json={"query": query, "variables": variables})
    return answer.status_code, answer.json()["errors"][0]["message"]


@pytest.fixture(scope="module")
def searched(
    server: Server, session_sdk: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[wandb.apis.public.Sweep, list[str]]:
    """A grid of four that `wandb.sweep` made and two `wandb.agent` processes went through, and what these printed.

    An agent takes ten seconds to leave, and sets the client up anew for each run, so it has a process of its own.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}

    def start(source: str, *words: str) -> subprocess.Popen[str]:
        folder = tmp_path_factory.mktemp("agent")
        env = environment | server.environment(folder)
        command = [sys.executable, "-c", source, *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=folder)

    making = start(_MAKE)
    name = making.communicate()[0].split("Create sweep with ID:")[1].split()[0]
    agents = [start(_AGENT, name) for _ in range(2)]
    printed = [agent.communicate()[0] for agent in agents]
    assert [making.returncode, *(agent.returncode for agent in agents)] == [0, 0, 0], printed
    return wandb.Api().sweep(f"local/searched/{name}"), printed


_MAKE = """
import wandb
metric = {"name": "loss", "goal": "minimize"}
config = {"name": "four", "method": "grid", "metric": metric, "parameters": {"x": {"values": [3, 1, 2, 4]}}}
wandb.sweep(config, project="searched", entity="local")
"""
_AGENT = """
import sys, wandb
from wandb.agents.pyagent import Agent

Agent.HEARTBEAT_SLEEP_SECONDS = 0.5

def train():
    with wandb.init() as run:
        run.log({"loss": run.config.x**2})
        print("tried", run.config.x)

wandb.agent(sys.argv[1], function=train, project="searched", entity="local")
"""


def test_two_agents_of_the_client_try_each_point_of_a_grid_once_and_leave(
    searched: tuple[wandb.apis.public.Sweep, list[str]],
) -> None:
    sweep, printed = searched
    assert sorted(int(x) for lines in printed for x in re.findall(r"^tried (\d)", lines, re.MULTILINE)) == [1, 2, 3, 4]
    tried = [(run.config["x"], run.summary["loss"], run.state) for run in sweep.runs]
    assert tried == [(3, 9, "finished"), (1, 1, "finished"), (2, 4, "finished"), (4, 16, "finished")]
    assert (sweep.state, sweep.expected_run_count, sweep.name) == ("FINISHED", 4, "four")


def test_the_public_api_finds_the_best_run_and_the_agents(searched: tuple[wandb.apis.public.Sweep, list[str]]) -> None:
    sweep, _ = searched
    assert sweep.best_run().config["x"] == 1
    runs = [run.state for agent in sweep.agents() for run in sweep.agent(agent.name).runs()]
    assert runs == ["finished"] * 4


def test_sweeps_are_listed_and_filtered(searched: tuple[wandb.apis.public.Sweep, list[str]]) -> None:
    project = wandb.Api().project("searched", entity="local")
    assert [sweep.id for sweep in project.sweeps()] == [searched[0].id]
    assert [sweep.id for sweep in wandb.Api().project("searched", entity="local").sweeps(filters={"state": "RUNNING"})] == []


def test_the_command_line_makes_pauses_resumes_and_cancels_a_sweep(server: Server, project: str, tmp_path: Path) -> None:
    def say(*words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment |= server.environment(tmp_path)
        del environment["WANDB_SILENT"]
        command = [sys.executable, "-c", "from wandb.cli.cli import cli; cli()", "sweep", *words]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**GRID, "program": "train.py"}))
    path = say("--project", project, "--entity", "local", "sweep.yaml").rpartition("wandb agent ")[2].split()[0]
    name = path.rpartition("/")[2]
    shown: Any = server.ask(SHOW, project=project, name=name)
    assert shown["project"]["sweep"]["state"] == "PENDING"
    agent = Sweep(server=server, project=project, id="", name=name).agent()
    for word, state in (("--pause", "PAUSED"), ("--resume", "RUNNING"), ("--cancel", "CANCELED")):
        say(word, path)
        shown = server.ask(SHOW, project=project, name=name)
        assert shown["project"]["sweep"]["state"] == state
    assert Sweep(server=server, project=project, id="", name=name).beat(agent) == [{"type": "exit"}]


def test_a_command_tells_program_and_parameters(server: Server, project: str) -> None:
    config = {**RANDOM, "program": "train.py", "parameters": {"o": {"parameters": {"lr": {"value": 0.1}}}}}
    sweep = created(server, project, config)
    (command,) = sweep.beat(sweep.agent())
    run = command.pop("run_id")
    assert command == {"type": "run", "program": "train.py", "args": {"o": {"value": {"lr": 0.1}}}}
    (shown,) = sweep.show()["runs"]
    assert (shown["name"], shown["state"], shown["sweepName"]) == (run, "pending", sweep.name)
    assert json.loads(shown["config"]) == {"o": {"value": {"lr": 0.1}}}


def test_two_agents_share_a_grid_without_repetition(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    one, two = sweep.agent(), sweep.agent()
    assert sweep.show()["state"] == "RUNNING"
    tried = []
    for _ in range(2):
        given = [(agent, *sweep.given(agent)) for agent in (one, two)]
        for agent, run, x in given:
            sweep.begin(run)
            assert sweep.beat(agent, run) == []
            sweep.end(run, x)
            tried.append(x)
    assert sorted(tried) == [1, 2, 3, 4]
    assert [sweep.beat(agent) for agent in (one, two)] == [[{"type": "exit"}]] * 2
    shown = sweep.show()
    assert (shown["state"], shown["runCount"], shown["bestLoss"]) == ("FINISHED", 4, 1)
    assert [(agent["state"], agent["totalRuns"]) for agent in shown["agents"]] == [("FINISHED", 2)] * 2


def test_the_last_word_of_the_last_run_finishes_a_grid_whose_agent_does_not_ask_again(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"value": 1}}})
    run, _ = sweep.given(sweep.agent())
    sweep.begin(run)
    assert sweep.show()["state"] == "RUNNING"
    sweep.end(run, 0.5)
    assert sweep.show()["state"] == "FINISHED"


def test_an_idle_agent_waits_for_the_last_run_of_another_and_leaves_with_it(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"value": 1}}})
    busy, idle = sweep.agent(), sweep.agent()
    run, _ = sweep.given(busy)
    sweep.begin(run)
    assert (sweep.beat(idle), sweep.beat(busy, run), sweep.show()["state"]) == ([], [], "RUNNING")
    sweep.end(run, 1)
    assert [sweep.beat(agent) for agent in (idle, busy)] == [[{"type": "exit"}]] * 2


def test_an_idle_agent_takes_over_the_last_run_of_one_that_vanished(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"value": 1}}})
    busy, idle = sweep.agent(), sweep.agent()
    run, x = sweep.given(busy)
    assert sweep.beat(idle) == []
    sweep.vanish(busy)
    again, same = sweep.given(idle)
    assert (again != run, same) == (True, x)


def test_run_cap_ends_a_random_sweep(server: Server, project: str) -> None:
    sweep = created(server, project, {**RANDOM, "run_cap": 2})
    agent = sweep.agent()
    drawn = set()
    for _ in range(2):
        run, x = sweep.given(agent)
        sweep.end(run, x)
        drawn.add(x)
    assert (len(drawn), sweep.beat(agent)) == (2, [{"type": "exit"}])
    assert (sweep.show()["state"], sweep.show()["runCountExpected"]) == ("FINISHED", 2)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_a_bayes_sweep_learns_from_its_runs(server: Server, project: str) -> None:
    sweep = created(server, project, {**RANDOM, "method": "bayes"})
    agent = sweep.agent()
    for number in range(3):
        run, x = sweep.given(agent)
        assert 0 <= x <= 1
        sweep.end(run, *([abs(x - 0.5)] if number else []), exitcode=0 if number else 1)
    assert [run["state"] for run in sweep.show()["runs"]] == ["failed", "finished", "finished"]


def test_a_paused_sweep_gives_nothing_and_keeps_its_agents(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    sweep.set(state="PAUSED")
    assert sweep.beat(agent) == []
    sweep.set(state="RUNNING")
    assert sweep.given(agent)[1] == 1


def test_a_stopped_sweep_lets_its_runs_end(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.set(state="FINISHED")
    assert sweep.beat(agent, run) == []
    sweep.end(run, 1)
    assert sweep.beat(agent) == [{"type": "exit"}]


def test_a_cancelled_sweep_stops_its_runs_before_its_agents_leave(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.begin(run)
    sweep.set(state="CANCELED")
    assert [sweep.beat(agent, run) for _ in range(2)] == [[{"type": "stop", "run_id": run}]] * 2
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert [run["state"] for run in sweep.show()["runs"]] == ["killed"]


def test_an_answer_that_was_lost_is_given_again(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    first = sweep.given(agent)
    assert sweep.given(agent) == first


def test_a_process_that_ends_without_a_word_has_failed_and_keeps_its_point(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    run, x = sweep.given(agent)
    assert sweep.beat(agent, run) == []
    assert (x, sweep.given(agent)[1]) == (1, 2)
    assert [run["state"] for run in sweep.show()["runs"]] == ["failed", "pending"]


def test_a_grid_whose_last_process_never_spoke_is_finished_by_its_agent(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"value": 1}}})
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.beat(agent, run)
    assert (sweep.beat(agent), sweep.show()["state"]) == ([{"type": "exit"}], "FINISHED")


def test_agents_that_ask_at_the_same_moment_get_different_points(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"min": 1, "max": 8}}})
    with ThreadPoolExecutor(max_workers=8) as pool:
        given = pool.map(sweep.given, [sweep.agent() for _ in range(8)])
    assert sorted(x for _, x in given) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("begun", [True, False], ids=["while it ran", "before it began"])
def test_the_point_of_a_lost_agent_is_given_out_again(server: Server, project: str, begun: bool) -> None:
    sweep = created(server, project, GRID)
    lost, other = sweep.agent(), sweep.agent()
    run, x = sweep.given(lost)
    if begun:
        sweep.begin(run)
        sweep.beat(lost, run)
    sweep.vanish(lost)
    assert sweep.given(other)[1] == x
    shown = sweep.show()
    assert [one["state"] for one in shown["runs"]] == ["crashed", "pending"]
    assert [agent["state"] for agent in shown["agents"]] == ["CRASHED", "RUNNING"]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_parameters_that_were_drawn_for_a_lost_agent_are_given_out_again(server: Server, project: str, method: str) -> None:
    if method == "bayes":
        pytest.importorskip("optuna")
    sweep = created(server, project, {**RANDOM, "method": method, "run_cap": 2})
    lost, other = sweep.agent(), sweep.agent()
    _, x = sweep.given(lost)
    run, y = sweep.given(other)
    sweep.end(run, y)
    assert (sweep.beat(other), x != y) == ([], True)
    sweep.vanish(lost)
    run, again = sweep.given(other)
    sweep.end(run, again)
    assert (again, sweep.beat(other), sweep.show()["state"]) == (x, [{"type": "exit"}], "FINISHED")


def test_parameters_that_took_three_agents_down_are_not_given_to_a_fourth(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    given = []
    for _ in range(4):
        agent = sweep.agent()
        given.append(sweep.given(agent)[1])
        sweep.vanish(agent)
    assert given == [1, 1, 1, 2]


def test_a_deleted_run_frees_its_point(server: Server, project: str) -> None:
    sweep = created(server, project, {**GRID, "parameters": {"x": {"value": 1}}})
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.end(run, 1)
    query = 'query ($p: String!, $r: String!) { project(name: $p, entityName: "local") { run(name: $r) { id } } }'
    found: Any = server.ask(query, p=project, r=run)
    delete = "mutation ($input: DeleteRunInput!) { deleteRun(input: $input) { success } }"
    server.ask(delete, input={"id": found["project"]["run"]["id"]})
    sweep.set(state="RUNNING")
    again, x = sweep.given(agent)
    assert (again != run, x) == (True, 1)


def test_a_preempted_run_is_resumed_by_the_next_agent(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    first, second = sweep.agent(), sweep.agent()
    run, x = sweep.given(first)
    sweep.begin(run)
    sweep.log(run, 1.0, preempting=True)
    sweep.log(run, 1.0, complete=True, exitcode=1)
    (command,) = sweep.beat(second)
    assert (command["type"], command["run_id"], command["args"]) == ("resume", run, {"x": {"value": x}})
    assert sweep.given(first)[0] != run


def test_a_run_that_may_be_interrupted_is_itself_taken_over_from_an_agent_that_vanished(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    first, second = sweep.agent(), sweep.agent()
    run, x = sweep.given(first)
    sweep.begin(run)
    sweep.log(run, 1.0, preempting=True)
    sweep.beat(first, run)
    sweep.vanish(first)
    (command,) = sweep.beat(second)
    assert (command["type"], command["run_id"], command["args"]) == ("resume", run, {"x": {"value": x}})
    sweep.begin(run)
    sweep.log(run, 1.0, 0.5, complete=True, exitcode=0)
    assert [(run["name"], run["state"]) for run in sweep.show()["runs"]] == [(run, "finished")]
    assert [agent["state"] for agent in sweep.show()["agents"]] == ["CRASHED", "RUNNING"]


def test_a_silent_run_is_not_given_to_a_second_agent_while_the_first_still_has_it(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    first, second = sweep.agent(), sweep.agent()
    run, _ = sweep.given(first)
    sweep.begin(run)
    sweep.log(run, 1.0, preempting=True)
    sweep.vanish(first)
    sweep.beat(first, run)
    assert sweep.given(second)[0] != run


def test_a_process_that_ends_without_a_word_and_could_go_on_is_given_out_at_once(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.begin(run)
    sweep.log(run, 1.0, preempting=True)
    sweep.beat(agent, run)
    (command,) = sweep.beat(agent)
    assert (command["type"], command["run_id"]) == ("resume", run)


def test_what_a_run_announced_stands_when_it_says_more_of_itself(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    run, _ = sweep.given(sweep.agent())
    sweep.begin(run)
    sweep.log(run, 1.0, preempting=True)
    query = 'query ($p: String!, $r: String!) { project(name: $p, entityName: "local") { run(name: $r) { id } } }'
    found: Any = server.ask(query, p=project, r=run)
    more = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"
    server.ask(more, input={"id": found["project"]["run"]["id"], "host": "here", "tags": ["said later"]})
    assert [run["state"] for run in sweep.show()["runs"]] == ["preempting"]


def test_hyperband_stops_what_is_worse_at_its_bracket_and_keeps_saying_so(server: Server, project: str) -> None:
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    sweep = created(server, project, {**GRID, "early_terminate": early})
    agents = [sweep.agent() for _ in range(4)]
    given = [sweep.given(agent)[0] for agent in agents]
    for run, loss in zip(given, (1.0, 2.0, 3.0, 4.0), strict=True):
        sweep.begin(run)
        sweep.log(run, 5.0, loss)
    said = [sweep.beat(agent, run) for agent, run in zip(agents, given, strict=True)]
    assert said == [[], [], [], [{"type": "stop", "run_id": given[3]}]]
    assert sweep.beat(agents[3], given[3]) == [{"type": "stop", "run_id": given[3]}]
    sweep.beat(agents[3])
    assert [run["state"] for run in sweep.show()["runs"]] == ["running"] * 3 + ["killed"]


def test_a_run_that_was_told_to_stop_was_killed_whatever_its_process_says(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    agent = sweep.agent()
    run, _ = sweep.given(agent)
    sweep.begin(run)
    sweep.set(state="CANCELED")
    sweep.beat(agent, run)
    sweep.log(run, 1.0, preempting=True)
    sweep.log(run, 1.0, complete=True, exitcode=1)
    assert [run["state"] for run in sweep.show()["runs"]] == ["killed"]


def test_a_run_started_by_hand_counts_for_the_sweep_it_names(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    query = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"
    bucket = {"name": "by-hand", "modelName": project, "entityName": "local", "sweep": sweep.name, "host": "here"}
    server.ask(query, input={**bucket, "config": json.dumps({"x": {"value": 1}, "other": {"value": 0}})})
    assert (sweep.given(sweep.agent())[1], sweep.show()["runCount"]) == (2, 2)


def test_prior_runs_count_for_the_search(server: Server, project: str) -> None:
    query = "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"
    config = json.dumps({"x": {"value": 1}})
    server.ask(query, input={"name": "before", "modelName": project, "entityName": "local", "config": config})
    sweep = created(server, project, GRID, priorRunsFilters=json.dumps({"$or": [{"name": "before"}]}))
    assert (sweep.given(sweep.agent())[1], sweep.show()["runs"][0]["name"]) == (2, "before")


PRIOR = """query Sweep($project: String, $entity: String, $name: String!) { project(name: $project, entityName: $entity) {
    sweep(sweepName: $name) { id name state runCountExpected bestLoss config priorRuns { edges { node { id name } } } } } }"""


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="bayes searches with optuna")
@pytest.mark.filterwarnings("ignore:Read the `app_url` setting:DeprecationWarning")  # the client of itself
def test_runs_of_before_that_the_client_names_teach_the_search(server: Server, project: str, sdk: Path) -> None:
    names = []
    for number in range(9):
        with wandb.init(project=project[:60], config={"x": number / 8}, dir=sdk) as run:
            run.log({"loss": (number / 8 - 0.75) ** 2})
            names.append(run.id)
    bayes = {**RANDOM, "method": "bayes"}
    name = wandb.sweep(bayes, project=project[:60], entity="local", prior_runs=names[1:])
    answer: Any = server.ask(PRIOR, project=project[:60], entity="local", name=name)
    shown = answer["project"]["sweep"]
    assert [edge["node"]["name"] for edge in shown["priorRuns"]["edges"]] == names[1:]
    assert (shown["runCountExpected"], shown["bestLoss"]) == (None, 0)
    sweep = Sweep(server=server, project=project[:60], id=shown["id"], name=name)
    agent = sweep.agent()
    tried = []
    for _ in range(3):
        given, x = sweep.given(agent)
        sweep.end(given, (x - 0.75) ** 2)
        tried.append(x)
    assert [x for x in tried if abs(x - 0.75) > 0.2] == []
    answer = server.ask(PRIOR, project=project[:60], entity="local", name=name)
    assert len(answer["project"]["sweep"]["priorRuns"]["edges"]) == 8, "a trial is no run of before"


def test_a_local_scheduler_decides_for_its_agents(server: Server, project: str) -> None:
    sweep = created(server, project, {**RANDOM, "scheduler": {"engine": "wandb"}})
    agent = sweep.agent()
    assert sweep.beat(agent) == []
    enqueue = "mutation ($input: EnqueueSweepRunInput!) { enqueueSweepRun(input: $input) { id runQueueItemId } }"
    queued: Any = server.ask(enqueue, input={"id": sweep.id, "config": json.dumps({"x": {"value": 7}})})
    assert sweep.given(agent) == (queued["enqueueSweepRun"]["id"], 7)


def test_a_local_controller_decides_for_its_agents(server: Server, project: str) -> None:
    sweep = created(server, project, {**RANDOM, "controller": {"type": "local"}})
    agent = sweep.agent()
    schedule = [{"id": "s1", "data": {"args": {"x": {"value": 7}}}}]
    sweep.set(controller=json.dumps({"schedule": schedule}))
    run, x = sweep.given(agent)
    query = 'query ($p: String!, $s: String!) { project(name: $p, entityName: "local") { sweep(sweepName: $s) { scheduler } } }'
    shown: Any = server.ask(query, p=project, s=sweep.name)
    answered = json.loads(shown["project"]["sweep"]["scheduler"])
    assert (x, answered) == (7, {"scheduled": [{"id": "s1", "runid": run}]})
    sweep.begin(run)
    assert sweep.beat(agent, run) == []
    sweep.set(controller=json.dumps({"schedule": schedule, "earlystop": [run]}))
    assert sweep.beat(agent, run) == [{"type": "stop", "run_id": run}]
    sweep.end(run, 1)
    sweep.set(controller=json.dumps({"schedule": [{"id": "s2", "data": {"args": None}}]}))
    assert (sweep.beat(agent), sweep.show()["state"]) == ([{"type": "exit"}], "FINISHED")


def test_what_a_sweep_searches_can_change_only_before_its_first_run(server: Server, project: str) -> None:
    sweep = created(server, project, GRID)
    sweep.set(config=yaml.safe_dump({**GRID, "parameters": {"x": {"values": [8]}}}))
    sweep.given(sweep.agent())
    sweep.set(config=yaml.safe_dump({**GRID, "parameters": {"x": {"values": [8]}}}))
    status, message = refusal(server, UPSERT, input={"id": sweep.id, "config": yaml.safe_dump(GRID)})
    assert (status, message) == (
        422,
        f"sweep {sweep.name} has runs already, so what it searches stays as it is (wandb sweep FILE)",
    )


def test_a_sweep_that_cannot_be_searched_is_refused_with_its_reason(server: Server, project: str) -> None:
    config = yaml.safe_dump({"method": "random", "parameters": {"x": {"min": 2, "max": 1}}})
    answer = refusal(server, UPSERT, input={"entityName": "local", "projectName": project, "config": config})
    assert answer == (400, "min of parameter 'x' is 2, above its max 1")


def test_what_is_odd_about_a_sweep_is_told(server: Server, project: str) -> None:
    config = yaml.safe_dump({**RANDOM, "metod": "grid"})
    answer: Any = server.ask(UPSERT, input={"entityName": "local", "projectName": project, "config": config})
    assert answer["upsertSweep"]["configValidationWarnings"] == ["'metod' is not known and has no effect"]


def test_an_agent_that_is_not_there_is_told_so_with_404(server: Server) -> None:
    query = "mutation ($input: AgentHeartbeatInput!) { agentHeartbeat(input: $input) { commands } }"
    assert refusal(server, query, input={"id": "QWdlbnQ6OTk5OTk5"}) == (404, "there is no agent with id 999999")
    create = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }"
    assert refusal(server, create, input={"host": "h", "projectName": "none", "sweep": "none"}) == (
        404,
        "there is no sweep local/none/none",
    )
