"""`python -m registry.server`: the embedded server as a child process.

Prints one line of JSON when requests may be sent, `{"url": ..., "pid": ...}`, or when it cannot start, `{"error": ...,
"hint": ..., "exit_code": ...}` for the parent and two lines on standard error for people.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from registry.collector import loading
from registry.errors import RegError
from registry.server import limits


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.server", description="Serve one home of reg.")
    parser.add_argument("--home", type=Path, required=True, help="the folder of the data")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with standard input")
    parser.add_argument(
        "--crashed-after",
        type=float,
        default=limits.CRASHED_AFTER_SECONDS,
        metavar="SECONDS",
        help="silence that means a crash",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a further name under which clients may ask"
    )
    parser.add_argument("--access-log", action="store_true", help="a line on standard error for each request")
    given = parser.parse_args(arguments)

    # Until the server's own handlers are there; somebody may have enough of it while it is still loading.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))

    def tell(url: str) -> None:
        sys.stdout.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()

    try:
        with loading():
            from registry.server.serving import serve
        serve(
            given.home,
            given.host,
            given.port,
            on_open=tell,
            stop_with_stdin=given.until_stdin_closes,
            crashed_after=given.crashed_after,
            allowed_hosts=given.allow_host,
            access_log=given.access_log,
        )
    except RegError as error:
        sys.stdout.write(json.dumps({"error": error.message, "hint": error.hint, "exit_code": error.exit_code}) + "\n")
        hint = f"\nHint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"Error: {error.message}{hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is closed. Taking the interpreter apart would cost every command that waits for its server a third of a second.
    os._exit(code)
