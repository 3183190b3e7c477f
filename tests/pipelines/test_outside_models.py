"""A graph made elsewhere becomes a model that scores as it did there, or is refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspect, load
from pipelines.graph_input import Declared
from pipelines.model_files import Code, read_model
from pipelines.outside_models import Brought, Statement, bring
from pipelines.runtime import open_session
from registry.errors import BadData, BadSettings
from registry.records import Pinned
from tests.pipelines.data_files import publish, write_text
from tests.pipelines.digits_model import digits, linear
from tests.pipelines.own_code import digits_dataset, export
from tests.pipelines.task_samples import write_diabetes, write_scenes

PINNED = Pinned(reference="local/reg/digits:v0", digest="md5:" + "d" * 32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return digits_dataset(tmp_path_factory.mktemp("digits"))


def brought(path: Path, folder: Path, dataset: Dataset, **said: Any) -> Brought:
    statement = Statement(
        input=Declared(**said.pop("input", {})), scores=said.pop("scores", None), output=said.pop("output", None)
    )
    folder.mkdir()
    return bring(path, folder, dataset=dataset, pinned=PINNED, statement=statement, code=Code(commit=None, dirty=None), **said)


def accuracy(folder: Path) -> float:
    """On items that nothing was fitted on, given as they are stored."""
    scores = open_session(folder / "model.onnx", device="cpu").run(digits().images)
    return float((scores.argmax(axis=1) == digits().targets).mean())


LDA = 0.93  # what the linear model has on these digits, less a little


@pytest.mark.parametrize(
    ("made", "said", "before"),
    [
        ({}, {"scale": 1.0}, ("as float32", "channels first")),
        ({"factor": 16.0}, {"scale": 1 / 16}, ("as float32", "times 0.0625", "channels first")),
        ({"shape": ("n", 8, 8, 1)}, {"scale": 1.0}, ("as float32",)),
        ({"shape": ("n", 8, 8)}, {"scale": 1.0}, ("as float32", "without the channel")),
        ({"shape": ("n", 64)}, {"scale": 1.0}, ("as float32", "all values in one row")),
        ({"shape": (None, None, None, None)}, {"scale": 1.0, "layout": "nchw"}, ("as float32", "channels first")),
        ({"dtype": TensorProto.UINT8}, {}, ("channels first",)),
        ({"dtype": TensorProto.DOUBLE}, {"scale": 1.0}, ("as float64", "channels first")),
        ({"dtype": TensorProto.UINT8, "shape": ("n", 8, 8, 1)}, {}, ()),
        ({"name": "image"}, {"scale": 1.0}, ("as float32", "channels first")),
        (
            {"factor": 8.0},
            {"scale": 1.0, "mean": (0.0,), "deviation": (8.0,)},
            ("as float32", "minus 0", "divided by 8", "channels first"),
        ),
    ],
    ids=["nchw", "scaled", "nhwc", "nhw", "flat", "any-shape", "uint8", "double", "as-stored", "named-image", "standardised"],
)
def test_the_stored_items_are_made_into_what_the_graph_wants(
    tmp_path: Path, dataset: Dataset, made: dict[str, Any], said: dict[str, Any], before: tuple[str, ...]
) -> None:
    found = brought(export(tmp_path / "m.onnx", **made), tmp_path / "model", dataset, input=said)
    assert found.file.source is not None
    assert found.file.source.before == before
    assert accuracy(tmp_path / "model") > LDA
    assert found.doubt is None


def test_a_graph_that_fits_is_kept_byte_for_byte(tmp_path: Path, dataset: Dataset) -> None:
    graph = linear(tmp_path / "m.onnx")
    brought(graph, tmp_path / "model", dataset)
    assert (tmp_path / "model" / "model.onnx").read_bytes() == graph.read_bytes()


def test_the_description_says_what_is_known_and_nothing_else(tmp_path: Path, dataset: Dataset) -> None:
    brought(export(tmp_path / "m.onnx", factor=16.0), tmp_path / "model", dataset, input={"scale": 1 / 16})
    read = read_model(tmp_path / "model")
    assert (read.recipe, read.config, read.training, read.parity) == (None, None, None, None)
    assert read.source is not None
    assert (read.source.file, read.source.producer, read.source.opset, read.source.output) == (
        "m.onnx",
        "elsewhere 3",
        17,
        "output",
    )
    assert (read.dataset, read.labels, read.task) == (PINNED, tuple("0123456789"), "image-classification")
    assert read.signature.inputs[0].shape == ("batch", 8, 8, 1)


def test_weights_in_another_file_come_into_the_graph(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "export").mkdir()
    export(tmp_path / "export" / "m.onnx", weights_apart=True)
    (tmp_path / "export" / "README.md").write_text("made elsewhere")
    brought(tmp_path / "export", tmp_path / "model", dataset, input={"scale": 1.0})
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.onnx", "model.yaml", "MODEL_CARD.md", "README.md"}
    assert accuracy(tmp_path / "model") > LDA


def test_weights_that_are_missing_are_named(tmp_path: Path, dataset: Dataset) -> None:
    export(tmp_path / "m.onnx", weights_apart=True)
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(BadData, match=r"m\.onnx\.data"):
        brought(tmp_path / "m.onnx", tmp_path / "model", dataset, input={"scale": 1.0})


@pytest.mark.parametrize(
    ("made", "declared", "kind", "known_by"),
    [
        ({}, None, "logits", "outside 0 to 1"),
        ({"ending": "Softmax"}, None, "probabilities", "the graph ends in Softmax"),
        ({"ending": "LogSoftmax"}, None, "logits", "the graph ends in LogSoftmax"),
        ({"ending": "Sigmoid"}, "logits", "logits", "declared"),
    ],
    ids=["logits", "softmax", "log-softmax", "declared"],
)
def test_what_the_scores_are_is_seen_where_it_is_certain(
    tmp_path: Path, dataset: Dataset, made: dict[str, Any], declared: Any, kind: str, known_by: str
) -> None:
    graph = export(tmp_path / "m.onnx", **made)
    found = brought(graph, tmp_path / "model", dataset, input={"scale": 1.0}, scores=declared)
    assert found.file.source is not None
    assert (found.file.scores, known_by in found.file.source.scores_known_by) == (kind, True)


def test_probabilities_without_a_softmax_are_seen_by_their_sums(tmp_path: Path, dataset: Dataset) -> None:
    model = onnx.load(export(tmp_path / "soft.onnx", ending="Softmax"))
    model.graph.node[3].output[0] = "soft"
    model.graph.node.append(helper.make_node("Abs", ["soft"], ["output"]))
    onnx.save(model, tmp_path / "m.onnx")
    found = brought(tmp_path / "m.onnx", tmp_path / "model", dataset, input={"scale": 1.0})
    assert found.file.scores == "probabilities"


def test_a_wrong_scale_is_noticed(tmp_path: Path, dataset: Dataset) -> None:
    graph = export(tmp_path / "m.onnx")
    found = brought(graph, tmp_path / "model", dataset, input={"scale": 1.0, "mean": (1e6,)})
    assert found.doubt is not None
    assert "are scale, layout and the order of the classes what it was trained with?" in found.doubt


def test_one_of_several_outputs_is_chosen(tmp_path: Path, dataset: Dataset) -> None:
    graph = export(tmp_path / "m.onnx", outputs=("good", "bad"))
    with pytest.raises(BadSettings, match="2 outputs of the graph could be the scores: good, bad"):
        brought(graph, tmp_path / "nothing", dataset, input={"scale": 1.0})
    brought(graph, tmp_path / "model", dataset, input={"scale": 1.0}, output="good")
    assert [one.name for one in onnx.load(tmp_path / "model" / "model.onnx").graph.output] == ["good"]
    assert accuracy(tmp_path / "model") > LDA


@pytest.mark.parametrize(
    ("made", "said", "message", "hint"),
    [
        ({"shape": (1, 1, 8, 8)}, {"scale": 1.0}, "batches of exactly 1", "dynamic_shapes"),
        ({"shape": ("n", 3, 8, 8)}, {"scale": 1.0}, r"the dataset's images are 8×8×1", "make a dataset"),
        ({}, {}, "pixels from 0 to 255 or from 0 to 1", "--scale 1/255"),
        ({"dtype": TensorProto.UINT8}, {"scale": 0.5}, "takes uint8, so pixels go in as they are", None),
        ({"shape": (None, None, None, None)}, {"scale": 1.0}, "fits nhwc and nchw", "--layout nchw"),
        ({}, {"scale": 1.0, "layout": "flat"}, "layout flat does not fit", "--layout nchw"),
        ({}, {"mean": (0.1, 0.2)}, "--mean has 2 values, the images have 1 channels", "--mean 0.5"),
        ({}, {"deviation": (0.0,)}, "a deviation is above 0", "--std 0.5"),
        ({"classes": 9}, {"scale": 1.0}, r"scores of shape \[10\] per item, as the dataset wants: output\['n', 9\]", None),
        ({"ending": "Sigmoid"}, {"scale": 1.0}, "what they are cannot be seen", "--scores logits"),
        ({"dtype": TensorProto.INT64}, {}, "takes int64", None),
    ],
    ids=["batch", "channels", "scale", "uint8", "layout", "wrong-layout", "mean", "std", "classes", "sigmoid", "dtype"],
)
def test_a_graph_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, dataset: Dataset, made: dict[str, Any], said: dict[str, Any], message: str, hint: str | None
) -> None:
    graph = export(tmp_path / "m.onnx", **made)
    with pytest.raises((BadData, BadSettings), match=message) as caught:
        brought(graph, tmp_path / "model", dataset, input=said)
    assert hint is None or hint in (caught.value.hint or "")
    assert not (tmp_path / "model" / "model.yaml").exists()


def corrupt(path: Path) -> Path:
    path.write_bytes(b"\x00" * 40)
    return path


def cut(path: Path) -> Path:
    content = export(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def several(path: Path) -> Path:
    folder = path.parent / "several"
    folder.mkdir()
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(linear(path), folder / name)
    return folder


def two_inputs(path: Path) -> Path:
    model = onnx.load(linear(path))
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n"]))
    onnx.save(model, path)
    return path


def invalid(path: Path) -> Path:
    model = onnx.load(linear(path))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (corrupt, "is no ONNX model"),
        (cut, "is no ONNX model"),
        (several, r"holds 2 \.onnx files: a\.onnx, b\.onnx"),
        (two_inputs, r"2 inputs \(image, mask\)"),
        (invalid, "is not valid ONNX"),
        (lambda path: path, "does not exist"),
    ],
    ids=["corrupt", "cut", "several", "two-inputs", "invalid", "absent"],
)
def test_what_is_no_usable_graph_is_said(tmp_path: Path, dataset: Dataset, make: Any, message: str) -> None:
    with pytest.raises(BadData, match=message):
        brought(make(tmp_path / "m.onnx"), tmp_path / "model", dataset)


def test_the_same_graph_brought_twice_has_the_same_bytes(tmp_path: Path, dataset: Dataset) -> None:
    graph = export(tmp_path / "m.onnx")
    for name in ("one", "two"):
        brought(graph, tmp_path / name, dataset, input={"scale": 1.0})
    assert np.array_equal(
        *((np.frombuffer((tmp_path / name / "model.yaml").read_bytes(), np.uint8)) for name in ("one", "two"))
    )


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16], ids=["float", "double", "half"])
def test_a_graph_of_a_tables_columns_takes_them_as_they_are(tmp_path: Path, dtype: int) -> None:
    rows = [f"{at % 7},{at % 3},{'yes' if at % 3 else 'no'}" for at in range(60)]
    write_text(tmp_path / "data" / "train.csv", "\n".join(["a,b,answer", *rows]))
    table = load(publish(inspect(tmp_path / "data", Options(name="table", target="answer")), tmp_path / "artifact"))
    nodes = [
        helper.make_node("Cast", ["columns"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["float", "weights"], ["product"]),
        helper.make_node("Sub", ["product", "bias"], ["scores"]),
    ]
    constants = {"weights": np.array([[0, 0], [-1, 1]], np.float32), "bias": np.array([-0.5, 0.5], np.float32)}
    graph = helper.make_graph(
        nodes,
        "table",
        [helper.make_tensor_value_info("columns", dtype, ["n", 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    found = brought(tmp_path / "m.onnx", tmp_path / "model", table)
    assert (found.value, found.file.signature.inputs[0].dtype) == (1.0, "float32")
    with pytest.raises(BadSettings, match="are for images"):
        brought(tmp_path / "m.onnx", tmp_path / "again", table, input={"scale": 1.0})


def save_graph(path: Path, nodes: list[Any], taken: Any, given: Any, **constants: Any) -> Path:
    values = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "elsewhere", [taken], [given], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_graph_that_gives_a_class_for_each_pixel_is_brought(tmp_path: Path) -> None:
    scenes = inspect(write_scenes(tmp_path / "data", train=16, test=4), Options())
    dataset = load(publish(scenes, tmp_path / "artifact"))
    # Dark ink is above 216, light ink above 110: a score per class that is largest in its range.
    nodes = [
        helper.make_node("Mul", ["image", "slope"], ["sloped"]),
        helper.make_node("Sub", ["sloped", "bias"], ["masks"]),
    ]
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 12, 14])
    given = helper.make_tensor_value_info("masks", TensorProto.FLOAT, ["n", 3, 12, 14])
    slope, bias = np.reshape([0, 1, 2], (1, 3, 1, 1)), np.reshape([0, 110, 110 + 216], (1, 3, 1, 1))
    graph = save_graph(tmp_path / "m.onnx", nodes, taken, given, slope=slope, bias=bias)
    found = brought(graph, tmp_path / "model", dataset, input={"scale": 1.0})
    assert (found.file.scores, found.file.signature.outputs[0].shape) == ("logits", ("batch", 3, 12, 14))
    assert (found.measure, found.value > 0.99 > found.guess, found.doubt) == ("accuracy", True, None)


def test_a_graph_that_gives_numbers_is_brought(tmp_path: Path) -> None:
    write_diabetes(tmp_path / "data")
    table = inspect(tmp_path / "data", Options(name="diabetes", target="target", task="tabular-regression"))
    dataset = load(publish(table, tmp_path / "artifact"))
    train = dataset.split("train")
    weights, *_ = np.linalg.lstsq(np.c_[train.inputs, np.ones(len(train))], train.targets, rcond=None)
    nodes = [helper.make_node("MatMul", ["row", "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]
    taken = helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 10])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])
    graph = save_graph(tmp_path / "m.onnx", nodes, taken, given, w=weights[:-1], b=weights[-1])
    found = brought(graph, tmp_path / "model", dataset)
    assert (found.file.scores, found.file.signature.targets, found.file.labels) == ("values", ("target",), ())
    assert (found.measure, found.value < found.guess, found.doubt) == ("mean absolute error", True, None)
    with pytest.raises(BadSettings, match="targets are numbers, so the scores are no logits"):
        brought(graph, tmp_path / "again", dataset, scores="logits")
