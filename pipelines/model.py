"""The stage `model`: an ONNX graph made elsewhere → model version, with lineage to the dataset it was checked against."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.data import reading
from pipelines.job import Progress, open_job
from pipelines.model_files import Code
from pipelines.outside_models import Brought, Statement, bring, graph_in
from registry.backend import Backend
from registry.card import Words
from registry.card_words import of_latest
from registry.provenance import Provenance
from registry.records import Pinned, Version


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The model version and what was found out about it."""

    version: Version
    brought: Brought
    run_url: str


def push(
    backend: Backend,
    path: Path,
    dataset: Version,
    *,
    name: str,
    statement: Statement,
    by: Provenance,
    progress: Progress,
    card: Words | None = None,
) -> Pushed:
    """Check a graph against a dataset and log it as a version that can be evaluated, gated and promoted.

    Args:
        name: the collection that it becomes a version of.
        card: what people say about the model; None keeps what they said about the latest version of the collection.
    Raises:
        BadData, BadSettings, MissingDependency: see `pipelines.outside_models.bring`.
    """
    source = graph_in(path)
    config = {"file": source.name, "dataset": str(dataset.origin), "dataset_digest": str(dataset.digest)}
    with (
        open_job(backend, job_type="model", name=f"push {name} from {source.name}", config=config) as job,
        tempfile.TemporaryDirectory() as folder,
    ):
        with progress("checking"):
            brought = bring(
                path,
                Path(folder),
                dataset=reading.load(job.take(dataset)),
                pinned=Pinned.of(dataset),
                statement=statement,
                code=Code(commit=by.git_commit, dirty=by.dirty),
                card=card or of_latest(backend, name),
            )
        version = job.make_folder(name, Path(folder), type="model", metadata=labels(brought))
        return Pushed(version=version, brought=brought, run_url=job.url)


def labels(brought: Brought) -> dict[str, object]:
    """The artifact's metadata: what a list shows."""
    file = brought.file
    return {
        "task": file.task,
        "made": "elsewhere",
        "scores": file.scores,
        "dataset": file.dataset.reference,
        "dataset_digest": file.dataset.digest,
    }
