"""The exported graph: raw inputs in, scores out, one file, and the proof that it computes what the network computed.

The graph is what is evaluated, gated and served, so it is not believed but run: by ONNX Runtime, on batches of 1, 2 and 7
(a batch size frozen by the exporter shows there), and against torch on real items. The numbers of that comparison are
recorded with the model; beyond the tolerance there is no model.

Opset 18 is the newest that ONNX Runtime 1.24 runs entirely on CUDA for our operators: later opsets renumber common
operators, and a node without a CUDA kernel falls back to the CPU. The exporter writes stack traces of the exporting machine
into the file; they are removed, because a model travels further than its author.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import flips
from pipelines.data.inputs import Inputs
from pipelines.recipes import Problem
from pipelines.runtime import open_session
from registry.errors import BadData, BadSettings, EnvironmentProblem, MissingDependency, ParityFailed
from registry.records import Fact

if TYPE_CHECKING:
    from torch import nn

OPSET = 18
OUTPUT = "scores"
BATCHES = (1, 2, 7)
LARGEST_FILE = 1_500_000_000  # bytes; a protobuf message ends at 2 GiB
_PARITY_ITEMS = 512
_PARITY_SCORES = 1 << 25  # of all items together: a mask has one per class and pixel
_PARITY_BATCH = 128


class Parity(Fact):
    """How far the graph on ONNX Runtime is from the network on torch, both on the CPU, on the same real items.

    `max_abs` is the largest difference of a score, `max_rel` the largest one as a share of its item's largest score,
    `flips` counts items whose predicted class differs (see `pipelines.answers`). Passed when every difference is at most
    atol + rtol * |score| and at most `max_flips` of the items flip. Values are compared in standard deviations of theirs:
    `atol` is then in their units, of several targets the largest.
    """

    items: int
    max_abs: float
    max_rel: float
    flips: int
    rtol: float = 1.0e-3
    atol: float = 1.0e-4
    max_flips: float = 0.001
    batches: tuple[int, ...] = BATCHES
    opset: int = OPSET


def export(network: nn.Module, problem: Problem, path: Path, *, items: Inputs) -> Parity:
    """Write the graph of a network and prove it.

    Args:
        network: takes a batch of raw inputs, returns scores [n, *problem.scores_shape]; left as it is.
        path: the file to write.
        items: real items to compare on, as the problem describes them; some, evenly spaced, are taken.
    Raises:
        MissingDependency: torch, onnx, onnxscript or onnxruntime is not installed.
        EnvironmentProblem: the network cannot be exported.
        BadSettings: the graph is too large for one file.
        ParityFailed: the graph freezes the batch size, or computes something else than the network.
    """
    network = copy.deepcopy(network).cpu().eval()
    path.write_bytes(_graph(network, problem))
    most = max(1, min(_PARITY_ITEMS, _PARITY_SCORES // math.prod(problem.scores_shape)))
    places = np.unique(np.linspace(0, len(items) - 1, num=min(most, len(items)), dtype=np.int64))
    return measure_parity(network, path, items=np.ascontiguousarray(items[places]), problem=problem)


def measure_parity(network: nn.Module, path: Path, *, items: NDArray[Any], problem: Problem) -> Parity:
    """Compare a graph with its network on the CPU.

    Raises:
        ParityFailed: see `export`.
    """
    import torch

    session = open_session(path, device="cpu")

    @torch.inference_mode()
    def scores(batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        expected = network(torch.tensor(batch)).numpy()
        try:
            got = session.run(batch)
        except (EnvironmentProblem, BadData) as exc:
            raise ParityFailed(f"{path.name} does not run on a batch of {len(batch)}: {exc.message}") from exc
        wanted = (len(batch), *problem.scores_shape)
        if not got.shape == expected.shape == wanted:
            raise ParityFailed(
                f"for a batch of {len(batch)}, {path.name} gives scores of shape {list(got.shape)} and the network of shape "
                f"{list(expected.shape)}; {list(wanted)} was expected"
            )
        return expected, got

    for size in BATCHES:
        scores(np.take(items, range(size), axis=0, mode="wrap"))
    batch = _PARITY_BATCH if problem.answer != "mask" else _PARITY_BATCH // 16
    pairs = [scores(items[start : start + batch]) for start in range(0, len(items), batch)]
    expected, got = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    difference, size_of = np.abs(got - expected), np.abs(expected)
    of_item = tuple(range(1, difference.ndim))
    # A value of 200,000 with a spread of 50,000 has no 1e-4 to lose in float32; a score of a few units has.
    spread = expected.std(axis=0) if problem.answer == "values" and len(items) > 1 else np.ones(1, np.float32)
    allowed = Parity.model_fields["atol"].default * np.where(spread > 0, spread, 1)
    parity = Parity(
        items=len(items),
        max_abs=float(difference.max()),
        max_rel=float((difference.max(of_item) / np.maximum(size_of.max(of_item), np.finfo(np.float32).tiny)).max()),
        flips=flips(got, expected, problem.answer),
        atol=float(allowed.max()),
    )
    within = bool((difference <= allowed + parity.rtol * size_of).all())  # False for NaN
    if not within or parity.flips > parity.max_flips * parity.items:
        raise ParityFailed(
            f"{path.name} and the network differ by up to {parity.max_abs:.3g} on {parity.items} items "
            f"and predict otherwise on {parity.flips}"
        )
    return parity


def _graph(network: nn.Module, problem: Problem) -> bytes:
    try:
        import onnx
        import torch
    except ImportError as exc:
        raise MissingDependency(f"exporting needs {exc.name}", hint="pip install 'reg-lifecycle[cpu]'") from exc
    # Two items: a batch of one would be taken for a constant.
    example = torch.zeros((2, *problem.input_shape), dtype=torch.uint8 if problem.image else torch.float32)
    try:
        with _silence():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[problem.input_name],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            assert program is not None, "the dynamo exporter returns a program"
            model = program.model_proto
    except ImportError as exc:
        raise MissingDependency(f"exporting needs {exc.name}", hint="pip install 'reg-lifecycle[cpu]'") from exc
    except torch.onnx.errors.OnnxExporterError as exc:
        reason = str(exc.__cause__ or exc).strip().splitlines()[0]
        raise EnvironmentProblem(f"the network cannot be exported: {reason}") from exc
    _strip(model)
    if model.ByteSize() > LARGEST_FILE:
        raise BadSettings(f"the graph takes {model.ByteSize()} bytes, {LARGEST_FILE} at most", hint="--set model.width=16")
    onnx.checker.check_model(model, full_check=True)
    # Deterministic, because a map is otherwise written in any order and the same model would get another digest.
    return bytes(model.SerializeToString(deterministic=True))


def _strip(message: Any) -> None:
    """Empty every `doc_string` and `metadata_props` of a protobuf message, at any depth (graphs nest in attributes)."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _strip(part)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns, prints and logs about its own affairs; what matters arrives as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
