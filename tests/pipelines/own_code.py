"""What people bring: the code of the documentation, scikit-learn's digits as an archive, graphs as other tools export them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspect, load
from tests.pipelines.data_files import publish
from tests.pipelines.digits_model import digits

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "own-code.md").read_text(encoding="utf-8")
SERVING, TEN_LINES, COST = re.findall(r"^```python\n(.*?)^```", DOCUMENTED, flags=re.DOTALL | re.MULTILINE)


def write_digits(folder: Path, *, train: int = 500, test: int = 397) -> Path:
    """The digits that `digits_model` was not fitted on, as `digits.npz` of uint8 images from 0 to 16."""
    folder.mkdir(parents=True, exist_ok=True)
    data = digits()
    rest = slice(train, train + test)
    np.savez(
        folder / "digits.npz",
        x_train=data.images[:train],
        y_train=data.targets[:train],
        x_test=data.images[rest],
        y_test=data.targets[rest],
    )
    return folder


def digits_dataset(folder: Path) -> Dataset:
    """The same as a downloaded dataset version."""
    found = inspect(write_digits(folder / "data"), Options(name="digits"))
    return load(publish(found, folder / "artifact"))


def export(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ("n", 1, 8, 8),
    dtype: int = TensorProto.FLOAT,
    factor: float = 1.0,
    ending: str | None = None,
    outputs: tuple[str, ...] = ("output",),
    classes: int = 10,
    weights_apart: bool = False,
    name: str = "input",
) -> Path:
    """A linear model of the digits that wants pixels from 0 to 16 divided by `factor`, with its channels first."""
    data = digits()
    order = np.arange(64)
    weights = (data.weights[order] * factor)[:, :classes].astype(np.float32)
    nodes = [
        helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node(ending or "Identity", ["logits"], [outputs[0]]),
        *(helper.make_node("Neg", [outputs[0]], [other]) for other in outputs[1:]),
    ]
    graph = helper.make_graph(
        nodes,
        "elsewhere",
        [helper.make_tensor_value_info(name, dtype, list(shape))],
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, [shape[0], classes]) for one in outputs],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(data.bias[:classes], "bias")],
    )
    model: Any = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="elsewhere", producer_version="3"
    )
    onnx.save(model, path, save_as_external_data=weights_apart, location=f"{path.name}.data", size_threshold=64)
    return path
