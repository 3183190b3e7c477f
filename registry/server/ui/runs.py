"""The page of a run: what went in, what came out, and what it said meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import NotFound
from registry.server import transfers
from registry.server.store import console, history, history_keys, overview, run_files, runs
from registry.server.store.console import ConsoleLine
from registry.server.store.overview import VersionRow
from registry.server.store.pages import Page
from registry.server.store.run_files import RunFile
from registry.server.ui import charts, formats, media
from registry.server.ui.charts import Point, Series
from registry.server.ui.projects import the_project
from registry.server.ui.visit import Listing, Redirect, Visit

# A history up to this long is drawn from all its rows; a longer one from evenly spread rows, and from rows of their own for
# metrics that are logged so seldom that these would miss them.
_ALL_ROWS = 2_000
_SAMPLES = 1_000
_CHARTS = 24
_CONSOLE_LINES = 200


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about one run; `console` is the end of what it printed, `charts` are its numeric metrics.

    `pictures` and `tables` are for eyes: the twin in JSON has none, its summary says where they are.
    """

    entity: str
    project: str
    name: str
    display_name: str | None
    state: str
    exitcode: int | None
    job_type: str | None
    group: str | None
    sweep: str | None
    tags: Sequence[str]
    notes: str | None
    by: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit: str | None
    created_at: str
    heartbeat_at: str
    alerts: Sequence[tuple[str, str, str]]
    inputs: Listing[VersionRow]
    outputs: Listing[VersionRow]
    config: dict[str, Any]
    summary: dict[str, Any]
    history_rows: int
    charts: Listing[Series]
    pictures: Sequence[media.Picture]
    tables: Sequence[media.Table]
    console_lines: int
    console: Sequence[ConsoleLine]
    files: Listing[RunFile]


def run(visit: Visit, entity: str, project: str, name: str) -> Run:
    connection = visit.context.connection
    the_project(visit, entity, project)
    found = runs.the_run(connection, entity, project, name)
    summary = formats.parsed(found.summary)
    seen = media.Media(visit.context, found, {} if visit.query.get("format") == "json" else summary)
    return Run(
        entity=entity,
        project=project,
        name=name,
        display_name=found.display_name,
        state=found.state,
        exitcode=found.exitcode,
        job_type=found.job_type,
        group=found.group,
        sweep=found.sweep,
        tags=[str(tag) for tag in json.loads(found.tags)],
        notes=found.notes,
        by=overview.username(connection, found.user_id),
        host=found.host,
        program=found.program,
        repo=found.repo,
        commit=found.commit,
        created_at=found.created_at,
        heartbeat_at=found.heartbeat_at,
        alerts=runs.alerts_of(connection, found.id),
        inputs=visit.listing(
            "inputs", lambda after, first: overview.versions_of_run(connection, "used", found.id, after=after, first=first)
        ),
        outputs=visit.listing(
            "outputs", lambda after, first: overview.versions_of_run(connection, "logged", found.id, after=after, first=first)
        ),
        config=_config(found.config),
        summary={key: value for key, value in summary.items() if not key.startswith("_")},
        history_rows=found.history_lines,
        charts=visit.listing("charts", lambda after, first: _charts(visit, found, int(after), first), size=_CHARTS),
        pictures=seen.pictures,
        tables=seen.tables,
        console_lines=found.console_lines,
        console=console.tail(connection, found.id, count=_CONSOLE_LINES),
        files=visit.listing("files", lambda after, first: run_files.listing(connection, found.id, after=after, first=first)),
    )


def file(visit: Visit, entity: str, project: str, name: str, path: str) -> Redirect:
    """The content of a file of a run."""
    connection = visit.context.connection
    the_project(visit, entity, project)
    found = runs.the_run(connection, entity, project, name)
    files = run_files.listing(connection, found.id, names=[path], first=1).items
    if not files:
        raise NotFound(f"the run {entity}/{project}/{name} has no file '{path}'")
    return Redirect(transfers.run_file_url(visit.context, files[0].id))


def _config(document: str) -> dict[str, Any]:
    """The config as the user set it: each value out of its wrapping, without the client's own."""
    found = {key: value for key, value in formats.parsed(document).items() if key != "_wandb"}
    return {key: value["value"] if isinstance(value, dict) and "value" in value else value for key, value in found.items()}


def _charts(visit: Visit, run: runs.Run, start: int, count: int) -> Page[Series]:
    connection = visit.context.connection
    numeric = [key for key in history_keys.of(connection, run.id) if key.type == "number" and not key.key.startswith("_")]
    shown = numeric[start : start + count]
    if not shown:
        return Page(items=[], start=start, total_count=len(numeric))
    points: dict[str, list[Point]] = {key.key: [] for key in shown}
    whole = run.history_lines <= _ALL_ROWS
    if whole:
        bodies = history.window(connection, run.id, start=None, stop=None)
    else:
        bodies = history.sampled(connection, run.id, samples=_SAMPLES)
    for line in history.lines(enumerate(bodies), history.read(bodies)):
        for key, _, value in history_keys.flat(line.values):
            if value is not None and key in points:
                points[key].append((line.step, value))
    for seldom in () if whole else (key.key for key in shown if 2 * key.count < run.history_lines):
        rows = history.with_keys(connection, run.id, ["_step", seldom], samples=_SAMPLES, first=None, last=None)
        numbers = [{key: value for key, _, value in history_keys.flat(row) if value is not None} for row in rows]
        points[seldom] = [(row["_step"], row[seldom]) for row in numbers if len(row) == 2]
    series = [Series(key=key.key, count=key.count, points=charts.thinned(points[key.key])) for key in shown]
    return Page(items=series, start=start, total_count=len(numeric))
