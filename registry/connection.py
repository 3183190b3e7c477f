"""Reaches the server that the settings name: starts the embedded one if it is that, and tells the SDK where to go.

The SDK is told by its own environment variables, which its child process inherits; they are put back afterwards. The
embedded server starts while the SDK is being imported: each takes about a second, and every command would wait for both.
That is why `registry.backend`, which imports the SDK, is imported inside `connect`, or ahead of it in the background
(`Connecting`), and nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from registry.collector import loading
from registry.embedded import EmbeddedServer
from registry.settings import CLOUD, Settings

if TYPE_CHECKING:
    from registry.backend import Backend

STAGE_RUN = "REG_STAGE_RUN"
"""Names the run that a script of `reg exec` joins, so that a `reg` inside the script does not join it too."""

# A server on this machine answers or is gone: waiting minutes for it, as the SDK would for a cloud, helps nobody.
_LOCAL_PATIENCE = {
    "WANDB_X_GRAPHQL_RETRY_MAX": "3",
    "WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "2",
    "WANDB_X_FILE_STREAM_RETRY_MAX": "10",
    "WANDB_X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "2",
    "WANDB_X_FILE_TRANSFER_RETRY_MAX": "3",
    "WANDB_X_FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "2",
    "WANDB_INIT_TIMEOUT": "30",
}

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# A server on this machine hears each second what is logged, not every 15 s: pages and early termination are prompt, and a fast
# run ends sooner, because the SDK adds up all rows that wait each time that another comes. It takes whole seconds.
_LOCAL_PACE = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}


@contextmanager
def connect(settings: Settings, server: EmbeddedServer | None = None) -> Iterator[Backend]:
    """A backend for the time of the block.

    Args:
        server: the embedded server of the settings' home, if the caller has started it; it is the caller's to end.
    Raises:
        Unreachable, Unauthorised: no answer, or the key is not accepted.
        RegError: the embedded server cannot start; its own words and exit code.
    """
    with ExitStack() as stack:
        embedded = server
        if embedded is None and settings.embedded:
            embedded = stack.enter_context(EmbeddedServer(settings.home))
        with nullcontext() if "wandb" in sys.modules else loading():
            from registry.backend import Backend

            stack.enter_context(environment(settings, embedded))
            backend = Backend(settings=settings, embedded=embedded)
        stack.callback(backend.close)
        yield backend


class Connecting:
    """A connection that is made in the background, for a command that has other work before it needs one.

    Args:
        server: the embedded server of the settings' home, if it is starting already.
        background: one thread.
        stack: of what ends with the connection.
    """

    def __init__(self, settings: Settings, server: EmbeddedServer | None, background: Executor, stack: ExitStack) -> None:
        self._settings, self._server, self._background, self._stack = settings, server, background, stack
        self._backend: Future[Backend] | None = None

    def load(self) -> None:
        """Load the SDK, while the caller waits: connecting it waits for others most of the time, loading it for nobody."""
        with loading():
            import_module("registry.backend")

    def begin(self) -> None:
        """Load the SDK, and connect it if the server is the embedded one; another is asked nothing before there is need."""
        if not self._settings.embedded:
            self._background.submit(import_module, "registry.backend")
        elif self._backend is None:
            self._backend = self._background.submit(self._connect)

    def backend(self) -> Backend:
        """
        Raises:
            Unreachable, Unauthorised, RegError: as `connect`.
        """
        return self._backend.result() if self._backend is not None else self._connect()

    def _connect(self) -> Backend:
        return self._stack.enter_context(connect(self._settings, self._server))


@contextmanager
def connecting(settings: Settings, *, at_once: bool = False) -> Iterator[Connecting]:
    """`connect`, for the time of the block, from the moment on in which the yielded object is told to begin.

    Args:
        at_once: let the embedded server start in its own process before that.
    """
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(settings.home)) if settings.embedded and at_once else None
        with ThreadPoolExecutor(1) as background:
            yield Connecting(settings, server, background, stack)


@contextmanager
def environment(settings: Settings, embedded: EmbeddedServer | None) -> Iterator[None]:
    """Set the SDK's variables, and put the old ones back."""
    # This names the SDK's own process. One that is running was told to go elsewhere, and ours ends with this connection.
    os.environ.pop("WANDB_SERVICE", None)
    before = dict(os.environ)
    if os.environ.get(STAGE_RUN, "") == os.environ.get("WANDB_RUN_ID"):
        # We are a command of a script that `reg exec` runs: its run is the script's, ours is another.
        for name in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_X_UPDATE_FINISH_STATE", "WANDB_X_DISABLE_STATS"):
            os.environ.pop(name, None)
    os.environ.pop("WANDB_ENTITY", None)  # one that was meant for another server would name nobody on this one
    for name in [name for name, value in before.items() if name.startswith("WANDB_") and not value]:
        os.environ.pop(name, None)  # set to nothing, as CI does with a variable it does not have
    os.environ.update(_variables(settings, embedded))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _variables(settings: Settings, embedded: EmbeddedServer | None) -> Mapping[str, str]:
    wanted = {"WANDB_SILENT": "true", "WANDB_PROJECT": settings.project, "WANDB_CONSOLE": "off"}
    if settings.entity:
        wanted["WANDB_ENTITY"] = settings.entity
    if settings.api_key:
        wanted["WANDB_API_KEY"] = settings.api_key
    if embedded is None and settings.server != CLOUD:
        local = {**_LOCAL_PATIENCE, **_LOCAL_PACE} if urlsplit(settings.server).hostname in _LOOPBACK else {}
        return {**wanted, **_unless_said(local), "WANDB_BASE_URL": settings.server}
    if embedded is None:
        return wanted
    address = embedded.address()
    files = settings.home / "wandb"
    files.mkdir(exist_ok=True)
    places = {f"WANDB_{name}": str(files) for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR")}
    telemetry_off = {"WANDB_ERROR_REPORTING": "false"}
    server = {"WANDB_BASE_URL": address.url, "WANDB_API_KEY": address.key}
    return {**wanted, **places, **_LOCAL_PATIENCE, **_unless_said(_LOCAL_PACE), **telemetry_off, **server}


def _unless_said(usual: Mapping[str, str]) -> dict[str, str]:
    """These variables, or what somebody has set them to."""
    return {name: os.environ.get(name, value) for name, value in usual.items()}
