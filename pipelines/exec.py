"""The stage of any job type: somebody's script, in whatever language, as a W&B run with inputs, outputs and lineage.

The script and `reg` write to one run at the same time. `reg` opens it in the SDK's shared mode, where what a writer sends is
merged into the run, and keeps its state, its console and its machine's curves. The script gets `WANDB_RUN_ID` with
`WANDB_RESUME=allow`, so each `wandb.init()` in it, none or ten, resumes that run as the SDK resumes any: its steps go on, its
config joins ours, its summary and artifacts are the run's. `WANDB_X_UPDATE_FINISH_STATE=false` leaves the end to us: the run
is finished when the outputs are logged, and failed when the script failed. The other way round, a script in shared mode,
would lose the `step` of every `wandb.log`, which that mode does not take.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines import materials, outside_models, programs
from pipelines.data import reading
from pipelines.data.options import Options
from pipelines.data.spec import DESCRIPTION as DATA_DESCRIPTION
from pipelines.job import Job, Progress, open_job
from pipelines.materials import Input, Materials, Output, Untouched
from pipelines.model import labels
from pipelines.model_files import DESCRIPTION as MODEL_DESCRIPTION
from pipelines.model_files import Code
from pipelines.outside_models import Statement
from registry.backend import Backend
from registry.card_words import of_latest
from registry.connection import STAGE_RUN
from registry.errors import BadData, RegError
from registry.provenance import Provenance
from registry.records import Pinned, Version

# Of the SDK's settings for our own process, those that are not the script's.
_OURS = ("WANDB_SERVICE", "WANDB_SILENT", "WANDB_CONSOLE", "WANDB_NAME", "WANDB_JOB_TYPE", "WANDB_MODE")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, between what.

    Attributes:
        config: goes into the run's config, and to the script as a JSON file that `REG_CONFIG` names.
        statement: about the graphs of outputs of type model; see `pipelines.outside_models`.
        environment: the script's variables, before ours are added.
    """

    command: tuple[str, ...]
    materials: Materials
    config: Mapping[str, Any]
    job_type: str
    name: str | None
    statement: Statement
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Done:
    """How it ended. `outputs` is empty unless `exit_code` is 0; `warnings` are for people."""

    exit_code: int
    inputs: tuple[Version, ...]
    outputs: tuple[Version, ...]
    warnings: tuple[str, ...]
    run_id: str
    run_url: str


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """An output that may be logged: everything about it was checked."""

    output: Output
    type: str
    files: tuple[tuple[str, Path], ...]
    metadata: Mapping[str, Any]


def run(backend: Backend, plan: Plan, *, by: Provenance, progress: Progress, out: IO[str], err: IO[str]) -> Done:
    """Run the script, and log its outputs if it succeeds: all of them, or none.

    Args:
        out, err: where the script's outputs go.
    Raises:
        NotFound, BadReference: an input names nothing.
        UsageError: the program cannot be started, or an input's place is taken.
        BadData, BadSettings: an output is missing, was not written by this run, or is a model or dataset that cannot be one.
    """
    materials.check_free(plan.materials.inputs)
    inputs = [(wanted, backend.resolve(wanted.reference)) for wanted in plan.materials.inputs]
    config = {**plan.config, "exec": _about(plan, by)}
    name = plan.name or _script(plan.command)
    with (
        open_job(backend, job_type=plan.job_type, name=name, config=config, writers="several") as job,
        ExitStack() as stack,
    ):
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with progress("fetching inputs"):
            folders = [(wanted, version, job.take(version)) for wanted, version in inputs]
        copies = [(version, Untouched(folder)) for _, version, folder in folders]
        stack.enter_context(materials.laid_out([(wanted, folder) for wanted, _, folder in folders]))
        before = [materials.make_ready(output) for output in plan.materials.outputs]
        environment = _environment(plan, job, [(wanted, folder) for wanted, _, folder in folders], config, work)
        key = environment.get("WANDB_API_KEY")
        exit_code = programs.run(
            plan.command,
            environment=environment,
            on_lines=lambda text: job.log_lines(text.replace(key, "***") if key else text),
            out=out,
            err=err,
        )
        job.end_with(exit_code)
        warnings = _damage(copies)
        outputs: list[Version] = []
        if exit_code == 0:
            with progress("checking outputs"):
                ready = [
                    _checked(backend, output, at, plan, folders, work / output.name, by)
                    for output, at in zip(plan.materials.outputs, before, strict=True)
                ]
            with progress("logging outputs") as advance:
                for number, one in enumerate(ready, start=1):
                    outputs.append(job.make(one.output.name, type=one.type, files=one.files, metadata=one.metadata))
                    advance(number, len(ready))
        return Done(
            exit_code=exit_code,
            inputs=tuple(version for _, version in inputs),
            outputs=tuple(outputs),
            warnings=tuple(warnings),
            run_id=job.id,
            run_url=job.url,
        )


def _script(command: Sequence[str]) -> str:
    """What people call it: the first word behind the program that is a file, else the program."""
    return Path(next((word for word in command[1:] if Path(word).is_file()), command[0])).name


def _about(plan: Plan, by: Provenance) -> dict[str, Any]:
    about: dict[str, Any] = {"command": list(plan.command)}
    if by.git_commit is not None:
        about |= {"git_commit": by.git_commit, "git_dirty": by.dirty}
    return about


def _environment(
    plan: Plan, job: Job, inputs: Sequence[tuple[Input, Path]], config: Mapping[str, Any], work: Path
) -> dict[str, str]:
    """The variables of the script: the caller's, the SDK's for this server and run, and where things are."""
    told = work / "config.json"
    told.write_text(json.dumps({key: value for key, value in config.items() if key != "exec"}), encoding="utf-8")
    ours = {name: value for name, value in os.environ.items() if name.startswith("WANDB_") and name not in _OURS}
    return {
        **{name: value for name, value in plan.environment.items() if name != "WANDB_SERVICE"},
        **ours,
        "WANDB_ENTITY": job.entity,
        "WANDB_RUN_ID": job.id,
        "WANDB_RESUME": "allow",
        "WANDB_X_UPDATE_FINISH_STATE": "false",
        "WANDB_X_DISABLE_STATS": "true",
        "WANDB_CONSOLE": "off",
        # A pipe makes Python keep its words to itself until there are thousands of them.
        "PYTHONUNBUFFERED": plan.environment.get("PYTHONUNBUFFERED", "1"),
        STAGE_RUN: job.id,
        "REG_CONFIG": str(told),
        **{wanted.variable: str((wanted.path or folder).absolute()) for wanted, folder in inputs},
        **{output.variable: str(output.path.absolute()) for output in plan.materials.outputs},
    }


def _damage(copies: Sequence[tuple[Version, Untouched]]) -> list[str]:
    found = []
    for version, copy in copies:
        changed = copy.changed()
        if changed:
            copy.discard()
            more = f" and {len(changed) - 1} more" if changed[1:] else ""
            found.append(
                f"the script changed its input {version} ({changed[0]}{more}); "
                "this machine's copy is thrown away and fetched again when it is needed"
            )
    return found


def _checked(
    backend: Backend,
    output: Output,
    before: materials.Stamps,
    plan: Plan,
    inputs: Sequence[tuple[Input, Version, Path]],
    folder: Path,
    by: Provenance,
) -> _Ready:
    """An output as it is to be logged; whatever is wrong with it, hours of work are still where the script left them."""
    files = materials.written(output, before=before)
    try:
        return _described(backend, output, files, plan, inputs, folder, by)
    except RegError as exc:
        raise type(exc)(f"{exc.message} ({output.path} stays as the script left it)", hint=exc.hint) from exc


def _described(
    backend: Backend,
    output: Output,
    files: Sequence[Path],
    plan: Plan,
    inputs: Sequence[tuple[Input, Version, Path]],
    folder: Path,
    by: Provenance,
) -> _Ready:
    """An output as it is to be logged: a model with `model.yaml`, a dataset with its description, anything else as it is."""
    type_ = output.chosen_type
    plain = tuple((str(file.relative_to(output.path)) if output.path.is_dir() else file.name, file) for file in files)
    names = {name for name, _ in plain}
    if type_ == "model" and MODEL_DESCRIPTION not in names and any(file.suffix == ".onnx" for file in files):
        datasets = [(version, at) for _, version, at in inputs if version.type == "dataset"]
        if len(datasets) != 1:
            raise BadData(
                f"{output.path} holds an ONNX model, which is checked against the one dataset used: here {len(datasets)} were",
                hint="--use NAME=PATH of one dataset; or --out NAME:TYPE=PATH with another type than model",
            )
        (version, at) = datasets[0]
        folder.mkdir()
        brought = outside_models.bring(
            output.path,
            folder,
            dataset=reading.load(at),
            pinned=Pinned.of(version),
            statement=plan.statement,
            code=Code(commit=by.git_commit, dirty=by.dirty),
            card=of_latest(backend, output.name),
        )
        made = sorted(file for file in folder.rglob("*") if file.is_file())
        return _Ready(
            output=output,
            type=type_,
            files=tuple((str(file.relative_to(folder)), file) for file in made),
            metadata=labels(brought),
        )
    if type_ == "dataset" and DATA_DESCRIPTION not in names:
        found = reading.inspect(output.path, Options(name=output.name))
        folder.mkdir()
        description = folder / DATA_DESCRIPTION
        description.write_text(found.spec.to_json(), encoding="utf-8")
        kept = (*found.files, (DATA_DESCRIPTION, description))
        return _Ready(output=output, type=type_, files=kept, metadata={"format": found.spec.format, "task": found.spec.task})
    return _Ready(output=output, type=type_, files=plain, metadata={})
