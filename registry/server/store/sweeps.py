"""Sweeps: what is searched, in which state, and the runs that belong to one.

A sweep is `PENDING` until an agent comes, then `RUNNING`; people pause, resume, stop and cancel it; it is `FINISHED` once
everything was tried and the last run ended. A run belongs to the sweep it names, whoever started it: each is a trial, so that
what people tried by hand counts for the search.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, null, select, update

from registry.errors import BadData, Conflict, NotFound
from registry.server import documents, limits, searching, spaces
from registry.server.context import now
from registry.server.filters import Fields, condition, json_at
from registry.server.searching import Metric, Search
from registry.server.store import runs as run_store
from registry.server.store.pages import Page, page
from registry.server.store.people import Project
from registry.server.store.runs import Run
from registry.server.tables import runs, sweeps, trials

STATES = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "STOPPED", "CANCELED")
OPEN = ("PENDING", "RUNNING")
_ALPHABET = string.ascii_lowercase + string.digits
_UNENDED = ("pending", "running", "preempting", "preempted")
_MOST_LOSSES = 3  # parameters that took three agents down with them are not given to a fourth
_ALL = 10_000


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep; `name` is the id in its path, `config` the YAML that was sent."""

    id: int
    project_id: int
    name: str
    display_name: str | None
    description: str | None
    method: str
    state: str
    config: str
    controller: str
    scheduler: str
    controller_run_name: str | None
    user_id: int | None
    created_at: str
    updated_at: str
    heartbeat_at: str

    @property
    def search(self) -> Search:
        return searching.parse(self.config)[0]


@dataclass(frozen=True, kw_only=True)
class Try:
    """A trial for people: its number from 1, its run, what it tries by dotted names, and its run's metric."""

    number: int
    run_id: int
    values: Mapping[str, Any]
    value: float | None


FIELDS = Fields(
    named={
        name: sweeps.c[name] for name in ("name", "display_name", "state", "method", "description", "created_at", "updated_at")
    }
)


def find(connection: Connection, project_id: int, name: str) -> Sweep | None:
    query = select(sweeps).where(sweeps.c.project_id == project_id, sweeps.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _sweep(row)


def by_id(connection: Connection, sweep_id: int) -> Sweep:
    """
    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no sweep with id {sweep_id}")
    return _sweep(row)


def listing(
    connection: Connection,
    project_id: int,
    *,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[Sweep]:
    """Sweeps of a project that meet the filters, newest first."""
    query = select(sweeps).where(sweeps.c.project_id == project_id, condition(filters, FIELDS))
    return page(connection, query.order_by(sweeps.c.id.desc()), _sweep, after=after, first=first)


def count(connection: Connection, project_id: int) -> int:
    query = select(func.count()).select_from(sweeps).where(sweeps.c.project_id == project_id)
    return connection.execute(query).scalar_one()


def create(connection: Connection, project: Project, *, config: str, user_id: int, values: Mapping[str, Any]) -> Sweep:
    """A new sweep under a name of its own.

    Raises:
        BadData: the configuration cannot be searched.
        MissingDependency: its method needs a package that is not installed.
    """
    search, _ = searching.parse(config)
    searching.check_installed(search)
    moment = now()
    title = documents.read_yaml(config, "the sweep configuration", largest=limits.SWEEP_CONFIGURATION).get("name")
    row = {
        "state": "PENDING",
        "display_name": title if isinstance(title, str) else None,
        **values,
        "name": "".join(secrets.choice(_ALPHABET) for _ in range(8)),
        "project_id": project.id,
        "method": search.method,
        "config": config,
        "controller_run_name": secrets.token_hex(4) if search.steered else None,
        "user_id": user_id,
        "created_at": moment,
        "updated_at": moment,
        "heartbeat_at": moment,
    }
    key = connection.execute(insert(sweeps).values(row)).inserted_primary_key
    assert key is not None
    return by_id(connection, key[0])


def change(connection: Connection, sweep_id: int, values: Mapping[str, Any]) -> Sweep:
    """Set columns of a sweep and return it as it is now."""
    if values:
        connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(**values, updated_at=now()))
    return by_id(connection, sweep_id)


def touch(connection: Connection, sweep: Sweep) -> None:
    """An agent of the sweep was heard."""
    connection.execute(update(sweeps).where(sweeps.c.id == sweep.id).values(heartbeat_at=now()))


def reconfigure(connection: Connection, sweep: Sweep, config: str) -> Sweep:
    """Search another space; a local controller repeats the one it has with each step.

    Raises:
        BadData: the configuration cannot be searched.
        MissingDependency: its method needs a package that is not installed.
        Conflict: runs were started from the old one.
    """
    search, _ = searching.parse(config)
    if search == sweep.search:
        return sweep
    if connection.execute(select(trials.c.id).where(trials.c.sweep_id == sweep.id).limit(1)).one_or_none() is not None:
        raise Conflict(f"sweep {sweep.name} has runs already, so what it searches stays as it is", hint="wandb sweep FILE")
    searching.check_installed(search)
    return change(connection, sweep.id, {"config": config, "method": search.method})


def runs_of(connection: Connection, sweep: Sweep, *, first: int | None = None, **asked: Any) -> Page[Run]:
    """The runs of a sweep, oldest first; all of them unless a page is asked for, because controllers never ask twice."""
    filters = json.dumps({"sweep": sweep.name})
    return run_store.listing(connection, sweep.project_id, filters=filters, first=_ALL if first is None else first, **asked)


def prior_runs(connection: Connection, sweep: Sweep, *, first: int | None = None, **asked: Any) -> Page[Run]:
    """The runs of a sweep that were there before it, oldest first; all of them unless a page is asked for."""
    filters = json.dumps({"sweep": sweep.name, "created_at": {"$lt": sweep.created_at}})
    return run_store.listing(connection, sweep.project_id, filters=filters, first=_ALL if first is None else first, **asked)


def run_count(connection: Connection, sweep: Sweep) -> int:
    return run_store.count(connection, sweep.project_id, filters=json.dumps({"sweep": sweep.name}))


def best_loss(connection: Connection, sweep: Sweep) -> float | None:
    """The best value of the sweep's metric among its runs, as they summarised it."""
    metric = sweep.search.metric
    if metric is None:
        return None
    query = select(json_at(runs.c.summary, metric.name)).where(
        runs.c.project_id == sweep.project_id, runs.c.sweep == sweep.name
    )
    losses = [loss for value in connection.execute(query).scalars() if (loss := _loss(value, metric)) is not None]
    return metric.loss(min(losses)) if losses else None


def adopt(connection: Connection, run: Run) -> None:
    """Make a trial of a run that names a sweep of its project and was not started by an agent of ours."""
    sweep = find(connection, run.project_id, run.sweep) if run.sweep else None
    known = select(trials.c.id).where(trials.c.run_id == run.id)
    if sweep is None or connection.execute(known).one_or_none() is not None:
        return
    search = sweep.search
    values = spaces.values_in(search.parameters, json.loads(run.config))
    point = searching.point_of(search, values)
    if point in taken(connection, sweep):
        point = None
    add_trial(connection, sweep, run_id=run.id, values={"arguments": spaces.arguments(values), "point": point, "over": True})


def adopt_prior(connection: Connection, sweep: Sweep, filters: str) -> None:
    """Let runs of the project that ended before count as trials.

    Raises:
        BadData: the filters cannot be read, or no run meets them.
    """
    found = run_store.listing(connection, sweep.project_id, filters=filters, first=_ALL)
    if not found.items:
        raise BadData("none of the prior runs is in this project")
    for run in found.items:
        adopt(connection, run_store.change(connection, run.id, {"sweep": sweep.name}))


def add_trial(connection: Connection, sweep: Sweep, *, run_id: int, values: Mapping[str, Any]) -> None:
    """Record that a run of the sweep tries `values["arguments"]`."""
    row = {**values, "arguments": json.dumps(values["arguments"])}
    connection.execute(insert(trials).values(sweep_id=sweep.id, run_id=run_id, number=next_number(connection, sweep), **row))


def next_number(connection: Connection, sweep: Sweep) -> int:
    last = connection.execute(select(func.max(trials.c.number)).where(trials.c.sweep_id == sweep.id)).scalar_one()
    return 0 if last is None else last + 1


def taken(connection: Connection, sweep: Sweep) -> set[int]:
    """The grid points that are not to be given again."""
    query = select(trials.c.point).where(trials.c.sweep_id == sweep.id, trials.c.point.is_not(None)).group_by(trials.c.point)
    lost = func.sum(trials.c.lost)
    return set(connection.execute(query.having((lost < func.count()) | (lost >= _MOST_LOSSES))).scalars())


def lost(connection: Connection, sweep: Sweep) -> tuple[dict[str, Any], int | None] | None:
    """The arguments and grid point that were only ever tried by agents that vanished with them, the oldest first."""
    query = select(trials.c.arguments, func.max(trials.c.point).label("point")).where(trials.c.sweep_id == sweep.id)
    losses = func.sum(trials.c.lost)
    query = query.group_by(trials.c.arguments).having((losses == func.count()) & (losses < _MOST_LOSSES))
    row = connection.execute(query.order_by(func.min(trials.c.number)).limit(1)).one_or_none()
    return None if row is None else (json.loads(row.arguments), row.point)


def tried(connection: Connection, sweep: Sweep) -> int:
    """How many trials count against the run cap."""
    query = select(func.count()).select_from(trials).where(trials.c.sweep_id == sweep.id, ~trials.c.lost)
    return connection.execute(query).scalar_one()


def past(connection: Connection, sweep: Sweep) -> list[searching.Past]:
    """The trials so far, as the search wants to know them."""
    search = sweep.search
    loss = json_at(runs.c.summary, search.metric.name) if search.metric else null()
    query = _trials_and_runs(sweep).add_columns(trials.c.arguments, trials.c.point, runs.c.state, loss.label("loss"))
    return [
        searching.Past(
            values=spaces.values_in(search.parameters, json.loads(row.arguments)),
            point=row.point,
            loss=_loss(row.loss, search.metric) if search.metric else None,
            running=row.state in _UNENDED,
        )
        for row in connection.execute(query.order_by(trials.c.number))
    ]


def tries(connection: Connection, sweep: Sweep, *, most: int) -> list[Try]:
    """The latest trials of a sweep, in the order started."""
    search = sweep.search
    loss = json_at(runs.c.summary, search.metric.name) if search.metric else null()
    columns = (trials.c.number, trials.c.run_id, trials.c.arguments, loss.label("loss"))
    rows = connection.execute(_trials_and_runs(sweep).add_columns(*columns).order_by(trials.c.number.desc()).limit(most)).all()
    found = []
    for row in reversed(rows):
        values = spaces.values_in(search.parameters, json.loads(row.arguments))
        reached = None if search.metric is None else _loss(row.loss, search.metric)
        value = None if search.metric is None or reached is None else search.metric.loss(reached)
        tried = {".".join(path): tried for path, tried in values.items()}
        found.append(Try(number=row.number + 1, run_id=row.run_id, values=tried, value=value))
    return found


def exhausted(connection: Connection, sweep: Sweep) -> bool:
    """Whether nothing is left to give to an agent."""
    return searching.exhausted(sweep.search, taken(connection, sweep), tried(connection, sweep))


def settle(connection: Connection, sweep: Sweep) -> Sweep:
    """Finish a sweep that has tried everything, once no agent has a run of it any more.

    While one has, its run may yet be lost with it and its point be given out again.
    """
    if sweep.state not in OPEN or not exhausted(connection, sweep):
        return sweep
    held = ~trials.c.over & runs.c.state.in_(_UNENDED)
    alive = _trials_and_runs(sweep).add_columns(trials.c.id).where(~trials.c.lost, held | (runs.c.state == "preempted"))
    if connection.execute(alive.limit(1)).one_or_none() is not None:
        return sweep
    return change(connection, sweep.id, {"state": "FINISHED"})


def run_ended(connection: Connection, run: Run) -> None:
    """A run said its last word: perhaps that finishes its sweep, whose agent may not ask again.

    A run that was told to stop was killed, whatever its process says about it: it neither failed nor is it to be resumed.
    """
    sweep = find(connection, run.project_id, run.sweep) if run.sweep else None
    if sweep is None:
        return
    stopped = select(trials.c.id).where(trials.c.run_id == run.id, trials.c.stopped)
    if run.state in ("failed", "preempted") and connection.execute(stopped).one_or_none() is not None:
        run_store.change(connection, run.id, {"state": "killed"})
    settle(connection, sweep)


def _trials_and_runs(sweep: Sweep) -> Select[Any]:
    return select().select_from(trials).join(runs, runs.c.id == trials.c.run_id).where(trials.c.sweep_id == sweep.id)


def _loss(value: Any, metric: Metric) -> float | None:
    """The loss that a summary tells: a number, or the object that `define_metric(summary=…)` makes of it."""
    if isinstance(value, str) and value.startswith("{"):
        kinds = json.loads(value)
        value = next(
            (kinds[kind] for kind in ("best", "min" if metric.goal == "minimize" else "max", "last") if kind in kinds), None
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return metric.loss(float(value))


def _sweep(row: Row[Any]) -> Sweep:
    return Sweep(**row._mapping)
