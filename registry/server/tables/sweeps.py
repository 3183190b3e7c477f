"""Sweeps: agents ask what to try next; each answer is a trial, which has one run."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from registry.server.tables.columns import key, metadata, to
from registry.server.tables.runs import runs

sweeps = Table(
    "sweeps",
    metadata,
    key(),
    to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Column("method", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("config", Text, nullable=False),  # YAML, as it was sent
    Column("controller", Text, nullable=False, default="{}"),  # written by a local controller
    Column("scheduler", Text, nullable=False, default="{}"),  # our answers to it, or the settings of a local scheduler
    Column("controller_run_name", Text),
    to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("heartbeat_at", Text, nullable=False),
    UniqueConstraint("project_id", "name"),
)

agents = Table(
    "agents",
    metadata,
    key(),
    to("sweeps", "sweep_id"),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column(
        "state", Text, nullable=False
    ),  # RUNNING | FINISHED (told to exit) | CRASHED (lost with a run); silence is read from heartbeat_at
    Column("created_at", Text, nullable=False),
    Column("heartbeat_at", Text, nullable=False),
    UniqueConstraint("sweep_id", "name"),
)

trials = Table(
    "trials",
    metadata,
    key(),
    to("sweeps", "sweep_id"),
    to("runs", "run_id"),
    to("agents", "agent_id", nullable=True, cascade=False),  # null: waits for an agent, or no agent started it
    Column("number", Integer, nullable=False),  # 0, 1, 2… within the sweep
    Column("point", Integer),  # of a grid
    Column("arguments", Text, nullable=False),  # what the agent is told
    Column("offers", Integer, nullable=False, default=0),  # how often an agent was told to run it
    Column("seen", Boolean, nullable=False, default=False),  # its agent said that it runs
    Column("over", Boolean, nullable=False, default=False),  # its agent said that it no longer runs
    Column("stopped", Boolean, nullable=False, default=False),  # not worth finishing
    Column("lost", Boolean, nullable=False, default=False),  # its agent vanished with it
    UniqueConstraint("run_id"),
    UniqueConstraint("sweep_id", "number"),
)
# A grid point has one trial, unless an agent was lost with an earlier one.
Index("trials_by_point", trials.c.sweep_id, trials.c.point, unique=True, sqlite_where=trials.c.lost.is_(False))
Index("trials_by_agent", trials.c.agent_id)
Index("runs_by_sweep", runs.c.project_id, runs.c.sweep)

# How far the metric of a trial's run has come, up to a step of its history.
curves = Table(
    "curves",
    metadata,
    to("runs", "run_id"),
    Column("step", Integer, nullable=False),
    Column("logged", Integer, nullable=False),
    Column("best", Float),  # loss: lower is better
    Column("reached", Text, nullable=False),  # JSON: the loss at each bracket
    PrimaryKeyConstraint("run_id"),
    sqlite_with_rowid=False,
)
