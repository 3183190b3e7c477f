"""The schema of the database, as SQLAlchemy tables; the nouns and their edges.

Times are ISO-8601 UTC text with a trailing Z, as the wire wants them; order is by integer id, never by clock. JSON that
the SDK sent comes back byte for byte, so it is kept as text. Uniqueness that a user relies on (one holder per alias, dense
version numbers, one run per name) is a constraint here, not a check in Python.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _to(table: str, name: str, *, nullable: bool = False, cascade: bool = True) -> Column[int]:
    rule = "CASCADE" if cascade else "SET NULL"
    return Column(name, Integer, ForeignKey(f"{table}.id", ondelete=rule), nullable=nullable)


# Who: users, their keys, and the names that own projects.

organizations = Table("organizations", metadata, _id(), Column("name", Text, nullable=False, unique=True))

entities = Table(
    "entities",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # user | team | organization
    _to("organizations", "organization_id", nullable=True),
    Column("created_at", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("username", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("admin", Boolean, nullable=False, default=False),
    _to("entities", "entity_id"),
    Column("created_at", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    _to("users", "user_id"),
    Column("description", Text),
    Column("prefix", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),  # sha256 of the key: it has 160 random bits, so no salt is needed
    Column("created_at", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    _id(),
    _to("entities", "entity_id"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("access", Text, nullable=False, default="PRIVATE"),
    Column("all_types", Boolean, nullable=False, default=True),  # a registry that takes every artifact type
    _to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("entity_id", "name"),
)

# Runs and what they stream.

runs = Table(
    "runs",
    metadata,
    _id(),
    _to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("state", Text, nullable=False),
    Column("config", Text, nullable=False, default="{}"),
    Column("summary", Text, nullable=False, default="{}"),
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
    _to("users", "user_id", nullable=True, cascade=False),
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
    _to("runs", "run_id"),
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
    _to("runs", "run_id"),
    Column("line", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "line"),
    sqlite_with_rowid=False,
)

console = Table(
    "console",
    metadata,
    _to("runs", "run_id"),
    Column("line", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "line"),
    sqlite_with_rowid=False,
)

# Keys seen in the history, kept current while rows arrive: reading them must not scan a million rows.
history_keys = Table(
    "history_keys",
    metadata,
    _to("runs", "run_id"),
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
    _id(),
    _to("runs", "run_id"),
    Column("name", Text, nullable=False),
    Column("md5", Text),  # hex; null until the bytes are here
    Column("size", Integer, nullable=False, default=0),
    Column("mimetype", Text),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("run_id", "name"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _to("runs", "run_id"),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)

# Sweeps: agents ask what to try next; each answer is a trial, which has one run.

sweeps = Table(
    "sweeps",
    metadata,
    _id(),
    _to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Column("method", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("config", Text, nullable=False),  # YAML, as it was sent
    Column("controller", Text, nullable=False, default="{}"),  # written by a local controller
    Column("scheduler", Text, nullable=False, default="{}"),  # our answers to it, or the settings of a local scheduler
    Column("controller_run_name", Text),
    _to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("heartbeat_at", Text, nullable=False),
    UniqueConstraint("project_id", "name"),
)

agents = Table(
    "agents",
    metadata,
    _id(),
    _to("sweeps", "sweep_id"),
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
    _id(),
    _to("sweeps", "sweep_id"),
    _to("runs", "run_id"),
    _to("agents", "agent_id", nullable=True, cascade=False),  # null: waits for an agent, or no agent started it
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

# Artifacts: collections hold versions by membership, aliases point at memberships.

artifact_types = Table(
    "artifact_types",
    metadata,
    _id(),
    _to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("project_id", "name"),
)

collections = Table(
    "collections",
    metadata,
    _id(),
    _to("projects", "project_id"),
    _to("artifact_types", "type_id"),
    Column("kind", Text, nullable=False),  # sequence: versions are logged here | portfolio: versions are linked here
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("next_index", Integer, nullable=False, default=0),  # numbers are never used again, so this only grows
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("project_id", "name"),
)

collection_tags = Table(
    "collection_tags",
    metadata,
    _id(),
    _to("collections", "collection_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)

artifacts = Table(
    "artifacts",
    metadata,
    _id(),
    _to("collections", "sequence_id"),
    Column("state", Text, nullable=False),  # PENDING | COMMITTED | DELETED
    Column("version_index", Integer),  # in its sequence; null while pending
    Column("digest", Text, nullable=False),
    Column("digest_algorithm", Text, nullable=False, default="MANIFEST_MD5"),
    Column("distributed_id", Text),
    Column("manifest_md5", Text),  # hex of the manifest file as it is served; null while pending and once deleted
    _to("artifacts", "merged_into", nullable=True, cascade=False),  # its content was a version already
    Column("description", Text),
    Column("metadata", Text),
    Column("ttl_seconds", Integer),
    Column("history_step", Integer),
    Column("pending_aliases", Text, nullable=False, default="[]"),
    Column("size", Integer, nullable=False, default=0),
    Column("file_count", Integer, nullable=False, default=0),
    _to("runs", "run_id", nullable=True, cascade=False),
    _to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("sequence_id", "version_index"),
)
Index("artifacts_by_digest", artifacts.c.sequence_id, artifacts.c.digest)
Index("artifacts_by_run", artifacts.c.run_id)

# A client names an artifact before the server does; a deduplicated upload has several client ids.
client_ids = Table(
    "client_ids",
    metadata,
    Column("client_id", Text, primary_key=True),
    _to("artifacts", "artifact_id"),
)
Index("client_ids_by_artifact", client_ids.c.artifact_id)

artifact_tags = Table(
    "artifact_tags",
    metadata,
    _id(),
    _to("artifacts", "artifact_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("artifact_id", "name"),
)

manifests = Table(
    "manifests",
    metadata,
    _id(),
    _to("artifacts", "artifact_id"),
    _to("artifacts", "base_id", nullable=True, cascade=False),
    Column("kind", Text, nullable=False),  # FULL | INCREMENTAL | PATCH
    Column("name", Text, nullable=False),
    Column("md5", Text),  # hex, as announced; null until the client knows it
    Column("created_at", Text, nullable=False),
)
Index("manifests_by_artifact", manifests.c.artifact_id)

# What a committed version contains; the manifest file says the same, this can be paged and counted.
entries = Table(
    "entries",
    metadata,
    _to("artifacts", "artifact_id"),
    Column("path", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", Integer),
    Column("md5", Text),  # hex of the stored blob; null for references
    Column("ref", Text),
    PrimaryKeyConstraint("artifact_id", "path"),
    sqlite_with_rowid=False,
)
Index("entries_by_md5", entries.c.md5)

# Files a client announced and may upload: what was promised, so that what arrives can be refused.
uploads = Table(
    "uploads",
    metadata,
    _id(),
    _to("artifacts", "artifact_id"),
    Column("name", Text, nullable=False),
    Column("md5", Text, nullable=False),  # hex
    UniqueConstraint("artifact_id", "name"),
)

memberships = Table(
    "memberships",
    metadata,
    _id(),
    _to("collections", "collection_id"),
    _to("artifacts", "artifact_id"),
    Column("version_index", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("collection_id", "version_index"),
    UniqueConstraint("collection_id", "artifact_id"),
)
Index("memberships_by_artifact", memberships.c.artifact_id)

aliases = Table(
    "aliases",
    metadata,
    _id(),
    _to("collections", "collection_id"),
    _to("memberships", "membership_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)
Index("aliases_by_membership", aliases.c.membership_id)

# Every move of every alias, in the order it happened. The version is named by its number in the collection, which is never
# given twice, so that the history still tells who held an alias after that version was unlinked or deleted.
alias_moves = Table(
    "alias_moves",
    metadata,
    _id(),
    _to("collections", "collection_id"),
    Column("alias", Text, nullable=False),
    Column("version_index", Integer),  # null: taken away
    _to("artifacts", "artifact_id", nullable=True, cascade=False),
    _to("users", "user_id", nullable=True, cascade=False),
    Column("moved_at", Text, nullable=False),
)
Index("alias_moves_by_alias", alias_moves.c.collection_id, alias_moves.c.alias)

# Lineage: which runs logged a version (the first is its creator) and which used it.

loggings = Table(
    "loggings",
    metadata,
    _id(),
    _to("artifacts", "artifact_id"),
    _to("runs", "run_id"),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("artifact_id", "run_id"),
)
Index("loggings_by_run", loggings.c.run_id)

usages = Table(
    "usages",
    metadata,
    _id(),
    _to("artifacts", "artifact_id"),
    _to("runs", "run_id"),
    Column("used_as", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("artifact_id", "run_id"),
)
Index("usages_by_run", usages.c.run_id)
