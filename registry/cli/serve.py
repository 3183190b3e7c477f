"""`reg serve`: the embedded server in the foreground, for any wandb script and for other commands of this home."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack
from pathlib import Path

import click

from registry import settings
from registry.cli.output import Output
from registry.embedded import announce, announced
from registry.errors import EnvironmentProblem
from registry.server.serving import entrants
from registry.server.serving import serve as run_server

_POINTING = """\
reg server at {url}   (home {home}; stop with Ctrl-C)

Look at it, with a link that works once:
  {login}

Point any wandb script at it:
  export WANDB_BASE_URL={url}
  export WANDB_API_KEY="$(cat {key})"
  export WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL=1   # rows come each second; of itself the SDK sends them every 15 s
"""


@click.command(epilog="Example: reg serve --port 8686")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; other machines need 0.0.0.0.")
@click.option("--port", default=8686, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A further name under which clients reach it, as behind a proxy; may be repeated.",
)
@click.option("--access-log", is_flag=True, help="Write a line for each request to standard error.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def serve(host: str, port: int, allowed_hosts: tuple[str, ...], access_log: bool, debug: bool) -> None:
    """Run the embedded W&B server in the foreground.

    Plain scripts that `import wandb` work with it unchanged, and every `reg` command of this home uses it while it runs.
    """
    output = Output(as_json=False)
    home = settings.read({}, environment=os.environ, folder=Path.cwd()).home
    running = announced(home)
    if running is not None:
        raise EnvironmentProblem(f"a server for {home} already runs at {running}", hint=f"export WANDB_BASE_URL={running}")
    if host not in ("127.0.0.1", "localhost", "::1"):
        output.warn(_opened(host, port, home))
    with ExitStack() as stack:

        def ready(url: str, login: str) -> None:
            stack.enter_context(announce(home, url))
            output.result({}, _POINTING.format(url=url, login=login, home=home, key=shlex.quote(str(home / "key"))))

        run_server(home, host, port, on_ready=ready, stop_with_stdin=False, allowed_hosts=allowed_hosts, access_log=access_log)


def _opened(host: str, port: int, home: Path) -> str:
    """What listening beyond this machine opens, to whom."""
    known = entrants(home)
    people = ", ".join(f"{name} ({count} key{'s' if count > 1 else ''})" for name, count in known.items())
    reached = "every machine that reaches this one" if host in ("0.0.0.0", "::") else f"every machine that reaches {host}"
    return (
        f"{reached} can ask at port {port} over plain HTTP, which anybody on the way can read; with a key get in: {people}. "
        "Put a proxy with TLS in front, and give each person a key of their own: reg admin user add NAME"
    )
