"""What every resolver is handed: one transaction, the blobs, who asks, and how to make absolute links."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from registry.server.access import Access
from registry.server.blobs import Blobs
from registry.server.signing import Signer


@dataclass(frozen=True, kw_only=True)
class User:
    """Who presented the key. `entity` is the default entity of their paths."""

    id: int
    username: str
    entity: str
    entity_id: int
    admin: bool


@dataclass(frozen=True, kw_only=True)
class Context:
    """One GraphQL request.

    `connection` is a snapshot for a query and the one write transaction for a mutation: it commits when the whole
    operation succeeded and leaves no trace otherwise. `shared` says that the request comes from one of several processes that
    write to one run. `projects` are those that a query has read, by id, so that a hundred runs of one project read it once.
    `base_url` has no trailing slash and comes from the request's Host header, because the client needs absolute URLs by the
    name under which it reached us.
    """

    connection: Connection
    blobs: Blobs
    signer: Signer
    user: User
    access: Access
    base_url: str
    shared: bool = False
    projects: dict[int, Any] = field(default_factory=dict)


def now() -> str:
    """This moment as the wire wants it: ISO-8601 UTC, microseconds, trailing Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
