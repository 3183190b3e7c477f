"""The client of `/admin`: what `reg admin` says to a server, over HTTP.

One path for every server: the one of this machine's home, started as a child when none runs, and one elsewhere
(`WANDB_BASE_URL` and the key of an instance admin). The database is never opened from here, so that nothing goes around the
server's rules. W&B has no such addresses, only pages; a server that does not say that it is ours is left alone.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from registry.embedded import EmbeddedServer
from registry.errors import BadSettings, Conflict, NotFound, RegError, RemoteProblem, Unauthorised, Unreachable, UsageError
from registry.settings import CLOUD, Settings

_PATIENCE_SECONDS = 30
_MEANING: Mapping[int, type[RegError]] = {
    400: UsageError,
    401: Unauthorised,
    403: Unauthorised,
    404: NotFound,
    409: Conflict,
    422: Conflict,
}


class Administration:
    """A server's `/admin`.

    Args:
        url: the server, without a trailing slash.
        key: of an instance admin.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._authorization = f"Basic {b64encode(f'api:{key}'.encode()).decode()}"

    def ask(self, method: str, *path: str, body: Mapping[str, Any] | None = None, query: str = "") -> dict[str, Any]:
        """The answer to one request; None in a body is left out.

        Raises:
            UsageError, NotFound, Conflict, Unauthorised: what the server has against it, in its words.
            Unreachable: no answer.
            RemoteProblem: an answer that is none of ours.
        """
        address = "/".join((self.url, "admin", *(quote(part, safe="") for part in path)))
        content = json.dumps({name: value for name, value in (body or {}).items() if value is not None}).encode()
        request = urllib.request.Request(
            address + (f"?{query}" if query else ""),
            data=None if method in ("GET", "DELETE") else content,
            method=method,
            headers={"Authorization": self._authorization, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as reply:
                return self._read(reply.read(), reply.status)
        except urllib.error.HTTPError as exc:
            said = self._read(exc.read(), exc.code)
            raise _MEANING.get(exc.code, RemoteProblem)(str(said.get("error") or f"the server answered {exc.code}")) from exc
        except OSError as exc:
            reason = getattr(exc, "reason", exc)
            raise Unreachable(f"no answer from {self.url}: {reason}", hint="reg serve, or export WANDB_BASE_URL") from exc

    def _read(self, body: bytes, status: int) -> dict[str, Any]:
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise _not_ours(self.url, f"it answered {status} with something else than JSON")
        return said


@contextmanager
def administration(settings: Settings) -> Iterator[Administration]:
    """The `/admin` of the server that the settings name, which is known to be one of ours.

    Raises:
        BadSettings: the settings name W&B's cloud, or a server and no key.
        RemoteProblem: the server is none of ours, or does not take the key.
    """
    if settings.embedded:
        with EmbeddedServer(settings.home) as embedded:
            address = embedded.address()
            yield Administration(address.url, address.key)
        return
    if settings.server == CLOUD:
        raise BadSettings(
            "'reg admin' is for a reg server, and the settings name W&B's cloud, where users and roles are set in its pages",
            hint="unset WANDB_API_KEY, or export WANDB_BASE_URL=http://my-reg-server:8686",
        )
    if settings.api_key is None:
        raise BadSettings(f"there is no key for {settings.server}", hint="export WANDB_API_KEY=$(cat admin.key)")
    found = Administration(settings.server, settings.api_key)
    try:
        said = found.ask("GET")
    except NotFound as exc:
        raise _not_ours(settings.server, "it has no /admin") from exc
    if said.get("server") != "reg":
        raise _not_ours(settings.server, "its /admin is something else")
    yield found


def _not_ours(url: str, why: str) -> RemoteProblem:
    return RemoteProblem(
        f"{url} is not a reg server: {why}; on W&B users and roles are set in its pages",
        hint="unset WANDB_BASE_URL, for the server of this machine",
    )
