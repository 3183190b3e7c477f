"""`reg train`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from pipelines import config_files, launch, ranks, resuming, trial
from pipelines import dataset as dataset_stage
from pipelines import train as stage
from pipelines.config import Explained, TrainConfig, explain, flat
from pipelines.launch import Launch
from pipelines.meeting import Meeting, OtherFailed, met
from pipelines.resuming import Past
from pipelines.trial import Attempt
from registry import provenance
from registry.backend import Backend
from registry.card import Words
from registry.cli.card import card_option
from registry.cli.looking import version_data
from registry.cli.output import table
from registry.cli.params import COLLECTION, FILE, REFERENCE, Session, session
from registry.errors import UsageError
from registry.records import Version
from registry.references import Reference


@click.command(
    epilog="Examples: reg train --dataset mnist:latest · reg train --dataset iris:v2 --set epochs=20 --set seed=1 · "
    "reg train --dataset mnist --config train.yaml --mode quick --show-config · reg train --resume 1a2b3c4d"
)
@click.option("--dataset", "reference", type=REFERENCE, help="Dataset version to train on.")
@click.option(
    "--name", type=COLLECTION, metavar="NAME", help="Collection that the model becomes a version of (default: model)."
)
@click.option(
    "--recipe", metavar="NAME", help="Built-in recipe, or FILE.py:NAME for your own (default: the one for the dataset's task)."
)
@card_option
@click.option("--config", "config_file", type=FILE, help="YAML file with the configuration, perhaps in modes.")
@click.option("--mode", metavar="NAME", help="Mode of the configuration file (default: its own choice, or 'base').")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One value of the configuration; repeatable.")
@click.option("--watch", is_flag=True, help="Log histograms of weights and gradients: --set watch=true.")
@click.option(
    "--log",
    "log",
    metavar="KIND[=PLACE]",
    multiple=True,
    help="Write the metrics beside W&B too: csv, tensorboard or mlflow; repeatable.",
)
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    help="Processes that train together, one for each GPU (default: 1; not under torchrun).",
)
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run: its id, path or address.")
@click.option("--show-config", is_flag=True, help="Show each value and where it comes from, and train nothing.")
@session
def train(
    session: Session,
    reference: Reference | None,
    name: str | None,
    recipe: str | None,
    words: Words | None,
    config_file: Path | None,
    mode: str | None,
    assignments: tuple[str, ...],
    watch: bool,
    log: tuple[str, ...],
    nproc: int | None,
    resume: str | None,
    show_config: bool,
) -> None:
    """Train a model on a dataset version and log it: weights, ONNX graph with preprocessing, model.yaml."""
    if (reference is None) == (resume is None):
        raise UsageError("one of --dataset and --resume says what to train on", hint="reg train --dataset mnist:latest")
    launched = launch.read(os.environ)
    launch.check_alone(launched, nproc)
    if launched is not None and not launched.leads:
        code = 0 if show_config else ranks.follow(launched, memory=session.settings.data_memory, reach=session.reading)
        raise click.exceptions.Exit(code)
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    asked = (*assignments, *(["watch=true"] if watch else []), *trial.parameters(os.environ))
    with (
        _leading(None if show_config else launched, session.output.notice) as meeting,
        trial.stoppable(os.environ),
        session.reading() if show_config else session.writing() as backend,
    ):
        attempt = trial.attempt(backend, os.environ) if resume is None and not show_config else None
        past, version = _subject(backend, reference, resume, name, attempt)
        explained = explain(
            task=dataset_stage.description(backend, version).task,
            recipe=recipe,
            file=config_file,
            mode=mode,
            assignments=asked,
            base=config_files.flat(past.config.model_dump(mode="json"), origin=f"run {past.run.id}") if past else None,
        )
        if show_config:
            _show(session, explained)
            return
        if past is not None:
            resuming.check(past, explained.config)
            if past.run.state in ("running", "preempting"):
                session.output.warn(
                    f"run {past.run.id} counts as running still: of two processes that write it, one loses rows"
                )
        elif launched is not None:
            past = _earlier(session, backend, launched, explained.config, dataset=version, output=name or "model")
        session.output.notice(_in_short(explained, past))
        done = stage.run(
            backend,
            version,
            explained.config,
            name=past.output if past else name or "model",
            by=by,
            progress=session.output.progress,
            card=words,
            mode=explained.mode or (past.mode if past else None),
            log=log or (past.loggers if past else ()),
            processes=nproc or (past.processes if past else 1),
            meeting=meeting,
            past=past,
            attempt=attempt,
            tell=session.output.notice,
        )
    _tell(session, version, done)


@contextmanager
def _leading(launched: Launch | None, tell: Callable[[str], None]) -> Iterator[Meeting | None]:
    """Meet the ranks that a launcher started besides this one; one of them that fails speaks for all."""
    if launched is None:
        yield None
        return
    try:
        with met(launched, tell=tell) as meeting:
            yield meeting
    except OtherFailed as exc:
        raise click.exceptions.Exit(exc.exit_code) from exc


def _earlier(
    session: Session, backend: Backend, launched: Launch, config: TrainConfig, *, dataset: Version, output: str
) -> Past | None:
    """What the same job of a launcher has begun already."""
    if launched.job is not None:
        return resuming.of_job(backend, launched.job, dataset=dataset, output=output, config=config)
    if launched.restarts:
        session.output.warn("the launcher began anew, and a job without a name cannot find its run: torchrun --rdzv-id NAME")
    return None


def _subject(
    backend: Backend, reference: Reference | None, resume: str | None, name: str | None, attempt: Attempt | None
) -> tuple[Past | None, Version]:
    """The run to go on with, if any, and the dataset."""
    past = attempt.past if attempt is not None else resuming.find(backend, resume) if resume is not None else None
    if past is None:
        assert reference is not None
        return None, backend.resolve(reference, type="dataset")
    if name not in (None, past.output):
        raise UsageError(f"run {past.run.id} makes a version of '{past.output}', not of '{name}'", hint="leave --name out")
    return past, past.dataset


def _show(session: Session, explained: Explained) -> None:
    rows = list(explained.rows())
    data = {
        "config": explained.config.model_dump(mode="json"),
        "mode": explained.mode,
        "from": {key: origin for key, _, origin in rows},
    }
    written = [(key, _yaml(value), origin) for key, value, origin in rows]
    session.output.result(data, table(("key", "value", "from"), written))


def _in_short(explained: Explained, past: Past | None) -> str:
    if past is not None:
        at = (
            f"epoch {past.checkpoint.metadata['epoch']}, step {past.step}"
            if past.checkpoint
            else "the beginning: no checkpoint"
        )
        before = flat(past.config)
        changed = [f"{key}: {_yaml(value)}" for key, value, _ in explained.rows() if before.get(key) != value]
        return f"run {past.run.id} goes on from {at}" + (f"; {', '.join(changed)}" if changed else "")
    given = [f"{key}: {_yaml(value)} ({origin})" for key, value, origin in explained.rows() if key in explained.origins]
    return f"recipe {explained.config.recipe}" + (f"; {', '.join(given)}" if given else ", all values as usual")


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True)).split("\n")[0]


def _tell(session: Session, dataset: Version, done: stage.Result) -> None:
    file = done.file
    training, config = file.training, file.config
    parts = f", went on from epoch {training.resumed}" if training.resumed else ""
    together = f", {training.processes} processes" if training.processes > 1 else ""
    rows = [
        ("dataset", str(dataset)),
        ("recipe", f"{file.recipe}, seed {config['seed']}"),
        ("training", f"{training.seconds:.1f} s, {training.epochs} epochs, best {training.best_epoch}{parts}{together}"),
        ("validation", ", ".join(f"{key} {value:.4f}" for key, value in training.validation.items())),
        ("parameters", f"{training.parameters:,}"),
        (
            "parity",
            f"ONNX against torch: at most {file.parity.max_abs:.2g} apart, {file.parity.flips} flips in {file.parity.items}",
        ),
    ]
    data = {**version_data(done.version), "model": file.model_dump(mode="json"), "run": done.run_url}
    session.output.result(data, table(("", str(done.version)), rows))
