"""The page of a sweep: how good it became, which parameters went with that, who works for it, and every trial."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from registry.coordinates import Line, parallel
from registry.errors import NotFound
from registry.server import searching
from registry.server.store import agents, overview, sweeps
from registry.server.store.overview import RunRow
from registry.server.store.pages import Page
from registry.server.store.sweeps import Try
from registry.server.ui.charts import Series
from registry.server.ui.projects import the_project
from registry.server.ui.visit import Listing, Visit

# Read of a sweep for its page: more lines than a picture of this size can show.
_TRIALS = 1_000


@dataclass(frozen=True, kw_only=True)
class AgentRow:
    """An agent of the sweep and how many runs it was given."""

    name: str
    host: str
    state: str
    runs: int
    heartbeat_at: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial in the table: its run, its parameters by dotted name, the metric's value."""

    number: int
    run: RunRow
    parameters: Mapping[str, Any]
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Everything about one sweep; `best_so_far` is over the trials with a value, `lines` are its latest."""

    entity: str
    project: str
    name: str
    display_name: str | None
    description: str | None
    state: str
    method: str
    metric: str | None
    goal: str | None
    created_at: str
    expected: int | None
    started: int
    best: Trial | None
    parameters: Sequence[str]
    best_so_far: Series
    lines: Sequence[Line]
    trials: Listing[Trial]
    agents: Sequence[AgentRow]
    config: str


def sweep(visit: Visit, entity: str, project: str, name: str) -> Sweep:
    connection = visit.context.connection
    place = the_project(visit, entity, project)
    found = sweeps.find(connection, place.id, name)
    if found is None:
        raise NotFound(f"there is no sweep {entity}/{project}/{name}")
    search = found.search
    tried = sweeps.tries(connection, found, most=_TRIALS)
    ranked = sorted(tried, key=lambda one: (one.value is None, _loss(search, one), one.number))
    rows = overview.run_rows(connection, [one.run_id for one in tried])
    names = [".".join(parameter.path) for parameter in search.parameters if parameter.count != 1]
    best = ranked[0] if ranked and ranked[0].value is not None else None
    return Sweep(
        entity=place.entity_name,
        project=place.name,
        name=found.name,
        display_name=found.display_name,
        description=found.description,
        state=found.state,
        method=found.method,
        metric=search.metric.name if search.metric else None,
        goal=search.metric.goal if search.metric else None,
        created_at=found.created_at,
        expected=search.expected,
        started=sweeps.next_number(connection, found),
        best=None if best is None else _trial(best, rows),
        parameters=names,
        best_so_far=_best_so_far(search, tried),
        lines=[
            Line(name=rows[one.run_id].name, cells=[one.values.get(name) for name in names], value=one.value) for one in tried
        ],
        trials=visit.listing("page", lambda after, first: _page([_trial(one, rows) for one in ranked], int(after), first)),
        agents=[
            AgentRow(
                name=agent.name,
                host=agent.host,
                state=agents.state(connection, agent),
                runs=agents.run_count(connection, agent),
                heartbeat_at=agent.heartbeat_at,
            )
            for agent in agents.listing(connection, found)
        ],
        config=found.config,
    )


def drawn(page: Sweep) -> Markup:
    """The parallel coordinates of the page's lines."""
    return parallel(page.parameters, page.lines, metric=page.metric or "", maximize=page.goal == "maximize")


def _trial(one: Try, rows: Mapping[int, RunRow]) -> Trial:
    return Trial(number=one.number, run=rows[one.run_id], parameters=one.values, value=one.value)


def _page(trials: Sequence[Trial], start: int, size: int) -> Page[Trial]:
    return Page(items=trials[start : start + size], start=start, total_count=len(trials))


def _loss(search: searching.Search, one: Try) -> float:
    return 0.0 if one.value is None or search.metric is None else search.metric.loss(one.value)


def _best_so_far(search: searching.Search, tried: Sequence[Try]) -> Series:
    valued = [one for one in tried if one.value is not None]
    better = max if search.metric is not None and search.metric.goal == "maximize" else min
    bests = itertools.accumulate((float(one.value or 0.0) for one in valued), better)
    points = [(float(one.number), value) for one, value in zip(valued, bests, strict=True)]
    return Series(key=search.metric.name if search.metric else "", count=len(points), points=points)
