"""Runs a home's server: a socket that is ready before the address is told, and an end that comes when it should.

From the moment the home is open connections are taken and wait; what answers them is loaded only then, which takes as long
again. A command that started this server loads the SDK meanwhile and puts its first question before anybody could answer.

The embedded server is a child of the command that needs it and lives as long as its standard input: when the parent is gone,
even by `kill -9`, the operating system closes the pipe and the child stops. A signal or the end of standard input finishes the
requests under way and leaves nothing behind; a second signal cuts them off.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.collector import loading
from registry.errors import EnvironmentProblem
from registry.server import limits
from registry.server.home import open_home
from registry.server.store import keys

# The SDK opens dozens of connections at once when it uploads; a short queue costs each a retry of one to three seconds.
_BACKLOG = 512


def serve(
    home_path: Path,
    host: str,
    port: int,
    *,
    on_open: Callable[[str], None] | None = None,
    on_ready: Callable[[str, str], None] | None = None,
    stop_with_stdin: bool,
    crashed_after: float = limits.CRASHED_AFTER_SECONDS,
    allowed_hosts: Sequence[str] = (),
    access_log: bool = False,
) -> None:
    """Serve until a signal, or until standard input ends.

    Args:
        port: 0 for any free one.
        on_open: called once, when the home is open and requests may be sent, with the URL.
        on_ready: called once, when requests are answered, with the URL and a link that logs a browser in (once, soon).
        stop_with_stdin: end with standard input.
        crashed_after: seconds of silence after which a running run counts as crashed.
        allowed_hosts: names under which clients may ask besides the usual ones; see `registry.server.hosts`.
        access_log: write a line for each request to standard error.
    Raises:
        StorageProblem: the home cannot be opened or written.
        EnvironmentProblem: the address cannot be used.
    """
    # What goes wrong inside is for whoever runs the server, even where nothing was set up for it.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    listening = _listen(host, port)
    home = open_home(home_path)
    try:
        url = _url(*listening.getsockname()[:2])
        if on_open is not None:
            on_open(url)
        with loading():
            from registry.server.answering import answer

        answer(
            home,
            listening,
            url,
            on_ready=on_ready,
            stop_with_stdin=stop_with_stdin,
            crashed_after=crashed_after,
            allowed_hosts=allowed_hosts,
            access_log=access_log,
        )
    finally:
        home.close()


def entrants(home_path: Path) -> dict[str, int]:
    """How many keys each user of a home has: who gets in where it is served.

    Raises:
        StorageProblem: the home cannot be opened or written.
    """
    home = open_home(home_path)
    try:
        with home.database.reading() as connection:
            return keys.count(connection)
    finally:
        home.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only for sockets that say they are TCP; with it on, each answer takes 40 ms longer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # A port whose last server has just ended is free; on Windows this would allow two servers at once.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as exc:
        listening.close()
        if exc.errno == errno.EADDRINUSE:
            raise EnvironmentProblem(
                f"port {port} of {host} is taken by another program", hint="reg serve --port 0, for any free one"
            ) from exc
        raise EnvironmentProblem(f"cannot listen on {host}:{port}: {exc.strerror}", hint="reg serve --host 127.0.0.1") from exc
    return listening


def _url(address: str, port: int) -> str:
    # "Every address" is none that a client can connect to everywhere.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"
