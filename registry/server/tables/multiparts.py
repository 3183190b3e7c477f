"""Large files that come in parts, and the other digests by which clients know stored bytes."""

from __future__ import annotations

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint

from registry.server.tables.columns import key, metadata, to

# One file of a pending artifact. The row stays when the file is whole, so that completing it twice is completing it once.
multiparts = Table(
    "multiparts",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    Column("name", Text, nullable=False),
    Column("token", Text, nullable=False),  # names the folder of its parts, in links too
    Column("md5", Text),  # hex, as announced; null: the client knows only the other digest
    Column("xxh128", Text),  # hex, as announced
    Column("blob_md5", Text),  # hex of what it became; null until then
    Column("created_at", Text, nullable=False),
    UniqueConstraint("artifact_id", "name"),
    UniqueConstraint("token"),
)

parts = Table(
    "parts",
    metadata,
    to("multiparts", "multipart_id"),
    Column("number", Integer, nullable=False),  # from 1
    Column("md5", Text, nullable=False),  # hex, as announced
    Column("size", Integer),  # null until it has arrived
    PrimaryKeyConstraint("multipart_id", "number"),
    sqlite_with_rowid=False,
)

# Written when bytes arrive and both digests were computed from them: blobs are stored by md5, artifacts may speak of XXH128.
digests = Table(
    "digests",
    metadata,
    Column("xxh128", Text, nullable=False),  # hex
    Column("md5", Text, nullable=False),  # hex
    PrimaryKeyConstraint("xxh128", "md5"),
    sqlite_with_rowid=False,
)
