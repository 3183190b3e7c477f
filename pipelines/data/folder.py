"""The files that a person points at: which belong to the data, which are documents beside it, which are left behind.

Whoever pushes a folder expects that what the file manager shows goes along and what the system drops there does not. A link
out of the folder is refused rather than followed, because it would carry files into an artifact that nobody pointed at.
Names are relative to the folder, with `/`, sorted by code point: the order of items never depends on a file system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.data.files import File, Files, file_at, joined, unreadable
from pipelines.data.options import FILE, Options, read_options
from pipelines.data.spec import DESCRIPTION
from pipelines.data.walking import Found, walk
from registry.errors import BadData, RegError

# What stands for bytes that are no text, and what cannot be seen: no server would take such a name for a path.
_ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_DOCUMENTS = frozenset({"readme", "license", "licence", "notice", "citation", "datasheet"})


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What was found at a path: candidates for data, documents that go along, and what `dataset.yaml` says.

    `name` is what the data are called when nobody says otherwise. `root` is as the person wrote it, for messages. `shards` are
    the archives that some of the files lie in.
    """

    root: Path
    name: str
    files: Files
    documents: Files
    said: Options
    shards: tuple[File, ...] = ()


def look(path: Path, *, linked: bool = False, walked: Callable[[str], Found] = walk) -> Folder:
    """List a folder, or the one file that `path` is, with what stands beside it.

    Args:
        linked: links may lead out of the folder, because `reg` made them.
        walked: what finds the files below a folder.
    Raises:
        BadData: nothing is there, it cannot be read, or a link leads out of it.
    """
    try:
        if not path.exists():
            raise BadData(f"there is nothing at {path}", hint="reg dataset push path/to/data --name mnist")
    except OSError as exc:
        raise unreadable(str(path), exc) from exc
    if path.is_dir():
        root, files, name = path, _below(path, linked=linked, walked=walked), path.resolve().name
    elif path.is_file():
        root, files, name = path.parent, Files.of([_file(path.name, str(path))]), path.name.partition(".")[0]
        files = joined(files, [_file(FILE, str(beside)) for beside in (root / FILE,) if beside.is_file() and beside != path])
    else:
        raise BadData(f"{path} is neither a folder nor a file")
    said, labels_file = Options(), None
    if (root / FILE).is_file():
        said, labels_file = read_options(root / FILE)
    not_data = {FILE, DESCRIPTION} | ({labels_file.name} if labels_file else set())
    if labels_file and labels_file.name not in files.names:
        files = joined(files, [_file(labels_file.relative_to(root).as_posix(), str(labels_file))])
    apart = [at for at, name in enumerate(files.names) if "/" not in name and (name in not_data or _is_document(name))]
    is_data = np.ones(len(files), dtype=bool)
    is_data[apart] = False
    return Folder(
        root=root,
        name=name,
        files=files.at(is_data) if apart else files,
        documents=Files.of([files[at] for at in apart if files.names[at] != DESCRIPTION]),
        said=said,
    )


def _below(root: Path, *, linked: bool, walked: Callable[[str], Found]) -> Files:
    try:
        found = walked(str(root))
    except OSError as exc:
        raise _not_walked(root, exc) from exc
    if _ODD.search("".join(found.names)):
        for name in found.names:
            _check_name(name)
    if not linked:
        for link in found.links:
            _check_link(root, root / link)
    files = Files(found.names, np.frombuffer(found.stamps, dtype=np.int64).reshape(-1, 4), str(root))
    return joined(files, [_file(link, str(root / link)) for link in found.links]) if found.links else files


def _not_walked(root: Path, exc: OSError) -> RegError:
    if os.path.isdir(exc.filename):
        return BadData(f"cannot read the folder {exc.filename}: {exc.strerror}", hint=f"ls -ld '{exc.filename}'")
    return unreadable(os.path.relpath(exc.filename, root), exc)


def _check_name(name: str) -> None:
    odd = _ODD.search(name)
    if odd is not None and odd[0] >= "\ud800":
        raise BadData(f"the name of {os.fsencode(name)!r} is not UTF-8", hint="rename the file")
    if odd is not None:
        raise BadData(f"the name of {name!r} holds {odd[0]!r}, which nobody sees", hint="rename the file")


def _check_link(root: Path, link: Path) -> None:
    if link.is_dir():
        raise BadData(f"{link} is a link to a folder ({link.readlink()})", hint="copy the folder there, or push it by itself")
    if not link.resolve().is_relative_to(root.resolve()):
        raise BadData(f"{link} is a link out of the folder, to {link.readlink()}", hint="put a copy of the file there")


def _file(name: str, path: str) -> File:
    _check_name(name)
    return file_at(name, path)


def _is_document(name: str) -> bool:
    return name.partition(".")[0].lower() in _DOCUMENTS
