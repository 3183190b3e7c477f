"""Under which names this server may be asked.

A server on loopback trusts that only this machine reaches it. A web page can break that: it gives its own name the address
127.0.0.1 (DNS rebinding), and the browser then lets it read our answers as its own. The name stays in the Host header, so a
server on loopback answers only to loopback's names and to those it was told (`reg serve --allow-host`), as behind a proxy.
Links are made from that header, so what is no host at all is refused everywhere.

`X-Forwarded-Proto` and `X-Forwarded-For` are believed from this machine only, which is uvicorn's default: a proxy beside the
server may say that its clients come by https, nobody else may.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from registry.errors import BadData, RegError

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Misdirected(RegError):
    """The request was meant for another server than this one is."""


class Hosts:
    """The names that are answered to.

    Args:
        address: where the server listens; elsewhere than on loopback every name is answered to unless some are given.
        allowed: more names, without port.
    """

    def __init__(self, address: str, allowed: Iterable[str] = ()) -> None:
        more = frozenset(name.lower() for name in allowed)
        self._names = _LOOPBACK | more if is_loopback(address) else more or None

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Raises:
            BadData: there are several Host headers, or one that is none.
            Misdirected: it is not a name of this server.
        """
        given = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if not given:
            return  # HTTP/1.0: links are then made from the address itself
        match = _HOST.fullmatch(given[0])
        if len(given) > 1 or match is None or int(match["port"] or 0) > 65_535:
            raise BadData(f"the Host header {', '.join(given)[:80]!r} is not the name of a host")
        name = match["name"].lower().removesuffix(".")
        if self._names is not None and name not in self._names and not name.endswith(".localhost"):
            raise Misdirected(f"this server is not '{name[:80]}'", hint=f"reg serve --allow-host {name[:80]}")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address or name to listen on."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
