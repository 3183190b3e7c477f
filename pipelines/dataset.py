"""The stage `dataset`: files → dataset version, looked at before anything is written (`pipelines.looking`).

A version may refer to data instead of holding them. Files of this disk are looked at all the same; of a bucket only names,
sizes and checksums are known when it is pushed, and its description is made by whoever first reads the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.data.folder import File, unreadable
from pipelines.data.inputs import Room
from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspected, load
from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.job import open_job
from pipelines.looking import Look
from registry.backend import Backend
from registry.backend_drafts import Hashed
from registry.backend_references import uri_of
from registry.collector import no_collection
from registry.errors import BadData
from registry.records import Version

# The key of a version's metadata that holds what was said about files which nobody has looked at yet.
SAID = "said"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The version that now holds the files; `is_new` is False when an earlier push had made it already."""

    version: Version
    is_new: bool
    run_url: str


def push(backend: Backend, look: Look, *, aliases: Sequence[str] = (), refer: bool = False) -> Pushed:
    """Log the files that were found, and their description, as a version of the collection they are named after.

    Args:
        refer: leave the data where they are and log where that is, with checksums.
    Raises:
        BadData: a file changed since it was looked at.
    """
    spec = look.found.spec.model_copy(update={"referred": True}) if refer else look.found.spec
    stay = {file.name for file in look.found.data} if refer else set()
    config = {"format": spec.format, "task": spec.task, "items": spec.items}
    with (
        open_job(backend, job_type="dataset", name=f"push {spec.name}", config=config) as job,
        tempfile.TemporaryDirectory() as folder,
    ):
        with no_collection():
            hashed = _hashed(look, apart=stay, embedded=backend.settings.embedded)
        described = spec.to_json().encode()
        description = Path(folder) / DESCRIPTION
        description.write_bytes(described)
        md5s = {name: file.md5 for name, file in hashed.items()}
        pushed = {} if refer else {**md5s, DESCRIPTION: hashlib.md5(described, usedforsecurity=False).hexdigest()}
        # If the version comes to nothing, its digest will show that to the next push.
        remember = partial(
            look.memory.keep,
            md5s,
            chain(look.found.kept, look.found.data),
            look.found.pictures,
            pushed=pushed,
            rendered=look.found.rendered,
        )
        version = job.make(
            spec.name,
            type="dataset",
            files=[(DESCRIPTION, description)],
            hashed=hashed,
            since={} if refer else look.memory.pushed,
            references=[(uri_of(file.path), file.name) for file in look.found.kept if file.name in stay],
            aliases=aliases,
            metadata={
                "format": spec.format,
                "task": spec.task,
                "classes": len(spec.labels),
                "input": str(spec.input),
                **{f"{name}_items": split.items for name, split in spec.splits.items()},
                "overlapping_items": sum(overlap.items for overlap in spec.overlaps),
            },
            meanwhile=remember,
        )
        maker = backend.made_by(version)
    return Pushed(version=version, is_new=maker is None or maker.id == job.id, run_url=job.url)


def refer(backend: Backend, uri: str, options: Options, *, aliases: Sequence[str] = ()) -> Pushed:
    """Log what lies at a URI, by the checksums that its server gives, as a version that refers to it.

    Args:
        options: how the data are to be read once they are; `name` is the collection's.
    Raises:
        BadData: there is nothing at the URI, or its server gives no checksum.
    """
    assert options.name is not None
    said = {key: value for key, value in vars(options).items() if value is not None}
    with open_job(backend, job_type="dataset", name=f"push {options.name}", config={"reference": uri, **said}) as job:
        metadata = {"reference": uri, SAID: json.dumps(said)}
        version = job.make(options.name, type="dataset", files=(), references=[(uri, None)], aliases=aliases, metadata=metadata)
        maker = backend.made_by(version)
    return Pushed(version=version, is_new=maker is None or maker.id == job.id, run_url=job.url)


def opened(backend: Backend, version: Version, folder: Path) -> Dataset:
    """A dataset version whose files are in a folder; one that came without a description is looked at now.

    Raises:
        BadData: the files are no dataset, or not the one that the description says.
    """
    return read(folder, version.metadata, memory=backend.settings.data_memory)


def read(folder: Path, metadata: Mapping[str, Any], *, memory: int) -> Dataset:
    """The same for a version of which only the metadata are known; `memory` in bytes, see `registry.settings`."""
    if SAID in metadata:
        said: dict[str, Any] = json.loads(metadata[SAID])
        return inspected(folder, Options(**said), Room(memory, folder.parent))
    return load(folder, memory=memory)


def is_described(version: Version) -> bool:
    """Whether it is known what is in the version; of objects in a bucket it is not until they are read."""
    return SAID not in version.metadata


def _hashed(look: Look, *, embedded: bool, apart: Set[str] = frozenset()) -> dict[str, Hashed]:
    """The digest of every file, by name: copied and hashed already, remembered, or hashed now.

    Args:
        apart: names of files that are not to be stored.
    Raises:
        BadData: one changed since it was looked at, or cannot be read.
    """
    taken = {file.name: md5 for file, (md5, _) in zip(look.new, look.intake.keep(), strict=False)}
    found = {}
    for file in look.found.kept:
        if file.name in apart:
            continue
        known = md5 = look.memory.md5(file)
        if md5 is None:  # else nothing of it was read but its status, which is that of the remembered bytes
            known = taken.get(file.name)
            md5 = known or _md5(file)
            there = os.stat(file.path)
            if (there.st_size, there.st_mtime_ns) != (file.size, file.stamp[0]):
                raise BadData(f"{file.name} changed while it was being pushed", hint="push again when nothing writes to it")
        found[file.name] = Hashed(file.path, md5, file.size, embedded and known is not None)
    return found


def _md5(file: File) -> str:
    try:
        with open(file.path, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as exc:
        raise unreadable(file.name, exc) from exc


def description(backend: Backend, version: Version) -> DatasetSpec:
    """The description of a version, without its data unless they must be read for it.

    Raises:
        BadData: the version was not made by `reg dataset push`, or its description is damaged.
    """
    if not is_described(version):
        return opened(backend, version, backend.download(version)).spec
    return DatasetSpec.from_json(
        backend.read_file(version, DESCRIPTION).decode("utf-8", "replace"), file=f"{DESCRIPTION} of '{version}'"
    )
