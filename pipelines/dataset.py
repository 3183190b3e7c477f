"""The stage `dataset`: files → dataset version, looked at before anything is written (`pipelines.looking`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.job import open_job
from pipelines.looking import Look
from registry.backend import Backend, Hashed
from registry.errors import BadData
from registry.records import Version


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The version that now holds the files; `is_new` is False when an earlier push had made it already."""

    version: Version
    is_new: bool
    run_url: str


def push(backend: Backend, look: Look, *, aliases: Sequence[str] = ()) -> Pushed:
    """Log the files that were found, and their description, as a version of the collection they are named after.

    Raises:
        BadData: a file changed since it was looked at.
    """
    spec = look.found.spec
    config = {"format": spec.format, "task": spec.task, "items": spec.items}
    with (
        open_job(backend, job_type="dataset", name=f"push {spec.name}", config=config) as job,
        tempfile.TemporaryDirectory() as folder,
    ):
        md5s = _md5s(look)
        description = Path(folder) / DESCRIPTION
        description.write_text(spec.to_json(), encoding="utf-8")
        version = job.make(
            spec.name,
            type="dataset",
            files=[(DESCRIPTION, description), *((f.name, Path(f.path)) for f in look.found.kept if f.name not in md5s)],
            hashed={
                file.name: Hashed(path=os.path.abspath(file.path), md5=md5s[file.name], size=file.size)
                for file in look.found.kept
                if file.name in md5s
            },
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
    look.memory.keep(md5s, [file for file in look.found.kept if file.name in md5s], look.found.pictures, pushed={})
    return Pushed(version=version, is_new=maker is None or maker.id == job.id, run_url=job.url)


def _md5s(look: Look) -> dict[str, str]:
    """The digests of the files, by name, as far as they are known without the SDK.

    Raises:
        BadData: one changed while it was copied or looked at.
    """
    taken = dict(zip((file.name for file in look.new), look.intake.keep(), strict=False))
    md5s = {}
    for file in look.found.kept:
        remembered = look.memory.md5(file)
        md5, size = taken.get(file.name) or (remembered, file.size)
        if md5 is not None:
            there = os.stat(file.path)
            if size != file.size or (there.st_size, there.st_mtime_ns) != (file.size, file.stamp[0]):
                raise BadData(f"{file.name} changed while it was being pushed", hint="push again when nothing writes to it")
            md5s[file.name] = md5
    return md5s


def description(backend: Backend, version: Version) -> DatasetSpec:
    """The description of a version, without its data.

    Raises:
        BadData: the version was not made by `reg dataset push`, or its description is damaged.
    """
    return DatasetSpec.from_json(
        backend.read_file(version, DESCRIPTION).decode("utf-8", "replace"), file=f"{DESCRIPTION} of '{version}'"
    )
