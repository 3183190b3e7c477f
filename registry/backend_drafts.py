"""What is to become a version: which files, and how little of them has to be said and sent again.

The SDK's own way to add files is one call for each; it reads and hashes what it is given, which takes fifteen seconds for sixty
thousand small files. Where the digests are known, entries are put into the draft's manifest at once, as `new_draft` of the SDK
does. A manifest entry without a local path says, as it does there, that there is nothing to upload: the server is believed to
have the bytes, and refuses the version if it has not; then the same version is logged with the paths. A draft that only adds
a few files to the latest version of its collection is logged as the SDK's incremental artifact: it names the version it
builds on, and the server puts the two together.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib.paths import LogicalPath

from registry.backend_references import add as add_reference
from registry.hashed_files import HashedFiles, Since

# An incremental version is worth its detour if it says at most this share of the whole.
_LARGEST_ADDITION = 0.1
_FEW_FILES = 1_000


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A version in the making.

    Attributes:
        files: (name inside the artifact, where it lies); the SDK reads and hashes them.
        hashed: further files.
        since: how these differ from an earlier version that had the same other ones; None when none is known.
        references: (URI, name inside the artifact or None) of what stays where it is.
        base: the id of the version that has exactly these and that the draft adds to; None where it stands alone.
    """

    name: str
    type: str
    metadata: Mapping[str, Any]
    description: str | None
    files: Sequence[tuple[str, Path]]
    hashed: HashedFiles
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
            and len(since.changed.names) <= _LARGEST_ADDITION * since.count
        )

    @property
    def believes_in_stored_bytes(self) -> bool:
        return any(self.hashed.stored)

    def on(self, latest: Any) -> Draft:
        """The same, as an addition to the SDK's object of a version, if that holds what the earlier version held."""
        assert self.since is not None
        same = latest is not None and (latest.type, latest.digest) == (self.type, self.since.digest)
        return replace(self, base=str(latest.id)) if same else self

    def believing_nothing(self) -> Draft:
        """The same, standing alone and with the path of every file."""
        return replace(self, base=None, hashed=self.hashed.unbelieved())

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
        _add(artifact, self.since.changed if self.since is not None and self.base is not None else self.hashed)
        return artifact

    def digest(self, artifact: Any) -> str:
        """The digest that the version must have, hex.

        Args:
            artifact: the SDK's object before it was logged, which of an addition says only what is new.
        """
        if self.base is None:
            return str(artifact.digest)
        entries = artifact.manifest.entries
        return self.hashed.digest({name: b64decode(entries[name].digest) for name, _ in self.files})


def stored_files(artifact: Any) -> dict[str, str] | None:
    """The hex md5 of each file of a version, by name; None where a reference or another kind of digest is among them."""
    entries = artifact.manifest.entries
    if any(entry.ref is not None or entry.extra for entry in entries.values()):
        return None
    return {name: b64decode(entry.digest).hex() for name, entry in entries.items()}


def _add(artifact: Any, files: HashedFiles) -> None:
    if not files.names:
        return
    contents = {
        # The SDK's own kind of path, which it takes as it is; of plain text it makes one by way of pathlib.
        str.__new__(LogicalPath, name): {
            "digest": _base64(file.md5),
            "size": file.size,
            "local_path": None if file.stored else os.path.abspath(file.path),
            "skip_cache": True,
        }
        for name, file in files.rows().items()
    }
    manifest = artifact.manifest
    described = {
        "version": manifest.version(),
        "storagePolicy": manifest.storage_policy.name(),
        "storagePolicyConfig": manifest.storage_policy.config(),
    }
    read = type(manifest).from_manifest_json({**described, "contents": contents}, manifest.digest_algorithm)
    manifest.entries.update(read.entries)


def _base64(md5: str) -> str:
    return b64encode(bytes.fromhex(md5)).decode()
