"""API keys: whose a key is, and how keys come and go. Only their sha256 is kept.

A key is shown once, when it is made, and known afterwards by its first characters. The key in the home's file is one of the
local user's and follows that file: a new file makes it a new key, and ends the old one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound
from registry.server.context import User, now
from registry.server.tables import api_keys, default_entity, entities, users

_BYTES = 20  # 40 hex digits: the shortest key the SDK accepts
# What passes a header, a shell's quotes and a netrc file unharmed.
_GIVEN = re.compile(r"[!-~]{40,256}")
# Fewer different characters than any random key of that length has.
_LEAST_VARIETY = 8
_SHOWN = 8
# Written down once: every request asks this, and making the statement takes longer than answering it.
_OWNER = (
    select(users.c.id, users.c.username, users.c.admin, users.c.entity_id, entities.c.name.label("entity"))
    .join(api_keys, api_keys.c.user_id == users.c.id)
    .join(entities, default_entity)
    .where(users.c.deleted_at.is_(None))
)
_OWNER_BY_HASH = _OWNER.where(api_keys.c.hash == bindparam("hash"))
# The beginning that all keys of W&B's newer kind share tells none apart.
_COMMON_BEGINNING = re.compile(r"(local-|wandb_v[0-9]+_)?")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without the key: its first characters tell several apart."""

    id: int
    prefix: str
    description: str | None
    created_at: str
    of_home: bool


def user_of(connection: Connection, key: str) -> User | None:
    """Whose key this is, or None."""
    return _user(connection.execute(_OWNER_BY_HASH, {"hash": _hashed(key)}).one_or_none())


def user_of_id(connection: Connection, key_id: int) -> User | None:
    """Whose the key with this id is; None once it was revoked."""
    return _user(connection.execute(_OWNER.where(api_keys.c.id == key_id)).one_or_none())


def id_of(connection: Connection, key: str) -> int | None:
    return connection.execute(select(api_keys.c.id).where(api_keys.c.hash == _hashed(key))).scalar_one_or_none()


def listing(connection: Connection, user_id: int) -> list[ApiKey]:
    """A user's keys, oldest first."""
    columns = (api_keys.c[name] for name in ("id", "prefix", "description", "created_at", "of_home"))
    rows = connection.execute(select(*columns).where(api_keys.c.user_id == user_id).order_by(api_keys.c.id))
    return [ApiKey(**row._mapping) for row in rows]


def create(connection: Connection, user_id: int, *, description: str | None, given: str | None = None) -> tuple[ApiKey, str]:
    """A new key of this user, and the key itself, which is not kept.

    Args:
        given: a key that a team brings along; a random one is made without.
    Raises:
        BadData: the given key is no key.
        Conflict: somebody has it already.
    """
    key = secrets.token_hex(_BYTES) if given is None else _checked(given)
    if id_of(connection, key) is not None:
        raise Conflict("this server knows the given API key already: each belongs to one user")
    connection.execute(insert(api_keys).values(_row(user_id, key, description, of_home=False)))
    return listing(connection, user_id)[-1], key


def revoke(connection: Connection, user_id: int, key_id: int) -> None:
    """
    Raises:
        NotFound: the user has no such key.
        Conflict: it is the key in the home's file.
    """
    found = next((known for known in listing(connection, user_id) if known.id == key_id), None)
    if found is None:
        raise NotFound("the user has no API key with this id")
    if found.of_home:
        raise Conflict(
            f"the key {found.prefix}… is the one in the home's file 'key'; remove that file and start again to have another",
            hint='rm "$REG_HOME/key"',
        )
    connection.execute(delete(api_keys).where(api_keys.c.id == key_id))


def named(connection: Connection, user_id: int, prefix: str) -> ApiKey:
    """The one key of a user that begins so.

    Raises:
        NotFound: none does.
        Conflict: several do.
    """
    found = [known for known in listing(connection, user_id) if known.prefix.startswith(prefix)] if prefix else []
    if not found:
        raise NotFound(f"no API key of this user begins '{prefix[:_SHOWN]}'")
    if len(found) > 1:
        raise Conflict(f"{len(found)} API keys of this user begin '{prefix[:_SHOWN]}': give more of it")
    return found[0]


def count(connection: Connection) -> dict[str, int]:
    """How many keys each user has that has any, by username."""
    rows = connection.execute(select(users.c.username).join(api_keys, api_keys.c.user_id == users.c.id).order_by(users.c.id))
    found: dict[str, int] = {}
    for username in rows.scalars():
        found[username] = found.get(username, 0) + 1
    return found


def keep_of_home(connection: Connection, user_id: int, key: str) -> None:
    """Make the key in the home's file the local user's, in the place of the one that was there before."""
    known = connection.execute(select(api_keys.c.of_home).where(api_keys.c.hash == _hashed(key))).scalar_one_or_none()
    if known:
        return
    connection.execute(delete(api_keys).where(api_keys.c.of_home))
    connection.execute(upsert(api_keys).values(_row(user_id, key, "this home", of_home=True)).on_conflict_do_nothing())


def _row(user_id: int, key: str, description: str | None, *, of_home: bool) -> dict[str, Any]:
    known = {"prefix": _prefix(key), "hash": _hashed(key), "of_home": of_home}
    return {"user_id": user_id, "description": description, "created_at": now(), **known}


def _user(row: Any) -> User | None:
    """Of a row of `_OWNER`, or None."""
    return None if row is None else User(**row._mapping)


def _checked(key: str) -> str:
    if not _GIVEN.fullmatch(key):
        raise BadData(f"a given API key has 40 to 256 printable characters without spaces; this one has {len(key)}")
    if len(set(key)) < _LEAST_VARIETY:
        raise BadData(f"the given API key has only {len(set(key))} different characters: anybody could guess it")
    return key


def _prefix(key: str) -> str:
    beginning = _COMMON_BEGINNING.match(key)
    assert beginning is not None
    return key[: beginning.end() + _SHOWN]


def _hashed(key: str) -> str:
    # A key has at least 160 random bits, so neither salt nor a slow hash would add anything.
    return hashlib.sha256(key.encode()).hexdigest()
