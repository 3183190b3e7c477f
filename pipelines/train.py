"""The stage `train`: dataset → model: weights, an ONNX graph with its preprocessing, and a file that says how it was made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import TrainConfig
from pipelines.data import reading
from pipelines.job import Progress, open_job
from pipelines.model_files import TrainedModelFile, write_model
from pipelines.own_items import own_split
from pipelines.problems import problem_of
from pipelines.recipes import find, sources
from pipelines.training import fit
from registry.backend import Backend
from registry.card import Words
from registry.card_words import of_latest
from registry.provenance import Provenance
from registry.records import Pinned, Version


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
        data = reading.load(files)
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
        return Result(version=version, file=file, run_url=job.url)
