"""Training in one process or in several: `--nproc N`.

The command's own process keeps the W&B run, the loggers and the progress bar, and computes nothing; each worker holds the
data and a share of every batch; the first of them sends what is to be logged through a pipe. So nothing but a row of numbers
crosses between computing and logging, and whatever ends a worker is seen by somebody who can still say so.

Processes that a launcher has started (`pipelines.ranks`) run the same loop. This command does not call that launcher itself:
torchrun's agent knows of a worker that fails only a number and turns every exit code into 1, its first worker would hold the
W&B run and take it along when memory ends, and each worker would import everything anew, where these are forked from one that
has. The items go over as memory-mapped files, so that they are on the disk's cache once and not in N pipes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import multiprocessing
from torch._C._distributed_c10d import FileStore
from torch.multiprocessing.spawn import start_processes

from pipelines import checkpoints
from pipelines.config import TrainConfig, restore
from pipelines.loop import Log, Progress, State
from pipelines.recipes import Problem, find
from pipelines.team import Team, team
from pipelines.training import Arrays, Trained, choose_device, fit
from registry.errors import BadSettings, DeviceUnavailable, EnvironmentProblem, RegError

# Told a folder with a new checkpoint, which is gone afterwards, and whether its epoch was the best so far.
Keep: TypeAlias = Callable[[Path, State, bool], None]

_PROGRESS_SECONDS = 0.1


def train(
    problem: Problem,
    config: TrainConfig,
    *,
    items: Arrays,
    validation: Arrays | None,
    log: Log,
    on_progress: Progress,
    keep: Keep,
    start: Path | None,
    processes: int,
) -> Trained:
    """Train; see `pipelines.training.fit`.

    Args:
        keep: told of each checkpoint: its folder, the facts of `pipelines.loop.Loop.state` that are no tensors, and whether
            it is of the best epoch so far.
        start: the folder of a checkpoint to go on from.
    Raises:
        DeviceUnavailable: fewer GPUs than processes.
        EnvironmentProblem: a process was killed.
    """
    if processes > 1:
        _check(config, processes)
        return _Workers(problem, config, processes).train(
            items, validation, log=log, on_progress=on_progress, keep=keep, start=start
        )
    return fit(
        problem,
        config,
        inputs=items.inputs,
        targets=items.targets,
        validation=validation,
        log=log,
        on_progress=on_progress,
        save=lambda state, better: hand_over(state, better, keep),
        start=checkpoints.read(start) if start is not None else None,
    )


def _check(config: TrainConfig, processes: int) -> None:
    device = choose_device(config.device)
    if device.type == "mps":
        raise DeviceUnavailable("several processes cannot share the mps device", hint="--set device=cpu")
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        raise DeviceUnavailable(
            f"{processes} processes need a GPU each, there are {torch.cuda.device_count()}",
            hint=f"--nproc {torch.cuda.device_count()}",
        )
    if config.batch_size < processes:
        raise BadSettings(f"a batch of {config.batch_size} items is too small for {processes} processes", hint="--nproc 2")


def hand_over(state: State, better: bool, keep: Keep) -> None:
    """Write a state into a folder that is there as long as `keep` is told of it."""
    with tempfile.TemporaryDirectory(prefix="reg-checkpoint-") as place:
        folder = Path(place) / "checkpoint"
        checkpoints.write(folder, state)
        keep(folder, _facts(state), better)


def _facts(state: State) -> State:
    best = {name: state["best"][name] for name in ("epoch", "metrics")}
    return {"epoch": state["epoch"], "step": state["step"], "best": best}


@dataclass(frozen=True)
class _Failed:
    """What a worker says when it cannot go on."""

    rank: int
    at: float
    message: str
    hint: str | None
    exit_code: int
    ours: bool

    def error(self) -> RegError:
        error = RegError(self.message, hint=self.hint)
        error.exit_code = self.exit_code  # type: ignore[misc]  # the class stayed in the worker, its code came over
        return error


class _Workers:
    """The processes of one training, seen from outside."""

    def __init__(self, problem: Problem, config: TrainConfig, processes: int) -> None:
        self._problem, self._config, self._size = problem, config, processes

    def train(
        self, items: Arrays, validation: Arrays | None, *, log: Log, on_progress: Progress, keep: Keep, start: Path | None
    ) -> Trained:
        # Forked from a process that has imported torch and done nothing: N workers do not import it N times at once.
        multiprocessing.set_forkserver_preload([__name__])
        context = multiprocessing.get_context("forkserver")
        with tempfile.TemporaryDirectory(prefix="reg-workers-") as place:
            folder = Path(place)
            arrays = [_handed_over(array, folder / f"{n}.npy") for n, array in enumerate((*items, *(validation or ())))]
            pipes = [context.Pipe() for _ in range(self._size)]
            config = self._config.model_dump(mode="json")
            started = start_processes(  # type: ignore[no-untyped-call]
                _work,
                args=(self._size, folder, arrays, self._problem, config, start, [theirs for _, theirs in pipes]),
                nprocs=self._size,
                join=False,
                start_method="forkserver",
            )
            assert started is not None
            for _, theirs in pipes:
                theirs.close()  # only the worker holds it now, so that its end is the pipe's end
            try:
                facts = self._listen(
                    [ours for ours, _ in pipes], started.processes, log=log, on_progress=on_progress, keep=keep
                )
                for process in started.processes:
                    process.join()
            finally:
                _end(started.processes)
                for ours, _ in pipes:
                    ours.close()
            network = find(self._config.recipe).network(self._problem, self._config.model)
            network.load_state_dict(load_file(folder / "network.safetensors"))
            return Trained(network=network.eval(), **facts)

    def _listen(
        self, pipes: Sequence[Connection], processes: Sequence[Any], *, log: Log, on_progress: Progress, keep: Keep
    ) -> Mapping[str, Any]:
        """Do what the first worker says until it is done, or until one of them fails."""
        open_pipes = list(pipes)
        while open_pipes:
            for pipe in wait(open_pipes):
                assert isinstance(pipe, Connection)
                try:
                    kind, *said = pipe.recv()
                except (EOFError, OSError):
                    open_pipes.remove(pipe)
                    process = processes[pipes.index(pipe)]
                    process.join()
                    if process.exitcode:
                        raise self._blame(processes, pipes, open_pipes, []) from None
                    continue
                if kind == "log":
                    log(*said)
                elif kind == "progress":
                    on_progress(*said)
                elif kind == "keep":
                    path, facts, better = said
                    keep(path, facts, better)
                    pipe.send("kept")
                elif kind == "done":
                    return dict(said[0])
                else:
                    raise self._blame(processes, pipes, open_pipes, said)
        raise EnvironmentProblem(f"the {self._size} training processes ended without a result", hint="reg doctor")

    def _blame(
        self, processes: Sequence[Any], pipes: Sequence[Connection], open_pipes: list[Connection], failed: list[_Failed]
    ) -> RegError:
        """The error that began it: when one worker dies, the others fail for want of it."""
        until = time.monotonic() + 2
        while open_pipes and (left := until - time.monotonic()) > 0:
            for pipe in wait(open_pipes, left):
                assert isinstance(pipe, Connection)
                try:
                    kind, *said = pipe.recv()
                    failed += said if kind == "failed" else []
                except (EOFError, OSError):
                    open_pipes.remove(pipe)
                    processes[pipes.index(pipe)].join(1)
        for rank, process in enumerate(processes):
            if process.exitcode is not None and process.exitcode < 0:
                name = signal.Signals(-process.exitcode).name
                return EnvironmentProblem(
                    f"training process {rank} of {self._size} was ended by {name}; the others were stopped",
                    hint="dmesg | grep -i 'out of memory'" if name == "SIGKILL" else None,
                )
        if failed:
            return min(failed, key=lambda fail: (not fail.ours, fail.at)).error()
        return EnvironmentProblem(f"one of {self._size} training processes ended without a word", hint="reg doctor")


def _handed_over(array: Any, path: Path) -> Any:
    """An array in memory as a file, and what lies on disk already as it is."""
    if not isinstance(array, np.ndarray):
        return array
    np.save(path, array)
    return path


def _end(processes: Sequence[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    rank: int,
    size: int,
    folder: Path,
    arrays: Sequence[Any],
    problem: Problem,
    values: Mapping[str, Any],
    start: Path | None,
    pipes: Sequence[Connection],
) -> None:
    """The life of one worker."""
    for other, pipe in enumerate(pipes):
        if other != rank:
            pipe.close()
    pipe = pipes[rank]
    try:
        config = restore(values, origin="the configuration")
        trained = _trained(rank, size, folder, arrays, problem, config, start, pipe)
        if rank == 0:
            pipe.send(("done", {name: value for name, value in vars(trained).items() if name != "network"}))
    except KeyboardInterrupt:
        return  # the command's own process was interrupted too, and says so
    except BrokenPipeError:
        return  # nobody is left to train for
    except Exception as exc:
        ours = isinstance(exc, RegError)
        words = exc.message if isinstance(exc, RegError) else f"training process {rank} of {size} failed: {exc!r}"
        hint, code = (exc.hint, exc.exit_code) if isinstance(exc, RegError) else (None, 1)
        with contextlib.suppress(OSError):
            pipe.send(("failed", _Failed(rank, time.monotonic(), words, hint, code, ours)))
        # Without the farewells of torch.distributed, which would wait for processes that fail as well.
        os._exit(1)


def _trained(
    rank: int,
    size: int,
    folder: Path,
    arrays: Sequence[Any],
    problem: Problem,
    config: TrainConfig,
    start: Path | None,
    pipe: Connection,
) -> Trained:
    device = choose_device(config.device)
    found = [np.load(array, mmap_mode="c") if isinstance(array, Path) else array for array in arrays]
    said_at = 0.0

    def log(row: Mapping[str, Any], step: int) -> None:
        if rank == 0:
            pipe.send(("log", row, step))

    def on_progress(done: int, total: int) -> None:
        nonlocal said_at
        if rank == 0 and (done == total or time.monotonic() - said_at > _PROGRESS_SECONDS):
            said_at = time.monotonic()
            pipe.send(("progress", done, total))

    def keep(path: Path, facts: State, better: bool) -> None:
        pipe.send(("keep", path, facts, better))
        pipe.recv()

    mates = Team(rank=rank, size=size, place=rank, sharing=size)
    with team(mates, store=FileStore(str(folder / "meeting"), size), device=device):
        trained = fit(
            problem,
            config,
            inputs=found[0],
            targets=found[1],
            validation=Arrays(*found[2:]) if found[2:] else None,
            log=log,
            on_progress=on_progress,
            save=lambda state, better: hand_over(state, better, keep),
            start=checkpoints.read(start) if start is not None else None,
            team=mates,
        )
        if rank == 0:
            weights = {name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}
            save_file(weights, folder / "network.safetensors")
    return trained
