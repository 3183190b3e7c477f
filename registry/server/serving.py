"""Runs a home's server: a socket that is ready before the address is told, and an end that comes when it should.

The embedded server is a child of the command that needs it and lives as long as its standard input: when the parent is gone,
even by `kill -9`, the operating system closes the pipe and the child stops. A signal or the end of standard input finishes the
requests under way and leaves nothing behind; a second signal cuts them off.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from registry.errors import EnvironmentProblem
from registry.server import connections
from registry.server.access_log import AccessLog, write_to_stderr
from registry.server.app import CRASHED_AFTER_SECONDS, create_app
from registry.server.home import open_home
from registry.server.store import keys
from registry.server.ui.login import login_url

# The SDK opens dozens of connections at once when it uploads; a short queue costs each a retry of one to three seconds.
_BACKLOG = 512
_KEEP_ALIVE_SECONDS = 75
_LAST_REQUESTS_SECONDS = 5


def serve(
    home_path: Path,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str, str], None],
    stop_with_stdin: bool,
    crashed_after: float = CRASHED_AFTER_SECONDS,
    allowed_hosts: Sequence[str] = (),
    access_log: bool = False,
) -> None:
    """Serve until a signal, or until standard input ends.

    Args:
        port: 0 for any free one.
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
    connections.raise_descriptor_limit()
    listening = _listen(host, port)
    home = open_home(home_path)
    url = _url(*listening.getsockname()[:2])
    app: ASGIApp = create_app(
        home, crashed_after=crashed_after, address=listening.getsockname()[0], allowed_hosts=allowed_hosts
    )
    if access_log:
        write_to_stderr()
        app = AccessLog(app)
    config = uvicorn.Config(
        app,
        http=connections.Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
    )
    server = _Server(config, on_ready=lambda: on_ready(url, login_url(home.signer, url)))
    if stop_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True, name="stdin").start()
    try:
        server.run(sockets=[listening])
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


class _Server(uvicorn.Server):
    """uvicorn's server, saying when it is ready and ending without an exception on a signal."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again when it is done; here having stopped is success.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Whoever asks twice does not want to wait for anybody's upload.
        self.force_exit = self.should_exit
        self.should_exit = True


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


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # a standard input that cannot be read has ended
    server.should_exit = True
