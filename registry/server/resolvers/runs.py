"""Runs: found, listed, edited, stopped, deleted; wire names to store names and back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable
from graphql import OperationType

from registry.errors import BadData
from registry.server import ids
from registry.server.resolvers import Info, places
from registry.server.store import artifacts, history_exports, people, runs
from registry.server.store.pages import Page
from registry.server.store.runs import Run

# From which states the public API may set which; a sweep's runs belong to its search.
_TRANSITIONS = {"pending": {"running", "failed", "crashed", "preempted"}, "failed": {"pending", "running"}}

mutation = MutationType()
project = ObjectType("Project")
run = ObjectType("Run")


@project.field("run")
@project.field("bucket")
def run_by_name(
    parent: people.Project, info: Info, name: str, missing_ok: bool | None = None, desc: str | None = None
) -> Run | None:
    return runs.find(info.context.connection, parent.entity_name, parent.name, name)


@project.field("runs")
def project_runs(parent: people.Project, info: Info, **asked: Any) -> Page[Run]:
    return runs.listing(info.context.connection, parent.id, **asked)


@project.field("runCount")
def run_count(parent: people.Project, info: Info, filters: str | None = None) -> int:
    return runs.count(info.context.connection, parent.id, filters=filters)


@mutation.field("deleteRun")
def delete_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Deleting what is already gone succeeds: the client may have sent it twice."""
    context = info.context
    found = runs.by_ids(context.connection, [number := ids.decode("Run", input["id"])]).get(number)
    if found is None:
        context.access.allow()
        return {"success": True}
    context.access.write(found.project_id)
    if input.get("delete_artifacts"):
        artifacts.remove_logged_by(context.connection, found.id, user_id=context.user.id)
    history_exports.withdraw(context.connection, found)
    runs.remove(context.connection, found.id)
    return {"success": True}


@mutation.field("stopRun")
def stop_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    context.access.write(found.project_id)
    runs.change(context.connection, found.id, {"stop_requested": True})
    return {"success": True}


@mutation.field("updateRunState")
def update_run_state(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    context.access.write(found.project_id)
    wanted = input["state"]
    if found.sweep:
        raise BadData(f"invalid state transition: run {found.name} belongs to sweep {found.sweep}")
    if found.state not in _TRANSITIONS.get(wanted, set()):
        raise BadData(f"invalid state transition: a run that is {found.state} cannot be set to '{wanted[:80]}'")
    runs.change(context.connection, found.id, {"state": wanted})
    return {"success": True}


@mutation.field("notifyScriptableRunAlert")
def alert(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = places.run_named(context, input)
    context.access.write(found.project_id)
    wait = timedelta(milliseconds=input.get("wait_duration") or 0)
    severity = input.get("severity") or "INFO"
    runs.add_alert(context.connection, found.id, title=input["title"], text=input["text"], severity=severity, wait=wait)
    return {"success": True}


@run.field("id")
def run_id(parent: Run, info: Info) -> str:
    return ids.encode("Run", parent.id)


@run.field("tags")
def tags(parent: Run, info: Info) -> Any:
    return json.loads(parent.tags)


@run.field("wandbConfig")
def wandb_config(parent: Run, info: Info, keys: list[str] | None = None) -> str:
    """What the SDK itself put into the config; without its key `t` the run counts as never initialised."""
    own = runs.telemetry(parent)
    return json.dumps({key: value for key, value in own.items() if keys is None or key in keys})


@run.field("user")
def run_user(parent: Run, info: Info) -> people.Person | None:
    """Never null while anybody is here: the client fails on a run without an owner."""
    context = info.context
    owner = parent.user_id if parent.user_id is not None else context.user.id
    return people.person(context.connection, owner)


@run.field("project")
def run_project(parent: Run, info: Info) -> people.Project:
    known: dict[int, people.Project] = info.context.projects
    if info.operation.operation is not OperationType.QUERY or parent.project_id not in known:
        known[parent.project_id] = people.project_by_id(info.context.connection, parent.project_id)
    return known[parent.project_id]


for _field, _column in {
    "sweepName": "sweep",
    "summaryMetrics": "summary",
    "historyLineCount": "history_lines",
    "eventsLineCount": "event_lines",
    "logLineCount": "console_lines",
    "stopped": "stop_requested",
    "shouldStop": "stop_requested",
}.items():
    run.set_alias(_field, _column)
run.set_field("readOnly", lambda _run, _info: False)
run.set_field("failed", lambda parent, _info: parent.state in {"failed", "crashed"})
run.set_field("running", lambda parent, _info: parent.state == "running")

bindables: list[SchemaBindable] = [mutation, project, run]
