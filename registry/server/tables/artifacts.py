"""Artifacts: collections hold versions by membership, aliases point at memberships."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from registry.server.tables.columns import key, metadata, to

artifact_types = Table(
    "artifact_types",
    metadata,
    key(),
    to("projects", "project_id"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("project_id", "name"),
)

collections = Table(
    "collections",
    metadata,
    key(),
    to("projects", "project_id"),
    to("artifact_types", "type_id"),
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
    key(),
    to("collections", "collection_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)

artifacts = Table(
    "artifacts",
    metadata,
    key(),
    to("collections", "sequence_id"),
    Column("state", Text, nullable=False),  # PENDING | COMMITTED | DELETED
    Column("version_index", Integer),  # in its sequence; null while pending
    Column("digest", Text, nullable=False),
    Column("digest_algorithm", Text, nullable=False, default="MANIFEST_MD5"),
    Column("distributed_id", Text),
    Column("manifest_md5", Text),  # hex of the manifest file as it is served; null while pending and once deleted
    to("artifacts", "merged_into", nullable=True, cascade=False),  # its content was a version already
    Column("description", Text),
    Column("metadata", Text),
    Column("ttl_seconds", Integer),
    Column("history_step", Integer),
    Column("pending_aliases", Text, nullable=False, default="[]"),
    Column("size", Integer, nullable=False, default=0),
    Column("file_count", Integer, nullable=False, default=0),
    to("runs", "run_id", nullable=True, cascade=False),
    to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("sequence_id", "version_index"),
)
Index("artifacts_by_digest", artifacts.c.sequence_id, artifacts.c.digest)
Index("artifacts_by_run", artifacts.c.run_id)
Index("artifacts_by_manifest", artifacts.c.manifest_md5)
Index("artifacts_by_ttl", artifacts.c.ttl_seconds, sqlite_where=artifacts.c.ttl_seconds > 0)

# A client names an artifact before the server does; a deduplicated upload has several client ids.
client_ids = Table(
    "client_ids",
    metadata,
    Column("client_id", Text, primary_key=True),
    to("artifacts", "artifact_id"),
)
Index("client_ids_by_artifact", client_ids.c.artifact_id)

artifact_tags = Table(
    "artifact_tags",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("artifact_id", "name"),
)

manifests = Table(
    "manifests",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    to("artifacts", "base_id", nullable=True, cascade=False),
    Column("kind", Text, nullable=False),  # FULL | INCREMENTAL | PATCH
    Column("name", Text, nullable=False),
    Column("md5", Text),  # hex, as announced; null until the client knows it
    Column("created_at", Text, nullable=False),
)
Index("manifests_by_artifact", manifests.c.artifact_id)
Index("manifests_by_md5", manifests.c.md5)

# Rows of entries that versions share. A version is a stack of layers; the newer one, which is the one with the greater number,
# hides what an older one says of the same path. `registry.server.store.layers` tells how they come and go.
layers = Table("layers", metadata, key())

stacks = Table(
    "stacks",
    metadata,
    to("artifacts", "artifact_id"),
    to("layers", "layer_id"),
    PrimaryKeyConstraint("artifact_id", "layer_id"),
    sqlite_with_rowid=False,
)
Index("stacks_by_layer", stacks.c.layer_id)

# What a committed version contains; the manifest file says the same, this can be paged and counted.
entries = Table(
    "entries",
    metadata,
    to("layers", "layer_id"),
    Column("path", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", Integer),
    Column("md5", Text),  # hex of the stored blob; null for references
    Column("ref", Text),
    PrimaryKeyConstraint("layer_id", "path"),
    sqlite_with_rowid=False,
)
Index("entries_by_md5", entries.c.md5)

# Files a client announced and may upload: what was promised, so that what arrives can be refused.
uploads = Table(
    "uploads",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    Column("name", Text, nullable=False),
    Column("md5", Text, nullable=False),  # hex
    UniqueConstraint("artifact_id", "name"),
)

memberships = Table(
    "memberships",
    metadata,
    key(),
    to("collections", "collection_id"),
    to("artifacts", "artifact_id"),
    Column("version_index", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("collection_id", "version_index"),
    UniqueConstraint("collection_id", "artifact_id"),
)
Index("memberships_by_artifact", memberships.c.artifact_id)

aliases = Table(
    "aliases",
    metadata,
    key(),
    to("collections", "collection_id"),
    to("memberships", "membership_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)
Index("aliases_by_membership", aliases.c.membership_id)

# Every move of every alias, in the order it happened. The version is named by its number in the collection, which is never
# given twice, so that the history still tells who held an alias after that version was unlinked or deleted.
alias_moves = Table(
    "alias_moves",
    metadata,
    key(),
    to("collections", "collection_id"),
    Column("alias", Text, nullable=False),
    Column("version_index", Integer),  # null: taken away
    to("artifacts", "artifact_id", nullable=True, cascade=False),
    to("users", "user_id", nullable=True, cascade=False),
    Column("moved_at", Text, nullable=False),
)
Index("alias_moves_by_alias", alias_moves.c.collection_id, alias_moves.c.alias)
