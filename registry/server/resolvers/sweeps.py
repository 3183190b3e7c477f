"""Sweeps and their agents: wire names to store names and back."""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.errors import BadData, NotFound
from registry.server import documents, ids, searching
from registry.server.resolvers import Info, places
from registry.server.store import agents, people, sweeps
from registry.server.store.agents import Agent, Command
from registry.server.store.pages import Page
from registry.server.store.runs import Run
from registry.server.store.sweeps import Sweep

# Where an input field of UpsertSweep is kept. Null means "leave it as it is".
_COLUMNS = {
    "description": "description",
    "display_name": "display_name",
    "controller": "controller",
    "scheduler": "scheduler",
    "state": "state",
}

mutation = MutationType()
project = ObjectType("Project")
sweep = ObjectType("Sweep")
agent = ObjectType("Agent")


@project.field("sweep")
def sweep_by_name(parent: people.Project, info: Info, sweep_name: str) -> Sweep | None:
    return sweeps.find(info.context.connection, parent.id, sweep_name)


@project.field("sweeps")
def project_sweeps(parent: people.Project, info: Info, **asked: Any) -> Page[Sweep]:
    return sweeps.listing(info.context.connection, parent.id, **asked)


@project.field("totalSweeps")
def total_sweeps(parent: people.Project, info: Info) -> int:
    return sweeps.count(info.context.connection, parent.id)


@mutation.field("upsertSweep")
def upsert_sweep(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    values = {column: input[key] for key, column in _COLUMNS.items() if input.get(key) is not None}
    _check(values)
    config = input.get("config")
    if input.get("id"):
        found = sweeps.by_id(context.connection, ids.decode("Sweep", input["id"]))
        context.access.write(found.project_id)
        if config is not None:
            found = sweeps.reconfigure(context.connection, found, config)
        changed = sweeps.change(context.connection, found.id, values)
    else:
        if config is None:
            raise BadData("a sweep needs a configuration", hint="wandb sweep config.yaml")
        where = places.place(
            context,
            places.owner_named(context, input.get("entity_name")),
            input.get("project_name") or places.DEFAULT_PROJECT,
        )
        changed = sweeps.create(context.connection, where, config=config, user_id=context.user.id, values=values)
        searching.prepare(changed.search)
        if input.get("prior_runs_filters"):
            sweeps.adopt_prior(context.connection, changed, input["prior_runs_filters"])
    warnings = searching.parse(changed.config)[1] if config is not None else ()
    return {"sweep": changed, "config_validation_warnings": list(warnings)}


@mutation.field("createAgent")
def create_agent(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    entity, name = input.get("entity_name") or context.user.entity, input.get("project_name") or ""
    found = people.project(context.connection, entity, name)
    wanted = sweeps.find(context.connection, found.id, input["sweep"]) if found else None
    if wanted is None:
        raise NotFound(f"there is no sweep {entity}/{name}/{input['sweep'][:80]}")
    context.access.write(wanted.project_id)
    searching.prepare(wanted.search)
    return {"agent": agents.create(context.connection, wanted, host=input["host"])}


@mutation.field("agentHeartbeat")
def agent_heartbeat(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    heard = agents.by_id(context.connection, ids.decode("Agent", input["id"]))
    context.access.write(sweeps.by_id(context.connection, heard.sweep_id).project_id)
    running = {name for name, runs in _object("runState", input.get("run_state") or "{}").items() if runs}
    commands = agents.heartbeat(context.connection, heard, running=running, user_id=context.user.id)
    program = sweeps.by_id(context.connection, heard.sweep_id).search.program
    return {"agent": heard, "commands": json.dumps([_told(command, program) for command in commands])}


@mutation.field("enqueueSweepRun")
def enqueue_sweep_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = sweeps.by_id(context.connection, ids.decode("Sweep", input["id"]))
    context.access.write(found.project_id)
    arguments = _object("config", input["config"])
    name = input.get("display_name")
    run = agents.enqueue(context.connection, found, arguments=arguments, user_id=context.user.id, display_name=name)
    return {"id": run.name, "run_queue_item_id": ids.encode("RunQueueItem", run.id)}


@sweep.field("id")
def sweep_id(parent: Sweep, info: Info) -> str:
    return ids.encode("Sweep", parent.id)


@sweep.field("project")
def sweep_project(parent: Sweep, info: Info) -> people.Project:
    return people.project_by_id(info.context.connection, parent.project_id)


@sweep.field("bestLoss")
def best_loss(parent: Sweep, info: Info) -> float | None:
    return sweeps.best_loss(info.context.connection, parent)


@sweep.field("runCount")
def run_count(parent: Sweep, info: Info) -> int:
    return sweeps.run_count(info.context.connection, parent)


@sweep.field("runCountExpected")
def run_count_expected(parent: Sweep, info: Info) -> int | None:
    return parent.search.expected


@sweep.field("runs")
def sweep_runs(parent: Sweep, info: Info, **asked: Any) -> Page[Run]:
    return sweeps.runs_of(info.context.connection, parent, **asked)


@sweep.field("priorRuns")
def prior_runs(parent: Sweep, info: Info, **asked: Any) -> Page[Run]:
    return sweeps.prior_runs(info.context.connection, parent, **asked)


@sweep.field("agents")
def sweep_agents(parent: Sweep, info: Info) -> dict[str, Any]:
    return {"edges": [{"node": found} for found in agents.listing(info.context.connection, parent)]}


@sweep.field("agent")
def sweep_agent(parent: Sweep, info: Info, agent_name: str) -> Agent | None:
    """By name or id: the client uses whichever it has."""
    found = agents.listing(info.context.connection, parent)
    return next((one for one in found if agent_name in (one.name, ids.encode("Agent", one.id))), None)


@agent.field("id")
def agent_id(parent: Agent, info: Info) -> str:
    return ids.encode("Agent", parent.id)


@agent.field("state")
def agent_state(parent: Agent, info: Info) -> str:
    return agents.state(info.context.connection, parent)


@agent.field("totalRuns")
def total_runs(parent: Agent, info: Info) -> int:
    return agents.run_count(info.context.connection, parent)


@agent.field("runs")
def agent_runs(parent: Agent, info: Info, before: str | None = None, last: int | None = None, **asked: Any) -> Page[Run]:
    return agents.runs_of(info.context.connection, parent, **asked)


sweep.set_field("earlyStopJobRunning", lambda _sweep, _info: False)

bindables: list[SchemaBindable] = [mutation, project, sweep, agent]


def _told(command: Command, program: str | None) -> dict[str, Any]:
    if command.type == "exit":
        return {"type": "exit"}
    if command.type == "stop":
        return {"type": "stop", "run_id": command.run}
    return {"type": command.type, "run_id": command.run, "program": program, "args": command.arguments}


def _check(values: dict[str, Any]) -> None:
    """Refuse what could not be acted on."""
    if "state" in values and values["state"] not in sweeps.STATES:
        raise BadData(f"'{values['state'][:80]}' is not a state of a sweep: {', '.join(sweeps.STATES)}")
    for name in ("controller", "scheduler"):
        if name in values:
            _object(name, values[name])


def _object(name: str, text: str) -> dict[str, Any]:
    return documents.read_object(text, f"the {name}")
