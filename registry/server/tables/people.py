"""Who: users, their keys, and the names that own projects."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Table, Text, UniqueConstraint, func

from registry.server.tables.columns import key, metadata, to

organizations = Table("organizations", metadata, key(), Column("name", Text, nullable=False, unique=True))

entities = Table(
    "entities",
    metadata,
    key(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # user | team | organization
    to("organizations", "organization_id", nullable=True),
    Column("created_at", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    key(),
    Column("username", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("admin", Boolean, nullable=False, default=False),
    to("entities", "entity_id"),
    to("entities", "default_team_id", nullable=True, cascade=False),  # begins their paths in place of their own entity
    Column("created_at", Text, nullable=False),
    Column("deleted_at", Text),  # a removed user stays the author of what they made
    Column("service", Boolean, nullable=False, default=False),  # a team's machine, not a person
)

# The entity that begins the paths of a user who names none.
default_entity = func.coalesce(users.c.default_team_id, users.c.entity_id) == entities.c.id

api_keys = Table(
    "api_keys",
    metadata,
    key(),
    to("users", "user_id"),
    Column("description", Text),
    Column("prefix", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),  # sha256 of the key: it has 160 random bits, so no salt is needed
    Column("created_at", Text, nullable=False),
    Column("of_home", Boolean, nullable=False, default=False),  # the key in the home's file, which replaces it when it changes
)

projects = Table(
    "projects",
    metadata,
    key(),
    to("entities", "entity_id"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("access", Text, nullable=False, default="PRIVATE"),
    Column("all_types", Boolean, nullable=False, default=True),  # a registry that takes every artifact type
    to("users", "user_id", nullable=True, cascade=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    UniqueConstraint("entity_id", "name"),
)
