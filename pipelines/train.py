"""The stage `train`: dataset → model: weights, an ONNX graph with its preprocessing, and a file that says how it was made.

An interrupted run is gone on with by the same stage: the same W&B run, from its last checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import config as configuration
from pipelines import dataset as dataset_stage
from pipelines import loggers, ranks, reporting, resuming, training_data
from pipelines.config import TrainConfig
from pipelines.data.contents import Split
from pipelines.data.reading import Dataset
from pipelines.data.spec import DatasetSpec
from pipelines.job import Job, Progress, open_job
from pipelines.meeting import LostRank, Meeting
from pipelines.model_files import TrainedModelFile, write_model
from pipelines.overlays import heated, in_colour
from pipelines.problems import problem_of
from pipelines.processes import train
from pipelines.recipes import sources
from pipelines.reporting import Reporter
from pipelines.resuming import Past
from pipelines.training import Trained
from pipelines.trial import Attempt
from registry.backend import Backend
from registry.card import Words
from registry.card_words import of_latest
from registry.errors import Interrupted, Unreachable
from registry.provenance import Provenance
from registry.records import Pinned, Version

_EXPLAINED = 16  # images


@dataclass(frozen=True, kw_only=True)
class Result:
    """The model version and what `model.yaml` says about it."""

    version: Version
    file: TrainedModelFile
    run_url: str


def run(
    backend: Backend,
    dataset: Version,
    config: TrainConfig,
    *,
    name: str,
    by: Provenance,
    progress: Progress,
    card: Words | None = None,
    mode: str | None = None,
    log: Sequence[str] = (),
    processes: int = 1,
    meeting: Meeting | None = None,
    past: Past | None = None,
    attempt: Attempt | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Result:
    """Train on the dataset's `train` split and log the model.

    Args:
        name: the collection that the model becomes a version of.
        by: the commit that goes into `model.yaml`.
        card: what people say about the model; None keeps what they said about the latest version of the collection.
        mode: of the configuration file, for whoever looks at the run.
        log: where metrics go besides W&B; see `pipelines.loggers.parse`.
        processes: that this one starts to train together, each with a share of every batch.
        meeting: with the other ranks, where a launcher started them and this is the leader.
        past: the run to go on with; None begins one.
        attempt: at a trial of a sweep, if it is one.
        tell: told which run it is as soon as there is one, because whoever loses it later needs its name.
    Raises:
        CodeFailed: a recipe in a file raised; says where.
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
        **(ranks.described(meeting.launch) if meeting is not None else {}),
        **(attempt.described if attempt is not None else {}),
    }
    together = partial(ranks.train, meeting) if meeting is not None else partial(train, processes=processes)
    title = f"train {name} on {dataset}"
    job: Job | None = None
    try:
        with ExitStack() as stack:
            resume = past.run.id if past is not None else None
            opened = open_job(backend, job_type="train", name=title, config=described, resume=resume)
            job = stack.enter_context(opened)
            if attempt is not None:
                stack.enter_context(attempt.told(job))
            tell(f"run {job.id}: {backend.page(job.url)}")
            files = job.take(dataset)
            data = dataset_stage.opened(backend, dataset, files)
            start = job.take(past.checkpoint) if past is not None and past.checkpoint is not None else None
            subject = training_data.read(data, files, config)
            if meeting is not None:
                checkpoint = past.checkpoint if past is not None else None
                ranks.tell_plan(meeting, config, dataset=dataset, files=files, checkpoint=checkpoint, start=start)
            (items, validation), samples = subject.arrays, subject.items
            with (
                sources.blamed(subject.recipe),
                _reporter(job, wanted, config, start=start, past=past) as reporter,
                progress("training") as advance,
            ):

                def keep(folder: Path, facts: Mapping[str, Any], better: bool) -> None:
                    reporter.write(folder)
                    resuming.keep(job, backend, folder, facts, better=better, newest=config.checkpoint.keep)
                    if attempt is not None:
                        job.expect_interruption()

                trained = together(
                    subject.problem,
                    config,
                    items=items,
                    validation=validation,
                    log=reporter.log,
                    on_progress=advance,
                    keep=keep,
                    start=start,
                )
            with sources.blamed(subject.recipe), progress("exporting"):
                words = card or of_latest(backend, name)
                version, file = _log_model(job, trained, data, dataset, config, name=name, by=by, samples=samples, card=words)
            job.summarise({f"best/val_{key}": value for key, value in trained.validation.items()})
            if data.spec.input.kind == "image":
                seen = np.arange(len(subject.validation)) if subject.validation is not None else trained.held_out
                _explain(job, trained, data.spec, subject.validation or samples, seen)
            return Result(version=version, file=file, run_url=job.url)
    except KeyboardInterrupt as exc:
        if job is None:
            raise
        raise Interrupted("interrupted; the run can go on", hint=f"reg train --resume {job.id}") from exc
    except Unreachable as exc:
        if job is None:
            raise
        raise Unreachable(exc.message, hint=f"when the server is back: reg train --resume {job.id}") from exc
    except LostRank as exc:
        assert job is not None, "ranks are lost while they train"
        raise LostRank(exc.message, hint=f"reg train --resume {job.id}") from exc


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


def _log_model(
    job: Job,
    trained: Trained,
    data: Dataset,
    dataset: Version,
    config: TrainConfig,
    *,
    name: str,
    by: Provenance,
    samples: Split,
    card: Words | None,
) -> tuple[Version, TrainedModelFile]:
    with tempfile.TemporaryDirectory() as folder:
        file = write_model(
            Path(folder),
            trained,
            problem=problem_of(data.spec),
            config=config,
            dataset=Pinned.of(dataset),
            samples=samples.inputs,
            card=card,
            data=data.spec.model_dump(mode="json"),
            git_commit=by.git_commit,
            git_dirty=by.dirty,
        )
        version = job.make_folder(
            name,
            Path(folder),
            type="model",
            metadata={
                "task": data.spec.task,
                "recipe": file.recipe,
                "dataset": str(dataset.origin),
                "dataset_digest": str(dataset.digest),
                "parameters": trained.parameters,
                **{f"val_{key}": value for key, value in trained.validation.items()},
            },
        )
    return version, file


def _explain(job: Job, trained: Trained, spec: DatasetSpec, of: Split, positions: NDArray[np.int64]) -> None:
    """Show where the network looked in some of its validation images; the model is safe already, and is worth more."""
    try:
        from pipelines.saliency import looked

        some = positions[np.unique(np.linspace(0, len(positions) - 1, _EXPLAINED).astype(int))]
        found = looked(trained.network, problem_of(spec), of.inputs[some])
    except Exception as exc:  # a network of somebody's own may do anything with a hook or a gradient
        job.summarise({"saliency_missing": str(exc)})
        return
    if found is not None:
        names, truth = spec.labels or spec.targets, of.answers(spec.labels)
        items = zip(of.items[some].tolist(), of.inputs[some], found.heat, found.shown, some, strict=True)
        job.table(
            "saliency",
            ["item", "image", f"looked at ({found.method})", "for", "truth"],
            [[item, in_colour(image), heated(image, heat), names[shown], truth[at]] for item, image, heat, shown, at in items],
        )
