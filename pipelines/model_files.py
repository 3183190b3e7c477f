"""The folder of a model artifact: `model.onnx`, `model.safetensors`, and `model.yaml`, which explains the two.

`model.yaml` is for whoever meets the model without us: what goes in and comes out, how it was made, from which data and
code, and whether the graph was proven to be the network. It names neither machine nor user nor place, and it is written
last, with the digests of the other two, so that a folder is whole exactly when it can be read. Reading needs no torch:
scoring a model takes only the graph.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from pydantic import ValidationError

from pipelines import onnx_export
from pipelines.config import TrainConfig
from pipelines.data.inputs import Inputs
from pipelines.data.spec import Rendering
from pipelines.onnx_export import Parity
from pipelines.recipes import Feature, Problem, ScoresKind, find, sources
from registry.card import Words, card_of, markdown
from registry.errors import BadData
from registry.records import Fact, Pinned

if TYPE_CHECKING:
    from pipelines.training import Trained

DESCRIPTION, GRAPH, WEIGHTS, CARD = "model.yaml", "model.onnx", "model.safetensors", "MODEL_CARD.md"

_PACKAGES = (
    *("reg-lifecycle", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
    *("numpy", "safetensors", "pydantic"),
)


class Port(Fact):
    """One input or output of the graph; a dimension is a number, or a name where any size fits."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class ScoresPort(Port):
    """The output; `kind` says what the scores are."""

    kind: ScoresKind


class Signature(Fact):
    """What goes in and comes out. `features` are the columns of a table input, empty for images; `targets` name the values
    of a regression, which has no `labels`. `rendering` is how image files become the input
    (`pipelines.data.decoding.pixels_of`); not written where they are taken as they are.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[ScoresPort, ...]
    labels: tuple[str, ...]
    targets: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()
    rendering: Rendering | None = None

    @property
    def scores(self) -> ScoresKind:
        return self.outputs[0].kind


class Code(Fact):
    """The commit that trained it; `dirty` when the working tree differed from it; None where there was no git."""

    commit: str | None
    dirty: bool | None


class Training(Fact):
    """How it came about; see `pipelines.training.Trained`. `validation` has the metrics of the best epoch."""

    epochs: int
    best_epoch: int
    steps: int
    items: int
    validation_items: int
    validation: dict[str, float]
    seconds: float
    parameters: int
    device: str
    amp: str
    resumed: int = 0
    processes: int = 1


class FileFact(Fact):
    """What a file beside `model.yaml` must be."""

    bytes: int
    sha256: str


class Source(Fact):
    """A graph that was made elsewhere: the file as it came, what was put in front of it, and how its scores were understood.

    `before` says in words what happens to an item before the graph as it came sees it, in this order; empty when nothing does.
    `scores_known_by` says how it is known whether the scores are logits or probabilities.
    """

    file: str
    bytes: int
    sha256: str
    producer: str
    opset: int
    before: tuple[str, ...] = ()
    output: str
    scores_known_by: str


class ModelFile(Fact):
    """`model.yaml`. What is not known of a model made elsewhere is None; that one has a `source` instead."""

    schema_version: Literal[1] = 1
    task: str
    recipe: str | None = None
    signature: Signature
    dataset: Pinned
    config: dict[str, Any] | None = None
    training: Training | None = None
    parity: Parity | None = None
    source: Source | None = None
    card: Words | None = None
    code: Code
    packages: dict[str, str]
    files: dict[str, FileFact]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.signature.labels

    @property
    def scores(self) -> ScoresKind:
        """What the graph's scores are."""
        return self.signature.scores


class TrainedModelFile(ModelFile):
    """The `model.yaml` of a model that `reg train` made: all of its making is known."""

    recipe: str
    config: dict[str, Any]
    training: Training
    parity: Parity


def write_model(
    folder: Path,
    trained: Trained,
    *,
    problem: Problem,
    config: TrainConfig,
    dataset: Pinned,
    samples: Inputs,
    git_commit: str | None,
    git_dirty: bool | None,
    card: Words | None = None,
    data: Mapping[str, Any] | None = None,
) -> TrainedModelFile:
    """Export a trained network and fill a folder with the files of a model artifact.

    Args:
        folder: made if absent.
        dataset: the version it was trained on.
        samples: real items for the proof of the graph; see `pipelines.onnx_export.export`.
        git_commit, git_dirty: the code that trained it; None where there is no git.
        card: what people say about the model.
        data: the content of the dataset's description, for the card.
    Raises:
        ParityFailed, BadSettings, EnvironmentProblem, MissingDependency: from the export.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    parity = onnx_export.export(trained.network, problem, folder / GRAPH, items=samples)
    save_file({name: tensor.contiguous() for name, tensor in trained.network.state_dict().items()}, folder / WEIGHTS)
    recipe = find(config.recipe)
    source = sources.keep(recipe, folder)
    description = TrainedModelFile(
        task=problem.task,
        recipe=sources.label(config.recipe),
        signature=_signature(problem, scores=recipe.scores),
        dataset=dataset,
        config={**config.model_dump(mode="json"), "recipe": sources.label(config.recipe)},
        training=Training(
            epochs=trained.epochs,
            best_epoch=trained.best_epoch,
            steps=trained.steps,
            items=trained.items,
            validation_items=trained.validation_items,
            validation=dict(trained.validation),
            seconds=round(trained.seconds, 3),
            parameters=trained.parameters,
            device=trained.device,
            amp=trained.amp,
            resumed=trained.resumed,
            processes=trained.processes,
        ),
        parity=parity,
        card=card,
        code=Code(commit=git_commit, dirty=git_dirty),
        packages={"python": platform.python_version(), **versions(_PACKAGES)},
        files={name: fact(folder / name) for name in (GRAPH, WEIGHTS, *source)},
    )
    write_description(folder, description, data=data)
    return description


def write_description(folder: Path, description: ModelFile, *, data: Mapping[str, Any] | None = None) -> None:
    """Write `model.yaml`, the last file of the folder, and beside it the card that a person reads."""
    content = description.model_dump(mode="json")
    for name in ("targets", "rendering"):
        if not getattr(description.signature, name):
            del content["signature"][name]
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=128)
    (folder / CARD).write_text(markdown(card_of(content, data)), encoding="utf-8")
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def read_model(folder: Path) -> ModelFile:
    """Read `model.yaml` and check the files that it describes.

    Raises:
        BadData: a file is missing, truncated or altered, or `model.yaml` cannot be understood; the message names file and key.
    """
    path = folder / DESCRIPTION
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise BadData(f"{folder} is no model: it has no {DESCRIPTION}", hint="reg ls --type model") from exc
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise BadData(f"cannot read {path}: {' '.join(str(exc).split())}") from exc
    if isinstance(content, dict) and isinstance(version := content.get("schema_version"), int) and version > 1:
        raise BadData(f"{path} has schema_version {version}, this reg reads 1", hint="pip install --upgrade reg-lifecycle")
    try:
        is_trained = isinstance(content, dict) and content.get("training") is not None
        description = (TrainedModelFile if is_trained else ModelFile).model_validate(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadData(f"{path}: {key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from exc
    for name, expected in description.files.items():
        if not (folder / name).is_file():
            raise BadData(f"{folder} is incomplete: {name} is missing")
        got = fact(folder / name)
        if got != expected:
            raise BadData(
                f"{folder / name} is not the file that {DESCRIPTION} describes: {got.bytes} bytes of {expected.bytes}, "
                f"sha256 {got.sha256[:12]} instead of {expected.sha256[:12]}"
            )
    return description


def _signature(problem: Problem, *, scores: ScoresKind) -> Signature:
    taken = Port(name=problem.input_name, dtype=str(problem.input_dtype), shape=("batch", *problem.input_shape))
    given = ScoresPort(
        name=onnx_export.OUTPUT, dtype=str(np.dtype(np.float32)), shape=("batch", *problem.scores_shape), kind=scores
    )
    return Signature(
        inputs=(taken,),
        outputs=(given,),
        labels=problem.labels,
        targets=problem.targets,
        features=problem.features,
        rendering=problem.rendering,
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of those that are installed."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def fact(path: Path) -> FileFact:
    """Size and digest of a file."""
    with path.open("rb") as file:
        return FileFact(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
