"""A stage as a trial of a sweep: where its parameters come from, and what becomes of it when it has to end.

An agent starts a trial as a process and says through the environment which run it is and which parameters to try. Any agent
does: `wandb agent` on another machine as well as `reg sweep agent`. So `reg train` needs no option for it, and a sweep of
plain `wandb sweep` may name it as its command. SIGTERM means that the sweep has seen enough of this trial, unless the agent
was itself interrupted: then the trial is, too, and says so, and it is given out again.

From its first checkpoint on a trial also says beforehand that it may be interrupted (`run.mark_preempting`), because nobody can
say so when a machine is lost. W&B then gives the same run to the next agent, and the process that gets it goes on from the
checkpoint. But W&B does so after any end except a good one, even where the parameters are to blame and every further process
would end alike. So a trial that failed writes that down in its run, and the process that gets it next ends it as failed; one
whose processes vanish again and again without coming to another checkpoint is ended too.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from pipelines import resuming
from pipelines.job import Job
from pipelines.resuming import Past
from registry.backend import Backend
from registry.errors import BadSettings, EnvironmentProblem, NotFound, RegError, RemoteProblem
from registry.sweeps import LEASH, flat

_PARAMETERS, _RUN = "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"
# In the run's config, which reaches the server before any work, and in its summary, which is the last word of a process.
_STARTS, _ORDERLY, _FAILED = "trial_starts", "trial/interrupted", "trial/failed"
_MOST_VANISHED = 3  # as many agents as the server lets one set of parameters take down


class TrialStopped(RegError):
    """The sweep does not want this trial to go on: it was too bad at its bracket, or the sweep was cancelled."""

    exit_code = 128 + signal.SIGTERM


class TrialFailed(RegError):
    """A trial that was given out again although no process can bring it to its end."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One of the processes that a trial is given to, one after the other.

    Attributes:
        past: what the earlier ones left; None for the first.
        starts: the step at which each began, this one last.
    """

    past: Past | None
    starts: tuple[int, ...]

    @property
    def described(self) -> Mapping[str, Any]:
        """What the run's config says of it."""
        return {_STARTS: list(self.starts)}

    @contextmanager
    def told(self, job: Job) -> Iterator[None]:
        """For the time of the training: refuse what cannot end well, and write down how it ends.

        Raises:
            TrialFailed: an earlier process failed, or several vanished one after the other.
        """
        self._check()
        if self.past is not None and self.past.checkpoint is not None:
            job.expect_interruption()
        try:
            yield
        except KeyboardInterrupt:
            job.summarise({_ORDERLY: len(self.starts)})
            raise
        except (TrialStopped, EnvironmentProblem, RemoteProblem):
            raise  # another process, on another machine, may do better
        except Exception as exc:
            job.summarise({_FAILED: str(exc) or type(exc).__name__})
            raise

    def _check(self) -> None:
        if self.past is None:
            return
        said = self.past.run.summary
        if _FAILED in said:
            raise TrialFailed(f"the trial failed before: {said[_FAILED]}", hint=f"reg train --resume {self.past.run.id}")
        vanished = self.starts[int(said.get(_ORDERLY) or 0) : -1][-_MOST_VANISHED:]
        if len(vanished) == _MOST_VANISHED and set(vanished) == {self.past.step}:
            raise TrialFailed(
                f"{_MOST_VANISHED} processes vanished that went on from step {self.past.step}, and none came to a checkpoint",
                hint=f"reg train --resume {self.past.run.id}",
            )


def attempt(backend: Backend, environment: Mapping[str, str]) -> Attempt | None:
    """Which process of its trial this is; None outside of a sweep.

    Raises:
        NotFound, Conflict: the data that it learns from are gone, or are not what they were.
    """
    if not environment.get(_PARAMETERS) or not environment.get(_RUN):
        return None
    fact = None
    with suppress(NotFound):  # an agent may name a run that the server hears of with the first word of its process
        fact = backend.find_run(environment[_RUN])
    if fact is None or not resuming.began(fact):
        return Attempt(past=None, starts=(0,))
    past = resuming.of(backend, fact)
    return Attempt(past=past, starts=(*(fact.config.get(_STARTS) or ()), past.step))


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
