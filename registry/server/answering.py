"""Answers what comes in at a socket until it is told to end: the server's loop around the app.

A signal or the end of standard input finishes the requests under way and leaves nothing behind; a second signal cuts them
off. Whoever waits for the end is a command whose user waits too, so it begins at once and not at the loop's next tick.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from registry.server import connections
from registry.server.access_log import AccessLog, write_to_stderr
from registry.server.app import create_app
from registry.server.home import Home
from registry.server.ui.login import login_url

_KEEP_ALIVE_SECONDS = 75
_LAST_REQUESTS_SECONDS = 5
_TICK_SECONDS = 0.1  # uvicorn's own, for the Date header
_LOOK_SECONDS = 0.005


def answer(
    home: Home,
    listening: socket.socket,
    url: str,
    *,
    on_ready: Callable[[str, str], None] | None,
    stop_with_stdin: bool,
    crashed_after: float,
    allowed_hosts: Sequence[str],
    access_log: bool,
) -> None:
    """Answer until the end; see `registry.server.serving.serve` for the arguments."""
    connections.raise_descriptor_limit()
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
    )

    def ready() -> None:
        if on_ready is not None:
            on_ready(url, login_url(home.signer, url))

    server = _Server(config, on_ready=ready)
    if stop_with_stdin:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True, name="stdin").start()
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's server, saying when it is ready and ending at once, and without an exception on a signal."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_end = asyncio.Event()

    def end(self) -> None:
        """Finish the requests under way, then return; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._asked_to_end.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        # What is loaded by now stays: looking through all of it for garbage would cost some request a tenth of a second.
        gc.freeze()
        if self.started:
            self._on_ready()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked_to_end.wait(), _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # As uvicorn's, which sleeps a tenth of a second before it looks whether anything is under way.
        for place in (*self.servers, *(sockets or ())):
            place.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        last = time.monotonic() + _LAST_REQUESTS_SECONDS
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < last and not self.force_exit:
            await asyncio.sleep(_LOOK_SECONDS)
        for task in self.server_state.tasks:
            task.cancel()
        if not self.force_exit:
            await self.lifespan.shutdown()

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
        self.end()


def _end_with_stdin(server: _Server) -> None:
    with suppress(OSError):  # a standard input that cannot be read has ended
        while os.read(0, 4096):
            pass
    server.end()
