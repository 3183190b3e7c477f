"""The files that a person points at: which belong to the data, which are documents beside it, which are left behind.

Whoever pushes a folder expects that what the file manager shows goes along and what the system drops there does not. A link
out of the folder is refused rather than followed, because it would carry files into an artifact that nobody pointed at.
Names are relative to the folder, with `/`, sorted by code point: the order of items never depends on a file system.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipelines.data.options import FILE, Options, read_options
from pipelines.data.spec import DESCRIPTION
from registry.errors import BadData, RegError

_LONGEST = 200
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_DOCUMENTS = frozenset({"readme", "license", "licence", "notice", "citation", "datasheet"})


class File(NamedTuple):
    """One file: `name` relative to the folder, `path` where it lies, `size` in bytes.

    With an `offset` it is a part of the file at `path`: one of many small ones in a shard (`pipelines.data.packs`).

    `stamp` is by what a change of the content shows without reading it: times of modification and of status change (ns) and
    the number of the inode. Paths are text: a folder of images holds tens of thousands of them.
    """

    name: str
    path: str
    size: int
    stamp: tuple[int, int, int] = (0, 0, 0)
    offset: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0] or "."

    def read(self) -> bytes:
        """The whole content.

        Raises:
            BadData: it cannot be read.
        """
        try:
            with open(self.path, "rb") as stream:
                if self.offset is None:
                    return stream.read()
                stream.seek(self.offset)
                return stream.read(self.size)
        except OSError as exc:
            raise unreadable(self.name, exc) from exc


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What was found at a path: candidates for data, documents that go along, and what `dataset.yaml` says.

    `name` is what the data are called when nobody says otherwise. `root` is as the person wrote it, for messages. `shards` are
    the archives that some of the files lie in.
    """

    root: Path
    name: str
    files: tuple[File, ...]
    documents: tuple[File, ...]
    said: Options
    shards: tuple[File, ...] = ()


def look(path: Path, *, linked: bool = False) -> Folder:
    """List a folder, or the one file that `path` is, with what stands beside it.

    Args:
        linked: links may lead out of the folder, because `reg` made them.

    Raises:
        BadData: nothing is there, it cannot be read, or a link leads out of it.
    """
    try:
        if not path.exists():
            raise BadData(f"there is nothing at {path}", hint="reg dataset push path/to/data --name mnist")
    except OSError as exc:
        raise unreadable(str(path), exc) from exc
    if path.is_dir():
        root, files, name = path, _walk(path, linked=linked), path.resolve().name
    elif path.is_file():
        root, files, name = path.parent, [_file(path.name, str(path))], path.name.partition(".")[0]
        files += [_file(FILE, str(beside)) for beside in (root / FILE,) if beside.is_file() and beside != path]
    else:
        raise BadData(f"{path} is neither a folder nor a file")
    said, labels_file = Options(), None
    if (root / FILE).is_file():
        said, labels_file = read_options(root / FILE)
    beside_data = {FILE} | ({labels_file.name} if labels_file else set())
    if labels_file and labels_file.name not in {file.name for file in files}:
        files.append(_file(labels_file.relative_to(root).as_posix(), str(labels_file)))
    files = sorted((file for file in files if file.name != DESCRIPTION), key=lambda file: file.name)
    documents = [file for file in files if file.name in beside_data or _is_document(file)]
    apart = {file.name for file in documents}
    return Folder(
        root=root,
        name=name,
        files=tuple(file for file in files if file.name not in apart),
        documents=tuple(documents),
        said=said,
    )


def _walk(root: Path, inside: str = "", *, linked: bool) -> list[File]:
    place = os.path.join(root, inside)
    try:
        with os.scandir(place) as found:
            entries = [entry for entry in found if not _is_junk(entry.name)]
    except OSError as exc:
        raise BadData(f"cannot read the folder {exc.filename}: {exc.strerror}", hint=f"ls -ld '{exc.filename}'") from exc
    files: list[File] = []
    folders = []
    for entry in entries:
        if entry.is_symlink():
            if not linked:
                _check_link(root, Path(entry.path))
            files.append(_file(inside + entry.name, entry.path))
        elif entry.is_file():
            files.append(_file(inside + entry.name, entry.path, entry))
        elif entry.is_dir():
            folders.append(entry.name)
    for name in sorted(folders):
        files += _walk(root, f"{inside}{name}/", linked=linked)
    return files


def _check_link(root: Path, link: Path) -> None:
    if link.is_dir():
        raise BadData(f"{link} is a link to a folder ({link.readlink()})", hint="copy the folder there, or push it by itself")
    if not link.resolve().is_relative_to(root.resolve()):
        raise BadData(f"{link} is a link out of the folder, to {link.readlink()}", hint="put a copy of the file there")


def _file(name: str, path: str, entry: os.DirEntry[str] | None = None) -> File:
    try:
        name.encode()
        found = os.stat(path) if entry is None else entry.stat()
    except UnicodeEncodeError as exc:
        raise BadData(f"the name of {os.fsencode(path)!r} is not UTF-8", hint="rename the file") from exc
    except OSError as exc:
        raise unreadable(name, exc) from exc
    return File(name, path, found.st_size, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


def _is_junk(name: str) -> bool:
    return name[0] == "." or name.lower() in _JUNK


def _is_document(file: File) -> bool:
    return "/" not in file.name and file.name.partition(".")[0].lower() in _DOCUMENTS


def unreadable(name: str, exc: Exception) -> RegError:
    """What to say when a file's bytes cannot be had or make no sense; the foreign error's first line is the reason."""
    return BadData(f"{name} cannot be read: {first_line(exc)}", hint="fetch the file again")


def first_line(exc: Exception) -> str:
    """The first line of a foreign error, fit for a terminal: it may quote the bytes that it choked on."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    line = (reason or type(exc).__name__).splitlines()[0].strip().rstrip(".:")
    return "".join(sign if sign.isprintable() else "?" for sign in line)[:_LONGEST]
