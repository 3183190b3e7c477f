"""Agents: processes that ask every few seconds what to do, and are told to run, to stop, or to go.

Everything is decided in the one transaction of a heartbeat, so two agents never get the same parameters. An agent that is
given a run names it in all its later heartbeats until the run's process has ended. That tells three cases apart: an answer
that never arrived (the run is offered again, under the same name), a process that ended without a word (the run has failed),
and an agent that vanished. A vanished agent is silent for five minutes; its run crashes like any silent run, and its
parameters are given out again. A run that had said that it may be interrupted (`run.mark_preempting`) is itself given out again
instead, whatever ended it but success. Any other run that crashed under a living agent is not repeated: parameters that kill a
process would kill the next one too.

An agent without work waits while another still has a run: should that one vanish, somebody is there to take its run over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from registry.errors import NotFound
from registry.server import searching, spaces
from registry.server.context import now
from registry.server.store import curves, people, sweeps
from registry.server.store import runs as run_store
from registry.server.store.pages import Page
from registry.server.store.runs import Run
from registry.server.store.sweeps import Sweep
from registry.server.tables import agents, runs, trials

_SILENCE = timedelta(minutes=5)
_MOST_OFFERS = 3
_ALIVE = ("pending", "running", "preempting")


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One process that works for a sweep."""

    id: int
    sweep_id: int
    name: str
    host: str
    state: str
    created_at: str
    heartbeat_at: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """What an agent is told: type is run, resume, stop or exit."""

    type: str
    run: str | None = None
    arguments: dict[str, Any] | None = None


def create(connection: Connection, sweep: Sweep, *, host: str) -> Agent:
    """A new agent of a sweep, which begins with its first."""
    moment = now()
    number = len(listing(connection, sweep)) + 1
    row = {"sweep_id": sweep.id, "name": f"agent-{number}", "host": host, "state": "RUNNING"}
    key = connection.execute(insert(agents).values(**row, created_at=moment, heartbeat_at=moment)).inserted_primary_key
    assert key is not None
    if sweep.state == "PENDING":
        sweeps.change(connection, sweep.id, {"state": "RUNNING"})
    return by_id(connection, key[0])


def by_id(connection: Connection, agent_id: int) -> Agent:
    """
    Raises:
        NotFound: there is none, perhaps because its sweep was deleted.
    """
    row = connection.execute(select(agents).where(agents.c.id == agent_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no agent with id {agent_id}")
    return Agent(**row._mapping)


def listing(connection: Connection, sweep: Sweep) -> list[Agent]:
    """The agents of a sweep, in the order they came."""
    rows = connection.execute(select(agents).where(agents.c.sweep_id == sweep.id).order_by(agents.c.id))
    return [Agent(**row._mapping) for row in rows]


def state(connection: Connection, agent: Agent) -> str:
    """An agent that reached its count of runs leaves without a word; one that leaves a run behind has crashed."""
    if agent.state != "RUNNING" or agent.heartbeat_at >= _silent_since():
        return agent.state
    left = _trials(
        connection, trials.c.agent_id == agent.id, ~trials.c.over, runs.c.state.in_(("pending", "crashed", "running"))
    )
    return "CRASHED" if left else "FINISHED"


def runs_of(connection: Connection, agent: Agent, **asked: Any) -> Page[Run]:
    names = select(runs.c.name).join(trials, trials.c.run_id == runs.c.id).where(trials.c.agent_id == agent.id)
    filters = json.dumps({"name": {"$in": list(connection.execute(names).scalars())}})
    return run_store.listing(connection, sweeps.by_id(connection, agent.sweep_id).project_id, filters=filters, **asked)


def run_count(connection: Connection, agent: Agent) -> int:
    query = select(func.count()).select_from(trials).where(trials.c.agent_id == agent.id)
    return connection.execute(query).scalar_one()


def enqueue(connection: Connection, sweep: Sweep, *, arguments: dict[str, Any], user_id: int, display_name: str | None) -> Run:
    """A pending run with parameters that a local scheduler chose, for the next agent that asks."""
    values = {} if display_name is None else {"display_name": display_name}
    return _start(connection, sweep, arguments=arguments, user_id=user_id, values=values, trial={})


def heartbeat(connection: Connection, agent: Agent, *, running: Set[str], user_id: int) -> list[Command]:
    """Hear an agent and tell it what to do.

    Args:
        running: the names of the runs whose processes it has.
    Returns:
        At most one run, and only when it has none; or stops; or `exit`, and only when it has none, because an agent kills its
        processes before it leaves.
    """
    sweep = sweeps.by_id(connection, agent.sweep_id)
    connection.execute(update(agents).where(agents.c.id == agent.id).values(heartbeat_at=now(), state="RUNNING"))
    sweeps.touch(connection, sweep)
    _hear(connection, agent, running)
    _recover(connection, sweep)
    if running:
        return [Command(type="stop", run=name) for name in sorted(_unwanted(connection, sweep, running))]
    if sweep.state == "PAUSED":
        return []
    if sweep.state in sweeps.OPEN:
        command = _next(connection, sweep, agent, user_id)
        if command is not None:
            return [command]
        # A program of the user decides when a steered sweep ends.
        left = sweeps.by_id(connection, sweep.id) if sweep.search.steered else sweeps.settle(connection, sweep)
        if left.state in sweeps.OPEN:
            return []
    connection.execute(update(agents).where(agents.c.id == agent.id).values(state="FINISHED"))
    return [Command(type="exit")]


def vanished(connection: Connection, *, seconds: float) -> list[int]:
    """The sweeps that have a trial whose agent has been silent for so long, by id."""
    return list(
        connection.execute(_vanished(timedelta(seconds=seconds)).with_only_columns(trials.c.sweep_id).distinct()).scalars()
    )


def recover(connection: Connection, sweep_id: int, *, seconds: float) -> None:
    """Notice the trials of a sweep whose agents vanished, so that the next agent that asks gets their parameters."""
    _recover(connection, sweeps.by_id(connection, sweep_id), silence=timedelta(seconds=seconds))


def _hear(connection: Connection, agent: Agent, running: Set[str]) -> None:
    for trial in _trials(connection, trials.c.agent_id == agent.id, ~trials.c.over):
        if trial.name in running:
            _set(connection, trial.id, seen=True)
        elif trial.seen or trial.state != "pending" or trial.offers >= _MOST_OFFERS:
            _set(connection, trial.id, over=True)
            # A process that was stopped rarely says so itself: waiting for its silence would show it running for minutes.
            if trial.stopped and trial.state in _ALIVE:
                run_store.change(connection, trial.run_id, {"state": "killed"})
            elif trial.state == "pending":
                run_store.change(connection, trial.run_id, {"state": "failed"})
            # It had said that this may come, and its agent lives to tell that it did.
            elif trial.state == "preempting":
                run_store.change(connection, trial.run_id, {"state": "preempted"})


def _recover(connection: Connection, sweep: Sweep, *, silence: timedelta = _SILENCE) -> None:
    """Notice trials whose agents vanished with them; one that can go on is over for its agent, but not lost."""
    for trial in connection.execute(_vanished(silence).where(trials.c.sweep_id == sweep.id)).all():
        if trial.state == "preempted":
            _set(connection, trial.id, over=True)
        else:
            _set(connection, trial.id, lost=True)
            run_store.change(connection, trial.run_id, {"state": "crashed"})
        connection.execute(update(agents).where(agents.c.id == trial.agent_id).values(state="CRASHED"))


def _vanished(silence: timedelta) -> Select[Any]:
    gone = select(agents.c.id).where(agents.c.heartbeat_at < _silent_since(silence))
    query = select(trials, runs.c.state).join(runs, runs.c.id == trials.c.run_id).order_by(trials.c.number)
    silent = runs.c.state.in_(("pending", "crashed", "preempted"))
    return query.where(trials.c.agent_id.in_(gone), ~trials.c.over, ~trials.c.lost, silent)


def _unwanted(connection: Connection, sweep: Sweep, running: Set[str]) -> set[str]:
    """Which of an agent's runs are to stop; once said, it is said until the process has ended."""
    search = sweep.search
    wanted = _trials(connection, trials.c.sweep_id == sweep.id)
    stopped = {trial.name for trial in wanted if trial.stopped} & running
    asked: Set[str] = frozenset()
    if sweep.state == "CANCELED":
        asked = running
    elif search.steered:
        asked = set(_object(sweep.controller).get("earlystop") or ())
    elif search.hyperband and search.metric:
        found = curves.of(connection, search, [trial.run_id for trial in wanted])
        named = {trial.name: found[trial.run_id] for trial in wanted}
        asked = searching.to_stop(search.hyperband, named, running - stopped)
    for trial in wanted:
        if trial.name in asked & running:
            _set(connection, trial.id, stopped=True)
    return stopped | (asked & running)


def _next(connection: Connection, sweep: Sweep, agent: Agent, user_id: int) -> Command | None:
    """The run this agent starts now; None when there is nothing to start."""
    mine = (trials.c.agent_id == agent.id) & ~trials.c.over & ~trials.c.seen & (runs.c.state == "pending")
    # One that is only silent may still be with its agent: two processes would write one run.
    preempted = (runs.c.state == "preempted") & (trials.c.over | runs.c.exitcode.is_not(None))
    queued = trials.c.agent_id.is_(None) & ~trials.c.over & (runs.c.state == "pending")
    for waiting in (mine, preempted, queued):
        for trial in _trials(connection, trials.c.sweep_id == sweep.id, waiting)[:1]:
            return _offer(connection, agent, trial)
    search = sweep.search
    if search.steered:
        return _scheduled(connection, sweep, agent, user_id)
    if sweeps.exhausted(connection, sweep):
        return None
    arguments, point = sweeps.lost(connection, sweep) or _proposed(connection, sweep, search)
    first_offer = {"agent_id": agent.id, "point": point, "offers": 1}
    run = _start(connection, sweep, arguments=arguments, user_id=user_id, values={}, trial=first_offer)
    return Command(type="run", run=run.name, arguments=arguments)


def _proposed(connection: Connection, sweep: Sweep, search: searching.Search) -> tuple[dict[str, Any], int | None]:
    proposal = searching.propose(
        search,
        sweeps.past(connection, sweep) if search.method == "bayes" else (),
        taken=sweeps.taken(connection, sweep) if search.method == "grid" else frozenset(),
        seed=sweep.name,
        number=sweeps.next_number(connection, sweep),
    )
    return spaces.arguments(proposal.values), proposal.point


def _offer(connection: Connection, agent: Agent, trial: Row[Any]) -> Command:
    """Give an agent a run that exists: its own again, a preempted one, or one from the queue."""
    again = trial.agent_id == agent.id and trial.state == "pending"
    _set(connection, trial.id, agent_id=agent.id, seen=False, over=False, offers=trial.offers + 1 if again else 1)
    run = run_store.change(connection, trial.run_id, {"state": "pending"})
    kind = "resume" if run.history_lines else "run"
    return Command(type=kind, run=run.name, arguments=json.loads(trial.arguments))


def _scheduled(connection: Connection, sweep: Sweep, agent: Agent, user_id: int) -> Command | None:
    """The run that a local controller wants: its schedule is answered, entry by entry, in the sweep's `scheduler`."""
    scheduler = _object(sweep.scheduler)
    answered = scheduler.get("scheduled") or []
    known = {entry.get("id") for entry in answered}
    entry = next((entry for entry in _object(sweep.controller).get("schedule") or () if entry.get("id") not in known), None)
    if entry is None:
        return None
    arguments = (entry.get("data") or {}).get("args")
    if arguments is None:
        sweeps.change(connection, sweep.id, {"state": "FINISHED"})
        return None
    trial = {"agent_id": agent.id, "offers": 1}
    run = _start(connection, sweep, arguments=arguments, user_id=user_id, values={}, trial=trial)
    scheduler["scheduled"] = [*answered, {"id": entry.get("id"), "runid": run.name}]
    sweeps.change(connection, sweep.id, {"scheduler": json.dumps(scheduler)})
    return Command(type="run", run=run.name, arguments=arguments)


def _start(
    connection: Connection,
    sweep: Sweep,
    *,
    arguments: dict[str, Any],
    user_id: int,
    values: dict[str, Any],
    trial: dict[str, Any],
) -> Run:
    """A pending run: its process, once it is there, finds it under its name."""
    place = people.project_by_id(connection, sweep.project_id)
    row = {"state": "pending", "sweep": sweep.name, "config": json.dumps(arguments), **values}
    run = run_store.create(connection, place, name=None, user_id=user_id, values=row)
    sweeps.add_trial(connection, sweep, run_id=run.id, values={**trial, "arguments": arguments})
    return run


def _trials(connection: Connection, *conditions: Any) -> Sequence[Row[Any]]:
    query = select(trials, runs.c.name, runs.c.state).join(runs, runs.c.id == trials.c.run_id).where(*conditions)
    return connection.execute(query.order_by(trials.c.number)).all()


def _silent_since(silence: timedelta = _SILENCE) -> str:
    return (datetime.now(UTC) - silence).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _set(connection: Connection, trial_id: int, **values: Any) -> None:
    connection.execute(update(trials).where(trials.c.id == trial_id).values(**values))


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}
