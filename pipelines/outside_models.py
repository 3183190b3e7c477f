"""An ONNX graph that somebody made elsewhere, checked until it is a model version like any other, or refused with the reason.

Nothing is believed that can be run: the graph goes through ONNX's checker, takes batches of 1, 2 and 7 real items of the
dataset, gives one finite score per class, and its accuracy is compared with guessing, because a wrong scale or a wrong layout
runs perfectly and scores like a coin. Nothing is invented either: `model.yaml` holds no training, no recipe and no parity, but
what came, what was put in front of it, and how it is known what the scores are.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines import graph_input
from pipelines.answers import answers
from pipelines.data.contents import Split
from pipelines.data.reading import Dataset
from pipelines.data.spec import IGNORED
from pipelines.graph_input import Declared
from pipelines.model_files import (
    CARD,
    DESCRIPTION,
    GRAPH,
    Code,
    ModelFile,
    Port,
    ScoresPort,
    Signature,
    Source,
    fact,
    versions,
    write_description,
)
from pipelines.onnx_export import BATCHES, LARGEST_FILE
from pipelines.problems import problem_of
from pipelines.recipes import Problem, ScoresKind
from pipelines.runtime import Session, open_session
from registry.card import Words
from registry.errors import BadData, BadSettings, EnvironmentProblem, MissingDependency
from registry.records import Pinned

Kind = Literal["logits", "probabilities"]
_ITEMS = 512
_BATCH = 128
_EXPORT = "torch.onnx.export(model, example, 'model.onnx')"
_ERROR = "mean absolute error"
_FEW = 20  # items whose scores all add up to 1 by accident
# Operators that leave the meaning of a score as it is.
_PASSING = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_BY_OPERATOR: Mapping[str, Kind] = {"Softmax": "probabilities", "LogSoftmax": "logits"}


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a person says about a graph; None where it is to be seen from the graph.

    Attributes:
        output: the name of the output that has the scores.
    """

    input: Declared = field(default_factory=Declared)
    scores: Kind | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Brought:
    """A folder that is a model now.

    Attributes:
        measure: `accuracy` (of a mask: over its labelled pixels, a fraction) or `mean absolute error` (in the targets' units).
        value, guess: of the model and of the best constant guess, on `items` items of `split`.
    """

    file: ModelFile
    split: str
    items: int
    measure: str
    value: float
    guess: float

    @property
    def doubt(self) -> str | None:
        """Why the model may have been understood wrongly; None where it does better than guessing."""
        if self.value < self.guess if self.measure == _ERROR else self.value > self.guess:
            return None
        return (
            f"its {self.measure} on {self.items} items of '{self.split}' is {self.value:.4g}, guessing has {self.guess:.4g}: "
            "are scale, layout and the order of the classes what it was trained with?"
        )


def graph_in(path: Path) -> Path:
    """The one ONNX file at a path: itself, or the one in a folder.

    Raises:
        BadData: there is none, or several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob("*.onnx")) if path.is_dir() else []
    if len(found) != 1:
        what = "no .onnx file" if not found else f"{len(found)} .onnx files: {', '.join(one.name for one in found)}"
        raise BadData(f"{path} holds {what}" if path.exists() else f"{path} does not exist", hint="reg model push model.onnx")
    return found[0]


def bring(
    path: Path,
    folder: Path,
    *,
    dataset: Dataset,
    pinned: Pinned,
    statement: Statement,
    code: Code,
    card: Words | None = None,
) -> Brought:
    """Fill a folder with a model version made of a graph and whatever lies beside it.

    Args:
        path: an ONNX file, or a folder with one; the other files of a folder come along.
        folder: empty.
        dataset, pinned: what it is checked against; its train split, or else its first.
    Raises:
        BadData: the graph is corrupt, incomplete, or does not fit the dataset; the message says which and how.
        BadSettings: what the person says contradicts the graph, or more must be said.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    source = graph_in(path)
    problem = problem_of(dataset.spec)
    model = _load(source)
    made = graph_input.steps(graph_input.wanted_by(model), problem, statement.input)
    output = _output(model, problem.scores_shape, statement.output)
    _write(source, model, made, problem, output, folder)
    others = _company(path, source, folder)
    name = "train" if "train" in dataset.spec.splits else next(iter(dataset.spec.splits))
    split = dataset.split(name)
    items, targets = _some(split, most=_ITEMS // 16 if problem.answer == "mask" else _ITEMS)
    session = open_session(folder / GRAPH, device="cpu")
    scores = _run(session, source.name, items, shape=problem.scores_shape)
    kind, known_by = _kind(model, output, scores, statement.scores, problem)
    described = ModelFile(
        task=problem.task,
        signature=_signature(session, problem, kind),
        dataset=pinned,
        source=Source(
            file=source.name,
            bytes=source.stat().st_size,
            sha256=_digest(source),
            producer=f"{model.producer_name} {model.producer_version}".strip() or "a tool that does not say its name",
            opset=max((one.version for one in model.opset_import if not one.domain), default=0),
            before=tuple(step.words for step in made),
            output=output,
            scores_known_by=known_by,
        ),
        card=card,
        code=code,
        packages={"python": platform.python_version(), **versions(("reg-lifecycle", "onnx", "onnxruntime", "onnxruntime-gpu"))},
        files={name: fact(folder / name) for name in (GRAPH, *others)},
    )
    write_description(folder, described, data=dataset.spec.model_dump(mode="json"))
    measure, value, guess = _quality(scores, targets, problem)
    return Brought(file=described, split=name, items=len(items), measure=measure, value=value, guess=guess)


def _load(path: Path) -> Any:
    """The whole graph, with weights that lie in files beside it."""
    try:
        import onnx
    except ImportError as exc:
        raise MissingDependency("checking a graph needs onnx", hint="pip install 'reg-lifecycle[cpu]'") from exc
    if path.stat().st_size > LARGEST_FILE:
        raise BadSettings(f"{path.name} has {path.stat().st_size:,} bytes, {LARGEST_FILE:,} at most")
    try:
        model = onnx.load(path)
    except FileNotFoundError as exc:
        raise BadData(f"{path.name} has weights in another file that is missing: {exc}", hint="push the folder") from exc
    except Exception as exc:  # protobuf's own errors have no common base
        raise BadData(f"{path} is no ONNX model: {_line(exc)}", hint=_EXPORT) from exc
    if not model.graph.node and not model.graph.output:
        raise BadData(f"{path} is no ONNX model: it has no graph", hint=_EXPORT)
    if model.ByteSize() > LARGEST_FILE:
        raise BadSettings(f"{path.name} and its weights take {model.ByteSize():,} bytes, {LARGEST_FILE:,} at most")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as exc:
        raise BadData(f"{path} is not valid ONNX: {_line(exc)}") from exc
    return model


def _quality(scores: NDArray[Any], targets: NDArray[Any], problem: Problem) -> tuple[str, float, float]:
    """How good the scores are, in the plainest measure there is, and how good the best constant guess."""
    if problem.answer == "values":
        errors, guess = np.abs(scores - targets), np.abs(targets - np.median(targets, axis=0))
        return _ERROR, float(errors.mean()), float(guess.mean())
    labelled = targets != IGNORED if problem.answer == "mask" else np.ones(len(targets), dtype=bool)
    known = targets[labelled].astype(np.int64)
    right = float((answers(scores, problem.answer)[labelled] == known).mean())
    return "accuracy", right, float(np.bincount(known).max() / len(known))


def _output(model: Any, shape: tuple[int, ...], wanted: str | None) -> str:
    """The name of the output that has the scores."""
    outputs = {one.name: one.type for one in model.graph.output}
    if wanted is not None:
        if wanted not in outputs:
            raise BadSettings(f"the graph has no output '{wanted}'", hint=f"--output {next(iter(outputs))}")
        return wanted
    tensors = {name: type_.tensor_type for name, type_ in outputs.items() if type_.HasField("tensor_type")}
    fitting = [name for name, tensor in tensors.items() if tensor.elem_type in _floats() and _may_be(tensor, shape)]
    if "scores" in fitting or len(fitting) == 1:
        return "scores" if "scores" in fitting else fitting[0]
    if not fitting and any(not type_.HasField("tensor_type") for type_ in outputs.values()):
        raise BadData(
            f"the graph gives its scores as a map ({', '.join(outputs)})", hint="convert with options={'zipmap': False}"
        )
    if not fitting:
        shown = ", ".join(f"{name}{_sizes(tensor)}" for name, tensor in tensors.items())
        raise BadData(f"no output of the graph can be scores of shape {list(shape)} per item, as the dataset wants: {shown}")
    raise BadSettings(
        f"{len(fitting)} outputs of the graph could be the scores: {', '.join(fitting)}", hint=f"--output {fitting[0]}"
    )


def _floats() -> set[int]:
    from onnx import TensorProto

    return {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def _may_be(tensor: Any, shape: tuple[int, ...]) -> bool:
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    if not tensor.HasField("shape"):
        return True
    return len(sizes) == len(shape) + 1 and all(got in (None, 0, want) for got, want in zip(sizes[1:], shape, strict=True))


def _sizes(tensor: Any) -> list[object]:
    return [size.dim_value if size.HasField("dim_value") else size.dim_param or "any" for size in tensor.shape.dim]


def _write(source: Path, model: Any, made: Sequence[Any], problem: Problem, output: str, folder: Path) -> None:
    """The graph as it came, byte for byte, where nothing has to change."""
    others = [one for one in model.graph.output if one.name != output]
    apart = any(one.data_location for one in _as_it_came(source).graph.initializer)
    if not made and not others and not apart:
        shutil.copyfile(source, folder / GRAPH)
        return
    changed = graph_input.in_front(model, made, problem) if made else model
    kept = [one for one in changed.graph.output if one.name == output]
    del changed.graph.output[:]
    changed.graph.output.extend(kept)
    # Deterministic, because a map is otherwise written in any order and the same model would get another digest.
    (folder / GRAPH).write_bytes(changed.SerializeToString(deterministic=True))


def _as_it_came(source: Path) -> Any:
    import onnx

    return onnx.load(source, load_external_data=False)


def _company(path: Path, source: Path, folder: Path) -> list[str]:
    """Copy what lies beside the graph in a folder, but for its weights, which are in the graph now, and what we write."""
    if not path.is_dir():
        return []
    weights = {
        entry.value for one in _as_it_came(source).graph.initializer for entry in one.external_data if entry.key == "location"
    }
    ours = {source.name, GRAPH, DESCRIPTION, CARD, *weights}
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    kept = [name for name in names if name not in ours]
    for name in kept:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / name, folder / name)
    return kept


def _some(split: Split, *, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    places = np.unique(np.linspace(0, len(split) - 1, num=min(most, len(split)), dtype=np.int64))
    return np.ascontiguousarray(split.inputs[places]), split.targets[places]


def _run(session: Session, name: str, items: NDArray[Any], *, shape: tuple[int, ...]) -> NDArray[np.float32]:
    batches = [np.take(items, range(size), axis=0, mode="wrap") for size in BATCHES]
    batches += [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    found = []
    for batch in batches:
        try:
            scores = session.run(np.ascontiguousarray(batch))
        except EnvironmentProblem as exc:
            raise BadData(f"{name} does not run on a batch of {len(batch)}: {exc.message}") from exc
        if scores.shape != (len(batch), *shape):
            raise BadData(
                f"{name} gives scores of shape {list(scores.shape)} for {len(batch)} items, {[len(batch), *shape]} is needed"
            )
        found.append(scores)
    scores = np.concatenate(found[len(BATCHES) :])
    broken = ~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
    if broken.any():
        raise BadData(f"{name} gives scores that are not finite on {int(broken.sum())} items")
    return scores


def _kind(
    model: Any, output: str, scores: NDArray[np.float32], declared: Kind | None, problem: Problem
) -> tuple[ScoresKind, str]:
    """What the scores are, and how that is known: the graph's last operator, else the scores themselves, else a person."""
    if problem.answer == "values":
        if declared is not None:
            raise BadSettings(f"the dataset's targets are numbers, so the scores are no {declared}", hint="leave --scores out")
        return "values", f"the dataset's targets are numbers: {', '.join(problem.targets)}"
    operator = _last_operator(model, output)
    add_up = bool((scores >= 0).all() and (np.abs(scores.sum(axis=1, dtype=np.float64) - 1) <= 1e-3).all())
    if declared is not None:
        if declared == "probabilities" and not add_up:
            raise BadSettings("the scores are declared as probabilities, but do not add up to 1", hint="--scores logits")
        return declared, "declared"
    if operator is not None and operator in _BY_OPERATOR:
        return _BY_OPERATOR[operator], f"the graph ends in {operator}"
    if (scores < 0).any() or (scores > 1).any():
        return "logits", f"scores on {len(scores)} items are outside 0 to 1"
    if add_up and len(scores) >= _FEW:
        return "probabilities", f"scores on {len(scores)} items add up to 1"
    raise BadSettings(
        f"the scores of {len(scores)} items are between 0 and 1 and do not add up to 1, so what they are cannot be seen",
        hint="--scores logits, if a softmax of them is meant; else end the graph with one",
    )


def _last_operator(model: Any, output: str) -> str | None:
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in _PASSING:
        node = makers.get(node.input[0])
    return str(node.op_type) if node is not None else None


def _signature(session: Session, problem: Problem, kind: ScoresKind) -> Signature:
    taken = Port(name=session.input, dtype=str(session.dtype), shape=("batch", *problem.input_shape))
    given = ScoresPort(name=session.output, dtype="float32", shape=("batch", *problem.scores_shape), kind=kind)
    return Signature(
        inputs=(taken,),
        outputs=(given,),
        labels=problem.labels,
        targets=problem.targets,
        features=problem.features,
        rendering=problem.rendering,
    )


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _line(exc: Exception) -> str:
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)
