"""What the SDK's objects say, as facts of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.records import RunFact, Version
from registry.references import Digest, Reference

_ALGORITHMS = {"MANIFEST_MD5": "md5", "MANIFEST_XXH128": "xxh128"}


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A collection as a list shows it. `aliases` maps each alias to the number of its version here."""

    path: str
    name: str
    type: str
    versions: int
    aliases: Mapping[str, int]
    updated_at: str


def version_of(artifact: Any) -> Version:
    algorithm = _ALGORITHMS.get(str(getattr(artifact.digest_algorithm, "value", artifact.digest_algorithm)), "md5")
    return Version(
        id=artifact.id,
        entity=artifact.entity,
        project=artifact.project,
        name=artifact.name.rpartition(":")[0],
        index=_index(artifact),
        type=artifact.type,
        digest=Digest(algorithm=algorithm, hex=artifact.digest),
        size=artifact.size,
        aliases=tuple(artifact.aliases or ()),
        tags=tuple(artifact.tags or ()),
        description=artifact.description,
        metadata=dict(artifact.metadata or {}),
        created_at=artifact.created_at,
        source=Reference(
            entity=artifact.source_entity,
            project=artifact.source_project,
            name=artifact.source_name.rpartition(":")[0],
            tag=artifact.source_version,
        ),
    )


def _index(artifact: Any) -> int:
    """The number in the collection it was looked up in: of a listed link, the SDK's `version` is that of its source."""
    tag = artifact.name.rpartition(":")[2]
    return int((tag if re.fullmatch(r"v\d+", tag) else artifact.version).removeprefix("v"))


def collection_of(collection: Any) -> Collection:
    versions = list(collection.artifacts())
    return Collection(
        path=f"{collection.entity}/{collection.project}/{collection.name}",
        name=collection.name,
        type=collection.type,
        versions=len(versions),
        aliases={alias: _index(a) for a in versions for alias in a.aliases},
        updated_at=collection.updated_at or collection.created_at,
    )


def run_of(run: Any) -> RunFact:
    return RunFact(
        id=run.id,
        entity=run.entity,
        project=run.project,
        name=run.name or run.id,
        job_type=run.job_type or "",
        state=run.state or "",
        url=run.url,
        created_at=run.created_at or "",
        user=run.user.username if run.user else "",
        config=dict(run.config),
        summary=dict(run.summary),
    )
