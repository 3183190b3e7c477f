"""Training in processes that a launcher started: `torchrun … -m registry train …`.

Rank 0 is the command as anybody knows it: it opens the W&B run, logs, validates and makes the model version. It tells the
others what it resolved, version by version and value by value, so that `latest` is the same for all of them; they compute
their shares and say nothing. Each machine brings the files once: its first process does, and the others of that machine wait
for it. A job that its launcher began anew goes on in the run that it began (`pipelines.resuming.of_job`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import checkpoints, training_data
from pipelines import dataset as dataset_stage
from pipelines.config import TrainConfig, restore
from pipelines.launch import Launch
from pipelines.loop import Log, Progress
from pipelines.meeting import Meeting, OtherFailed, met
from pipelines.processes import Keep, hand_over
from pipelines.recipes import Problem, find, sources
from pipelines.training import Arrays, Trained, choose_device, fit
from registry.backend import Backend
from registry.errors import Conflict, NotFound
from registry.records import Version
from registry.references import parse

# Longer than a launcher takes to notice the process that failed: who ends first is blamed for all in its report.
_LINGER_SECONDS = 10
_PLAN = "plan"


@dataclass(frozen=True, kw_only=True)
class _Brought:
    """A version and the folder with its files, on the machine that says so."""

    reference: str
    digest: str
    files: str

    @classmethod
    def of(cls, version: Version, files: Path) -> _Brought:
        return cls(reference=str(version.origin), digest=str(version.digest), files=str(files))


def tell_plan(
    meeting: Meeting, config: TrainConfig, *, dataset: Version, files: Path, checkpoint: Version | None, start: Path | None
) -> None:
    """Let the other ranks begin; called when the data have been opened on this machine.

    Args:
        files, start: the folders of the dataset version and of the checkpoint to go on from.
    """
    going_on = _Brought.of(checkpoint, start) if checkpoint is not None and start is not None else None
    plan = {
        "config": config.model_dump(mode="json"),
        "dataset": vars(_Brought.of(dataset, files)),
        "metadata": {key: value for key, value in dataset.metadata.items() if key == dataset_stage.SAID},
        "checkpoint": vars(going_on) if going_on is not None else None,
    }
    meeting.tell(_PLAN, plan)


def train(
    meeting: Meeting,
    problem: Problem,
    config: TrainConfig,
    *,
    items: Arrays,
    validation: Arrays | None,
    log: Log,
    on_progress: Progress,
    keep: Keep,
    start: Path | None,
) -> Trained:
    """Train with the other ranks; see `pipelines.processes.train`."""
    with meeting.team(choose_device(config.device)) as mates, sources.blamed(find(config.recipe)):
        return fit(
            problem,
            config,
            inputs=items.inputs,
            targets=items.targets,
            validation=validation,
            log=log if mates.leads else lambda values, step: None,
            on_progress=on_progress if mates.leads else lambda done, total: None,
            save=lambda state, better: hand_over(state, better, keep),
            start=checkpoints.read(start) if start is not None else None,
            team=mates,
        )


def follow(launch: Launch, *, memory: int, reach: Callable[[], AbstractContextManager[Backend]]) -> int:
    """The life of a rank that does not lead.

    Args:
        memory: see `registry.settings.Settings.data_memory`.
        reach: opens a backend; only the first rank of a machine without the leader needs one.
    Returns:
        The exit code.
    Raises:
        RegError: this rank is the one that failed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # has nothing to finish; the leader says that it was interrupted
    try:
        with met(launch) as meeting:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _follow(meeting, memory=memory, reach=reach)
    except OtherFailed as exc:
        if launch.supervised:
            time.sleep(_LINGER_SECONDS)
        return exc.exit_code
    return 0


def _follow(meeting: Meeting, *, memory: int, reach: Callable[[], AbstractContextManager[Backend]]) -> None:
    launch, plan = meeting.launch, meeting.hear(_PLAN)
    told = [_Brought(**one) if one is not None else None for one in (plan["dataset"], plan["checkpoint"])]
    with_leader, first = launch.first_here == 0, launch.local_rank == 0
    if with_leader:
        places = [one.files if one is not None else None for one in told]
    elif first:
        with reach() as backend:
            places = [_bring(backend, one, launch) if one is not None else None for one in told]
    else:
        places = meeting.hear(f"places/{launch.first_here}")
    files, start = (Path(place) if place is not None else None for place in places)
    assert files is not None, "there is always a dataset"
    config = restore(plan["config"], origin="the leader's plan")
    data = training_data.read(dataset_stage.read(files, plan["metadata"], memory=memory), files, config)
    if first and not with_leader:
        meeting.tell(f"places/{launch.first_here}", places)
    items, validation = data.arrays
    train(
        meeting,
        data.problem,
        config,
        items=items,
        validation=validation,
        log=_nothing,
        on_progress=_nothing,
        keep=_nothing,
        start=start,
    )


def _bring(backend: Backend, told: _Brought, launch: Launch) -> str:
    try:
        version = backend.resolve(parse(told.reference))
    except NotFound as exc:
        raise NotFound(
            f"{exc.message}: the machine of {launch} reaches {backend.where}, where the leader's data are not",
            hint="reg serve --host 0.0.0.0 on one machine, WANDB_BASE_URL and WANDB_API_KEY on all of them",
        ) from exc
    if str(version.digest) != told.digest:
        raise Conflict(f"the leader trains on {told.digest}, '{told.reference}' is {version.digest} at {backend.where}")
    return str(backend.download(version))


def _nothing(*_values: Any) -> None:
    """What a rank that follows logs, shows and keeps."""


def described(launch: Launch) -> Mapping[str, Any]:
    """What the run's config says about the launch."""
    return {"ranks": launch.size, **({"launch_job": launch.job} if launch.job is not None else {})}
