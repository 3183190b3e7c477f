"""What is to become a version: which files, and how little of them has to be said and sent again.

The SDK's own way to add files is one call for each; it reads and hashes what it is given, which takes fifteen seconds for sixty
thousand small files. Where the digests are known, entries are put into the draft's manifest at once, as `new_draft` of the SDK
does. A manifest entry without a local path says, as it does there, that there is nothing to upload: the server is believed to
have the bytes, and refuses the version if it has not; then the same version is logged with the paths. A draft that only adds
a few files to the latest version of its collection is logged as the SDK's incremental artifact: it names the version it
builds on, and the server puts the two together.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import wandb
from wandb.sdk.lib.paths import LogicalPath

from registry.backend_references import add as add_reference

# An incremental version is worth its detour if it says at most this share of the whole.
_LARGEST_ADDITION = 0.1
_FEW_FILES = 1_000


class Hashed(NamedTuple):
    """A file of this disk whose md5 (hex) and size (bytes) are known, and whether the server is believed to have its bytes."""

    path: str
    md5: str
    size: int
    stored: bool = False


@dataclass(frozen=True, kw_only=True)
class Since:
    """What sets the files of a draft apart from an earlier version.

    Attributes:
        digest: of that version, hex; `count` is the number of its files.
        changed: the files of the draft that it does not have, or has with another content, by name.
        is_less: whether it has files that the draft has not.
    """

    digest: str
    count: int
    changed: Mapping[str, Hashed]
    is_less: bool


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A version in the making.

    Attributes:
        files: (name inside the artifact, where it lies); the SDK reads and hashes them.
        hashed: gives further files, by name: relative, with `/`, nothing in it to be shortened. They may be very many, and are
            not asked for before they are needed.
        since: how the hashed files differ from an earlier version that had the same other ones; None when none is known.
        references: (URI, name inside the artifact or None) of what stays where it is.
        base: the id of the version that has exactly these and that the draft adds to; None where it stands alone.
    """

    name: str
    type: str
    metadata: Mapping[str, Any]
    description: str | None
    files: Sequence[tuple[str, Path]]
    hashed: Callable[[], Mapping[str, Hashed]]
    since: Since | None = None
    references: Sequence[tuple[str, str | None]] = ()
    base: str | None = None

    @property
    def adds_to_a_version(self) -> bool:
        """Whether little differs from the earlier version and nothing of it is gone: an addition cannot take away."""
        since = self.since
        return (
            since is not None
            and since.count >= _FEW_FILES
            and not since.is_less
            and len(since.changed) <= _LARGEST_ADDITION * since.count
        )

    @property
    def believes_in_stored_bytes(self) -> bool:
        return any(file.stored for file in self.hashed().values())

    def on(self, latest: Any) -> Draft:
        """The same, as an addition to the SDK's object of a version, if that holds what the earlier version held."""
        assert self.since is not None
        same = latest is not None and (latest.type, latest.digest) == (self.type, self.since.digest)
        return replace(self, base=str(latest.id)) if same else self

    def believing_nothing(self) -> Draft:
        """The same, standing alone and with the path of every file."""
        unbelieved = {name: file._replace(stored=False) for name, file in self.hashed().items()}
        return replace(self, base=None, hashed=lambda: unbelieved)

    def artifact(self) -> Any:
        """The SDK's object, to be logged."""
        artifact = wandb.Artifact(
            self.name,
            type=self.type,
            metadata=dict(self.metadata),
            description=self.description,
            incremental=self.base is not None,
        )
        # Without it the SDK builds on whatever is the latest version when it asks: somebody else's, perhaps.
        artifact._base_id = self.base
        for inside, path in self.files:
            artifact.add_file(str(path), name=inside, policy="immutable", skip_cache=True)
        for uri, inside_as in self.references:
            add_reference(artifact, uri, inside_as)
        _add(artifact, self.since.changed if self.since is not None and self.base is not None else self.hashed())
        return artifact

    def digest(self, artifact: Any) -> str:
        """The digest that the version must have, hex.

        Args:
            artifact: the SDK's object before it was logged, which of an addition says only what is new.
        """
        if self.base is None:
            return str(artifact.digest)
        return _digest({name: file.md5 for name, file in self.hashed().items()} | entries_of(artifact))


def entries_of(artifact: Any) -> dict[str, str]:
    """The hex digest of each entry that an artifact of the SDK says itself, by name."""
    return {name: b64decode(entry.digest).hex() for name, entry in artifact.manifest.entries.items()}


def stored_files(artifact: Any) -> dict[str, str] | None:
    """The hex md5 of each file of a version, by name; None where a reference or another kind of digest is among them."""
    entries = artifact.manifest.entries
    if any(entry.ref is not None or entry.extra for entry in entries.values()):
        return None
    return entries_of(artifact)


def _add(artifact: Any, files: Mapping[str, Hashed]) -> None:
    if not files:
        return
    contents = {
        # The SDK's own kind of path, which it takes as it is; of plain text it makes one by way of pathlib.
        str.__new__(LogicalPath, name): {
            "digest": _base64(file.md5),
            "size": file.size,
            "local_path": None if file.stored else os.path.abspath(file.path),
            "skip_cache": True,
        }
        for name, file in files.items()
    }
    manifest = artifact.manifest
    described = {
        "version": manifest.version(),
        "storagePolicy": manifest.storage_policy.name(),
        "storagePolicyConfig": manifest.storage_policy.config(),
    }
    read = type(manifest).from_manifest_json({**described, "contents": contents}, manifest.digest_algorithm)
    manifest.entries.update(read.entries)


def _digest(contents: Mapping[str, str]) -> str:
    """The digest of a version that holds these files (hex md5 by name), by the SDK's formula."""
    lines = "".join(f"{name}:{_base64(contents[name])}\n" for name in sorted(contents))
    return hashlib.md5(f"wandb-artifact-manifest-v1\n{lines}".encode(), usedforsecurity=False).hexdigest()


def _base64(md5: str) -> str:
    return b64encode(bytes.fromhex(md5)).decode()
