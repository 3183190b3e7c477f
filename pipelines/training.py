"""Training: items, a recipe and a configuration in, the best network out.

Items that fit into memory lie on the device as they came (uint8 images stay uint8, a quarter of the traffic) and are drawn by
shuffled index: for them, worker processes that load only cost. Larger ones are read from disk as they are needed
(`pipelines.feeding`). The validation items are the dataset's own, or else are cut from the items to train on, class by class;
they decide which epoch is kept, and the test split never comes near this module. What is validated and kept is a running
average of the weights.

On the CPU the same configuration, data and number of threads give the same weights, bit for bit, interrupted or not. The
caller's own random state is left as it was. Nothing is caught here: an interruption leaves by the same door as it came in.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import TrainConfig
from pipelines.data.contents import strata
from pipelines.data.inputs import Inputs, OnDisk, chunks, select
from pipelines.recipes import LearnsFromTargets, Problem, find
from registry.errors import BadData, BadSettings, DeviceUnavailable, EnvironmentProblem, MissingDependency

# Read once, when torch loads OpenMP. Its threads otherwise spin while they wait, and on a machine that others use too they
# spin away the very core that they wait for: MNIST took three times as long, all of it wasted.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import torch
    from torch import nn
except ImportError as exc:
    raise MissingDependency(f"training needs torch: {exc}", hint="pip install 'reg-lifecycle[cpu]'") from exc

from pipelines import randomness
from pipelines.feeding import Feed
from pipelines.loop import Items, Log, Loop, Progress, Save, State
from pipelines.team import Team

# Values in a batch from which a second thread pays. Below, threads mostly wait for each other: 8 x 8 images train as fast
# on one thread as on two, and five times faster when somebody else wants the second core.
_LARGE_BATCH = 32_768


class Arrays(NamedTuple):
    """Items as `Problem` describes them, and their targets."""

    inputs: Inputs
    targets: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network of the best epoch, on the CPU and in evaluation mode, and how it came about.

    `validation` holds the recipe's metrics at that epoch; `epochs` counts those that ran, before an interruption and after;
    `items` are those trained on; `held_out` are the positions in the train split of those it was validated on, none where the
    dataset has a split for that; `seconds` adds up what led to the result; `resumed` is the epoch that the last part went on
    from, 0 where there is one part only.
    """

    network: nn.Module
    epochs: int
    best_epoch: int
    steps: int
    items: int
    validation_items: int
    held_out: NDArray[np.int64]
    validation: Mapping[str, float]
    seconds: float
    parameters: int
    device: str
    amp: str
    resumed: int = 0
    processes: int = 1


def fit(
    problem: Problem,
    config: TrainConfig,
    *,
    inputs: Inputs,
    targets: NDArray[Any],
    log: Log,
    validation: Arrays | None = None,
    on_progress: Progress = lambda done, total: None,
    save: Save = lambda state, better: None,
    start: State | None = None,
    team: Team = Team(),  # noqa: B008 - frozen: the team of one
) -> Trained:
    """Train.

    Args:
        inputs, targets: the train split, as `Problem` describes them.
        validation: the dataset's own validation split; None cuts one from the train split.
        log: called with values and the optimiser step they belong to, once for a step: `train/loss`, its parts where the
            recipe names them, `train/lr`, `train/samples_per_s` every `log_every` steps, and `epoch`, `train/epoch_loss`,
            `val/<metric>` at the last step of each epoch.
        on_progress: called with steps done and steps planned.
        save: called with a state that `start` takes, after the epochs that `config.checkpoint` names.
        start: where to go on; None begins anew.
        team: the processes that train together, of which this is one.
    Raises:
        BadData: the arrays do not fit the problem, there are too few items to train and to validate, or the state to start
            from is of another training.
        BadSettings: the options fit no network, or the loss became infinite or NaN.
        DeviceUnavailable: the configured device is not there.
        EnvironmentProblem: its memory is too small.
    """
    started = time.perf_counter()
    _check(problem, inputs, targets)
    recipe = find(config.recipe)
    device = team.device(choose_device(config.device))
    amp = _choose_amp(config.amp, device)
    (inputs, targets), held_out, positions = _parted(problem, config, Arrays(inputs, targets), validation)
    with (
        _threads(config, inputs, processes=team.sharing),
        randomness.seeded(config.seed, device),
        _enough_memory(config, device),
    ):
        if isinstance(recipe, LearnsFromTargets):
            recipe = recipe.knowing(targets)
        network = recipe.network(problem, config.model)
        recipe.prepare(network, inputs)
        loop = Loop(
            recipe=recipe,
            config=config,
            network=network.to(device),
            train=_place(inputs, targets, device),
            validation=_place(*held_out, device),
            device=device,
            amp=amp,
            log=log,
            on_progress=on_progress,
            save=save,
            team=team,
        )
        if start is not None:
            loop.restore(start)
        resumed = loop.epoch
        best = loop.run()
    network.load_state_dict(best.weights)
    return Trained(
        network=network.cpu().eval(),
        epochs=loop.epoch,
        best_epoch=best.epoch,
        steps=loop.step,
        items=len(targets),
        validation_items=len(held_out.targets),
        held_out=positions,
        validation=best.metrics,
        seconds=loop.earlier_seconds + time.perf_counter() - started,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        device=device.type,
        amp=amp,
        resumed=resumed,
        processes=team.size,
    )


def _parted(
    problem: Problem, config: TrainConfig, train: Arrays, validation: Arrays | None
) -> tuple[Arrays, Arrays, NDArray[np.int64]]:
    """The items to train on, those to validate on, and the positions of the latter if they are of the train split."""
    if validation is not None:
        _check(problem, *validation)
        kept, positions = np.arange(len(train.targets)), np.arange(0)
        held_out = validation
    else:
        kept, positions = split(train.targets, fraction=config.validation_fraction, seed=config.seed)
        held_out = Arrays(select(train.inputs, positions), train.targets[positions])
    if config.train_fraction < 1:
        _, part = split(train.targets[kept], fraction=config.train_fraction, seed=config.seed)
        kept = kept[part]
    if len(kept) < 2 or not len(held_out.targets):
        raise BadData(
            f"{len(kept)} items to train on and {len(held_out.targets)} to validate on are too few",
            hint="--set train_fraction=1.0 --set validation_fraction=0.2",
        )
    found = (Arrays(select(train.inputs, kept), train.targets[kept]), held_out)
    dtype = problem.target_dtype
    chosen, others = (Arrays(some.inputs, some.targets.astype(dtype, copy=False)) for some in found)
    return chosen, others, positions


def split(targets: NDArray[Any], *, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a share of the items off, class by class where an item has one.

    Returns:
        Sorted indices of the rest and of the share. Of a class with two or more items, at least one falls on each side; a
        single item belongs to the rest.
    """
    random = np.random.default_rng(seed)
    share: list[NDArray[np.int64]] = []
    classes = strata(targets)
    for label in np.unique(classes):
        (mine,) = np.nonzero(classes == label)
        count = min(max(round(fraction * len(mine)), 1), len(mine) - 1)
        share.append(random.permutation(mine)[:count])
    chosen = np.zeros(len(targets), dtype=bool)
    chosen[np.concatenate(share)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def choose_device(wanted: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`; `auto` takes an accelerator when there is one.

    Raises:
        DeviceUnavailable: it is named and not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, here in present.items() if here))
    if not present[wanted]:
        raise DeviceUnavailable(f"torch {torch.__version__} finds no {wanted} device here", hint="--set device=auto")
    return torch.device(wanted)


@contextmanager
def _threads(config: TrainConfig, inputs: Inputs, *, processes: int) -> Iterator[None]:
    """Lend torch the CPU threads of the configuration."""
    before = torch.get_num_threads()
    large = config.batch_size * math.prod(inputs.shape[1:]) >= _LARGE_BATCH
    usual = max(1, before // processes) if large else 1
    torch.set_num_threads(usual if config.threads == "auto" else config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _enough_memory(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """
    Raises:
        EnvironmentProblem: the GPU's memory is too small for the batches of the configuration.
    """
    try:
        yield
    except torch.OutOfMemoryError as exc:
        parts = f"in {config.accumulate} parts" if config.accumulate > 1 else "at once"
        said = str(exc).split(". ")[0]
        raise EnvironmentProblem(
            f"the memory of {device} is too small for batches of {config.batch_size} computed {parts}: {said}",
            hint=f"--set accumulate={2 * config.accumulate}, which computes each batch in more parts",
        ) from exc


def _choose_amp(wanted: str, device: torch.device) -> str:
    if wanted == "auto":
        if device.type != "cuda":
            return "off"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if wanted == "fp16" and device.type == "cpu":
        raise BadSettings("amp is fp16, which a CPU computes slower than fp32", hint="--set amp=auto")
    return wanted


def _check(problem: Problem, inputs: Inputs, targets: NDArray[Any]) -> None:
    if inputs.shape[1:] != problem.input_shape or inputs.dtype != problem.input_dtype:
        wanted = f"{problem.input_dtype}[n, {', '.join(map(str, problem.input_shape))}]"
        raise BadData(f"the {problem.input_name} inputs are {inputs.dtype}{list(inputs.shape)}, {wanted} was expected")
    if len(inputs) != len(targets) or not len(targets):
        raise BadData(f"{len(inputs)} inputs and {len(targets)} targets cannot be trained on")
    if targets.shape[1:] != problem.target_shape:
        shapes = f"{list(targets.shape[1:])}, {list(problem.target_shape)} was expected"
        raise BadData(f"the targets of an item have the shape {shapes} of the task {problem.task}")
    if problem.answer == "values" and not np.isfinite(targets).all():
        raise BadData("a target is infinite or NaN, numbers were expected")
    if problem.answer == "class" and (targets.min() < 0 or targets.max() >= len(problem.labels)):
        raise BadData(f"targets run from {targets.min()} to {targets.max()}, there are {len(problem.labels)} labels")
    before = 0
    for some in chunks(inputs) if inputs.dtype.kind == "f" else ():
        if np.isinf(some).any():
            row, column = np.argwhere(np.isinf(some))[0]
            raise BadData(f"feature '{problem.features[column].name}' of item {before + row} is infinite")
        before += len(some)


def _place(inputs: Inputs, targets: NDArray[Any], device: torch.device) -> Items | Feed:
    """Items as tensors on the device; inputs that would fill half of a GPU stay in main memory, those on disk on disk."""
    if isinstance(inputs, OnDisk):
        return Feed(inputs, targets, device)
    home = device
    if device.type == "cuda" and inputs.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        home = torch.device("cpu")
    return Items(inputs=torch.from_numpy(inputs).to(home), targets=torch.from_numpy(targets).to(device))
