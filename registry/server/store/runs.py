"""Runs: one name per project, one state, and what their process last said about them.

`null` from the client means "leave as it is". A run is `running` from its first word to its last (`complete`), and `crashed`
when it falls silent in between; it comes back to life when it speaks again.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, true, update

from registry.errors import BadData, NotFound
from registry.server.context import now
from registry.server.filters import Fields, Values, condition, json_at, ordering
from registry.server.names import readable
from registry.server.store.pages import Page, page
from registry.server.store.people import Project
from registry.server.tables import alerts, entities, history_keys, projects, runs, users

_ADJECTIVES = ("amber", "brisk", "calm", "clear", "eager", "fresh", "gentle", "golden", "happy", "keen", "lively", "noble")
_NOUNS = (
    "brook",
    "cloud",
    "comet",
    "dawn",
    "dew",
    "field",
    "forest",
    "glade",
    "leaf",
    "meadow",
    "moon",
    "pine",
    "river",
    "wave",
)
_FORBIDDEN_IN_NAMES = '/\\#?%:"'
_ALIVE = ("running", "preempting")
UNFINISHED = ("pending", *_ALIVE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run; `config`, `summary` are the JSON texts its process sent, `*_lines` how far each stream has come.

    `inherited_summary` is what a forked or rewound run began with and its process does not repeat.
    """

    id: int
    project_id: int
    project_name: str
    entity_name: str
    name: str
    display_name: str | None
    state: str
    config: str
    summary: str
    inherited_summary: str | None
    notes: str | None
    description: str | None
    tags: str
    group: str | None
    job_type: str | None
    sweep: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit: str | None
    user_id: int | None
    created_at: str
    heartbeat_at: str
    exitcode: int | None
    stop_requested: bool
    history_lines: int
    event_lines: int
    console_lines: int


_tag = func.json_each(runs.c.tags).table_valued("value")


def _config(path: str) -> ColumnElement[Any]:
    return json_at(runs.c.config, path, unwrap="value")


def _summary(path: str) -> ColumnElement[Any]:
    return json_at(runs.c.summary, path)


def _has_tag(name: str) -> ColumnElement[Any]:
    """True where the run has the tag, else nothing."""
    return select(true()).select_from(_tag).where(_tag.c.value == name).limit(1).correlate(runs).scalar_subquery()


def _times_logged(path: str) -> ColumnElement[Any]:
    """How often a key was logged, as the client's own filters ask (`keys_info.keys.loss`); nothing when never."""
    counted = select(func.sum(history_keys.c.count)).where(
        history_keys.c.run_id == runs.c.id, history_keys.c.key == path.removeprefix("keys.")
    )
    return counted.correlate(runs).scalar_subquery()


def _seconds() -> ColumnElement[Any]:
    """What the run's process says it took, over all its resumptions; before it says so, since the run began."""
    days = func.julianday(runs.c.heartbeat_at) - func.julianday(runs.c.created_at)
    return func.coalesce(json_at(runs.c.summary, "_wandb.runtime"), days * 86_400.0)


FIELDS = Fields(
    named={
        "name": runs.c.name,
        "display_name": runs.c.display_name,
        "state": runs.c.state,
        "entity": entities.c.name,
        "project": projects.c.name,
        "group": runs.c.group,
        "job_type": runs.c.job_type,
        "sweep": runs.c.sweep,
        "sweep_name": runs.c.sweep,
        "notes": runs.c.notes,
        "description": runs.c.description,
        "host": runs.c.host,
        "commit": runs.c.commit,
        "exitcode": runs.c.exitcode,
        "history_line_count": runs.c.history_lines,
        "duration": _seconds(),
        "tags": Values(source=_tag, column=_tag.c.value),
        "username": select(users.c.username).where(users.c.id == runs.c.user_id).correlate(runs).scalar_subquery(),
        "created_at": runs.c.created_at,
        "updated_at": runs.c.heartbeat_at,
        "heartbeat_at": runs.c.heartbeat_at,
    },
    dotted={
        "config": _config,
        "summary_metrics": _summary,
        "summary": _summary,
        "tags": _has_tag,
        "keys_info": _times_logged,
    },
    times=frozenset({"created_at", "updated_at", "heartbeat_at"}),
)


def find(connection: Connection, entity: str, project: str, name: str) -> Run | None:
    query = _runs().where(entities.c.name == entity, projects.c.name == project, runs.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _run(row)


def the_run(connection: Connection, entity: str, project: str, name: str) -> Run:
    """
    Raises:
        NotFound: there is none.
    """
    found = find(connection, entity, project, name)
    if found is None:
        raise NotFound(f"there is no run {entity}/{project}/{name}")
    return found


def by_id(connection: Connection, run_id: int) -> Run:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(_runs().where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no run with id {run_id}")
    return _run(row)


def by_ids(connection: Connection, run_ids: Iterable[int]) -> dict[int, Run]:
    """Those of the runs that exist, by id."""
    rows = connection.execute(_runs().where(runs.c.id.in_(sorted(set(run_ids)))))
    return {row.id: _run(row) for row in rows}


def listing(
    connection: Connection,
    project_id: int,
    *,
    filters: str | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Run]:
    """Runs of a project that meet the filters, oldest first unless ordered otherwise."""
    query = _runs().where(runs.c.project_id == project_id, condition(filters, FIELDS))
    query = query.order_by(*ordering(order, FIELDS, default="+created_at"), runs.c.id)
    return page(connection, query, _run, after=after, first=first)


def count(connection: Connection, project_id: int, *, filters: str | None = None) -> int:
    query = _runs().with_only_columns(func.count()).where(runs.c.project_id == project_id, condition(filters, FIELDS))
    return connection.execute(query).scalar_one()


def count_all(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(runs)).scalar_one()


def create(connection: Connection, project: Project, *, name: str | None, user_id: int, values: Mapping[str, Any]) -> Run:
    """A new run, running unless `values` gives another state.

    Raises:
        BadData: the name cannot be part of a path.
    """
    name = secrets.token_hex(4) if name is None else name
    if not name.strip() or len(name) > 128 or any(letter in _FORBIDDEN_IN_NAMES for letter in name) or not readable(name):
        raise BadData(f"'{name[:80]}' cannot be a run's id: 1 to 128 characters without {' '.join(_FORBIDDEN_IN_NAMES)}")
    moment = now()
    row = {"state": "running", "display_name": _display_name(connection, project.id), **values}
    row |= {"project_id": project.id, "name": name, "user_id": user_id, "created_at": moment, "heartbeat_at": moment}
    result = connection.execute(insert(runs).values(row))
    key: Row[Any] | None = result.inserted_primary_key
    assert key is not None
    return by_id(connection, key[0])


def change(connection: Connection, run_id: int, values: Mapping[str, Any]) -> Run:
    """Set columns of a run and return it as it is now."""
    if values:
        connection.execute(update(runs).where(runs.c.id == run_id).values(**values))
    return by_id(connection, run_id)


def started(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a run whose process has just begun, again or for the first time."""
    return {"state": "running", "exitcode": None, "stop_requested": False, "heartbeat_at": now(), **values}


def after_words(run: Run, *, complete: bool, exitcode: int | None, preempting: bool, data: bool) -> dict[str, Any]:
    """The columns that change because the run's process was heard.

    Args:
        complete: it said that this was its last word.
        data: it sent lines, not only a sign of life.
    """
    heard: dict[str, Any] = {"heartbeat_at": now()}
    if complete:
        lost = "preempted" if run.state == "preempting" else "failed"
        return heard | {"state": lost if exitcode else "finished", "exitcode": exitcode or 0}
    if preempting:
        return heard | {"state": "preempting"}
    # A finished run that only breathes stays finished: its last heartbeat may be late.
    if run.state in {"pending", "crashed"} or (data and run.state not in _ALIVE):
        return heard | {"state": "running", "exitcode": None}
    return heard


def telemetry(run: Run) -> dict[str, Any]:
    """What the SDK itself put into a run's config."""
    return _value(json.loads(run.config).get("_wandb"))


def merged_config(known: str, said: str) -> dict[str, Any]:
    """A run's config after one of its several processes said its own; each knows only its keys and its environment."""
    before, after = json.loads(known), json.loads(said)
    merged: dict[str, Any] = {**before, **after}
    own = [_value(config.get("_wandb")) for config in (before, after)]
    if any(own):
        environments = {"e": {**_value(own[0], "e"), **_value(own[1], "e")}}
        merged["_wandb"] = {"value": {**own[0], **own[1], **(environments if environments["e"] else {})}}
    return merged


def silent(connection: Connection, *, seconds: float) -> int:
    """How many live runs have said nothing for so long."""
    return connection.execute(select(func.count()).select_from(runs).where(_silent(seconds))).scalar_one()


def mark_silent(connection: Connection, *, seconds: float) -> None:
    """Silent runs have crashed; those that had announced their preemption were preempted."""
    for alive, lost in (("running", "crashed"), ("preempting", "preempted")):
        connection.execute(update(runs).where(_silent(seconds), runs.c.state == alive).values(state=lost))


def remove(connection: Connection, run_id: int) -> None:
    """Delete a run with its streams and its list of files; artifacts it logged stay, without a creator."""
    connection.execute(delete(runs).where(runs.c.id == run_id))


def add_alert(connection: Connection, run_id: int, *, title: str, text: str, severity: str, wait: timedelta) -> None:
    """Record an alert, unless the run raised one of the same title within `wait`."""
    since = _ago(wait)
    repeated = select(alerts.c.id).where(alerts.c.run_id == run_id, alerts.c.title == title, alerts.c.created_at > since)
    if connection.execute(repeated.limit(1)).one_or_none() is None:
        row = {"run_id": run_id, "title": title, "text": text, "severity": severity, "created_at": now()}
        connection.execute(insert(alerts).values(row))


def alerts_of(connection: Connection, run_id: int) -> list[tuple[str, str, str]]:
    """(title, text, severity) of each alert, in the order raised."""
    query = select(alerts.c.title, alerts.c.text, alerts.c.severity).where(alerts.c.run_id == run_id).order_by(alerts.c.id)
    return [(row.title, row.text, row.severity) for row in connection.execute(query)]


def _value(item: Any, key: str = "value") -> dict[str, Any]:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, dict) else {}


def _runs() -> Select[Any]:
    query = select(runs, projects.c.name.label("project_name"), entities.c.name.label("entity_name"))
    return query.join(projects, projects.c.id == runs.c.project_id).join(entities, entities.c.id == projects.c.entity_id)


def _run(row: Row[Any]) -> Run:
    return Run(**row._mapping)


def _silent(seconds: float) -> Any:
    return runs.c.state.in_(_ALIVE) & (runs.c.heartbeat_at < _ago(timedelta(seconds=seconds)))


def _ago(time: timedelta) -> str:
    return (datetime.now(UTC) - time).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _display_name(connection: Connection, project_id: int) -> str:
    number = count(connection, project_id) + 1
    return f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}-{number}"
