"""Many small files as few large ones: WebDataset shards, plain tar archives that any tool unpacks into the very same folder.

Each shard stands beside its index in the form that NVIDIA DALI reads too, so that a file is found without walking the archive.
Bytes depend on names and contents alone. Which shard a file belongs to is decided by its name, not by what lies before it: one
changed file changes one shard, and the others are not stored again. The number of shards is a power of two, so it changes
seldom as a dataset grows.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from pipelines.data.files import File, file_at, joined, unreadable
from pipelines.data.folder import Folder
from pipelines.data.splits import split_named
from registry.copying import arriving
from registry.errors import BadData, EnvironmentProblem

SHARD_SIZE = 128 << 20
_NAME = re.compile(r"(?P<group>[a-z]+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<kind>tar|idx)")
_INDEX = "v1.2"
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_PART = 1 << 20

OnFile = Callable[[int], None]
"""Told the size of each file that was packed."""


def pack(
    files: Iterable[File], folder: Path, *, shard_size: int = SHARD_SIZE, on_file: OnFile = lambda size: None
) -> list[File]:
    """Write files into shards and their indexes.

    Args:
        folder: exists, empty.
        shard_size: wanted bytes; shards are half of it on average and seldom more.
    Returns:
        The shards and indexes, sorted by name.
    Raises:
        BadData: a file cannot be read, changed meanwhile, or has a line break in its name.
        EnvironmentProblem: the folder cannot hold them.
    """
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        if "\n" in file.name:
            raise BadData(
                f"the name {file.name!r} has a line break, which no index of a shard can hold", hint="rename the file"
            )
        groups[_group(file)].append(file)
    try:
        for group, members in groups.items():
            count = 1
            while count * shard_size < sum(_BLOCK + file.size + -file.size % _BLOCK for file in members):
                count *= 2
            shards: dict[int, list[File]] = defaultdict(list)
            for file in members:
                shards[_number(file, count)].append(file)
            for number, some in shards.items():
                _write(folder / f"{group}-{number:05d}-of-{count:05d}", sorted(some, key=lambda file: file.name), on_file)
    except OSError as exc:
        raise EnvironmentProblem(
            f"shards cannot be written to {folder}: {exc.strerror}", hint="export REG_HOME=/a/larger/disk"
        ) from exc
    return [file_at(path.name, str(path)) for path in sorted(folder.iterdir())]


def is_shard(name: str) -> bool:
    """Whether a file is a shard or an index, by its name (relative, with `/`)."""
    return _NAME.fullmatch(name) is not None


def opened(folder: Folder) -> Folder:
    """The folder as it was before its files were packed, if they were.

    Raises:
        BadData: see `members`; or a file lies both inside and beside the shards.
    """
    shards = [folder.files[at] for at, name in enumerate(folder.files.names) if "/" not in name and is_shard(name)]
    if not shards:
        return folder
    apart = {file.name for file in shards}
    files = joined([file for file in folder.files if file.name not in apart], members(shards))
    for one, next_ in pairwise(files):
        if one.name == next_.name:
            raise BadData(f"{one.name} is there twice: at {one.path} and at {next_.path}", hint="remove one of them")
    return replace(folder, files=files, shards=tuple(shards))


def members(files: Sequence[File]) -> Iterator[File]:
    """The files inside shards.

    Args:
        files: shards and indexes.
    Raises:
        BadData: a shard without its index or the other way round, one of them missing, or an index that is damaged.
    """
    there = {file.name: file for file in files}
    for name in there:
        match = _NAME.fullmatch(name)
        assert match is not None, name
        if match["count"] != f"{int(match['count']):05d}" or int(match["number"]) >= int(match["count"]):
            raise BadData(f"{name} cannot be: shards are numbered from 0", hint="fetch the folder again")
    for name, shard in sorted(there.items()):
        stem, kind = os.path.splitext(name)
        other = f"{stem}.{'idx' if kind == '.tar' else 'tar'}"
        if other not in there:
            raise BadData(f"{name} stands alone, {other} is missing", hint="fetch the folder again")
        if kind == ".tar":
            yield from _members(shard, there[other])


def unpacked(folder: Path, target: Path) -> Path:
    """Copy the files of a folder into another one, those inside shards as themselves.

    Args:
        target: absent or empty.
    Returns:
        `target`, absolute.
    Raises:
        UsageError: the target holds something already, or cannot be written.
        BadData: see `members`.
    """
    with arriving(target) as draft:
        _unpack(folder, draft)
    return target.absolute()


def _unpack(folder: Path, target: Path) -> None:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    shards = [file_at(path.name, str(path)) for path in found if path.parent == folder and is_shard(path.name)]
    for path in found:
        if not (path.parent == folder and is_shard(path.name)):
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    for member in members(shards):
        place = target / member.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(member.read())


def _group(file: File) -> str:
    return next((split for part in file.parts[:-1] if (split := split_named(part))), "data")


def _number(file: File, count: int) -> int:
    return int.from_bytes(blake2b(file.name.encode(), digest_size=8).digest()) % count


def _write(stem: Path, files: Sequence[File], on_file: OnFile) -> None:
    lines = [f"{_INDEX} {len(files)}"]
    with open(f"{stem}.tar", "xb") as shard:
        for file in files:
            content = _content(file)
            header = tarfile.TarInfo(file.name)
            header.size, header.mode = len(content), 0o644
            shard.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
            lines.append(f"{_extension(file.name)} {shard.tell()} {len(content)} {file.name}")
            shard.write(content + bytes(-len(content) % _BLOCK))
            on_file(len(content))
        shard.write(bytes(2 * _BLOCK))
        shard.write(bytes(-shard.tell() % _RECORD))
    Path(f"{stem}.idx").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _content(file: File) -> bytes:
    content = file.read()
    there = os.stat(file.path)
    if len(content) != file.size or (file.offset is None and there.st_mtime_ns != file.stamp[0]):
        raise BadData(f"{file.name} changed while it was being packed", hint="push again when nothing writes to it")
    return content


def _extension(name: str) -> str:
    """WebDataset's: all that follows the first dot of the last part; DALI wants something there, and no space."""
    return name.rpartition("/")[2].partition(".")[2].replace(" ", "_") or "bin"


def _members(shard: File, index: File) -> Iterator[File]:
    try:
        with open(index.path, encoding="utf-8", newline="\n") as lines:
            said = next(lines, "").split()
            count = 0
            for line in lines:
                _, offset, size, name = line.rstrip("\n").split(" ", 3)
                file = File(name=name, path=shard.path, size=int(size), stamp=shard.stamp, offset=int(offset))
                parts = file.parts
                if not (0 <= file.size <= shard.size - int(offset) and int(offset) >= 0) or not all(
                    part not in ("", ".", "..") for part in parts
                ):
                    raise ValueError(f"'{line.strip()}' does not lie in a shard of {shard.size} bytes")
                count += 1
                yield file
        if said != [_INDEX, str(count)]:
            raise ValueError(f"it begins with '{' '.join(said)}' and names {count} files")
    except (OSError, ValueError) as exc:
        raise unreadable(index.name, exc) from exc
