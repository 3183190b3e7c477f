"""The stage `train`: dataset → model: weights, an ONNX graph with its preprocessing, and a file that says how it was made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import dataset as dataset_stage
from pipelines.config import TrainConfig
from pipelines.data.contents import Split
from pipelines.data.spec import DatasetSpec
from pipelines.job import Job, Progress, open_job
from pipelines.model_files import TrainedModelFile, write_model
from pipelines.own_items import own_split
from pipelines.problems import problem_of
from pipelines.recipes import find, sources
from pipelines.showing import show_where_it_looked
from pipelines.training import Trained, fit
from registry.backend import Backend
from registry.card import Words
from registry.card_words import of_latest
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
) -> Result:
    """Train on the dataset's `train` split and log the model.

    Args:
        name: the collection that the model becomes a version of.
        by: the commit that goes into `model.yaml`.
        card: what people say about the model; None keeps what they said about the latest version of the collection.
    Raises:
        CodeFailed: a recipe in a file raised; says where.
        BadData: the dataset has no `train` split or is damaged.
        DeviceUnavailable, BadSettings, ParityFailed: see `pipelines.training.fit` and `pipelines.onnx_export`.
    """
    described = {
        **config.model_dump(mode="json"),
        "dataset": str(dataset.origin),
        "dataset_digest": str(dataset.digest),
    }
    with open_job(backend, job_type="train", name=f"train {name} on {dataset}", config=described) as job:
        files = job.take(dataset)
        data = dataset_stage.opened(backend, dataset, files)
        problem, recipe = problem_of(data.spec), find(config.recipe)
        with sources.blamed(recipe):
            train = own_split(recipe, files, problem) or data.split("train")
        with sources.blamed(recipe), progress("training") as advance:
            trained = fit(problem, config, inputs=train.inputs, targets=train.targets, log=job.log, on_progress=advance)
        with tempfile.TemporaryDirectory() as folder, sources.blamed(recipe), progress("exporting"):
            file = write_model(
                Path(folder),
                trained,
                problem=problem,
                config=config,
                dataset=Pinned.of(dataset),
                samples=train.inputs,
                card=card or of_latest(backend, name),
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
        job.summarise({f"best/val_{key}": value for key, value in trained.validation.items()})
        if data.spec.input.kind == "image":
            _explain(job, trained, data.spec, train)
        return Result(version=version, file=file, run_url=job.url)


def _explain(job: Job, trained: Trained, spec: DatasetSpec, train: Split) -> None:
    """Show where the network looked in some of its validation images; the model is safe already, and is worth more."""
    try:
        from pipelines.saliency import looked

        some = trained.held_out[np.unique(np.linspace(0, len(trained.held_out) - 1, _EXPLAINED).astype(int))]
        found = looked(trained.network, problem_of(spec), train.inputs[some])
    except Exception as exc:  # a network of somebody's own may do anything with a hook or a gradient
        job.summarise({"saliency_missing": str(exc)})
        return
    if found is not None:
        names, truth = spec.labels or spec.targets, train.answers(spec.labels)
        show_where_it_looked(
            job,
            images=train.inputs[some],
            heat=found.heat,
            method=found.method,
            items=train.items[some].tolist(),
            shown=[names[at] for at in found.shown],
            truth=[truth[at] for at in some],
        )
