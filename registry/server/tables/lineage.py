"""Lineage: which runs logged a version (the first is its creator) and which used it."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint

from registry.server.tables.columns import key, metadata, to

loggings = Table(
    "loggings",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    to("runs", "run_id"),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("artifact_id", "run_id"),
)
Index("loggings_by_run", loggings.c.run_id)

usages = Table(
    "usages",
    metadata,
    key(),
    to("artifacts", "artifact_id"),
    to("runs", "run_id"),
    Column("used_as", Text),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("artifact_id", "run_id"),
)
Index("usages_by_run", usages.c.run_id)
