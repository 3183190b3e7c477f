"""What a training that was interrupted left behind, and going on from it: `reg train --resume RUN`.

Everything comes from the server, so that any machine and folder will do: the run's own config says which recipe, data and
options; its newest checkpoint says how far it came. A run that ended before its first checkpoint begins anew under its own
name. Checkpoints are versions of one collection for each run, `checkpoint-<run id>`, so that one run's `latest` and `best` are
not another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import config as configuration
from pipelines.config import TrainConfig
from pipelines.job import Job
from pipelines.schedules import depends_on_length
from registry.backend import Backend
from registry.errors import BadReference, BadSettings, Conflict, NotFound
from registry.records import RunFact, Version
from registry.references import Reference, parse

TYPE, BEST = "checkpoint", "best"


@dataclass(frozen=True, kw_only=True)
class Past:
    """An earlier part of a training.

    Attributes:
        output: the collection that its model becomes a version of.
        loggers: what `--log` said.
        checkpoint: where it can go on from; None when it ended before there was one.
    """

    run: RunFact
    dataset: Version
    config: TrainConfig
    output: str
    loggers: tuple[str, ...]
    processes: int
    mode: str | None
    checkpoint: Version | None

    @property
    def step(self) -> int:
        """The last optimiser step that is not done again."""
        return int(self.checkpoint.metadata["step"]) if self.checkpoint is not None else 0


def find(backend: Backend, run: str) -> Past:
    """The past of a run, by its id, its path or the address of its page.

    Raises:
        NotFound: there is no such run, or its dataset version is gone.
        BadReference: it lies in another project, or is no training.
        Conflict: its dataset is not what it was.
    """
    return of(backend, backend.find_run(_id(backend, run)))


def of(backend: Backend, fact: RunFact) -> Past:
    """The past of a run; raises what `find` does."""
    if not began(fact):
        raise BadReference(
            f"run {fact.id} is a {fact.job_type or 'run'}, not a training of reg", hint="reg train --dataset ..."
        )
    dataset = backend.resolve(parse(str(fact.config["dataset"])), type="dataset")
    if str(dataset.digest) != fact.config["dataset_digest"]:
        raise Conflict(f"run {fact.id} trained on {fact.config['dataset_digest']}, {dataset} is now {dataset.digest}")
    return Past(
        run=fact,
        dataset=dataset,
        config=configuration.restore(fact.config, origin=f"run {fact.id}"),
        output=str(fact.config.get("output", "model")),
        loggers=tuple(fact.config.get("log") or ()),
        processes=int(fact.config.get("nproc") or 1),
        mode=fact.config.get("mode"),
        checkpoint=next(iter(_checkpoints(backend, fact.id)), None),
    )


def of_job(backend: Backend, job: str, *, dataset: Version, output: str, config: TrainConfig) -> Past | None:
    """The past of the run that a launcher's job began before; None where it came to none, or only to one that is finished.

    Launchers count restarts, but not those after a machine came or went, or after a scheduler put the job into its queue again:
    the name of the job is what stays. The same name with another configuration is another job.

    Args:
        job: the launcher's name of it, see `pipelines.launch.Launch`.
    """
    wanted = {"launch_job": job, "dataset_digest": str(dataset.digest), "output": output}
    for fact in backend.runs(job_type="train", config=wanted):
        if fact.state != "finished" and (past := find(backend, fact.id)).config == config:
            return past
    return None


def began(fact: RunFact) -> bool:
    """Whether a training of ours ever ran under this name; one that a sweep has only planned did not."""
    return fact.job_type == "train" and "dataset" in fact.config


def check(past: Past, config: TrainConfig) -> None:
    """Refuse to go on with another configuration, or with nothing to do.

    Only more epochs are no other training, and only where the steps already taken would have been the same.

    Raises:
        BadSettings: says which values differ, or that the run is finished.
    """
    before, now = configuration.flat(past.config), configuration.flat(config)
    different = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if different in ([], ["epochs"]) and past.run.state == "finished" and not _longer(before, now):
        raise BadSettings(
            f"run {past.run.id} is finished: {_epochs(past)} epochs, nothing to go on with",
            hint=f"reg train --dataset {past.dataset}",
        )
    if different == ["epochs"] and _longer(before, now) and not depends_on_length(config.schedule):
        return
    if different:
        told = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in different)
        why = ""
        if different == ["epochs"] and _longer(before, now):
            why = f" (the {config.schedule.name} schedule of its first epochs would have been another)"
        raise BadSettings(
            f"run {past.run.id} cannot go on with another configuration: {told}{why}",
            hint=f"reg train --resume {past.run.id}, or a new run: reg train --dataset {past.dataset}",
        )


def keep(job: Job, backend: Backend, folder: Path, facts: Mapping[str, Any], *, better: bool, newest: int) -> Version:
    """Log a checkpoint, then remove the ones that are no longer needed.

    Args:
        newest: how many to keep; the best one is kept besides.
    """
    metadata = {
        "run": job.id,
        "epoch": facts["epoch"],
        "step": facts["step"],
        "best_epoch": facts["best"]["epoch"],
        **{f"best_val_{name}": value for name, value in facts["best"]["metrics"].items()},
    }
    aliases = (BEST,) if better else ()
    made = job.make_folder(_collection(job.id), folder, type=TYPE, metadata=metadata, aliases=aliases)
    for old in _checkpoints(backend, job.id)[newest:]:
        if BEST not in old.aliases:
            backend.delete(old)
    return made


def _checkpoints(backend: Backend, run: str) -> Sequence[Version]:
    """Newest first."""
    try:
        return backend.versions(Reference(name=_collection(run)))
    except NotFound:
        return []


def _collection(run: str) -> str:
    return f"checkpoint-{run}"


def _id(backend: Backend, run: str) -> str:
    parts = [part for part in run.partition("://")[2].split("/")[1:] or run.split("/") if part and part != "runs"]
    if not parts:
        raise BadReference(f"'{run}' names no run", hint="reg train --resume 1a2b3c4d")
    *place, id = parts
    here = {"entity": backend.entity, "project": backend.project}
    for (what, ours), theirs in zip(reversed(here.items()), reversed(place), strict=False):
        if theirs != ours:
            raise BadReference(
                f"run '{run}' is of {what} {theirs}, not {ours}", hint=f"reg train --resume {id} --{what} {theirs}"
            )
    return id


def _longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return isinstance(before["epochs"], int) and isinstance(now["epochs"], int) and now["epochs"] > before["epochs"]


def _epochs(past: Past) -> Any:
    return past.run.summary.get("epoch", past.config.epochs)
