"""Runs, their history, console and files: wire names to store names and back."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.errors import BadData, NotFound
from registry.server import ids, transfers
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.store import artifacts, console, history, people, run_files, runs, sweeps
from registry.server.store.pages import Page
from registry.server.store.run_files import RunFile
from registry.server.store.runs import Run

_DEFAULT_PROJECT = "uncategorized"
_DEFAULT_SAMPLES = 500
_CONSOLE_PAGE = 1_000

# Where an input field of UpsertBucket is kept. Of these, null means "leave it as it is".
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
project = ObjectType("Project")
run = ObjectType("Run")
run_file = ObjectType("RunFile")


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


@mutation.field("upsertBucket")
def upsert_bucket(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    values = {column: input[key] for key, column in _COLUMNS.items() if input.get(key) is not None}
    if input.get("tags") is not None:
        values["tags"] = json.dumps(input["tags"])
    _check(values)
    # Only a run's own process says where it runs; edits through the public API leave the state alone.
    begins = input.get("host") is not None or input.get("job_program") is not None
    if input.get("id"):
        found: Run | None = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    else:
        where = place(context, input.get("entity_name"), input.get("model_name"))
        name = input.get("name")
        found = name and runs.find(context.connection, where.entity_name, where.name, name)
        if not found:
            created = runs.create(context.connection, where, name=name, user_id=context.user.id, values=values)
            sweeps.adopt(context.connection, created)
            return {"bucket": _forked(context, created), "inserted": True}
    assert found is not None
    changed = runs.change(context.connection, found.id, runs.started(values) if begins else values)
    if changed.sweep != found.sweep:
        sweeps.adopt(context.connection, changed)
    return {"bucket": changed, "inserted": False}


@mutation.field("rewindRun")
def rewind_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    if input["metric_name"] != "_step":
        raise BadData(f"runs are rewound by _step, not by '{input['metric_name'][:80]}'")
    entity = input.get("entity_name") or context.user.entity
    found = runs.the_run(context.connection, entity, input.get("project_name") or _DEFAULT_PROJECT, input["run_name"])
    left = history.cut(context.connection, found.id, step=int(input["metric_value"]))
    summary = json.dumps(history.summary(context.connection, found.id))
    values = {"history_lines": left, "summary": summary}
    return {"rewound_run": runs.change(context.connection, found.id, runs.started(values))}


@mutation.field("deleteRun")
def delete_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    if input.get("delete_artifacts"):
        artifacts.remove_logged_by(context.connection, found.id, user_id=context.user.id)
    runs.remove(context.connection, found.id)
    return {"success": True}


@mutation.field("stopRun")
def stop_run(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    runs.change(context.connection, found.id, {"stop_requested": True})
    return {"success": True}


@mutation.field("updateRunState")
def update_run_state(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = runs.by_id(context.connection, ids.decode("Run", input["id"]))
    wanted = input["state"]
    allowed = {"pending": {"running", "failed", "crashed", "preempted"}, "failed": {"pending", "running"}}
    if found.state not in allowed.get(wanted, set()):
        raise BadData(f"a run that is {found.state} cannot be set to '{wanted[:80]}'")
    runs.change(context.connection, found.id, {"state": wanted})
    return {"success": True}


@mutation.field("notifyScriptableRunAlert")
def alert(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _run_of(context, input)
    wait = timedelta(milliseconds=input.get("wait_duration") or 0)
    severity = input.get("severity") or "INFO"
    runs.add_alert(context.connection, found.id, title=input["title"], text=input["text"], severity=severity, wait=wait)
    return {"success": True}


@mutation.field("createRunFiles")
def create_run_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _run_of(context, input)
    files = run_files.announce(context.connection, found.id, input["files"])
    # The client pairs by name as it asked, so the name goes back as it came.
    uploads = [
        {"name": name, "upload_url": transfers.run_file_upload_url(context, file.id)}
        for name, file in zip(input["files"], files, strict=True)
    ]
    return {"run_id": ids.encode("Run", found.id), "upload_headers": [], "files": uploads}


@mutation.field("markRunFilesUploaded")
def mark_run_files_uploaded(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """An upload makes its file visible by itself; this only says whether all of them did."""
    context = info.context
    found = _run_of(context, input)
    names = {run_files.normal(name) for name in input["files"]}
    here = run_files.listing(context.connection, found.id, names=sorted(names), first=len(names))
    return {"success": len(here.items) == len(names)}


@mutation.field("deleteFiles")
def delete_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    run_files.remove(info.context.connection, [ids.decode("RunFile", file) for file in input["files"]])
    return {"success": True}


@run.field("id")
def run_id(parent: Run, info: Info) -> str:
    return ids.encode("Run", parent.id)


@run.field("tags")
def tags(parent: Run, info: Info) -> Any:
    return json.loads(parent.tags)


@run.field("systemMetrics")
def system_metrics(parent: Run, info: Info) -> str:
    return history.last_event(info.context.connection, parent.id) or "{}"


@run.field("historyTail")
def history_tail(parent: Run, info: Info) -> str:
    line = history.last_line(info.context.connection, parent.id)
    return json.dumps([] if line is None else [line])


@run.field("eventsTail")
def events_tail(parent: Run, info: Info) -> str:
    line = history.last_event(info.context.connection, parent.id)
    return json.dumps([] if line is None else [line])


@run.field("wandbConfig")
def wandb_config(parent: Run, info: Info, keys: list[str] | None = None) -> str:
    """What the SDK itself put into the config; without its key `t` the run counts as never initialised."""
    telemetry = _telemetry(parent)
    return json.dumps({key: value for key, value in telemetry.items() if keys is None or key in keys})


@run.field("historyKeys")
def history_keys(parent: Run, info: Info) -> dict[str, Any]:
    context = info.context
    keys: dict[str, Any] = {}
    for key in history.keys(context.connection, parent.id):
        known = keys.setdefault(key.key, {"typeCounts": [], "monotonic": True, "previousValue": None})
        known["typeCounts"].append({"type": key.type, "count": key.count})
        known["monotonic"] = known["monotonic"] and key.monotonic
        if key.type == "number":
            known["previousValue"] = key.previous
    return {"sets": [], "keys": keys, "lastStep": history.last_step(context.connection, parent.id)}


@run.field("user")
def run_user(parent: Run, info: Info) -> people.Person | None:
    """Never null while anybody is here: the client fails on a run without an owner."""
    context = info.context
    owner = parent.user_id if parent.user_id is not None else context.user.id
    return people.person(context.connection, owner)


@run.field("project")
def run_project(parent: Run, info: Info) -> people.Project:
    return people.project_by_id(info.context.connection, parent.project_id)


@run.field("history")
def run_history(
    parent: Run,
    info: Info,
    samples: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    context = info.context
    if min_step is not None or max_step is not None:
        return history.window(context.connection, parent.id, start=min_step, stop=max_step)
    return history.sampled(context.connection, parent.id, samples=_DEFAULT_SAMPLES if samples is None else samples)


@run.field("events")
def run_events(parent: Run, info: Info, samples: int | None = None) -> list[str]:
    count = _DEFAULT_SAMPLES if samples is None else samples
    return history.sampled_events(info.context.connection, parent.id, samples=count)


@run.field("sampledHistory")
def sampled_history(parent: Run, info: Info, specs: list[str]) -> list[list[dict[str, Any]]]:
    return [_rows(info.context, parent, spec) for spec in specs]


@run.field("parquetHistory")
def parquet_history(parent: Run, info: Info, live_keys: list[str] | None = None) -> dict[str, Any]:
    return {"parquet_urls": [], "live_data": []}


@run.field("fileCount")
def file_count(parent: Run, info: Info) -> int:
    return run_files.listing(info.context.connection, parent.id, first=0).total_count


@run.field("files")
def files(parent: Run, info: Info, names: list[str] | None = None, **asked: Any) -> Page[RunFile]:
    return run_files.listing(info.context.connection, parent.id, names=names or (), **asked)


@run.field("logLines")
def log_lines(
    parent: Run,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    use_improved_pagination: bool | None = None,
) -> dict[str, Any]:
    context = info.context
    if last is not None:
        lines = console.tail(context.connection, parent.id, count=max(0, last))
        more = False
    else:
        # The cursor is the number of the next line.
        if after and not after.isdecimal():
            raise BadData(f"'{after[:80]}' is not a cursor of this server")
        size = _CONSOLE_PAGE if first is None else max(0, first)
        lines = console.head(context.connection, parent.id, start=int(after or 0), count=size + 1)
        more = bool(size) and len(lines) > size
        lines = lines[:size]
    end = str(lines[-1].number + 1) if lines else after
    return {"edges": [{"node": line} for line in lines], "page_info": {"end_cursor": end, "has_next_page": more}}


@run_file.field("id")
def run_file_id(parent: RunFile, info: Info) -> str:
    return ids.encode("RunFile", parent.id)


@run_file.field("url")
def run_file_url(parent: RunFile, info: Info, upload: bool | None = None) -> str:
    make = transfers.run_file_upload_url if upload else transfers.run_file_url
    return make(info.context, parent.id)


@run_file.field("directUrl")
def run_file_direct_url(parent: RunFile, info: Info) -> str:
    return transfers.run_file_url(info.context, parent.id)


@run_file.field("md5")
def run_file_md5(parent: RunFile, info: Info) -> str | None:
    return None if parent.md5 is None else base64.b64encode(bytes.fromhex(parent.md5)).decode()


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
run_file.set_alias("sizeBytes", "size")

bindables: list[SchemaBindable] = [mutation, project, run, run_file]


def place(context: Context, entity: str | None, project: str | None) -> people.Project:
    """The project a new run or sweep goes to, made when absent; an unknown entity is a typo, not a wish."""
    name = entity or context.user.entity
    owner = people.entity(context.connection, name)
    if owner is None:
        raise NotFound(f"there is no entity '{name[:80]}'", hint=f"use '{context.user.entity}', or make a team of that name")
    return people.ensure_project(context.connection, owner, project or _DEFAULT_PROJECT, context.user.id)


def _forked(context: Context, created: Run) -> Run:
    """A run that names a branch point begins with its parent's rows up to there."""
    branch = _telemetry(created).get("branch_point")
    if not isinstance(branch, dict) or not isinstance(branch.get("run_id"), str):
        return created
    parent = runs.find(context.connection, created.entity_name, created.project_name, branch["run_id"])
    if parent is None:
        raise NotFound(f"there is no run '{branch['run_id'][:80]}' to fork from in {created.project_name}")
    count = history.copy(context.connection, parent.id, created.id, step=int(branch.get("step") or 0))
    summary = json.dumps(history.summary(context.connection, created.id))
    return runs.change(context.connection, created.id, {"history_lines": count, "summary": summary})


def _run_of(context: Context, input: dict[str, Any]) -> Run:
    return runs.the_run(context.connection, input["entity_name"], input["project_name"], input["run_name"])


def _telemetry(parent: Run) -> dict[str, Any]:
    config = json.loads(parent.config)
    own = config.get("_wandb")
    value = own.get("value") if isinstance(own, dict) else None
    return value if isinstance(value, dict) else {}


def _check(values: dict[str, Any]) -> None:
    """Refuse what could not be read back."""
    if "state" in values and values["state"] not in _STATES:
        raise BadData(f"'{values['state'][:80]}' is not a state of a run: {', '.join(_STATES)}")
    for name in ("config", "summary"):
        if name in values:
            try:
                readable = isinstance(json.loads(values[name]), dict)
            except ValueError:
                readable = False
            if not readable:
                raise BadData(f"the {name} is not a JSON object")


def _rows(context: Context, parent: Run, spec: str) -> list[dict[str, Any]]:
    try:
        asked = json.loads(spec)
        keys, samples = [str(key) for key in asked.get("keys") or ()], int(asked.get("samples") or _DEFAULT_SAMPLES)
        first, last = asked.get("minStep"), asked.get("maxStep")
    except (ValueError, AttributeError, TypeError) as exc:
        raise BadData(f"'{spec[:80]}' is not a history spec {{keys, samples, minStep, maxStep}}") from exc
    return history.with_keys(context.connection, parent.id, keys, samples=samples, first=first, last=last)
