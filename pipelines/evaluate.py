"""The stage `evaluate`: model (and a second one), dataset → evaluation, scored on the graph that would be served.

Two models are scored in one process, on the same items of the same dataset version and in the same kind of session, and
each gets an evaluation of its own: what is asked of a pair later is answered from the two, item by item. The timings of
both against each other go into both, seen from either side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from pipelines import dataset as dataset_stage
from pipelines.abreast import Abreast, open_on
from pipelines.data.contents import Split
from pipelines.data.reading import Dataset
from pipelines.devices import Devices
from pipelines.job import Job, Progress, open_job
from pipelines.model_files import ModelFile, read_model
from pipelines.own_metrics import OwnMetric
from pipelines.parity import parities
from pipelines.problems import problem_of
from pipelines.runtime import Session
from pipelines.scoring import Timings, evaluate, time_against
from pipelines.showing import show
from registry.backend import Backend
from registry.errors import EvaluationMismatch
from registry.records import Evaluation, Pinned, Scored, Version

_LABELLED = 60  # metrics in an artifact's metadata, which takes 100 keys


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to evaluate, pinned.

    `batches` are the sizes at which two models are timed against each other; `latency_seconds` is the time to spend on the
    latency of each model alone, per batch size. `own` are metrics of the user's own; items that share a value of the column
    `cluster` are resampled together for them.
    """

    model: Version
    dataset: Version
    split: str
    devices: Devices
    against: Version | None = None
    placement: Literal["compute", "any"] = "compute"
    tf32: bool = False
    batches: tuple[int, ...] = (1,)
    latency_seconds: float = 1.0
    own: tuple[OwnMetric, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """An evaluation as logged; `why_cpu` says why `auto` chose the CPU."""

    version: Version
    evaluation: Evaluation
    why_cpu: str | None
    run_url: str


@dataclass(frozen=True, kw_only=True)
class _Opened:
    version: Version
    file: ModelFile
    session: Session | Abreast


def run(backend: Backend, plan: Plan, *, progress: Progress) -> list[Result]:
    """Score the plan's models and log one evaluation each; the candidate's comes first.

    Raises:
        NotFound, BadData: the dataset has no such split, or a file is damaged.
        EvaluationMismatch: a model knows other classes than the dataset.
        DeviceUnavailable: a GPU was asked for and is not really used, or several that are not alike.
    """
    models = [plan.model, *([plan.against] if plan.against is not None else [])]
    config = {
        "model": str(plan.model.origin),
        "model_digest": str(plan.model.digest),
        "against": str(plan.against.origin) if plan.against else None,
        "against_digest": str(plan.against.digest) if plan.against else None,
        "dataset": str(plan.dataset.origin),
        "dataset_digest": str(plan.dataset.digest),
        "split": plan.split,
        "device": str(plan.devices),
    }
    name = " against ".join(f"{m.origin.name}:{m.origin.tag}" for m in models)
    with open_job(backend, job_type="evaluate", name=f"evaluate {name}", config=config) as job:
        dataset = dataset_stage.opened(backend, plan.dataset, job.take(plan.dataset))
        split = dataset.split(plan.split)
        opened = [_open(job, version, dataset, plan) for version in models]
        timings = _timed(opened, split, plan.batches, progress)
        return [
            _evaluate(job, plan, opened, at, split=split, dataset=dataset, timings=timings[at], progress=progress)
            for at in range(len(opened))
        ]


def _open(job: Job, version: Version, dataset: Dataset, plan: Plan) -> _Opened:
    folder = job.take(version)
    file = read_model(folder)
    if file.task != dataset.spec.task or file.signature.targets != dataset.spec.targets:
        answers = [
            ", ".join((one, *names))
            for one, names in ((file.task, file.signature.targets), (dataset.spec.task, dataset.spec.targets))
        ]
        raise EvaluationMismatch(
            f"'{version}' was trained for {answers[0]}, '{plan.dataset}' is data for {answers[1]}",
            hint=f"reg evaluate {version.origin} --dataset NAME",
        )
    if tuple(file.labels) != tuple(dataset.spec.labels):
        raise EvaluationMismatch(
            f"'{version}' knows the classes {_few(file.labels)}, '{plan.dataset}' has {_few(dataset.spec.labels)}",
            hint=f"reg evaluate {version.origin} --dataset NAME",
        )
    session = open_on(plan.devices, folder / "model.onnx", tf32=plan.tf32, placement=plan.placement)
    return _Opened(version=version, file=file, session=session)


def _timed(opened: list[_Opened], split: Split, batches: Sequence[int], progress: Progress) -> list[Timings | None]:
    if len(opened) == 1:
        return [None]
    candidate, baseline = opened
    with progress("timing both") as advance:
        timings = time_against(candidate.session, baseline.session, split.inputs, batches=batches, on_progress=advance)
    return [timings, timings.seen_from_baseline()]


def _evaluate(
    job: Job,
    plan: Plan,
    opened: list[_Opened],
    at: int,
    *,
    split: Split,
    dataset: Dataset,
    timings: Timings | None,
    progress: Progress,
) -> Result:
    this = opened[at]
    other = opened[1 - at].version if len(opened) == 2 else None
    with tempfile.TemporaryDirectory() as folder, progress(f"scoring {this.version}") as advance:
        done = evaluate(
            this.session,
            kind=this.file.scores,
            inputs=split.inputs,
            targets=split.targets,
            items=split.items.tolist(),
            model=Pinned.of(this.version),
            dataset=Scored(
                reference=str(plan.dataset.origin),
                digest=str(plan.dataset.digest),
                split=plan.split,
                items=len(split.items),
                task=dataset.spec.task,
                labels=tuple(dataset.spec.labels),
            ),
            folder=Path(folder),
            names=dataset.spec.targets,
            against=Pinned.of(other) if other else None,
            timings=timings,
            parity=parities(
                this.session,
                this.file.parity,
                model=this.session.model,
                inputs=split.inputs,
                answer=problem_of(dataset.spec).answer,
            ),
            facts=split.facts,
            own=plan.own,
            cluster=plan.cluster,
            latency_seconds=plan.latency_seconds,
            on_progress=advance,
        )
        runtime = done.evaluation.runtime
        logged = job.make_folder(
            f"evaluation-{this.version.origin.name}",
            Path(folder),
            type="evaluation",
            metadata={
                "model": str(this.version.origin),
                "model_digest": str(this.version.digest),
                "dataset": str(plan.dataset.origin),
                "dataset_digest": str(plan.dataset.digest),
                "split": plan.split,
                "against_digest": str(other.digest) if other else None,
                "device": runtime.device,
                "fingerprint": runtime.fingerprint,
                **({"own_metrics": {metric.name: metric.source for metric in plan.own}} if plan.own else {}),
                **({"cluster": plan.cluster} if plan.own and plan.cluster else {}),
                **dict(islice(((name, metric.value) for name, metric in done.evaluation.metrics.items()), _LABELLED)),
            },
        )
    if at == 0:
        show(job, done, split, labels=dataset.spec.labels)
    return Result(
        version=logged,
        evaluation=done.evaluation,
        why_cpu=this.session.why_cpu,
        run_url=job.url,
    )


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f", … ({len(labels)})" if len(labels) > 5 else "")
