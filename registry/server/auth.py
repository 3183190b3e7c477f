"""Who presents which key: Basic `api:KEY`, as the SDK sends it, or a Bearer token.

Every request looks its key up, by the sha256 that is kept of it: a fraction of a millisecond beside the several that a request
takes, so that a revoked key, a removed user or a role taken away ends with the next request, in every process that shares the
home. The look-up is by hash, so how long it takes says nothing about a key.
"""

from __future__ import annotations

import base64
import binascii

from registry.server.access_log import asked_by
from registry.server.context import User
from registry.server.database import Database
from registry.server.refusals import Unauthenticated
from registry.server.store import keys


class Keys:
    """Answers who a request comes from.

    Args:
        database: where the keys' hashes are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def user(self, header: str | None) -> User:
        """The user of an `Authorization` header.

        Raises:
            Unauthenticated: no key, or one this home does not know.
        """
        key = _presented(header)
        with self._database.reading() as connection:
            user = keys.user_of(connection, key)
        if user is None:
            raise Unauthenticated("this server does not know the API key", hint='export WANDB_API_KEY="$(cat "$REG_HOME/key")"')
        asked_by(user.username)
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
