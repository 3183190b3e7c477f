"""Who presents which key: Basic `api:KEY`, as the SDK sends it, or a Bearer token.

A key is looked up by its sha256 and remembered for a few seconds, because the SDK presents it dozens of times per second;
a deleted key stops working when that time is over, in every process that shares the home.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time

from registry.server.context import User
from registry.server.database import Database
from registry.server.refusals import Unauthenticated
from registry.server.store import people

_REMEMBERED_SECONDS = 10.0
_REMEMBERED_KEYS = 1024


class Keys:
    """Answers who a request comes from.

    Args:
        database: where the keys' hashes are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, tuple[User, float]] = {}

    def user(self, header: str | None) -> User:
        """The user of an `Authorization` header.

        Raises:
            Unauthenticated: no key, or one this home does not know.
        """
        key = _presented(header)
        with self._lock:
            user, until = self._known.get(key, (None, 0.0))
        if user is not None and time.monotonic() < until:
            return user
        with self._database.reading() as connection:
            user = people.user_by_key(connection, key)
        if user is None:
            raise Unauthenticated("this server does not know the API key", hint="export WANDB_API_KEY=$(cat $REG_HOME/key)")
        with self._lock:
            if len(self._known) >= _REMEMBERED_KEYS:
                self._known.clear()
            self._known[key] = (user, time.monotonic() + _REMEMBERED_SECONDS)
        return user


def _presented(header: str | None) -> str:
    scheme, _, rest = (header or "").strip().partition(" ")
    if scheme.lower() == "bearer" and rest:
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise Unauthenticated("the Authorization header is not valid base64") from exc
    raise Unauthenticated("no API key was presented", hint="wandb login --host <this server>")
