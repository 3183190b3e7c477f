"""How a run begins, begins again, is rewound or forked.

`UpsertBucket` is all of a process's first words, its later changes of mind and the public API's edits; what it is in a given
case shows only in what it names. Null means "leave it as it is".

What W&B does is documented at https://docs.wandb.ai/models/runs/resuming.
"""

from __future__ import annotations

import json
from typing import Any

from ariadne import MutationType, SchemaBindable

from registry.errors import BadData, NotFound
from registry.server import documents, ids
from registry.server.context import Context
from registry.server.resolvers import Info, places
from registry.server.store import console, history, history_exports, run_files, runs, sweeps
from registry.server.store.runs import Run

# Where an input field of UpsertBucket is kept.
_COLUMNS = {
    "display_name": "display_name",
    "group_name": "group",
    "job_type": "job_type",
    "description": "description",
    "notes": "notes",
    "commit": "commit",
    "config": "config",
    "host": "host",
    "job_program": "program",
    "job_repo": "repo",
    "state": "state",
    "sweep": "sweep",
    "summary_metrics": "summary",
}
_STATES = ("pending", "running", "finished", "failed", "crashed", "killed", "preempting", "preempted")

mutation = MutationType()


@mutation.field("upsertBucket")
def upsert_bucket(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    values = {column: input[key] for key, column in _COLUMNS.items() if input.get(key) is not None}
    if input.get("tags") is not None:
        values["tags"] = json.dumps(input["tags"])
    _check(values)
    if input.get("id"):
        edited = runs.by_id(context.connection, ids.decode("Run", input["id"]))
        context.access.write(edited.project_id)
        found: Run | None = edited
    else:
        owner = places.owner_named(context, input.get("entity_name"))
        where = places.place(context, owner, input.get("model_name") or places.DEFAULT_PROJECT)
        name = input.get("name")
        found = name and runs.find(context.connection, where.entity_name, where.name, name)
        if not found:
            created = runs.create(context.connection, where, name=name, user_id=context.user.id, values=values)
            sweeps.adopt(context.connection, created)
            return {"bucket": _forked(context, created), "inserted": True}
    assert found is not None
    if context.shared and "config" in values:
        values["config"] = json.dumps(runs.merged_config(found.config, values["config"]))
    # Only a run's own process says where it runs; edits through the public API leave the state alone.
    if input.get("host") is not None or input.get("job_program") is not None:
        values = runs.started(values)
        # Its later changes of mind name the run's id too, and do not take back what it announced.
        if input.get("id") and found.state == "preempting":
            values["state"] = found.state
        # A process that resumes names the run's id and goes on where its console ended; one that only took the same name
        # numbers its lines from 0.
        if not input.get("id") and not context.shared:
            values |= _without_streams(context, found)
        if found.state not in runs.UNFINISHED:
            # Whoever resumes an ended run has read its whole summary and says it again.
            values["inherited_summary"] = None
    changed = runs.change(context.connection, found.id, values)
    if changed.sweep != found.sweep:
        sweeps.adopt(context.connection, changed)
    return {"bucket": changed, "inserted": False}


@mutation.field("rewindRun")
def rewind_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Forget what came after a step; console and system metrics begin anew, as on W&B."""
    context = info.context
    if input["metric_name"] != "_step":
        raise BadData(f"runs are rewound by _step, not by '{input['metric_name'][:80]}'")
    found = places.run_named(context, input)
    context.access.write(found.project_id)
    history_exports.withdraw(context.connection, found)
    left = history.cut(context.connection, found.id, step=int(input["metric_value"]))
    summary = json.dumps(history.summary(context.connection, found.id))
    values = {"history_lines": left, "summary": summary, "inherited_summary": summary} | _without_streams(context, found)
    return {"rewound_run": runs.change(context.connection, found.id, runs.started(values))}


bindables: list[SchemaBindable] = [mutation]


def _forked(context: Context, created: Run) -> Run:
    """A run that names a branch point begins with its parent's rows up to there, and the media they show."""
    branch = runs.telemetry(created).get("branch_point")
    if not isinstance(branch, dict) or not isinstance(branch.get("run_id"), str):
        return created
    parent = runs.find(context.connection, created.entity_name, created.project_name, branch["run_id"])
    if parent is None:
        raise NotFound(f"there is no run '{branch['run_id'][:80]}' to fork from in {created.project_name}")
    count = history.copy(context.connection, parent.id, created.id, step=int(branch.get("step") or 0))
    run_files.copy(context.connection, parent.id, created.id, prefix="media/")
    summary = json.dumps(history.summary(context.connection, created.id))
    values = {"history_lines": count, "summary": summary, "inherited_summary": summary}
    return runs.change(context.connection, created.id, values)


def _without_streams(context: Context, run: Run) -> dict[str, Any]:
    """Clear the console and the system metrics; returns the columns that change with them."""
    console.clear(context.connection, run.id)
    history.clear_events(context.connection, run.id)
    return {"console_lines": 0, "event_lines": 0}


def _check(values: dict[str, Any]) -> None:
    """Refuse what could not be read back."""
    if "state" in values and values["state"] not in _STATES:
        raise BadData(f"'{values['state'][:80]}' is not a state of a run: {', '.join(_STATES)}")
    for name in ("config", "summary"):
        if name in values:
            documents.read_object(values[name], f"the {name}")
