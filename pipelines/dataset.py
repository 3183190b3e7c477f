"""The stage `dataset`: files → dataset version, looked at before anything is written (`pipelines.looking`).

A version may refer to data instead of holding them. Files of this disk are looked at all the same; of a bucket only names,
sizes and checksums are known when it is pushed, and its description is made by whoever first reads the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.files import File, Files, unreadable
from pipelines.data.inputs import Room
from pipelines.data.memory import Memory
from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspected, load
from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.job import open_job
from pipelines.looking import Look
from registry.backend import Backend
from registry.backend_references import uri_of
from registry.errors import BadData
from registry.hashed_files import HashedFiles, Since
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
    files, staying = look.found.kept, Files.of(())
    if refer:
        is_data = files.are_among(set(look.found.data.names))
        files, staying = files.at(~is_data), files.at(is_data)
    config = {"format": spec.format, "task": spec.task, "items": spec.items}
    with (
        open_job(backend, job_type="dataset", name=f"push {spec.name}", config=config, computes=False) as job,
        tempfile.TemporaryDirectory() as folder,
    ):
        hashed = _hashed(files, look, embedded=backend.settings.embedded)
        described = spec.to_json().encode()
        description = Path(folder) / DESCRIPTION
        description.write_bytes(described)
        version = job.make(
            spec.name,
            type="dataset",
            files=[(DESCRIPTION, description)],
            hashed=hashed,
            since=None if refer else _since(look.memory, files, hashed),
            references=[(uri_of(file.path), file.name) for file in staying],
            aliases=aliases,
            metadata={
                "format": spec.format,
                "task": spec.task,
                "classes": len(spec.labels),
                "input": str(spec.input),
                **{f"{name}_items": split.items for name, split in spec.splits.items()},
                "overlapping_items": sum(overlap.items for overlap in spec.overlaps),
            },
            # If the version comes to nothing, its digest will show that to the next push.
            meanwhile=lambda digest: _remember(look, files, hashed, described, "" if refer else digest),
        )
        is_new = job.made(version)
    return Pushed(version=version, is_new=is_new, run_url=job.url)


def refer(backend: Backend, uri: str, options: Options, *, aliases: Sequence[str] = ()) -> Pushed:
    """Log what lies at a URI, by the checksums that its server gives, as a version that refers to it.

    Args:
        options: how the data are to be read once they are; `name` is the collection's.
    Raises:
        BadData: there is nothing at the URI, or its server gives no checksum.
    """
    assert options.name is not None
    said = {key: value for key, value in vars(options).items() if value is not None}
    config = {"reference": uri, **said}
    with open_job(backend, job_type="dataset", name=f"push {options.name}", config=config, computes=False) as job:
        metadata = {"reference": uri, SAID: json.dumps(said)}
        version = job.make(options.name, type="dataset", files=(), references=[(uri, None)], aliases=aliases, metadata=metadata)
        is_new = job.made(version)
    return Pushed(version=version, is_new=is_new, run_url=job.url)


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


def _since(memory: Memory, files: Files, hashed: HashedFiles) -> Since | None:
    """How files differ from those that were pushed last from the same folder."""
    if not memory.version:
        return None
    changed = np.flatnonzero(~memory.pushed(files, _rows(hashed.md5s)))
    is_less = not memory.lacks_none(files)
    return Since(digest=memory.version, count=memory.count, changed=hashed.at(changed.tolist()), is_less=is_less)


def _remember(look: Look, files: Files, hashed: HashedFiles, described: bytes, version: str) -> None:
    data = look.found.data
    look.memory.keep(
        files,
        _rows(hashed.md5s),
        data.at(~data.are_among(set(files.names))),
        look.found.pictures,
        rendered=look.found.rendered,
        version=version,
        made={DESCRIPTION: hashlib.md5(described, usedforsecurity=False).digest()},
    )


def _hashed(files: Files, look: Look, *, embedded: bool) -> HashedFiles:
    """The digests of files: copied and hashed already, remembered, or hashed now.

    Raises:
        BadData: one changed since it was looked at, or cannot be read.
    """
    taken = dict(zip(look.new.names, (md5 for md5, _ in look.intake.keep()), strict=False))
    new = ~look.memory.knows(files)  # of the others nothing was read but their status, which is that of the remembered bytes
    found = []
    for file in files.at(new):
        found.append(bytes.fromhex(taken.get(file.name) or _md5(file)))
        there = os.stat(file.path)
        if (there.st_size, there.st_mtime_ns) != (file.size, file.stamp[0]):
            raise BadData(f"{file.name} changed while it was being pushed", hint="push again when nothing writes to it")
    md5s, stored = look.memory.md5s(files), files.are_among(taken) | ~new
    md5s[new] = _rows(b"".join(found))
    return HashedFiles(
        names=files.names,
        paths=files.paths,
        md5s=md5s.tobytes(),
        sizes=files.sizes.tolist(),
        stored=(stored & embedded).tolist(),
    )


def _rows(md5s: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(md5s, np.uint8).reshape(-1, 16)


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
