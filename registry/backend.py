"""The one door to the `wandb` SDK: runs, versions, links and aliases go out and come in here, as our own facts.

One code path for every server: the unmodified SDK, told by its own environment variables where to go. Every exception of
the SDK becomes one of `registry.errors` at this door (`registry.backend_errors`), which keeps "there is none" apart from a
question that failed: the difference decides whether a baseline is *provably absent*. `holder` does not even trust a null: it
proves absence by listing.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import wandb

from registry import backend_sweeps
from registry.backend_drafts import stored_files
from registry.backend_errors import is_absent, translated
from registry.backend_facts import Collection, collection_of, run_of, version_of
from registry.backend_references import check_links, gather, has_links
from registry.backend_run import Run
from registry.collector import no_collection
from registry.copying import arriving, copy_folder
from registry.embedded import EmbeddedServer
from registry.embedded_disk import Closed, deliver, worth_it
from registry.errors import BadReference, BadSettings, NotFound, RemoteProblem, Unauthorised, Unreachable
from registry.records import RunFact, Target, Version
from registry.references import Reference
from registry.scratch import scratch
from registry.settings import Settings
from registry.sweeps import Sweep, Trial, trials

# By WANDB_MODE, or by `wandb offline` and `wandb disabled` in this folder.
_WRITES_NOTHING = frozenset({"offline", "disabled", "dryrun"})
# Artifact types that the SDK logs for itself, as the storage of something else.
MADE_BY_THE_SDK = frozenset({"job", "code", "run_table", "wandb-history"})


class Backend:
    """A reached W&B server. Made by `registry.connection.connect`, which has told the SDK where to go.

    Raises:
        Unreachable, Unauthorised: no answer, or the key is not accepted.
    """

    def __init__(self, *, settings: Settings, embedded: EmbeddedServer | None) -> None:
        self.settings = settings
        self._embedded = embedded
        with translated("reach the W&B server"):
            wandb.teardown()  # forget settings that an earlier connection in this process left behind
            with ThreadPoolExecutor(1) as beside:
                # The SDK's own process takes a while to start, and its public API as long to be loaded.
                started = beside.submit(wandb.setup)
                api = wandb.Api
                started.result()
            self._api = api(timeout=30)
            entity = settings.entity or self._api.default_entity
        if not entity:
            raise Unauthorised("the key has no default entity", hint="export WANDB_ENTITY=your-team")
        self.entity = str(entity)
        self.project = settings.project

    def close(self) -> None:
        """Wait for the SDK's own process to have sent everything."""
        wandb.teardown()

    @property
    def url(self) -> str:
        return str(self._api.settings["base_url"])

    @property
    def where(self) -> str:
        """Server, entity and project in words."""
        server = f"the embedded server in {self.settings.home}" if self._embedded else self.url
        return f"{server}, entity {self.entity}, project {self.project}"

    @property
    def reachable(self) -> bool:
        """Whether other machines may reach the server: it is none that ends with this command."""
        return self._embedded is None or not self._embedded.own

    def page(self, url: str) -> str:
        """Where a person looks at what has this URL: a server that ends with this command is nowhere to be looked at."""
        return url if self.reachable else f"reg serve shows it at {urlsplit(url).path}"

    @property
    def user(self) -> str:
        """The user whose key this is, by the server's word."""
        with translated("ask whose key this is"):
            return str(self._api.viewer.username)

    # Looking

    def resolve(self, reference: Reference, *, type: str | None = None) -> Version:
        """The version that a reference names now.

        Raises:
            NotFound: it names nothing; says what there is.
            BadReference: it names an artifact of another type than `type`.
        """
        if reference.digest is not None:
            version = self._by_digest(reference)
        else:
            with translated(f"look up '{reference}'", hint=self._hint_for_missing(reference)):
                try:
                    version = version_of(self._api.artifact(self._path(reference)))
                except Exception as exc:
                    if is_absent(exc):
                        raise self._missing(reference) from exc
                    raise
        if type is not None and version.type != type:
            raise BadReference(f"'{reference}' is a {version.type}, a {type} was expected", hint=f"reg ls --type {type}")
        return version

    def holder(self, target: Target) -> Version | None:
        """The version that holds the target's alias now, or None when provably nothing does.

        Raises:
            NotFound: the registry does not exist.
            RemoteProblem: the question could not be answered; never None in that case.
        """
        with translated(f"read the alias '{target}'"):
            search = self._api.registries(filter={"name": target.registry})
            if next(iter(search), None) is None:
                raise NotFound(
                    f"registry '{target.registry}' does not exist or this key cannot see it", hint="reg ls --registries"
                )
            found = search.collections(filter={"name": target.collection})
            collection = next((c for c in found if c.name == target.collection), None)
            if collection is None or target.alias not in set(collection.aliases):
                return None
            return version_of(self._api.artifact(str(target.reference)))

    def versions(self, reference: Reference) -> list[Version]:
        """All versions of a collection, newest first."""
        type = self.resolve(reference.at("latest")).type
        with translated(f"list the versions of '{reference.path}'"):
            return [version_of(a) for a in self._api.artifacts(type_name=type, name=self._path(reference, tag=False))]

    def collections(self, type: str | None = None) -> list[Collection]:
        """The collections of the project.

        Args:
            type: only those of this artifact type; None means all but what the SDK logs for itself.
        """
        with translated(f"list the collections of {self.entity}/{self.project}"):
            try:
                types = list(self._api.artifact_types(project=f"{self.entity}/{self.project}"))
            except Exception as exc:
                if is_absent(exc):  # a project exists from its first run on; before that it is simply empty
                    return []
                raise
            wanted = [t for t in types if (t.name not in MADE_BY_THE_SDK if type is None else t.name == type)]
            return [collection_of(c) for kind in wanted for c in kind.collections()]

    def registries(self, name: str | None = None) -> list[Collection]:
        """The collections of all registries of the organisation, or of the one of this name."""
        with translated("list the registries"):
            found = self._api.registries(filter={"name": name} if name is not None else None)
            return [collection_of(c) for registry in found for c in registry.collections()]

    def files(self, version: Version) -> dict[str, int | None]:
        """Names and sizes (bytes; None for a reference of unknown size) of what the version holds."""
        with translated(f"list the files of '{version}'"):
            return {name: entry.size for name, entry in sorted(self.sdk_version(version).manifest.entries.items())}

    def read_file(self, version: Version, name: str) -> bytes:
        """The content of one small file of a version.

        Raises:
            NotFound: the version has no such file.
        """
        with translated(f"read '{name}' of '{version}'"), tempfile.TemporaryDirectory() as folder:
            artifact = self.sdk_version(version)
            if name not in artifact.manifest.entries:
                raise NotFound(f"'{version}' holds no file '{name}'", hint=f"reg show {version.reference}")
            return Path(artifact.get_entry(name).download(root=folder, skip_cache=True)).read_bytes()

    def download(self, version: Version) -> Path:
        """The folder with the version's files, fetched and verified unless already here; never change it.

        Raises:
            RemoteProblem: the bytes that arrived do not have the digests that the manifest promises.
            BadData: what the version refers to is gone, or is not what it was.
        """
        folder = self.settings.home / "downloads" / version.digest.algorithm / version.digest.hex
        if not folder.is_dir():
            self._arrive(version, folder)
        with translated(f"check what '{version}' refers to"):
            check_links(folder, version=str(version))
        return folder

    def _arrive(self, version: Version, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch(folder.parent, "incoming") as draft:
            self._fetch(version, draft, links=folder)
            try:
                draft.rename(folder)  # its existence means complete
            except OSError:
                if not folder.is_dir():  # another process was faster
                    raise

    def export(self, version: Version, target: Path) -> Path:
        """Put the version's files, verified, where a person asked for them.

        Returns:
            `target`, absolute.
        Raises:
            UsageError: the target holds something already, or cannot be written.
            RemoteProblem: the bytes that arrived do not have the digests that the manifest promises.
        """
        known = self.settings.home / "downloads" / version.digest.algorithm / version.digest.hex
        if known.is_dir() and not has_links(known):
            return copy_folder(known, target)
        with arriving(target) as draft:
            self._fetch(version, draft)
        return target.absolute()

    def _fetch(self, version: Version, folder: Path, *, links: Path | None = None) -> None:
        """Write the version's files into an empty folder, verified.

        Args:
            links: where the folder will be, if it may hold links to what the version refers to, which are verified there.
        """
        with translated(f"download '{version}'"), no_collection():
            artifact = self.sdk_version(version)
            if any(entry.ref is not None for entry in artifact.manifest.entries.values()):
                gather(artifact, folder, version=str(version), links=links)
                return
            files = stored_files(artifact) if self._embedded is not None else None
            try:
                if files is not None and worth_it(len(files), size=artifact.size):
                    damaged = deliver(self.settings.home, folder, files)
                    if damaged:
                        raise ValueError(f"{len(damaged)} of {len(files)} files are not as logged, the first is {damaged[0]}")
                    return
            except Closed:
                pass  # somebody else's home: by HTTP
            except ValueError as exc:
                raise RemoteProblem(f"the download of '{version}' is damaged: {exc}", hint="reg doctor --fsck") from exc
            artifact.download(root=str(folder), skip_cache=True)
            try:
                artifact.verify(root=str(folder))
            except ValueError as exc:
                raise RemoteProblem(f"the download of '{version}' is damaged: {exc}", hint="try again") from exc

    # Lineage

    def made_by(self, version: Version) -> RunFact | None:
        """The run that first logged the version; None when a person made it or the run was deleted."""
        with translated(f"ask what made '{version}'"):
            run = self.sdk_version(version).logged_by()
            return run_of(run) if run is not None else None

    def used_by(self, version: Version) -> list[RunFact]:
        with translated(f"ask what used '{version}'"):
            return [run_of(run) for run in self.sdk_version(version).used_by()]

    def inputs(self, run: RunFact) -> list[Version]:
        with translated(f"ask what run {run.path} used"):
            return [version_of(a) for a in self._api.run(run.path).used_artifacts()]

    def outputs(self, run: RunFact) -> list[Version]:
        """What the run logged; what the SDK logs for itself (job, code, tables) is left out."""
        with translated(f"ask what run {run.path} logged"):
            logged = [version_of(a) for a in self._api.run(run.path).logged_artifacts()]
        return [version for version in logged if version.type not in MADE_BY_THE_SDK]

    def runs(self, *, job_type: str, state: str | None = None, config: Mapping[str, str] | None = None) -> list[RunFact]:
        """The runs of the project of this job type, newest first.

        Args:
            state: only those in this state (running, finished, failed, crashed, killed).
            config: only those whose config has these values.
        """
        wanted = {"jobType": job_type} | ({"state": state} if state else {})
        wanted |= {f"config.{key}": value for key, value in (config or {}).items()}
        with translated(f"list the {job_type} runs of {self.entity}/{self.project}"):
            self._api.flush()  # type: ignore[no-untyped-call]  # the SDK remembers the runs of a question, and their states change
            return [
                run_of(run)
                for run in self._api.runs(f"{self.entity}/{self.project}", filters=wanted, order="-created_at", lazy=False)
            ]

    def find_run(self, id: str) -> RunFact:
        """A run of the project.

        Raises:
            NotFound: there is none of this id.
        """
        with translated(f"look up the run '{id}'", hint="reg ls --type checkpoint"):
            self._api.flush()  # type: ignore[no-untyped-call]  # the SDK remembers a run, and its state changes
            return run_of(self._api.run(f"{self.entity}/{self.project}/{id}"))

    # Sweeps

    def new_sweep(self, config: Mapping[str, Any]) -> Sweep:
        """Register a sweep of the project.

        Raises:
            UsageError: the server does not take the configuration; says why.
        """
        with translated("create the sweep"):
            return self.sweep(Reference(name=backend_sweeps.create(config, entity=self.entity, project=self.project)))

    def sweep(self, named: Reference) -> Sweep:
        """The sweep of this id or path, as it is now.

        Raises:
            NotFound: there is none.
        """
        path = named.within(entity=self.entity, project=self.project).path
        with translated(f"look up the sweep '{path}'"):
            try:
                return backend_sweeps.fact(self._api, path)
            except Exception as exc:
                if is_absent(exc):
                    raise NotFound(f"there is no sweep '{path}'", hint="reg sweep ls") from exc
                raise

    def sweeps(self) -> list[Sweep]:
        """The sweeps of the project, newest first."""
        with translated(f"list the sweeps of {self.entity}/{self.project}"):
            return backend_sweeps.of_project(self._api, self.entity, self.project)

    def trials(self, sweep: Sweep) -> list[Trial]:
        """The runs of a sweep with what they tried, in the order started."""
        with translated(f"list the runs of sweep {sweep.path}"):
            self._api.flush()  # type: ignore[no-untyped-call]  # the SDK remembers the runs of a question
            wanted = {"sweep": sweep.id}
            found = self._api.runs(f"{sweep.entity}/{sweep.project}", filters=wanted, order="+created_at", lazy=False)
            return trials(sweep, [run_of(run) for run in found])

    def output_of(self, run: RunFact, *, type: str) -> Version | None:
        """The last version of this type that a run logged."""
        return next((version for version in reversed(self.outputs(run)) if version.type == type), None)

    # Writing

    def give_alias(self, version: Version, alias: str) -> None:
        """Let a version hold an alias in the collection it was logged to; who held it before holds it no more."""
        with translated(f"give '{version}' the alias '{alias}'"):
            artifact = self._api.artifact(str(version.origin))
            if alias not in artifact.aliases:
                artifact.aliases.append(alias)
                artifact.save()

    def delete(self, version: Version) -> None:
        """Remove a version with its aliases; its bytes go when nothing else holds them."""
        with translated(f"delete '{version}'"):
            self.sdk_version(version).delete(delete_aliases=True)

    @contextmanager
    def run(
        self,
        *,
        job_type: str,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        writers: Literal["one", "several"] = "one",
        resume: str | None = None,
        computes: bool = True,
    ) -> Iterator[Run]:
        """One W&B run for the time of the block: finished, or failed when the block raises.

        Args:
            writers: `several` lets another process write to the same run meanwhile (the SDK's shared mode): what this one sends
                is merged into the run instead of replacing what it holds, and the files about the machine are the other's.
            resume: the id of a run to go on with, which must be there; None begins a new one.
            computes: whether what is installed and how the machine fares can matter to what the run makes; recording them takes
                a fifth of a second.
        Raises:
            Unreachable: the server went away while the run was being written.
        """
        with translated("start a W&B run"):
            if (mode := wandb.setup().settings.mode) in _WRITES_NOTHING:
                raise BadSettings(
                    f"W&B is {mode} here, so nothing would reach {self.url}, and what follows from it could not be asked",
                    hint="export WANDB_MODE=online",
                )
            sdk = wandb.init(
                entity=self.entity,
                project=self.project,
                job_type=job_type,
                name=name,
                config=dict(config or {}),
                id=resume,
                resume="must" if resume is not None else None,
                reinit="create_new",
                settings=_settings(writers, computes=computes),
            )
        exit_code = 1
        try:
            run = Run(sdk=sdk, server=self, webhook=self.settings.webhook)
            yield run
            exit_code = run.exit_code
        except KeyboardInterrupt:
            if sdk.sweep_id:
                sdk.mark_preempting()  # an interrupted trial is given out again
            exit_code = 130
            raise
        finally:
            with translated("finish the W&B run"):
                sdk.finish(exit_code=exit_code)
            self.check_alive()

    def check_alive(self) -> None:
        """
        Raises:
            Unreachable: the embedded server that this backend started has ended.
        """
        if self._embedded is not None and not self._embedded.alive:
            raise Unreachable(
                "the embedded server ended while the run was being written; what it had acknowledged is kept",
                hint="run the command again; reg doctor",
            )

    # The SDK's own objects, for `registry.backend_run`

    def sdk_version(self, version: Version, *, at: Reference | None = None) -> Any:
        """The SDK's object of a version, seen from one of the collections that it is in; from its reference's, unless said."""
        return self._api.artifact(str(at or version.reference))

    def sdk_latest(self, name: str) -> Any:
        """The SDK's object of the latest version of a collection of the project, or None."""
        try:
            return self._api.artifact(self._path(Reference(name=name)))
        except Exception as exc:
            if is_absent(exc):
                return None
            raise

    def _path(self, reference: Reference, *, tag: bool = True) -> str:
        full = reference.within(entity=self.entity, project=self.project)
        return str(full) if tag else full.path

    def _by_digest(self, reference: Reference) -> Version:
        found = next((v for v in self.versions(reference) if v.digest == reference.digest), None)
        if found is None:
            raise NotFound(
                f"no version of '{reference.path}' has the digest {reference.digest}", hint=f"reg ls {reference.path}"
            )
        return found

    def _missing(self, reference: Reference) -> NotFound:
        """What there is instead of what a reference names, by asking once more."""
        place = reference.within(entity=self.entity, project=self.project)
        if (place.entity, place.project) != (self.entity, self.project):
            return NotFound(f"there is no '{reference}', or this key cannot see it", hint=self._hint_for_missing(reference))
        where = f"{self.entity}/{self.project}"
        names = sorted(collection.path.rpartition("/")[2] for collection in self.collections())
        if reference.name in names:
            return NotFound(
                f"'{reference.name}' in {where} has no version or alias '{reference.tag}'", hint=f"reg ls {reference.path}"
            )
        if not names:
            return NotFound(f"there is no '{reference}': nothing was logged to {where} yet", hint="reg dataset push data/")
        near = difflib.get_close_matches(reference.name, names, n=1)
        return NotFound(f"there is no '{reference.name}' in {where}", hint=f"did you mean '{near[0]}'?" if near else "reg ls")

    def _hint_for_missing(self, reference: Reference) -> str:
        return f"reg ls {reference.path}" if reference.tag != "latest" else "reg ls"


def _settings(writers: Literal["one", "several"], *, computes: bool) -> Any:
    said: dict[str, Any] = {"disable_job_creation": True}
    if not computes:
        said |= {"x_save_requirements": False, "x_disable_stats": True}
    if writers == "several":
        said |= {"mode": "shared", "x_label": "reg", "x_primary": False, "x_stats_track_process_tree": True, "console": "off"}
    return wandb.Settings(**said)
