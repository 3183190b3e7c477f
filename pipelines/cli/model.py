"""`reg model push`, and the options by which a person says what a graph does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipelines import model as stage
from pipelines.graph_input import LAYOUTS, Declared, numbers
from pipelines.outside_models import Statement
from registry import provenance
from registry.card import Words
from registry.cli.card import card_option
from registry.cli.looking import version_data
from registry.cli.output import table
from registry.cli.params import COLLECTION, REFERENCE, Session, session
from registry.errors import BadSettings
from registry.references import Reference

_Command = TypeVar("_Command", bound=Callable[..., Any])


def statement_options(command: _Command) -> _Command:
    """Give a command the options that describe a graph; `statement` makes one value of them."""
    for option in (
        click.option("--output", metavar="NAME", help="Output of the graph with the scores (default: the only one)."),
        click.option("--scores", type=click.Choice(["logits", "probabilities"]), help="What the scores are (default: seen)."),
        click.option("--std", metavar="X[,X,X]", help="Then divided by this; one value, or one per channel."),
        click.option("--mean", metavar="X[,X,X]", help="Then this is subtracted; one value, or one per channel."),
        click.option("--scale", metavar="X", help="Float images: pixels are multiplied by this first, as in 1/255."),
        click.option("--layout", type=click.Choice(LAYOUTS), help="Order of the graph's image input (default: seen)."),
    ):
        command = option(command)
    return command


def statement(
    *, layout: Any, scale: str | None, mean: str | None, std: str | None, scores: Any, output: str | None
) -> Statement:
    """The values of `statement_options`.

    Raises:
        BadSettings: one is no number.
    """
    factor = numbers(scale, option="--scale") if scale is not None else (None,)
    if len(factor) != 1:
        raise BadSettings(f"--scale {scale}: one number was expected", hint="--scale 1/255")
    declared = Declared(
        layout=layout,
        scale=factor[0],
        mean=numbers(mean, option="--mean") if mean is not None else (),
        deviation=numbers(std, option="--std") if std is not None else (),
    )
    return Statement(input=declared, scores=scores, output=output)


@click.group(epilog="Example: reg model push model.onnx --dataset mnist:latest")
def model() -> None:
    """Bring models that were made elsewhere."""


@model.command(
    epilog="Examples: reg model push model.onnx --dataset mnist:latest --scale 1/255"
    " · reg model push export/ --dataset iris --name iris-forest --output probabilities"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dataset", "reference", type=REFERENCE, required=True, help="Dataset version that it is checked against.")
@click.option(
    "--name",
    type=COLLECTION,
    metavar="NAME",
    default="model",
    show_default=True,
    help="Collection that the model becomes a version of.",
)
@statement_options
@card_option
@session
def push(session: Session, path: Path, reference: Reference, name: str, words: Words | None, **said: Any) -> None:
    """Make the ONNX graph at PATH (a file, or a folder with one) a model version, after checking it against a dataset.

    Image items are uint8 [n, height, width, channels]: where the graph wants floats or another layout, the conversion is put
    in front of it: (pixel * SCALE - MEAN) / STD.
    """
    told = statement(**said)
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    with session.writing() as backend:
        dataset = backend.resolve(reference, type="dataset")
        progress = session.output.progress
        done = stage.push(backend, path, dataset, name=name, statement=told, by=by, progress=progress, card=words)
    found, source = done.brought, done.brought.file.source
    assert source is not None, "a model from elsewhere has a source"
    if found.doubt is not None:
        session.output.warn(found.doubt)
    rows = [
        ("graph", f"{source.file}, opset {source.opset}, by {source.producer}"),
        ("checked", f"on batches of 1, 2 and 7 items of {dataset}"),
        ("before it", "; then ".join(source.before) or "nothing: it takes the items as they are stored"),
        ("scores", f"{found.file.scores}: {source.scores_known_by}"),
        (found.measure, f"{found.value:.4f} on {found.items} items of '{found.split}' (guessing {found.guess:.4f})"),
    ]
    data = {
        **version_data(done.version),
        "model": found.file.model_dump(mode="json"),
        "measure": found.measure,
        "value": found.value,
        "guess": found.guess,
        "run": done.run_url,
    }
    session.output.result(data, table(("", str(done.version)), rows))
