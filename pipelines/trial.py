"""A stage as a trial of a sweep: where its parameters come from, and what becomes of it when it has to end.

An agent starts a trial as a process and says through the environment which run it is and which parameters to try. Any agent
does: `wandb agent` on another machine as well as `reg sweep agent`. So `reg train` needs no option for it, and a sweep of
plain `wandb sweep` may name it as its command. SIGTERM means that the sweep has seen enough of this trial, unless the agent
was itself interrupted: then the trial is, too, and says so, and its parameters are given out again."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from registry.errors import BadSettings, RegError
from registry.sweeps import LEASH, flat

_PARAMETERS = "WANDB_SWEEP_PARAM_PATH"


class TrialStopped(RegError):
    """The sweep does not want this trial to go on: it was too bad at its bracket, or the sweep was cancelled."""

    exit_code = 128 + signal.SIGTERM


def parameters(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What the agent wants to be tried, as assignments for `pipelines.config.resolve`; none outside of a sweep.

    Raises:
        BadSettings: the agent's file cannot be read.
    """
    named = environment.get(_PARAMETERS)
    if not named:
        return ()
    try:
        told = yaml.safe_load(Path(named).read_text(encoding="utf-8"))
        values = {key: said["value"] for key, said in told.items() if isinstance(said, dict) and "value" in said}
    except (OSError, UnicodeDecodeError, AttributeError, yaml.YAMLError) as exc:
        raise BadSettings(f"cannot read the trial's parameters from {named}: {exc}", hint=f"unset {_PARAMETERS}") from exc
    return tuple(assignment(key, value) for key, value in flat(values).items())


def assignment(key: str, value: Any) -> str:
    """One parameter as `--set` would be given it."""
    return f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix('...' + chr(10)).strip()}"


@contextmanager
def stoppable(environment: Mapping[str, str]) -> Iterator[None]:
    """End a trial by an exception when its agent wants that, so that its run is finished properly.

    Raises:
        TrialStopped: the sweep stopped the trial.
        KeyboardInterrupt: whoever wanted the agent is gone.
    """
    if not environment.get(_PARAMETERS):
        yield
        return
    leash = environment.get(LEASH)

    def end(_number: int, _frame: FrameType | None) -> None:
        if leash and not Path(leash).exists():
            raise KeyboardInterrupt
        raise TrialStopped("the sweep stopped this trial")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
