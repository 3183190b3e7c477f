"""The training loop itself: epochs over items on the device, from a start or from where an earlier loop was interrupted.

Everything that a later step depends on is in `state()`: weights and their average, optimiser, scaler, schedule, every source
of chance, the order of the items, and the best network so far. It is taken between two epochs, so a loop that goes on from
it repeats at most the epochs since, and on the CPU ends with the very bits of a loop that was never interrupted.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pipelines import randomness
from pipelines.averaging import Average
from pipelines.compiling import compiled
from pipelines.config import TrainConfig
from pipelines.feeding import Feed, onto
from pipelines.histograms import Histogram
from pipelines.optimizers import optimizer
from pipelines.recipes import AddsUp, AnyRecipe, VariesTargets
from pipelines.schedules import Schedule
from pipelines.team import Team
from pipelines.watching import histograms
from registry.errors import BadData, BadSettings

Log: TypeAlias = Callable[[Mapping[str, float | Histogram], int], None]
Progress: TypeAlias = Callable[[int, int], None]
State: TypeAlias = Mapping[str, Any]
# Told a state between two epochs, and whether the epoch before it was the best so far.
Save: TypeAlias = Callable[[State, bool], None]

_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 100  # of `epochs: auto`
_HORIZON = 0.1  # share of the steps over which weights are averaged
_EVALUATION_BATCH = 512
_CHECKPOINT_SECONDS = 60  # of `checkpoint.every: auto`
_WATCH_STEPS = 100  # between two histograms


@dataclass(frozen=True, kw_only=True)
class Items:
    """Items as they came (uint8 images stay uint8) and their targets."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def order(self, draws: torch.Generator) -> Tensor:
        """An order for one epoch, int64 (n,): drawn on the CPU, the same for every device, and sent over once."""
        return torch.randperm(len(self), generator=draws).to(self.inputs.device)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Full batches of items in this order; what is left over at its end is not seen."""
        return (self.take(index) for index in torch.split(order[: len(order) // size * size], size))

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Some items, on the device of the targets."""
        device = self.targets.device
        return onto(self.inputs[index.to(self.inputs.device)], device), self.targets[onto(index, device)]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best epoch so far, by the monitored metric."""

    epoch: int
    metrics: Mapping[str, float]
    weights: Mapping[str, Tensor]


class Loop:
    """One training.

    Args:
        network: on the device; changed in place.
        amp: off, bf16 or fp16.
        log: called with values and the optimiser step they belong to, once for a step.
        on_progress: called with steps done and steps planned.
        save: called with `state()` after the epochs that `config.checkpoint` names.
        team: the processes that train together; all of them run the same loop.
    """

    def __init__(
        self,
        *,
        recipe: AnyRecipe,
        config: TrainConfig,
        network: nn.Module,
        train: Items | Feed,
        validation: Items | Feed,
        device: torch.device,
        amp: str,
        log: Log,
        on_progress: Progress,
        save: Save,
        team: Team,
    ) -> None:
        self.recipe, self.config, self.device, self.amp, self.team = recipe, config, device, amp, team
        self.train, self.validation = train, validation
        self.log, self.on_progress, self.save = log, on_progress, save
        self.batch = min(config.batch_size, len(train))
        self._check_parts()
        self.steps_per_epoch = len(train) // self.batch
        if config.epochs == "auto":
            self.epochs = min(max(round(recipe.steps / self.steps_per_epoch), _FEWEST_EPOCHS), _MOST_EPOCHS)
        else:
            self.epochs = config.epochs
        self.total = self.epochs * self.steps_per_epoch
        self.network = team.prepared(network, device)
        self.average = Average(network, horizon=_HORIZON * self.total)
        self._joined = team.joined(self.network, device)
        self.model = compiled(self._joined, config.compile, device=device, steps=self.total)
        self.optimizer = optimizer(self.network, config)
        self.schedule = Schedule(config.schedule, total=self.total, per_epoch=self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self.draws = torch.Generator().manual_seed(config.seed)
        self.step, self.epoch = 0, 0
        self.best: Best | None = None
        self.earlier_seconds = 0.0  # of the parts before an interruption, up to the checkpoint
        self._started = self._saved_at = time.perf_counter()
        self._parts: Mapping[str, Tensor] = {}

    def run(self) -> Best:
        """Train until the last epoch or until patience is gone; `epoch` says how many there were."""
        while self.epoch < self.epochs and not self._out_of_patience():
            self._one_epoch(self.epoch + 1)
        assert self.best is not None, "there is at least one epoch"
        return self.best

    def state(self, *, random: list[randomness.State]) -> State:
        """Everything that what comes next depends on.

        Args:
            random: the states of all processes' generators, by rank.
        """
        assert self.best is not None, "there is a state after an epoch only"
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.earlier_seconds + time.perf_counter() - self._started,
            "items": len(self.train),
            "batch": self.batch,
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "draws": self.draws.get_state(),
            "random": random,
            "best": {"epoch": self.best.epoch, "metrics": dict(self.best.metrics), "weights": self.best.weights},
        }

    def restore(self, state: State) -> None:
        """Go on from a state.

        Raises:
            BadData: it belongs to another training: other items, another network or optimiser; or another version of this
                program wrote it.
        """
        try:
            self._restore(state)
        except KeyError as exc:
            raise BadData(
                f"the checkpoint has no {exc}: another version of reg wrote it",
                hint="go on with the version that began it, or begin anew: reg train --dataset mnist:latest",
            ) from exc

    def _restore(self, state: State) -> None:
        here, there = (len(self.train), self.batch), (state["items"], state["batch"])
        if here != there:
            raise BadData(
                f"the checkpoint trained on {there[0]} items in batches of {there[1]}, here are {here[0]} in {here[1]}"
            )
        try:
            self.network.load_state_dict(state["network"])
            self.average.restore(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as exc:
            raise BadData(f"the checkpoint is of another network: {' '.join(str(exc).split())}") from exc
        self.schedule.restore(state["schedule"])
        if state["scaler"]:  # empty where the first part computed without fp16, on another device perhaps
            self.scaler.load_state_dict(state["scaler"])
        self.draws.set_state(state["draws"])
        if self.team.rank < len(state["random"]):
            randomness.restore(state["random"][self.team.rank], self.device)
        self.step, self.epoch, self.earlier_seconds = state["step"], state["epoch"], state["seconds"]
        self.best = Best(**state["best"])

    def _one_epoch(self, epoch: int) -> None:
        mean_loss, last = self._train_once(epoch)
        metrics = self.team.told(self._validate() if self.team.leads else None)
        values = {f"val/{name}": value for name, value in metrics.items()}
        # In one row with the last step's: a run that ends between two rows of one step could never complete it.
        self.log({**last, "epoch": epoch, "train/epoch_loss": mean_loss, **values, **self._memory()}, self.step)
        self._check_loss(metrics["loss"], epoch)
        if self.config.monitor not in metrics:
            known = ", ".join(metrics)
            raise BadSettings(f"monitor is {self.config.monitor}, this recipe measures {known}", hint="--set monitor=loss")
        better = self.best is None or self._is_better(metrics, self.best.metrics)
        if better:
            self.best = Best(epoch=epoch, metrics=metrics, weights=copy.deepcopy(self.average.network.state_dict()))
        self.schedule.hear(better=better)
        self.epoch = epoch
        if self.team.told(self._due(better) if self.team.leads else None):
            random = self.team.gathered(randomness.state(self.device))
            if self.team.leads:
                self.save(self.state(random=random), better)
            self._saved_at = time.perf_counter()

    def _due(self, better: bool) -> bool:
        asked = self.config.checkpoint
        if asked.every == "never":
            return False
        if asked.every == "auto":
            return time.perf_counter() - self._saved_at >= _CHECKPOINT_SECONDS
        return self.epoch % asked.every == 0 or (asked.best and better)

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return self.best is not None and patience is not None and self.epoch - self.best.epoch >= patience

    def _train_once(self, epoch: int) -> tuple[float, Mapping[str, float | Histogram]]:
        """The mean loss of an epoch, and what is to be logged at its last step."""
        self.network.train()
        order = self.train.order(self.draws)
        # The items left over by the last full batch change with every epoch's order.
        total = torch.zeros((), device=self.device)
        since, seen = time.perf_counter(), 0
        values: dict[str, float | Histogram] = {}
        for inputs, targets in self.train.batches(order, self.batch):
            if values:
                self.log(values, self.step)
                values = {}
            loss = self._optimise(inputs, targets)
            total += loss
            seen += len(targets)
            if self.step % min(self.config.log_every, self.steps_per_epoch) == 0:
                value = self.team.total(loss).item()
                self._check_loss(value, epoch)
                now = time.perf_counter()
                values = {"train/loss": value, "train/lr": self._rate(), "train/samples_per_s": seen / (now - since)}
                values |= {f"train/loss/{name}": self.team.total(part).item() for name, part in self._parts.items()}
                since, seen = now, 0
            if self.config.watch and self.step % _WATCH_STEPS == 0:
                values |= histograms(self.network)
            self.on_progress(self.step, self.total)
        mean = self.team.total(total).item() / self.steps_per_epoch
        self._check_loss(mean, epoch)
        return mean, values

    def _optimise(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step on one batch; this process's share of the batch's mean loss."""
        whole = len(targets)
        # All of the batch in every process, so that what an item becomes does not depend on how many there are.
        if isinstance(self.recipe, VariesTargets):
            inputs, targets = self.recipe.augment_pairs(inputs, targets, self.config.augment, self.draws)
        else:
            inputs = self.recipe.augment(inputs, self.config.augment, self.draws)
        inputs, targets = self.team.mine(inputs), self.team.mine(targets)
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.device)
        parts: dict[str, Tensor] = {}
        pieces = list(
            zip(inputs.tensor_split(self.config.accumulate), targets.tensor_split(self.config.accumulate), strict=True)
        )
        for number, (some, wanted) in enumerate(pieces, start=1):
            share = len(wanted) / whole
            with self._alone() if number < len(pieces) else contextlib.nullcontext():
                mean, named = self._loss(some, wanted)
                # The team averages gradients, of which each is a share of the batch's already.
                weight = share * self.team.size
                torch.autograd.backward(self.scaler.scale(mean if weight == 1 else mean * weight))
            loss = loss + mean.detach() * share
            parts = {name: parts.get(name, 0) + part.detach() * share for name, part in named.items()}
        self._parts = parts
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.follow(self.network)
        return loss

    def _loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of some items, and its named parts where it has any."""
        precision = torch.float16 if self.amp == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=precision, enabled=self.amp != "off"):
            scores = self.model(inputs)
        found = self.recipe.loss(scores.float(), targets)
        if isinstance(found, Tensor):
            return found, {}
        return torch.stack(list(found.values())).sum(), found

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep gradients to this process: they are averaged once, with the last part of the batch."""
        if isinstance(self._joined, nn.parallel.DistributedDataParallel):
            return self._joined.no_sync()
        return contextlib.nullcontext()

    def _rate(self) -> float:
        return self.config.lr * self.schedule.share(self.step)

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
        name, least = self.config.monitor, self.config.min_delta
        gain = than[name] - metrics[name] if name == "loss" else metrics[name] - than[name]
        return gain > least

    def _memory(self) -> Mapping[str, float]:
        if self.device.type != "cuda":
            return {}
        return {"gpu/peak_memory_bytes": float(torch.cuda.max_memory_allocated(self.device))}

    def _check_parts(self) -> None:
        parts = self.config.accumulate * self.team.size
        if self.batch < parts:
            raise BadSettings(
                f"a batch of {self.batch} items cannot be cut into {parts} parts",
                hint=f"--set batch_size={parts}",
            )

    def _check_loss(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            rate = self.config.lr
            raise BadSettings(
                f"the loss became {loss} in epoch {epoch}, step {self.step}, with lr={rate:g}; no model was kept",
                hint=f"--set lr={rate / 10:g}",
            )
