"""`reg train`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pipelines import dataset as dataset_stage
from pipelines import train as stage
from pipelines import trial
from pipelines.config import resolve
from registry import provenance
from registry.card import Words
from registry.cli.card import card_option
from registry.cli.looking import version_data
from registry.cli.output import table
from registry.cli.params import FILE, REFERENCE, Session, session
from registry.references import Reference


@click.command(epilog="Examples: reg train --dataset mnist:latest · reg train --dataset iris:v2 --set epochs=20 --set seed=1")
@click.option("--dataset", "reference", type=REFERENCE, required=True, help="Dataset version to train on.")
@click.option("--name", default="model", show_default=True, help="Collection that the model becomes a version of.")
@click.option(
    "--recipe", metavar="NAME", help="Built-in recipe, or FILE.py:NAME for your own (default: the one for the dataset's task)."
)
@card_option
@click.option("--config", "config_file", type=FILE, help="YAML file with the configuration.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One value of the configuration; repeatable.")
@session
def train(
    session: Session,
    reference: Reference,
    name: str,
    recipe: str | None,
    words: Words | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Train a model on a dataset version and log it: weights, ONNX graph with preprocessing, model.yaml."""
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    with trial.stoppable(os.environ), session.writing() as backend:
        version = backend.resolve(reference, type="dataset")
        task = dataset_stage.description(backend, version).task
        given = (*assignments, *trial.parameters(os.environ))
        config = resolve(task=task, recipe=recipe, file=config_file, assignments=given)
        done = stage.run(backend, version, config, name=name, by=by, progress=session.output.progress, card=words)
    file = done.file
    rows = [
        ("dataset", str(version)),
        ("recipe", f"{file.recipe}, seed {config.seed}"),
        ("training", f"{file.training.seconds:.1f} s, {file.training.epochs} epochs, best {file.training.best_epoch}"),
        ("validation", ", ".join(f"{key} {value:.4f}" for key, value in file.training.validation.items())),
        ("parameters", f"{file.training.parameters:,}"),
        (
            "parity",
            f"ONNX against torch: at most {file.parity.max_abs:.2g} apart, {file.parity.flips} flips in {file.parity.items}",
        ),
    ]
    data = {**version_data(done.version), "model": file.model_dump(mode="json"), "run": done.run_url}
    session.output.result(data, table(("", str(done.version)), rows))
