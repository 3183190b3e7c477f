"""Makes a graph that was exported elsewhere take a dataset's items as they are stored.

Datasets hold images as uint8 [n, height, width, channels] and tables as float32 [n, columns]; graphs of other people want
float [n, channels, height, width], shares of 255, or standardised values. What a graph wants is partly seen from its input
(type, layout) and partly a fact that no graph tells (the scale), which has to be declared. Both are put in front of the graph
as operators: then whoever holds the file holds the whole model, and it is scored, gated and served as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np

from pipelines.recipes import Problem
from registry.errors import BadData, BadSettings

Layout = Literal["nhwc", "nchw", "nhw", "flat"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_PREFIX = "reg/"
_OPSET = 13
_FLOATS = {"float32", "float16", "float64"}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a person says about a graph's input: (pixel * scale - mean) / deviation, in this layout; None is not said.

    `mean` and `deviation` have one value, or one for each channel.
    """

    layout: Layout | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An input as a graph declares it: numpy's name of its type, and its shape with None where any size fits."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join('any' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator in front of the graph, in words and as ONNX has it; `constants` are its further inputs."""

    words: str
    operator: str
    attributes: tuple[tuple[str, Any], ...] = ()
    constants: tuple[Any, ...] = ()


def numbers(text: str, *, option: str) -> tuple[float, ...]:
    """`1/255`, `0.5` or `0.485,0.456,0.406`.

    Raises:
        BadSettings: a part is no number.
    """
    try:
        return tuple(float(Fraction(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as exc:
        raise BadSettings(f"{option} {text}: numbers such as 1/255 or 0.5 were expected", hint=f"{option} 1/255") from exc


def steps(wanted: Wanted, problem: Problem, declared: Declared) -> tuple[Step, ...]:
    """What must happen to a batch of stored items before the graph can have it; nothing when it takes them as they are.

    Raises:
        BadData: no arrangement of the items has the shape that the graph wants, or it wants another type.
        BadSettings: what was declared does not fit, or something must be declared; the hint says how.
    """
    if wanted.shape and wanted.shape[0] is not None:
        raise BadData(
            f"the graph takes batches of exactly {wanted.shape[0]} ({wanted})",
            hint="export it with a dynamic batch: dynamic_shapes=({0: torch.export.Dim('batch')},)",
        )
    if wanted.dtype not in {*_FLOATS, "uint8"}:
        raise BadData(f"the graph takes {wanted.dtype} ({wanted}); uint8 images or floats were expected")
    if problem.image is None:
        return _table_steps(wanted, problem, declared)
    layout = _layout(wanted, problem.image, declared.layout)
    return (*_value_steps(wanted, problem.image, declared), *_layout_steps(layout, problem.image))


def in_front(model: Any, made: Sequence[Step], problem: Problem) -> Any:
    """A graph (an `onnx.ModelProto`) whose input is that of the problem and goes through the steps first."""
    from onnx import helper, numpy_helper

    model = type(model).FromString(model.SerializeToString())
    graph = model.graph
    taken = _input(model)
    dtype = helper.np_dtype_to_tensor_dtype(problem.input_dtype)
    used = {name for node in graph.node for name in (*node.input, *node.output)} | {taken.name}
    name = problem.input_name if problem.input_name not in used else f"{_PREFIX}{problem.input_name}"
    previous = name
    nodes, constants = [], []
    for at, step in enumerate(made):
        given = taken.name if at == len(made) - 1 else f"{_PREFIX}{at}"
        others = [f"{_PREFIX}{at}.{number}" for number in range(len(step.constants))]
        constants += [numpy_helper.from_array(value, other) for other, value in zip(others, step.constants, strict=True)]
        title = f"{_PREFIX}{step.operator}"
        nodes.append(helper.make_node(step.operator, [previous, *others], [given], name=title, **dict(step.attributes)))
        previous = given
    shape: list[str | int | None] = ["batch", *problem.input_shape]
    graph.initializer.extend(constants)
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    inputs = [one for one in graph.input if one.name != taken.name]
    del graph.input[:]
    graph.input.extend([helper.make_tensor_value_info(name, dtype, shape), *inputs])
    if all(one.domain for one in model.opset_import):  # a graph of ai.onnx.ml alone
        model.opset_import.append(helper.make_opsetid("", _OPSET))
    return model


def wanted_by(model: Any) -> Wanted:
    """The one input of a graph.

    Raises:
        BadData: it has none or several, or one that is no tensor.
    """
    from onnx import helper

    taken = _input(model)
    if not taken.type.HasField("tensor_type"):
        raise BadData(f"the graph's input {taken.name} is no tensor", hint="convert it with one input of all columns")
    tensor = taken.type.tensor_type
    if not tensor.HasField("shape"):
        raise BadData(f"the graph does not say the shape of its input {taken.name}", hint="onnx.shape_inference; export again")
    sizes = tuple(size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in tensor.shape.dim)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return Wanted(name=taken.name, dtype=dtype, shape=sizes)


def _input(model: Any) -> Any:
    held = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise BadData(f"the graph has {len(inputs)} inputs ({names}); one is needed", hint="export it with one input")
    return inputs[0]


def _table_steps(wanted: Wanted, problem: Problem, declared: Declared) -> tuple[Step, ...]:
    wide = len(problem.features)
    if len(wanted.shape) != 2 or wanted.shape[1] not in (None, wide):
        raise BadData(f"the graph takes {wanted}; the dataset's items are rows of {wide} columns")
    if declared != Declared():
        raise BadSettings("layout, scale, mean and std are for images; the columns of a table go in as they are")
    return () if wanted.dtype == "float32" else (_cast(wanted.dtype),)


def _layout(wanted: Wanted, image: tuple[int, int, int], declared: Layout | None) -> Layout:
    height, width, channels = image
    shapes: dict[Layout, tuple[int, ...]] = {"nhwc": image, "nchw": (channels, height, width)}
    shapes["flat"] = (height * width * channels,)
    if channels == 1:
        shapes["nhw"] = (height, width)
    fitting = [
        layout
        for layout, shape in shapes.items()
        if len(shape) == len(wanted.shape) - 1
        and all(want in (None, size) for want, size in zip(wanted.shape[1:], shape, strict=True))
    ]
    images = f"the dataset's images are {height}×{width}×{channels}"
    if not fitting:
        raise BadData(
            f"the graph takes {wanted}; {images}", hint="make a dataset of that size, or put the resizing into the graph"
        )
    if declared is not None:
        if declared not in fitting:
            raise BadSettings(
                f"layout {declared} does not fit: the graph takes {wanted}; {images}", hint=f"--layout {fitting[0]}"
            )
        return declared
    if len(fitting) > 1:
        raise BadSettings(f"the graph takes {wanted}, which fits {' and '.join(fitting)}; {images}", hint="--layout nchw")
    return fitting[0]


def _value_steps(wanted: Wanted, image: tuple[int, int, int], declared: Declared) -> tuple[Step, ...]:
    values = (declared.scale, *declared.mean, *declared.deviation)
    if wanted.dtype == "uint8":
        if any(value is not None for value in values):
            raise BadSettings("the graph takes uint8, so pixels go in as they are: no scale, mean or std")
        return ()
    if declared.scale is None and not declared.mean and not declared.deviation:
        raise BadSettings(
            f"the graph takes {wanted.dtype}, and no graph tells whether it wants pixels from 0 to 255 or from 0 to 1",
            hint="--scale 1/255, or --scale 1 for pixels as they are; --mean and --std for standardised ones",
        )
    dtype, channels = np.dtype(wanted.dtype), image[2]
    made = [_cast(wanted.dtype)]
    if declared.scale not in (None, 1.0):
        scale = float(declared.scale or 1.0)
        made.append(Step(words=f"times {scale:.6g}", operator="Mul", constants=(np.asarray(scale, dtype),)))
    for option, given, words, operator in (
        ("--mean", declared.mean, "minus", "Sub"),
        ("--std", declared.deviation, "divided by", "Div"),
    ):
        if given:
            if len(given) not in (1, channels):
                found = f"{option} has {len(given)} values, the images have {channels} channels"
                raise BadSettings(found, hint=f"{option} 0.5")
            if operator == "Div" and min(given) <= 0:
                raise BadSettings(f"{option} {', '.join(map(str, given))}: a deviation is above 0", hint=f"{option} 0.5")
            shown = ", ".join(f"{value:.6g}" for value in given)
            made.append(Step(words=f"{words} {shown}", operator=operator, constants=(np.asarray(given, dtype),)))
    return tuple(made)


def _layout_steps(layout: Layout, image: tuple[int, int, int]) -> tuple[Step, ...]:
    height, width, channels = image
    if layout == "nhwc":
        return ()
    if layout == "nchw":
        return (Step(words="channels first", operator="Transpose", attributes=(("perm", [0, 3, 1, 2]),)),)
    sizes = [-1, height, width] if layout == "nhw" else [-1, height * width * channels]
    words = "without the channel" if layout == "nhw" else "all values in one row"
    return (Step(words=words, operator="Reshape", constants=(np.asarray(sizes, np.int64),)),)


def _cast(dtype: str) -> Step:
    from onnx import helper

    to = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    return Step(words=f"as {dtype}", operator="Cast", attributes=(("to", to),))
