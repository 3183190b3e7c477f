"""Small real ONNX models on scikit-learn's digits, for tests that need a graph and items but no training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

LABELS = tuple("0123456789")


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Held-out digits: uint8 images of shape (n, 8, 8, 1), targets, ids; and the weights of a model of about 95 %."""

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    ids: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@cache
def digits() -> Digits:
    data = load_digits()
    pixels, targets = data.data, data.target
    fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(pixels[:900], targets[:900])
    return Digits(
        images=pixels[900:].astype(np.uint8).reshape(-1, 8, 8, 1),
        targets=targets[900:],
        ids=tuple(f"test/{i}" for i in range(len(targets) - 900)),
        weights=fitted.coef_.T.astype(np.float32),
        bias=fitted.intercept_.astype(np.float32),
    )


def save(path: Path, nodes: list[Any], *, constants: dict[str, NDArray[Any]], outputs: tuple[str, ...] = ("scores",)) -> Path:
    """Write a graph from uint8 `image` [batch, 8, 8, 1] to float32 outputs [batch, 10]."""
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def linear(path: Path, *, softmax: bool = False, scale: float = 1.0, noise: float = 0.0) -> Path:
    """Cast, flatten, one Gemm and maybe a Softmax; `noise` makes another model of it, `scale` a surer one."""
    facts = digits()
    weights = facts.weights + noise * np.random.default_rng(0).normal(size=facts.weights.shape)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1, name="flatten"),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits" if softmax else "scores"], name="gemm"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1, name="softmax"))
    constants = {"weights": (scale * weights).astype(np.float32), "bias": (scale * facts.bias).astype(np.float32)}
    return save(path, nodes, constants=constants)
