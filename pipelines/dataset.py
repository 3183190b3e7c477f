"""The stage `dataset`: files → dataset version, looked at before anything is written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.reading import Inspection
from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.job import open_job
from registry.backend import Backend
from registry.records import Version


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The version that now holds the files; `is_new` is False when an earlier push had made it already."""

    version: Version
    is_new: bool
    run_url: str


def push(backend: Backend, found: Inspection, *, aliases: Sequence[str] = ()) -> Pushed:
    """Log the files that were found, and their description, as a version of the collection they are named after."""
    spec = found.spec
    config = {"format": spec.format, "task": spec.task, "items": spec.items}
    with (
        open_job(backend, job_type="dataset", name=f"push {spec.name}", config=config) as job,
        tempfile.TemporaryDirectory() as folder,
    ):
        description = Path(folder) / DESCRIPTION
        description.write_text(spec.to_json(), encoding="utf-8")
        version = job.make(
            spec.name,
            type="dataset",
            files=[*found.files, (DESCRIPTION, description)],
            aliases=aliases,
            metadata={
                "format": spec.format,
                "task": spec.task,
                "classes": len(spec.labels),
                "input": str(spec.input),
                **{f"{name}_items": split.items for name, split in spec.splits.items()},
                "overlapping_items": sum(overlap.items for overlap in spec.overlaps),
            },
        )
        maker = backend.made_by(version)
        return Pushed(version=version, is_new=maker is None or maker.id == job.id, run_url=job.url)


def description(backend: Backend, version: Version) -> DatasetSpec:
    """The description of a version, without its data.

    Raises:
        BadData: the version was not made by `reg dataset push`, or its description is damaged.
    """
    return DatasetSpec.from_json(
        backend.read_file(version, DESCRIPTION).decode("utf-8", "replace"), file=f"{DESCRIPTION} of '{version}'"
    )
