"""The training loop: items, a recipe and a configuration in, the best network out.

Items that fit into memory lie on the device as they came (uint8 images stay uint8, a quarter of the traffic) and are drawn by
shuffled index: for them, worker processes only cost. Larger ones are read from disk as they are needed (`pipelines.feeding`).
The validation items are cut from the items handed in, class by class, and decide which checkpoint is kept; the test split
never comes near this module. What is validated and kept is a running average of the weights: on a one-cycle schedule the raw
weights of a middle epoch are good by luck only, and luck is what a checkpoint picked on a hundred items would be.

On the CPU the same configuration, data and number of threads give the same weights, bit for bit. The caller's own random
state is left as it was. Nothing is caught here: an interruption leaves by the same door as it came in.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.config import TrainConfig
from pipelines.data.contents import strata
from pipelines.data.inputs import Inputs, OnDisk, chunks, select
from pipelines.recipes import AddsUp, AnyRecipe, LearnsFromTargets, Problem, VariesTargets, find
from registry.errors import BadData, BadSettings, DeviceUnavailable, MissingDependency

# Read once, when torch loads OpenMP. Its threads otherwise spin while they wait, and on a machine that others use too they
# spin away the very core that they wait for: MNIST took three times as long, all of it wasted.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import torch
    from torch import Tensor, nn

    from pipelines.feeding import Feed, epoch_order
except ImportError as exc:
    raise MissingDependency(f"training needs torch: {exc}", hint="pip install 'reg-lifecycle[cpu]'") from exc

Log: TypeAlias = Callable[[Mapping[str, float], int], None]
Progress: TypeAlias = Callable[[int, int], None]

_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 100  # of `epochs: auto`
_WARM_UP = 0.25  # share of the steps in which the learning rate climbs
_HORIZON = 0.1  # share of the steps over which weights are averaged
_EVALUATION_BATCH = 512
# Values in a batch from which a second thread pays. Below, threads mostly wait for each other: 8 x 8 images train as fast
# on one thread as on two, and five times faster when somebody else wants the second core.
_LARGE_BATCH = 32_768


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network of the best epoch, on the CPU and in evaluation mode, and how it came about.

    `validation` holds the recipe's metrics at that epoch; `epochs` counts those that ran; `items` are those trained on, and
    `held_out` the positions of those it was validated on.
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


@dataclass(frozen=True, kw_only=True)
class _Items:
    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Some items, on the device of the targets; `index` is on the CPU."""
        device = self.targets.device
        return self.inputs[index.to(self.inputs.device)].to(device), self.targets[index.to(device)]

    def order(self, draws: torch.Generator) -> Tensor:
        """An order for one epoch, int64, shape (n,)."""
        return epoch_order(len(self), draws)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Full batches of items in this order; what is left over at its end is not seen."""
        return (self.take(index) for index in torch.split(order[: len(order) // size * size], size))


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    epoch: int
    metrics: Mapping[str, float]
    weights: Mapping[str, Tensor]


def fit(
    problem: Problem,
    config: TrainConfig,
    *,
    inputs: Inputs,
    targets: NDArray[Any],
    log: Log,
    on_progress: Progress = lambda done, total: None,
) -> Trained:
    """Train.

    Args:
        inputs, targets: the train split, as `Problem` describes them; validation items are taken from it. Inputs on disk stay
            there.
        log: called with values and the optimiser step they belong to: `train/loss`, `train/lr`, `train/samples_per_s`
            every `log_every` steps, and `epoch`, `train/epoch_loss`, `val/<metric>` after each epoch.
        on_progress: called with steps done and steps planned.
    Raises:
        BadData: the arrays do not fit the problem, or there are too few items to train and to validate.
        BadSettings: the options fit no network, or the loss became infinite or NaN.
        DeviceUnavailable: the configured device is not there.
    """
    started = time.perf_counter()
    _check(problem, inputs, targets)
    recipe = find(config.recipe)
    device = choose_device(config.device)
    amp = _choose_amp(config.amp, device)
    targets = targets.astype(problem.target_dtype, copy=False)
    kept, held_out = split(targets, fraction=config.validation_fraction, seed=config.seed)
    if config.train_fraction < 1:
        _, part = split(targets[kept], fraction=config.train_fraction, seed=config.seed)
        kept = kept[part]
    if len(kept) < 2 or not len(held_out):
        raise BadData(
            f"{len(kept)} items to train on and {len(held_out)} to validate on are too few",
            hint="--set train_fraction=1.0 --set validation_fraction=0.2",
        )
    with _threads(config, inputs), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        if isinstance(recipe, LearnsFromTargets):
            recipe = recipe.knowing(targets[kept])
        network = recipe.network(problem, config.model)
        recipe.prepare(network, select(inputs, kept))
        loop = _Loop(
            recipe=recipe,
            config=config,
            network=network.to(device),
            train=_place(select(inputs, kept), targets[kept], device),
            validation=_place(select(inputs, held_out), targets[held_out], device),
            device=device,
            amp=amp,
            log=log,
            on_progress=on_progress,
        )
        epochs, best = loop.run()
    network.load_state_dict(best.weights)
    return Trained(
        network=network.cpu().eval(),
        epochs=epochs,
        best_epoch=best.epoch,
        steps=epochs * loop.steps_per_epoch,
        items=len(kept),
        validation_items=len(held_out),
        held_out=held_out,
        validation=best.metrics,
        seconds=time.perf_counter() - started,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        device=device.type,
        amp=amp,
    )


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
def _threads(config: TrainConfig, inputs: Inputs) -> Iterator[None]:
    """Lend torch the CPU threads of the configuration."""
    before = torch.get_num_threads()
    wanted = config.threads
    if wanted == "auto":
        wanted = before if config.batch_size * math.prod(inputs.shape[1:]) >= _LARGE_BATCH else 1
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def _place(inputs: Inputs, targets: NDArray[Any], device: torch.device) -> _Items | Feed:
    """Items as tensors on the device; inputs that would fill half of a GPU stay in main memory, those on disk on disk."""
    if isinstance(inputs, OnDisk):
        return Feed(inputs, targets, device)
    home = device
    if device.type == "cuda" and inputs.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        home = torch.device("cpu")
    return _Items(inputs=torch.from_numpy(inputs).to(home), targets=torch.from_numpy(targets).to(device))


class _Loop:
    """Epochs over items on the device, with AdamW on a one-cycle schedule."""

    def __init__(
        self,
        *,
        recipe: AnyRecipe,
        config: TrainConfig,
        network: nn.Module,
        train: _Items | Feed,
        validation: _Items | Feed,
        device: torch.device,
        amp: str,
        log: Log,
        on_progress: Progress,
    ) -> None:
        self.recipe, self.config, self.network, self.device, self.amp = recipe, config, network, device, amp
        self.train, self.validation = train, validation
        self.log, self.on_progress = log, on_progress
        self.batch = min(config.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.batch
        if config.epochs == "auto":
            self.epochs = min(max(round(recipe.steps / self.steps_per_epoch), _FEWEST_EPOCHS), _MOST_EPOCHS)
        else:
            self.epochs = config.epochs
        self.average = _Average(network, horizon=_HORIZON * self.epochs * self.steps_per_epoch)
        self.step = 0
        self.draws = torch.Generator().manual_seed(config.seed)
        # Biases and normalisation have one dimension, and nothing to gain from being pulled to zero.
        decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}], lr=config.lr
        )
        self.total = self.epochs * self.steps_per_epoch
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def run(self) -> tuple[int, _Checkpoint]:
        """Train until the last epoch or until patience is gone; return the number of epochs and the best checkpoint."""
        best: _Checkpoint | None = None
        epoch = 0
        for epoch in range(1, self.epochs + 1):
            mean_loss = self._train_once(epoch)
            metrics = self._validate()
            values = {f"val/{name}": value for name, value in metrics.items()}
            self.log({"epoch": epoch, "train/epoch_loss": mean_loss, **values}, self.step)
            self._check_loss(metrics["loss"], epoch)
            if self.config.monitor not in metrics:
                known = ", ".join(metrics)
                raise BadSettings(f"monitor is {self.config.monitor}, this recipe measures {known}", hint="--set monitor=loss")
            if best is None or self._is_better(metrics, best.metrics):
                best = _Checkpoint(epoch=epoch, metrics=metrics, weights=copy.deepcopy(self.average.network.state_dict()))
            elif self.config.patience is not None and epoch - best.epoch >= self.config.patience:
                break
        assert best is not None, "there is at least one epoch"
        return epoch, best

    def _train_once(self, epoch: int) -> float:
        self.network.train()
        order = self.train.order(self.draws)
        # The items left over by the last full batch change with every epoch's order.
        total = torch.zeros((), device=self.device)
        since, seen = time.perf_counter(), 0
        for inputs, targets in self.train.batches(order, self.batch):
            loss = self._optimise(inputs, targets)
            total += loss
            seen += len(targets)
            if self.step % min(self.config.log_every, self.steps_per_epoch) == 0:
                self._check_loss(loss.item(), epoch)
                now = time.perf_counter()
                values = {"train/loss": loss.item(), "train/lr": self._rate(), "train/samples_per_s": seen / (now - since)}
                self.log(values, self.step)
                since, seen = now, 0
            self.on_progress(self.step, self.total)
        mean = total.item() / self.steps_per_epoch
        self._check_loss(mean, epoch)
        return mean

    def _optimise(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(self.recipe, VariesTargets):
            inputs, targets = self.recipe.augment_pairs(inputs, targets, self.config.augment, self.draws)
        else:
            inputs = self.recipe.augment(inputs, self.config.augment, self.draws)
        precision = torch.float16 if self.amp == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=precision, enabled=self.amp != "off"):
            scores = self.network(inputs)
        loss = self.recipe.loss(scores.float(), targets)
        self.step += 1
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.optimiser.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.follow(self.network)
        return loss.detach()

    def _rate(self) -> float:
        return self.config.lr * one_cycle(self.step, total=self.total)

    @torch.inference_mode()
    def _validate(self) -> Mapping[str, float]:
        if isinstance(self.recipe, AddsUp):
            some = torch.tensor_split(torch.arange(len(self.validation)), math.ceil(len(self.validation) / self.batch))
            parts = (self.validation.take(index) for index in some)
            sums = [self.recipe.sums(self.average.network(inputs), targets).cpu() for inputs, targets in parts]
            return self.recipe.measured(torch.stack(sums).sum(dim=0))
        batches = torch.tensor_split(torch.arange(len(self.validation)), math.ceil(len(self.validation) / _EVALUATION_BATCH))
        scores = torch.cat([self.average.network(self.validation.take(index)[0]) for index in batches])
        # On the CPU, because MPS has no float64.
        return self.recipe.metrics(scores.cpu(), self.validation.targets.cpu())

    def _is_better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        name = self.config.monitor
        return metrics[name] < than[name] if name == "loss" else metrics[name] > than[name]

    def _check_loss(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            rate = self.config.lr
            raise BadSettings(
                f"the loss became {loss} in epoch {epoch}, step {self.step}, with lr={rate:g}; no model was kept",
                hint=f"--set lr={rate / 10:g}",
            )


class _Average:
    """A network whose weights and statistics are the exponential moving average of another's.

    Args:
        horizon: steps after which a past value has lost most of its weight; until then it is the plain mean.
    """

    def __init__(self, network: nn.Module, *, horizon: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self._mine, self._horizon, self._steps = _floats(self.network), horizon, 0

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        self._steps += 1
        torch._foreach_lerp_(self._mine, _floats(network), 1 / min(self._steps, max(self._horizon, 1)))


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]


def one_cycle(step: int, *, total: int) -> float:
    """The share of the highest learning rate at step 1 to `total`: up in a straight line, then down along a cosine.

    Source: Smith & Topin (2018), with the cosine of PyTorch's OneCycleLR, for any `total` >= 1.
    """
    warm = max(1, round(_WARM_UP * total))
    if step <= warm:
        return step / warm
    return (1 + math.cos(math.pi * (step - warm) / (total - warm + 1))) / 2
