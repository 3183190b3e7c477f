"""The stage `sweep`: many trainings, each a run with its lineage, and the best one's model under an alias.

The trials belong to agents, which are the SDK's own, each a process with one trial process at a time; the server decides what
is tried. This stage starts the agents, replaces one that was killed, shows how it goes, and at the end logs a run of job type
`sweep` that takes the best trial's model, shows every trial, and gives that model the alias `sweep-<id>-best`. The alias is
in the collection the model was logged to; what a registry holds moves only by a gate."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from pipelines.job import Progress, open_job
from registry import sweeps
from registry.backend import Backend
from registry.errors import Conflict, RegError, RemoteProblem
from registry.records import Version
from registry.references import Reference
from registry.sweeps import LEASH, Sweep, Trial

Change = Literal["pause", "resume", "stop", "cancel"]

_LOOK_SECONDS = 1.0
# An agent ends its trial before it leaves, and a trial finishes its run.
_FAREWELL_SECONDS = 60.0
# Of agents that a signal ended; more would be this machine's fault (memory, a batch system's limit), and repeat itself.
_MOST_REPLACED = 3


@dataclass(kw_only=True)
class Outcome:
    """How a sweep stands after agents worked for it; `version` is the best trial's model, None where it logged none."""

    sweep: Sweep
    trials: Sequence[Trial]
    best: Trial | None
    version: Version | None
    run_url: str | None = None


@dataclass(kw_only=True)
class _Agent:
    """An agent's process on its leash; see `registry.backend_agent`."""

    number: int
    process: subprocess.Popen[bytes]
    leash: Path
    log: IO[bytes]

    @property
    def left(self) -> bool:
        return self.process.poll() is not None

    def let_go(self) -> None:
        """Have it interrupt its trial and leave."""
        assert self.process.stdin is not None
        self.leash.unlink(missing_ok=True)
        self.process.stdin.close()

    def close(self) -> None:
        try:
            self.process.wait(timeout=_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.leash.unlink(missing_ok=True)
        self.log.close()


@dataclass(kw_only=True)
class Crew:
    """The agents that work for a sweep on this machine; `folder` has a log of each."""

    backend: Backend
    sweep: Sweep
    count: int | None
    folder: Path
    agents: list[_Agent] = field(default_factory=list)
    replaced: int = 0

    def start(self) -> None:
        number = len(self.agents) + 1
        leash = self.folder / f"agent-{os.getpid()}-{number}.leash"
        log = (self.folder / f"agent-{os.getpid()}-{number}.log").open("ab")
        words = [self.sweep.path, *([str(self.count)] if self.count is not None else [])]
        process = subprocess.Popen(
            [sys.executable, "-m", "registry.backend_agent", *words],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=self._environment(leash),
            # Ctrl-C belongs to this command, which then lets its agents go in order.
            start_new_session=True,
        )
        leash.write_text(str(process.pid))
        self.agents.append(_Agent(number=number, process=process, leash=leash, log=log))

    def replace_killed(self) -> list[int]:
        """Start an agent for each that a signal ended; returns the numbers of those."""
        killed = [a for a in self.agents if a.left and a.process.returncode < 0 and a.leash.exists()]
        for agent in killed:
            agent.leash.unlink(missing_ok=True)
            if self.replaced < _MOST_REPLACED:
                self.replaced += 1
                self.start()
        return [agent.number for agent in killed]

    @property
    def working(self) -> bool:
        return any(not agent.left for agent in self.agents)

    def _environment(self, leash: Path) -> dict[str, str]:
        ours = {
            name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "REG_SERVER", "WANDB_RUN_ID")
        }
        here = {"REG_ENTITY": self.sweep.entity, "REG_PROJECT": self.sweep.project, "REG_HOME": str(self.backend.settings.home)}
        # An agent calls its interpreter `python`: it shall be the one that has reg.
        path = os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", os.defpath)])
        return {**ours, **here, "PATH": path, LEASH: str(leash)}


@contextmanager
def crew(backend: Backend, sweep: Sweep, *, agents: int, count: int | None) -> Iterator[Crew]:
    """Agents for the time of the block: at its end they leave, and a trial that runs is interrupted and given out again.

    Args:
        count: how many trials each agent makes at most; None for as many as there are.
    """
    folder = backend.settings.home / "sweeps" / sweep.id
    folder.mkdir(parents=True, exist_ok=True)
    working = Crew(backend=backend, sweep=sweep, count=count, folder=folder)
    try:
        for _ in range(agents):
            working.start()
        yield working
    finally:
        for agent in working.agents:
            agent.let_go()
        for agent in working.agents:
            agent.close()


def work(
    backend: Backend, sweep: Sweep, *, agents: int, count: int | None, progress: Progress, tell: Callable[[str], None]
) -> tuple[Sweep, list[Trial]]:
    """Have agents work for a sweep until they leave: all was tried, each made its count, or somebody ended the sweep.

    Args:
        tell: hears when a better trial than all before ends, and when an agent was killed.
    Returns:
        The sweep as it is then, and its trials.
    Raises:
        RegError: no trial came to its end.
    """
    named = Reference(entity=sweep.entity, project=sweep.project, name=sweep.id)
    told: str | None = None
    with crew(backend, sweep, agents=agents, count=count) as working, progress("trials") as advance:
        while True:
            left = not working.working
            sweep, tried = backend.sweep(named), backend.trials(sweep)
            ended = [trial for trial in tried if trial.ended]
            advance(len(ended), sweep.expected or max(len(tried), 1))
            best = sweeps.best(sweep, ended)
            if best is not None and best.run.id != told:
                told = best.run.id
                tell(f"{len(ended)} of {sweep.expected or '…'} trials, best so far: {described(sweep, best)}")
            for number in working.replace_killed():
                tell(f"agent {number} was killed; another takes its place, and the server gives its trial out again")
                left = False
            if left and not working.working:
                break
            backend.check_alive()
            time.sleep(_LOOK_SECONDS)
        logs = working.folder
    if not any(trial.run.state == "finished" for trial in tried):
        states = ", ".join(sorted({trial.run.state for trial in tried})) or "none began"
        raise RegError(f"no trial of sweep {sweep.id} came to its end ({len(tried)} trials: {states})", hint=_last_words(logs))
    return sweep, tried


def conclude(backend: Backend, sweep: Sweep, tried: Sequence[Trial]) -> Outcome:
    """Log the run of the sweep, and give the best trial's model its alias."""
    found = look(backend, sweep, tried)
    described_as = {"sweep": sweep.path, "method": sweep.method, "parameters": dict(sweep.config.get("parameters") or {})}
    with open_job(backend, job_type="sweep", name=f"sweep {sweep.name}", config=described_as) as job:
        if found.version is not None:
            job.use(found.version)
        job.table("trials", *rows(sweep, found.trials))
        summary: dict[str, Any] = {"trials": len(tried)}
        if found.best is not None and sweep.metric is not None:
            summary |= {f"best/{sweep.metric.name}": found.best.value, "best/run": found.best.run.id}
        job.summarise(summary)
        found.run_url = job.url
    if found.version is not None:
        backend.give_alias(found.version, alias_of(sweep))
        found.version = backend.resolve(found.version.origin)
    return found


def look(backend: Backend, sweep: Sweep, tried: Sequence[Trial]) -> Outcome:
    """How a sweep stands, without changing anything."""
    best = sweeps.best(sweep, tried)
    version = backend.output_of(best.run, type="model") if best is not None else None
    return Outcome(sweep=sweep, trials=tried, best=best, version=version)


def alias_of(sweep: Sweep) -> str:
    return f"sweep-{sweep.id}-best"


def change(backend: Backend, sweep: Sweep, to: Change) -> Sweep:
    """Pause, resume, stop (let what runs end) or cancel (end what runs) a sweep.

    Raises:
        Conflict: it is in no state for that.
        RemoteProblem: the server did not do it; its own words.
    """
    if to != "resume" and sweep.state not in (*sweeps.OPEN, "PAUSED"):
        raise Conflict(f"cannot {to} sweep {sweep.id}: it is {sweep.state}", hint=f"reg sweep show {sweep.id}")
    # The SDK can do this by its command line only.
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sweep", f"--{to}", sweep.path],
        env={name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_SILENT")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        words = done.stderr.strip().rpartition("\n")[2].removeprefix("Exception: ") or f"status {done.returncode}"
        raise RemoteProblem(f"cannot {to} sweep {sweep.id}, which is {sweep.state}: {words}", hint=f"reg sweep show {sweep.id}")
    return backend.sweep(Reference(entity=sweep.entity, project=sweep.project, name=sweep.id))


def described(sweep: Sweep, trial: Trial) -> str:
    """A trial in a line: its value, and the parameters that were varied."""
    assert sweep.metric is not None
    tried = ", ".join(f"{name}={shown(trial.parameters.get(name))}" for name in sweep.varied)
    return f"{sweep.metric.name} {shown(trial.value)} ({tried})" if tried else f"{sweep.metric.name} {shown(trial.value)}"


def shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


def rows(sweep: Sweep, tried: Sequence[Trial]) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of a table of trials, in the order given."""
    value = [sweep.metric.name] if sweep.metric else []
    columns = ["trial", "run", "state", *value, *sweep.varied]
    cells = [
        [t.number, t.run.id, t.run.state, *([t.value] if value else []), *(t.parameters.get(name) for name in sweep.varied)]
        for t in tried
    ]
    return columns, cells


def the_sweep(backend: Backend, named: Reference) -> tuple[Sweep, list[Trial]]:
    """A sweep and its trials.

    Raises:
        NotFound: there is no such sweep.
    """
    found = backend.sweep(named)
    return found, backend.trials(found)


def _last_words(logs: Path) -> str:
    files = sorted(logs.glob("*.log"), key=lambda file: file.stat().st_mtime)
    if not files:
        return f"look into {logs}"
    said = [line for line in files[-1].read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith("Error: ")]
    return f"{said[-1]} (in {files[-1]})" if said else f"look into {files[-1]}"
