"""What a version refers to and does not hold: files of this disk and objects of buckets, known by their checksums.

References are the SDK's own (`add_reference` with checksums), so that any W&B client can follow them. Fetching differs from the
SDK in one place: a file of this disk is linked to instead of being copied twice, and its checksum is taken again whenever its
size, times or inode are not as they were. What changed since it was referred to is refused: a version means the same data for
ever, or nothing. An object of a bucket is fetched by the SDK, which compares its ETag, and then stays.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from registry.errors import BadData, MissingDependency, RegError, RemoteProblem, UsageError

_NEEDS: Mapping[str, tuple[str, str]] = {"s3": ("boto3", "aws"), "gs": ("google.cloud.storage", "gcp")}
_PACKAGES = {"boto3": "boto3", "google.cloud.storage": "google-cloud-storage", "azure.storage.blob": "azure-storage-blob"}
_AZURE = ".blob.core.windows.net"


class _Linked(NamedTuple):
    """A file that a version refers to: hex md5 of what it was, its path, and its stamp when that was last found to be true."""

    md5: str
    path: str
    stamp: list[int]


def check_scheme(uri: str) -> None:
    """Refuse what no checksum can be had of here.

    Raises:
        UsageError: no scheme that the SDK takes checksums of.
        MissingDependency: the scheme's package is not installed.
    """
    place = urlparse(uri)
    needed = ("azure.storage.blob", "azure") if place.netloc.endswith(_AZURE) else _NEEDS.get(place.scheme)
    if needed is None and place.scheme not in ("http", "https", "file"):
        raise UsageError(
            f"no checksum can be had of '{uri}', only of s3://, gs://, https:// and file://",
            hint="reg dataset push --reference /mount/data",
        )
    if needed is not None and not _is_there(needed[0]):
        raise MissingDependency(
            f"references to {place.scheme}://{place.netloc} need {_PACKAGES[needed[0]]}, which is not installed",
            hint=f"pip install 'wandb[{needed[1]}]'",
        )


def add(artifact: Any, uri: str, name: str | None) -> None:
    """Add a reference with its checksum; a folder or prefix becomes an entry for each object in it.

    Args:
        artifact: the SDK's draft.
        name: inside the artifact; None: as it is called there.
    Raises:
        BadData: there is nothing, or its server gives no checksum.
    """
    found = artifact.add_reference(uri, name=name, checksum=True)
    if not found:
        raise BadData(f"there is nothing at {uri}", hint="reg dataset push s3://bucket/folder/")
    for entry in found:
        if entry.digest == entry.ref:
            raise BadData(f"{entry.ref} has no ETag, so nobody could tell when it changes", hint="push a copy of it")


def name_of(uri: str) -> str:
    """What the thing at a URI is called: the last part of its path, or its host, without an extension."""
    place = urlparse(uri)
    return unquote(place.path.rstrip("/").rpartition("/")[2]).partition(".")[0] or place.netloc


def path_of(uri: str) -> Path | None:
    """The path that a `file://` URI names; None of another URI."""
    place = urlparse(uri)
    return Path(url2pathname(place.path)) if place.scheme == "file" else None


def uri_of(path: str) -> str:
    """The `file://` URI of a path, as the SDK reads it back."""
    return Path(os.path.abspath(path)).as_uri()


def gather(artifact: Any, folder: Path, *, version: str, links: Path | None) -> None:
    """Put what a version refers to on this disk into an empty folder, and let the SDK fetch the rest there.

    Args:
        artifact: the SDK's object of the version.
        links: where the folder will be, to which links suffice (`check_links` verifies them there); None: verified copies.
    Raises:
        BadData: a file is gone; or, where it is copied, no longer what the version refers to.
    """
    root = os.path.abspath(folder)
    linked: dict[str, _Linked] = {}
    for name, entry in artifact.manifest.entries.items():
        place = os.path.normpath(os.path.join(root, name))
        if not place.startswith(root + os.sep):
            raise RemoteProblem(f"'{name}' of '{version}' would be written outside of {folder}", hint="do not trust it")
        if entry.ref is None or urlparse(entry.ref).scheme != "file":
            _fetch(artifact.get_entry(name), folder, version)
            continue
        file = _Linked(md5=b64decode(entry.digest).hex(), path=url2pathname(urlparse(entry.ref).path), stamp=[])
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if links is None:
            _stamp(file.path, version)
            shutil.copyfile(file.path, place)
            _compare(place, file, version)
        else:
            os.symlink(file.path, place)
            linked[name] = file
    if linked and links is not None:
        _write(_record(links), linked)


def has_links(folder: Path) -> bool:
    return _record(folder).exists()


def check_links(folder: Path, *, version: str) -> None:
    """Make sure that the links of a folder, if any, lead to what the version refers to.

    Raises:
        BadData: a file is gone, or is another one now.
    """
    record = _record(folder)
    try:
        linked = {name: _Linked(*said) for name, said in json.loads(record.read_bytes()).items()}
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise RemoteProblem(f"{record} cannot be read: {exc}", hint=f"rm -r '{folder}' '{record}'") from exc
    found = {}
    for name, file in linked.items():
        stamp = _stamp(file.path, version)
        if stamp != file.stamp:
            _compare(file.path, file, version)
        found[name] = file._replace(stamp=stamp)
    if found != linked:
        with suppress(OSError):  # then it is all read again the next time
            _write(record, found)


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.links.json")


def _write(record: Path, linked: Mapping[str, _Linked]) -> None:
    draft = record.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(linked), encoding="utf-8")
    draft.replace(record)


def _fetch(entry: Any, folder: Path, version: str) -> None:
    try:
        entry.download(root=str(folder), skip_cache=True)
    except (ValueError, FileNotFoundError) as exc:
        if entry.ref is None:
            raise
        raise _changed(entry.ref, version, " ".join(str(exc).split())) from exc


def _stamp(path: str, version: str) -> list[int]:
    """What shows a change of a file without reading it."""
    try:
        found = os.stat(path)
    except OSError as exc:
        raise _changed(path, version, f"it cannot be read: {exc.strerror}") from exc
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _compare(path: str, file: _Linked, version: str) -> None:
    try:
        with open(path, "rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as exc:
        raise _changed(file.path, version, f"it cannot be read: {exc.strerror}") from exc
    if md5 != file.md5:
        raise _changed(file.path, version, f"its md5 was {file.md5} and is {md5} now")


def _changed(place: str, version: str, why: str) -> RegError:
    return BadData(
        f"{place} is no longer what '{version}' refers to: {why}",
        hint="put the old file back, or reg dataset push --reference what is there now",
    )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False
