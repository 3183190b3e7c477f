"""Runs and what they stream."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from registry.server.tables.columns import key, metadata, to

runs = Table(
    "runs",
    metadata,
    key(),
    to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("state", Text, nullable=False),
    Column("config", Text, nullable=False, default="{}"),
    Column("summary", Text, nullable=False, default="{}"),
    # What a forked or rewound run had before its process said anything: the process does not know it.
    Column("inherited_summary", Text),
    Column("notes", Text),
    Column("description", Text),
    Column("tags", Text, nullable=False, default="[]"),
    Column("group", Text),
    Column("job_type", Text),
    Column("sweep", Text),
    Column("host", Text),
    Column("program", Text),
    Column("repo", Text),
    Column("commit", Text),
    to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("heartbeat_at", Text, nullable=False),
    Column("exitcode", Integer),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column("history_lines", Integer, nullable=False, default=0),
    Column("event_lines", Integer, nullable=False, default=0),
    Column("console_lines", Integer, nullable=False, default=0),
    UniqueConstraint("project_id", "name"),
)

# One row per line of a stream file, addressed by its line number: a repeated request overwrites itself.
history = Table(
    "history",
    metadata,
    to("runs", "run_id"),
    Column("line", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "line"),
    sqlite_with_rowid=False,
)
Index("history_by_step", history.c.run_id, history.c.step)

events = Table(
    "events",
    metadata,
    to("runs", "run_id"),
    Column("line", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "line"),
    sqlite_with_rowid=False,
)

console = Table(
    "console",
    metadata,
    to("runs", "run_id"),
    Column("line", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "line"),
    sqlite_with_rowid=False,
)

# Where the lines of a run with several writers went: each writer numbers its own lines, and may send them again.
shared_lines = Table(
    "shared_lines",
    metadata,
    to("runs", "run_id"),
    Column("stream", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "stream", "client", "number"),
    sqlite_with_rowid=False,
)

# Lines [start, stop) of a run's history as a Parquet file. By name, not by row: clients keep these files under the run's
# name, so the name of a deleted run must not be exported again with other rows.
history_exports = Table(
    "history_exports",
    metadata,
    key(),
    to("projects", "project_id"),
    Column("run", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("start", Integer, nullable=False),
    Column("stop", Integer, nullable=False),
    Column("valid", Boolean, nullable=False, default=True),
    Column("md5", Text),  # hex; null until somebody asked for the file
    UniqueConstraint("project_id", "run", "part"),
)

# Keys seen in the history, kept current while rows arrive: reading them must not scan a million rows.
history_keys = Table(
    "history_keys",
    metadata,
    to("runs", "run_id"),
    Column("key", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("monotonic", Boolean, nullable=False, default=True),
    Column("previous", Float),
    PrimaryKeyConstraint("run_id", "key", "type"),
    sqlite_with_rowid=False,
)

run_files = Table(
    "run_files",
    metadata,
    key(),
    to("runs", "run_id"),
    Column("name", Text, nullable=False),
    Column("md5", Text),  # hex; null until the bytes are here
    Column("size", Integer, nullable=False, default=0),
    Column("mimetype", Text),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("run_id", "name"),
)
Index("run_files_by_md5", run_files.c.md5)

alerts = Table(
    "alerts",
    metadata,
    key(),
    to("runs", "run_id"),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)
