"""An agent of a sweep in a process of its own, on a leash: it is the SDK's, and it ends with the command that wants it.

Whoever started it holds its standard input open, so that even `kill -9` of that command ends it. Then its trial is interrupted
rather than stopped: it asks to be given out again. What tells the trial the difference is a file that is removed first
(`pipelines.trial` looks for it), because the SDK's agent ends a trial in both cases by the same signal.

    python -m registry.backend_agent ENTITY/PROJECT/SWEEP [COUNT]
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import wandb
import wandb.wandb_agent

from registry.sweeps import LEASH

# The SDK's agent looks after its trial every five seconds, which is as long as a small trial takes.
_LOOK_SECONDS = 1
# The first Ctrl-C makes the SDK's agent wait for its trial, the second makes it end the trial.
_BETWEEN_SECONDS = 1.0
_GRACE_SECONDS = 40.0


def main(arguments: list[str]) -> None:
    path, count = arguments[0], int(arguments[1]) if len(arguments) > 1 else None
    # Who is started in the background of a shell ignores Ctrl-C, and so would the trials.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, daemon=True).start()
    wandb.wandb_agent.Agent.POLL_INTERVAL = _LOOK_SECONDS
    wandb.agent(path, count=count)


def _watch() -> None:
    """Wait for the end of standard input; then leave, taking the trial along."""
    while os.read(0, 1024):
        pass
    with suppress(KeyError, OSError):
        Path(os.environ[LEASH]).unlink()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_BETWEEN_SECONDS)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
