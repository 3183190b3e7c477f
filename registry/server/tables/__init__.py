"""The schema of the database, as SQLAlchemy tables; the nouns and their edges.

Times are ISO-8601 UTC text with a trailing Z, as the wire wants them; order is by integer id, never by clock. JSON that
the SDK sent comes back byte for byte, so it is kept as text. Uniqueness that a user relies on (one holder per alias, dense
version numbers, one run per name) is a constraint here, not a check in Python.

The database itself is made by `migrations/`; a test holds the two together.
"""

from __future__ import annotations

from registry.server.tables.access import (
    contested,
    organization_members,
    project_teams,
    project_users,
    protected_aliases,
    team_members,
)
from registry.server.tables.artifacts import (
    alias_moves,
    aliases,
    artifact_tags,
    artifact_types,
    artifacts,
    client_ids,
    collection_tags,
    collections,
    entries,
    layers,
    manifests,
    memberships,
    stacks,
    uploads,
)
from registry.server.tables.columns import metadata
from registry.server.tables.lineage import loggings, usages
from registry.server.tables.multiparts import digests, multiparts, parts
from registry.server.tables.people import api_keys, default_entity, entities, organizations, projects, users
from registry.server.tables.runs import (
    alerts,
    console,
    events,
    history,
    history_exports,
    history_keys,
    run_files,
    runs,
    shared_lines,
)
from registry.server.tables.sweeps import agents, curves, sweeps, trials

__all__ = [
    "agents",
    "alerts",
    "alias_moves",
    "aliases",
    "api_keys",
    "artifact_tags",
    "artifact_types",
    "artifacts",
    "client_ids",
    "collection_tags",
    "collections",
    "console",
    "contested",
    "curves",
    "default_entity",
    "digests",
    "entities",
    "entries",
    "events",
    "history",
    "history_exports",
    "history_keys",
    "layers",
    "loggings",
    "manifests",
    "memberships",
    "metadata",
    "multiparts",
    "organization_members",
    "organizations",
    "parts",
    "project_teams",
    "project_users",
    "projects",
    "protected_aliases",
    "run_files",
    "runs",
    "shared_lines",
    "stacks",
    "sweeps",
    "team_members",
    "trials",
    "uploads",
    "usages",
    "users",
]
