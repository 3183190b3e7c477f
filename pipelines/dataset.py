"""The stage `dataset`: files → dataset version, looked at before anything is written (`pipelines.looking`)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.data.folder import File, unreadable
from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.job import open_job
from pipelines.looking import Look
from registry.backend import Backend
from registry.backend_drafts import Hashed
from registry.collector import no_collection
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
        with no_collection():
            hashed = _hashed(look, embedded=backend.settings.embedded)
        description = Path(folder) / DESCRIPTION
        description.write_text(spec.to_json(), encoding="utf-8")
        version = job.make(
            spec.name,
            type="dataset",
            files=[(DESCRIPTION, description)],
            hashed=hashed,
            since=look.memory.pushed,
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
        md5s = {name: file.md5 for name, file in hashed.items()}
        pushed = {**md5s, DESCRIPTION: hashlib.md5(description.read_bytes(), usedforsecurity=False).hexdigest()}
    look.memory.keep(md5s, {*look.found.kept, *look.found.data}, look.found.pictures, pushed=pushed)
    return Pushed(version=version, is_new=maker is None or maker.id == job.id, run_url=job.url)


def _hashed(look: Look, *, embedded: bool) -> dict[str, Hashed]:
    """The digest of every file, by name: copied and hashed already, remembered, or hashed now.

    Raises:
        BadData: one changed since it was looked at, or cannot be read.
    """
    taken = {file.name: md5 for file, (md5, _) in zip(look.new, look.intake.keep(), strict=False)}
    found = {}
    here = os.getcwd()
    for file in look.found.kept:
        remembered = look.memory.md5(file)
        known = remembered or taken.get(file.name)
        md5 = known or _md5(file)
        if remembered is None:  # else nothing of it was read but its status, which is that of the remembered bytes
            there = os.stat(file.path)
            if (there.st_size, there.st_mtime_ns) != (file.size, file.stamp[0]):
                raise BadData(f"{file.name} changed while it was being pushed", hint="push again when nothing writes to it")
        path = os.path.join(here, file.path)
        found[file.name] = Hashed(path=path, md5=md5, size=file.size, stored=embedded and known is not None)
    return found


def _md5(file: File) -> str:
    try:
        with open(file.path, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as exc:
        raise unreadable(file.name, exc) from exc


def description(backend: Backend, version: Version) -> DatasetSpec:
    """The description of a version, without its data.

    Raises:
        BadData: the version was not made by `reg dataset push`, or its description is damaged.
    """
    return DatasetSpec.from_json(
        backend.read_file(version, DESCRIPTION).decode("utf-8", "replace"), file=f"{DESCRIPTION} of '{version}'"
    )
