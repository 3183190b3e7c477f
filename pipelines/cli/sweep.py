"""`reg sweep FILE | run | agent | ls | show | best | pause | resume | stop | cancel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from pipelines import dataset as dataset_stage
from pipelines import sweep as stage
from pipelines import sweep_file, sweep_page
from pipelines.cli.train import train
from pipelines.importance import Importance, importances
from pipelines.sweep import Change, Outcome
from pipelines.sweep_file import Training
from registry.backend import Backend
from registry.cli.output import styled, table
from registry.cli.params import COLLECTION, FILE, REFERENCE, Session, session
from registry.errors import UsageError
from registry.references import Reference
from registry.sweeps import Sweep, Trial, ranked

_SHOWN = 10


class Sweeps(click.Group):
    """`reg sweep sweep.yaml` is `reg sweep run sweep.yaml`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and (args[0].endswith((".yaml", ".yml")) or Path(args[0]).is_file()):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=Sweeps, epilog="Examples: reg sweep sweep.yaml --dataset mnist:latest --agents 2 · reg sweep show 1a2b3c4d")
def sweep() -> None:
    """Search hyper-parameters with W&B's sweeps; a file alone is `reg sweep run`."""


@sweep.command(
    epilog="Examples: reg sweep run sweep.yaml --dataset mnist:latest --agents 2"
    " · reg sweep run sweep.yaml --dataset mnist:latest --count 5 -- --set epochs=3"
)
@click.argument("file", type=FILE)
@click.argument("words", nargs=-1, metavar="[-- OPTIONS OF reg train]")
@click.option("--dataset", type=REFERENCE, help="Dataset version to train on; needed unless the file says its own command.")
@click.option(
    "--name",
    type=COLLECTION,
    metavar="NAME",
    default="model",
    show_default=True,
    help="Collection that the models become versions of.",
)
@click.option("--agents", type=click.IntRange(1, 64), default=1, show_default=True, help="Trials at a time on this machine.")
@click.option("--count", type=click.IntRange(1), help="Trials that each agent makes at most (default: as many as there are).")
@session
def run(
    session: Session,
    file: Path,
    words: tuple[str, ...],
    dataset: Reference | None,
    name: str,
    agents: int,
    count: int | None,
) -> None:
    """Make a sweep of FILE (W&B's format), work on it with agents, and give the best model an alias.

    Each trial is a `reg train` with the trial's parameters, unless FILE says a program or a command.
    """
    config = sweep_file.read(file)
    with session.writing() as backend:
        if not sweep_file.runs_itself(config):
            training = _training(backend, dataset, name, words)
            config = sweep_file.of_training(file, config, training)
        elif dataset is not None or words:
            raise UsageError(f"{file} says what its trials run, so --dataset and options of reg train do not reach them")
        made = backend.new_sweep(config)
        _announce(session, backend, made)
        done = _work(session, backend, made, agents=agents, count=count)
    _show(session, done)


@sweep.command(epilog="Examples: reg sweep agent 1a2b3c4d · reg sweep agent 1a2b3c4d --agents 4 --count 10")
@click.argument("sweep", type=REFERENCE)
@click.option("--agents", type=click.IntRange(1, 64), default=1, show_default=True, help="Trials at a time on this machine.")
@click.option("--count", type=click.IntRange(1), help="Trials that each agent makes at most (default: as many as there are).")
@session
def agent(session: Session, sweep: Reference, agents: int, count: int | None) -> None:
    """Work for SWEEP (its id, or entity/project/id), on this machine, beside whoever else does."""
    with session.writing() as backend:
        done = _work(session, backend, backend.sweep(sweep), agents=agents, count=count)
    _show(session, done)


@sweep.command("ls", epilog="Examples: reg sweep ls · reg sweep ls --json")
@session
def list_(session: Session) -> None:
    """List the sweeps of the project, newest first."""
    with session.reading() as backend:
        found = [stage.look(backend, one, backend.trials(one)) for one in backend.sweeps()]
    rows = [(o.sweep.id, o.sweep.name, o.sweep.method, o.sweep.state, _progress(o), _best_words(o)) for o in found]
    columns = ("sweep", "name", "method", "state", "#trials", "best")
    empty = "no sweep in this project yet; next: reg sweep sweep.yaml --dataset mnist:latest"
    session.output.result({"sweeps": [_sweep_data(o) for o in found]}, table(columns, rows) if rows else empty)


@sweep.command(epilog="Examples: reg sweep show 1a2b3c4d · reg sweep show 1a2b3c4d --save sweep.html")
@click.argument("sweep", type=REFERENCE)
@click.option("--trials", "shown", type=click.IntRange(1), default=_SHOWN, show_default=True, help="How many trials to list.")
@click.option("--save", type=FILE, help="Also write a page with parallel coordinates: .html, or the drawing alone as .svg.")
@session
def show(session: Session, sweep: Reference, shown: int, save: Path | None) -> None:
    """Show the best trials of SWEEP, which parameters mattered, and what to gate next."""
    with session.reading() as backend:
        found = stage.look(backend, *stage.the_sweep(backend, sweep))
    _show(session, found, shown=shown, save=save)


@sweep.command(epilog="Example: reg sweep best 1a2b3c4d")
@click.argument("sweep", type=REFERENCE)
@session
def best(session: Session, sweep: Reference) -> None:
    """Give the model of SWEEP's best trial the alias `sweep-<id>-best`, as a run; for sweeps that `wandb agent` worked on."""
    with session.writing() as backend:
        done = stage.conclude(backend, *stage.the_sweep(backend, sweep))
    _show(session, done)


def _changing(to: Change, what: str) -> None:
    @sweep.command(to, help=what, epilog=f"Example: reg sweep {to} 1a2b3c4d")
    @click.argument("named", type=REFERENCE, metavar="SWEEP")
    @session
    def command(session: Session, named: Reference) -> None:
        with session.writing() as backend:
            changed = stage.change(backend, backend.sweep(named), to)
        session.output.result({"sweep": changed.id, "state": changed.state}, f"sweep {changed.id} is {changed.state}")


_changing("pause", "Pause SWEEP: running trials go on, no new one begins, agents wait.")
_changing("resume", "Let a paused SWEEP go on.")
_changing("stop", "Stop SWEEP: running trials go on to their end, then the agents leave.")
_changing("cancel", "Cancel SWEEP: running trials are stopped, then the agents leave.")


def _training(backend: Backend, dataset: Reference | None, name: str, words: tuple[str, ...]) -> Training:
    """What the trials share, read as `reg train` itself would read it."""
    if dataset is None:
        raise UsageError(
            "the sweep's file says neither program nor command, so each trial is a reg train, which needs data",
            hint="reg sweep run sweep.yaml --dataset mnist:latest",
        )
    version = backend.resolve(dataset, type="dataset")
    all_words = ["--dataset", str(version.reference), "--name", name, *words]
    given = train.make_context("reg train", list(all_words)).params
    options = {"recipe": given["recipe"], "file": given["config_file"], "assignments": given["assignments"]}
    if "mode" in given:
        options["mode"] = given["mode"]
    return Training(words=all_words, task=dataset_stage.description(backend, version).task, options=options)


def _announce(session: Session, backend: Backend, made: Sweep) -> None:
    session.output.notice(f"sweep {made.id}: {backend.page(made.url)}")
    if made.metric is not None:
        session.output.notice(f"it is to {made.metric.goal} {made.metric.name}")
    if backend.reachable:
        session.output.notice(f"on another machine of this server: reg sweep agent {made.path}, or wandb agent {made.path}")


def _work(session: Session, backend: Backend, wanted: Sweep, *, agents: int, count: int | None) -> Outcome:
    output = session.output
    try:
        found, tried = stage.work(backend, wanted, agents=agents, count=count, progress=output.progress, tell=output.notice)
    except KeyboardInterrupt:
        output.warn(f"sweep {wanted.id} stays open: reg sweep agent {wanted.id} goes on, reg sweep cancel {wanted.id} ends it")
        raise
    return stage.conclude(backend, found, tried)


def _show(session: Session, found: Outcome, *, shown: int = _SHOWN, save: Path | None = None) -> None:
    matter = importances(found.sweep, found.trials)
    if save is not None:
        sweep_page.save(save, found, matter)
        session.output.notice(f"wrote {save}")
    data = {
        **_sweep_data(found),
        "trials": [_trial_data(trial) for trial in ranked(found.sweep, found.trials)],
        "importance": [{"parameter": m.name, "share": m.share, "correlation": m.correlation} for m in matter],
        "run": found.run_url,
    }
    session.output.result(data, *_drawn(found, matter, shown))


def _drawn(found: Outcome, matter: Sequence[Importance], shown: int) -> list[Any]:
    columns, rows = stage.rows(found.sweep, ranked(found.sweep, found.trials)[:shown])
    numeric = {"trial", found.sweep.metric.name if found.sweep.metric else ""}
    heads = [f"#{name}" if name in numeric else name for name in columns]
    title = f"sweep {found.sweep.id} ({found.sweep.name}): {found.sweep.method}, {found.sweep.state}, {_progress(found)} trials"
    if found.sweep.metric is not None:
        title += f", {found.sweep.metric.goal} {found.sweep.metric.name}"
    pieces: list[Any] = ["", styled(title, "bold"), table(heads, [[stage.shown(cell) for cell in row] for row in rows])]
    if len(found.trials) > shown:
        pieces.append(styled(f"  and {len(found.trials) - shown} more", "dim"))
    if matter:
        signed = [(m.name, f"{m.share:.0%}", "" if m.correlation is None else f"{m.correlation:+.2f}") for m in matter]
        told = f"what mattered, by a random forest over {sum(t.value is not None for t in found.trials)} trials"
        pieces += ["", styled(told, "bold"), table(("parameter", "#importance", "#rank correlation"), signed)]
    return [*pieces, "", *_ending(found)]


def _ending(found: Outcome) -> list[Any]:
    metric = found.sweep.metric
    if metric is None:
        return ["the sweep names no metric, so none of its trials is the best"]
    if found.best is None:
        return [_no_value(found, metric.name)]
    said = f"best: trial {found.best.number} ({found.best.run.id}), {stage.described(found.sweep, found.best)}"
    if found.version is None:
        return [said, "it logged no model; a version of type model can be evaluated and gated"]
    held = stage.alias_of(found.sweep)
    holds = (
        f"holds '{held}'" if held in found.version.aliases else f"does not hold '{held}' yet: reg sweep best {found.sweep.id}"
    )
    lines = [f"{said} → {found.version}, which {holds}"]
    return [*lines, f"next: reg evaluate {found.version}", f"      reg gate {found.version}"]


def _no_value(found: Outcome, name: str) -> str:
    logged = sorted({key for trial in found.trials for key in trial.run.summary if not key.startswith("_")})
    if not any(trial.ended for trial in found.trials):
        return "no trial has ended yet"
    return f"no trial summarised '{name}', so none is the best; they summarised: {', '.join(logged) or 'nothing'}"


def _progress(found: Outcome) -> str:
    """A trial that crashed with its machine is tried again, and would count twice."""
    ended = sum(trial.ended and trial.run.state != "crashed" for trial in found.trials)
    return f"{ended}/{found.sweep.expected}" if found.sweep.expected is not None else str(ended)


def _best_words(found: Outcome) -> str:
    return stage.described(found.sweep, found.best) if found.best is not None else ""


def _sweep_data(found: Outcome) -> dict[str, Any]:
    metric, best_trial = found.sweep.metric, found.best
    return {
        "sweep": found.sweep.id,
        "path": found.sweep.path,
        "name": found.sweep.name,
        "state": found.sweep.state,
        "method": found.sweep.method,
        "expected": found.sweep.expected,
        "ended": sum(trial.ended for trial in found.trials),
        "metric": {"name": metric.name, "goal": metric.goal} if metric is not None else None,
        "best": _trial_data(best_trial) if best_trial is not None else None,
        "model": str(found.version.origin) if found.version is not None else None,
        "url": found.sweep.url,
    }


def _trial_data(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "run": trial.run.id,
        "name": trial.run.name,
        "state": trial.run.state,
        "value": trial.value,
        "parameters": cast("dict[str, Any]", dict(trial.parameters)),
    }
