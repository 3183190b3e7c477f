"""The stage `train`: dataset → model: weights, an ONNX graph with its preprocessing, and a file that says how it was made.

An interrupted run is gone on with by the same stage: the same W&B run, from its last checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipelines import config as configuration
from pipelines import loggers, reporting, resuming
from pipelines.config import TrainConfig
from pipelines.data import reading
from pipelines.data.reading import Dataset
from pipelines.data.spec import DatasetSpec, ImageInput
from pipelines.job import Job, Progress, open_job
from pipelines.model_files import ModelFile, write_model
from pipelines.processes import train
from pipelines.recipes import Feature, Problem
from pipelines.reporting import Reporter
from pipelines.resuming import Past
from pipelines.training import Arrays, Trained
from registry.backend import Backend
from registry.errors import Interrupted, Unreachable
from registry.provenance import Provenance
from registry.records import Pinned, Version

_VALIDATION = ("val", "validation")  # what people call the split that is for choosing the epoch


@dataclass(frozen=True, kw_only=True)
class Result:
    """The model version and what `model.yaml` says about it."""

    version: Version
    file: ModelFile
    run_url: str


def run(
    backend: Backend,
    dataset: Version,
    config: TrainConfig,
    *,
    name: str,
    by: Provenance,
    progress: Progress,
    mode: str | None = None,
    log: Sequence[str] = (),
    processes: int = 1,
    past: Past | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Train on the dataset's `train` split and log the model.

    Args:
        name: the collection that the model becomes a version of.
        by: the commit that goes into `model.yaml`.
        mode: of the configuration file, for whoever looks at the run.
        log: where metrics go besides W&B; see `pipelines.loggers.parse`.
        processes: that train together, each with a share of every batch.
        past: the run to go on with; None begins one.
        tell: told which run it is as soon as there is one, because whoever loses it later needs its name.
    Raises:
        BadData: the dataset has no `train` split or is damaged.
        Interrupted, Unreachable: by Ctrl-C, or the server was lost; says how to go on.
        DeviceUnavailable, BadSettings, ParityFailed: see `pipelines.training.fit` and `pipelines.onnx_export`.
    """
    wanted = [loggers.parse(text) for text in log]
    described = {
        **config.model_dump(mode="json"),
        "dataset": str(dataset.origin),
        "dataset_digest": str(dataset.digest),
        "output": name,
        "mode": mode,
        "log": list(log),
        "nproc": processes,
    }
    title = f"train {name} on {dataset}"
    job: Job | None = None
    try:
        with open_job(
            backend, job_type="train", name=title, config=described, resume=past.run.id if past is not None else None
        ) as job:
            tell(f"run {job.id}: {job.url}")
            data = reading.load(job.take(dataset))
            start = job.take(past.checkpoint) if past is not None and past.checkpoint is not None else None
            items, validation = _arrays(data)
            with _reporter(job, wanted, config, start=start, past=past) as reporter, progress("training") as advance:

                def keep(folder: Path, facts: Mapping[str, Any], better: bool) -> None:
                    reporter.write(folder)
                    resuming.keep(job, backend, folder, facts, better=better, newest=config.checkpoint.keep)

                trained = train(
                    problem_of(data.spec),
                    config,
                    items=items,
                    validation=validation,
                    log=reporter.log,
                    on_progress=advance,
                    keep=keep,
                    start=start,
                    processes=processes,
                )
            with progress("exporting"):
                version, file = _log_model(job, trained, data, dataset, config, name=name, by=by, samples=items.inputs)
            job.summarise({f"best/val_{key}": value for key, value in trained.validation.items()})
            return Result(version=version, file=file, run_url=job.url)
    except KeyboardInterrupt as exc:
        if job is None:
            raise
        raise Interrupted("interrupted; the run can go on", hint=f"reg train --resume {job.id}") from exc
    except Unreachable as exc:
        if job is None:
            raise
        raise Unreachable(exc.message, hint=f"when the server is back: reg train --resume {job.id}") from exc


@contextmanager
def _reporter(
    job: Job, wanted: Sequence[loggers.Wanted], config: TrainConfig, *, start: Path | None, past: Past | None
) -> Iterator[Reporter]:
    """Where the rows of the run go, for the time of the block."""
    resumed = None if past is None else past.step
    values = configuration.flat(config)
    opened = [loggers.start(one, run=job.id, config=values, resumed=resumed) for one in wanted]
    failed = True
    try:
        before = reporting.read(start) if start is not None else ()
        yield Reporter(job.log, first=job.first_step, loggers=opened, before=before)
        failed = False
    finally:
        for logger in opened:
            logger.close(failed=failed)


def _arrays(data: Dataset) -> tuple[Arrays, Arrays | None]:
    """The items to train on, and the dataset's own to validate on if it has any."""
    train = data.split("train")
    own = next((name for name in _VALIDATION if name in data.spec.splits), None)
    if own is None:
        return Arrays(train.inputs, train.targets), None
    validation = data.split(own)
    return Arrays(train.inputs, train.targets), Arrays(validation.inputs, validation.targets)


def _log_model(
    job: Job,
    trained: Trained,
    data: Dataset,
    dataset: Version,
    config: TrainConfig,
    *,
    name: str,
    by: Provenance,
    samples: NDArray[Any],
) -> tuple[Version, ModelFile]:
    with tempfile.TemporaryDirectory() as folder:
        file = write_model(
            Path(folder),
            trained,
            problem=problem_of(data.spec),
            config=config,
            dataset=Pinned.of(dataset),
            samples=samples,
            git_commit=by.git_commit,
            git_dirty=by.dirty,
        )
        version = job.make_folder(
            name,
            Path(folder),
            type="model",
            metadata={
                "task": data.spec.task,
                "recipe": config.recipe,
                "dataset": str(dataset.origin),
                "dataset_digest": str(dataset.digest),
                "parameters": trained.parameters,
                **{f"val_{key}": value for key, value in trained.validation.items()},
            },
        )
    return version, file


def problem_of(spec: DatasetSpec) -> Problem:
    """What a recipe needs to know of a dataset before it has seen an item."""
    if isinstance(spec.input, ImageInput):
        shape = (spec.input.height, spec.input.width, spec.input.channels)
        return Problem(task=spec.task, labels=spec.labels, image=shape)
    features = tuple(Feature(name=c.name, kind=c.kind, categories=c.categories) for c in spec.input.columns)
    return Problem(task=spec.task, labels=spec.labels, features=features)
