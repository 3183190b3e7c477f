"""A W&B run that is being written: what a stage uses, logs and makes, said through the SDK.

Versions are logged with as little said and sent again as `registry.backend_drafts` can manage. What goes wrong becomes one of
`registry.errors` here as in `registry.backend`, which opens runs and ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from registry.backend_drafts import Draft
from registry.backend_errors import translated
from registry.backend_facts import version_of
from registry.collector import no_collection
from registry.errors import Conflict
from registry.hashed_files import NO_FILES, HashedFiles, Since
from registry.records import RunFact, Target, Version
from registry.references import REGISTRY_PREFIX, Reference


class Server(Protocol):
    """What a run needs of the backend that opened it."""

    def check_alive(self) -> None: ...
    def sdk_version(self, version: Version, *, at: Reference | None = None) -> Any: ...
    def sdk_latest(self, name: str) -> Any: ...


class Run:
    """A W&B run that is being written. `sdk` is the SDK's own object, for the pictures and tables of `pipelines.job`."""

    def __init__(self, *, sdk: Any, server: Server, webhook: str | None) -> None:
        self.sdk = sdk
        self._server = server
        self.exit_code = 0  # what the run ends with, unless an exception does it
        self.webhook = webhook
        self.undelivered: list[str] = []
        self._logged: dict[str, Any] = {}  # the SDK's objects of versions

    @property
    def fact(self) -> RunFact:
        return RunFact(
            id=self.sdk.id,
            entity=self.sdk.entity,
            project=self.sdk.project,
            name=self.sdk.name or self.sdk.id,
            job_type=self.sdk.job_type or "",
            state="running",
            url=self.url,
        )

    @property
    def first_step(self) -> int:
        """The step after the last one that the server had when the run was opened; 0 for a new run."""
        return int(self.sdk.starting_step)

    def use(self, version: Version) -> None:
        """Record the version as an input of this run."""
        with translated(f"use '{version}'"):
            self.sdk.use_artifact(self._server.sdk_version(version))

    def log(self, values: Mapping[str, Any], *, step: int | None = None) -> None:
        """Append to the run's history.

        Raises:
            Unreachable: the embedded server is gone, so that hours of work would leave no trace.
        """
        self._server.check_alive()
        self.sdk.log(dict(values), step=step)

    def log_lines(self, text: str) -> None:
        """Append to the run's log what a program printed."""
        self.sdk.write_logs(text)

    def expect_interruption(self) -> None:
        """Say that the run may be interrupted and can go on: whatever ends it but success, its sweep gives it out again."""
        with translated("say that the run may be interrupted"):
            self.sdk.mark_preempting()

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set the run's headline values."""
        self.sdk.summary.update(dict(values))

    def alert(self, title: str, text: str, *, warns: bool) -> None:
        """Tell the people who watch the project: W&B sends it on to mail or Slack as each of them has chosen."""
        with translated(f"send the alert '{title}'"):
            self.sdk.alert(title=title, text=text, level="WARN" if warns else "INFO")

    def output(
        self,
        name: str,
        *,
        type: str,
        files: Iterable[tuple[str, Path]],
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        hashed: HashedFiles = NO_FILES,
        since: Since | None = None,
        references: Iterable[tuple[str, str | None]] = (),
        meanwhile: Callable[[str], object] = lambda digest: None,
    ) -> Version:
        """Log files as a version and wait until the server has all of it.

        Args:
            name: the collection.
            type: dataset, model, evaluation or verdict.
            files: (name inside the artifact, where it lies now); not changed until this returns.
            aliases: besides `latest`.
            hashed: further files, which need not be read again to know their digests.
            since: how these differ from an earlier version with the same other files. If it is the latest one still, only what
                differs from it is sent.
            references: (URI, name inside the artifact or None) of what is not stored, only known by its checksum.
            meanwhile: something to do while the server works, told the digest (hex) that the version is to have.
        Returns:
            The new version, or the one that already had exactly these files.
        """
        draft = Draft(
            name=name,
            type=type,
            metadata=dict(metadata or {}),
            description=description,
            files=tuple(files),
            hashed=hashed,
            since=since,
            references=tuple(references),
        )
        with translated(f"log the {type} '{name}'"), no_collection():
            if draft.adds_to_a_version:
                draft = draft.on(self._server.sdk_latest(name))
            artifact = draft.artifact()
            logging = self.sdk.log_artifact(artifact, aliases=list(aliases))
            expected = draft.digest(artifact)
            meanwhile(expected)
            try:
                logged = logging.wait()
            except ValueError:
                # What was believed to be stored was not: collected since, or another home's. The SDK sends what is missing.
                if not draft.believes_in_stored_bytes:
                    raise
                draft = draft.believing_nothing()
                logged = self.sdk.log_artifact(draft.artifact(), aliases=list(aliases)).wait()
            version = version_of(logged)
            self._logged[str(version)] = logged
        if draft.base is not None and version.digest.hex != expected:
            raise Conflict(f"'{version}' was put together on another version than it was meant for", hint="push once more")
        return version

    def made(self, version: Version) -> bool:
        """Whether a version that this run logged is new: exactly these files may have been one before."""
        assert str(version) in self._logged, version
        with translated(f"ask what made '{version}'"):
            maker = self._logged[str(version)].logged_by()
            return maker is None or maker.id == self.sdk.id

    def link(self, version: Version, target: Target) -> None:
        """Link the version into the target's collection and give it the alias, in one operation of the server."""
        with translated(f"link '{version}' to '{target}'"):
            artifact = self._server.sdk_version(version, at=version.origin)
            self.sdk.link_artifact(artifact, f"{REGISTRY_PREFIX}{target.registry}/{target.collection}", aliases=[target.alias])

    @property
    def url(self) -> str:
        return str(self.sdk.url or "")
