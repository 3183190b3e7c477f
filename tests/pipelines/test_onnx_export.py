"""The exported model: one graph that is the network, free of where it was made, in a folder that is whole or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_problems import Given, digits, wines

from pipelines.model_files import ModelFile, read_model, write_model
from pipelines.onnx_export import export, measure_parity
from pipelines.recipes import find
from pipelines.training import Trained
from registry.errors import BadData, EnvironmentProblem, ParityFailed
from registry.records import Pinned

DATASET = Pinned(reference="ada/demo/digits:v0", digest="md5:9e107d9d372bb6826bd81d3542a419d6")
PROBLEMS = {"images": digits, "table": wines}
SETTINGS = ("epochs=2", "train_fraction=0.5")


@cache
def trained(kind: str) -> Trained:
    return PROBLEMS[kind]().fit(*SETTINGS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in PROBLEMS}
    for kind, folder in made.items():
        write(folder, kind)
    return made


def write(folder: Path, kind: str) -> ModelFile:
    given = PROBLEMS[kind]()
    return write_model(
        folder,
        trained(kind),
        problem=given.problem,
        config=given.config(*SETTINGS),
        dataset=DATASET,
        samples=given.inputs,
        git_commit="0" * 40,
        git_dirty=False,
    )


def scores_of_graph(folder: Path, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {session.get_inputs()[0].name: batch})
    return np.asarray(scores)


def scores_of_network(network: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.tensor(batch)).numpy()


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_the_graph_scores_raw_items_as_the_network_does(folders: dict[str, Path], kind: str, size: int) -> None:
    batch = np.resize(PROBLEMS[kind]().test_inputs, (size, *PROBLEMS[kind]().problem.input_shape))
    expected = scores_of_network(trained(kind).network, batch)
    np.testing.assert_allclose(scores_of_graph(folders[kind], batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_the_weights_alone_rebuild_the_network(folders: dict[str, Path], kind: str) -> None:
    given: Given = PROBLEMS[kind]()
    recipe, config = find(given.problem.task), given.config(*SETTINGS)
    network = recipe.network(given.problem, config.model)
    network.load_state_dict(load_file(folders[kind] / "model.safetensors"))
    expected = scores_of_network(trained(kind).network, given.test_inputs)
    assert np.array_equal(scores_of_network(network.eval(), given.test_inputs), expected)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_the_graph_says_nothing_about_where_it_was_made(folders: dict[str, Path], kind: str) -> None:
    content = b"".join((folders[kind] / name).read_bytes() for name in ("model.onnx", "model.yaml"))
    for place in (Path.cwd(), Path(__file__).parents[2], Path.home(), Path(torch.__file__).parents[1], folders[kind]):
        assert str(place).encode() not in content
    for trace in (b".py", b"stack_trace", b"site-packages", b"Traceback"):
        assert trace not in content
    assert b"metadata_props" not in onnx.load(folders[kind] / "model.onnx").SerializeToString()


@pytest.mark.parametrize("kind", PROBLEMS)
def test_the_graph_uses_only_operators_that_run_on_cuda(folders: dict[str, Path], kind: str) -> None:
    model = onnx.load(folders[kind] / "model.onnx")
    known = {"Transpose", "Cast", "Sub", "Div", "Conv", "Relu", "MaxPool", "ReduceMean", "Gemm"}
    known |= {"Gather", "Equal", "Not", "Where", "Mul", "Concat"}
    assert {node.op_type for node in model.graph.node} <= known
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]


def test_the_same_network_is_exported_to_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    export(trained("table").network, wines().problem, tmp_path / "model.onnx", items=wines().inputs)
    assert (tmp_path / "model.onnx").read_bytes() == (folders["table"] / "model.onnx").read_bytes()


def test_exporting_is_silent(tmp_path: Path) -> None:
    # In a process of its own: the exporter logs some of its complaints only the first time.
    code = (
        "import sys, warnings; warnings.simplefilter('always'); sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from training_problems import wines\n"
        "from pipelines.onnx_export import export\n"
        "network = wines().fit('epochs=1').network\n"
        "export(network, wines().problem, Path(sys.argv[2]), items=wines().inputs)\n"
    )
    here = Path(__file__).parent
    words = [sys.executable, "-c", code, str(here), str(tmp_path / "model.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=here.parents[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_network_that_changed_after_the_export_fails_parity(tmp_path: Path) -> None:
    given, path = wines(), tmp_path / "model.onnx"
    network = given.fit(*SETTINGS).network
    export(network, given.problem, path, items=given.inputs)
    with torch.no_grad():
        network.layers[-1].bias[0] += 0.5
    with pytest.raises(ParityFailed, match=r"model\.onnx and the network differ by up to 0\.5 on 118 items"):
        measure_parity(network, path, items=given.inputs, problem=given.problem)


class Frozen(torch.nn.Module):
    """Adds up only with a batch of two."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)[:, :10].to(torch.float32) + torch.ones(2, 10)


class Choosy(torch.nn.Module):
    """Branches on what it sees, which no graph can."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)[:, :10].to(torch.float32) if image.sum() > 0 else torch.zeros(len(image), 10)


class Merging(torch.nn.Module):
    """Gives two rows of scores for any batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.reshape(2, -1)[:, :10].to(torch.float32)


class NotANumber(torch.nn.Module):
    """Scores that no tolerance should accept."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)[:, :10].to(torch.float32) * float("nan")


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (Choosy(), EnvironmentProblem, "the network cannot be exported: "),
        (Frozen(), ParityFailed, r"model\.onnx does not run on a batch of 1: "),
        (Merging(), ParityFailed, r"for a batch of 1, .* \[1, 10\] was expected"),
        (NotANumber(), ParityFailed, "differ by up to nan on 512 items"),
    ],
    ids=["a branch", "frozen batch", "merged items", "NaN"],
)
def test_a_bad_network_becomes_no_model(tmp_path: Path, network: torch.nn.Module, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        export(network, digits().problem, tmp_path / "model.onnx", items=digits().inputs)


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "model", "table")
    assert read_model(tmp_path / "model") == written


def test_the_description_answers_how_to_call_it_and_where_it_comes_from(folders: dict[str, Path]) -> None:
    read = read_model(folders["images"])
    assert read.signature.model_dump(mode="json") == {
        "inputs": [{"name": "image", "dtype": "uint8", "shape": ["batch", 8, 8, 1]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": ["batch", 10], "kind": "logits"}],
        "labels": list("0123456789"),
        "targets": [],
        "features": [],
        "rendering": None,
    }
    assert (read.task, read.recipe, read.dataset) == ("image-classification", "image-classification", DATASET)
    assert read.config == json.loads(digits().config(*SETTINGS).model_dump_json())
    assert (read.code.commit, read.code.dirty) == ("0" * 40, False)
    assert (read.training.epochs, read.training.validation) == (2, dict(trained("images").validation))
    assert (read.parity.items, read.parity.flips, read.parity.batches) == (512, 0, (1, 2, 7))
    assert 0 < read.parity.max_abs < 1e-4
    assert {"python", "torch", "onnx", "onnxruntime", "numpy"} <= set(read.packages)
    assert set(read.files) == {"model.onnx", "model.safetensors"}


def test_a_tables_description_names_its_columns_and_categories(folders: dict[str, Path]) -> None:
    signature = read_model(folders["table"]).signature
    assert signature.features == wines().problem.features
    assert (signature.inputs[0].name, signature.inputs[0].shape) == ("features", ("batch", 13))


def test_the_description_is_in_the_order_of_its_schema(folders: dict[str, Path]) -> None:
    assert list(yaml.safe_load((folders["table"] / "model.yaml").read_text())) == list(ModelFile.model_fields)


def truncate(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / "model.yaml").read_text()
        assert old in text
        (folder / "model.yaml").write_text(text.replace(old, new, 1))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate("model.yaml"), r"model\.yaml"),
        (lambda folder: (folder / "model.yaml").write_text(""), r"model\.yaml: the file: input should be"),
        (lambda folder: (folder / "model.yaml").write_bytes(b"\xff\xfe\x00"), r"cannot read .*model\.yaml"),
        (rewrite("schema_version: 1", "schema_version: 2"), r"schema_version 2, this reg reads 1"),
        (rewrite("task:", "tsak:"), r"model\.yaml: (task: field required|tsak: extra)"),
        (lambda folder: (folder / "model.yaml").unlink(), r"is no model: it has no model\.yaml"),
        (lambda folder: (folder / "model.onnx").unlink(), r"is incomplete: model\.onnx is missing"),
        (truncate("model.onnx"), r"model\.onnx is not the file that model\.yaml describes"),
        (truncate("model.safetensors"), r"model\.safetensors is not the file"),
        (flip_a_bit, r"model\.onnx is not the file"),
    ],
    ids=[
        *("half a description", "empty description", "binary description", "newer schema", "unknown key"),
        *("no description", "no graph", "half a graph", "half the weights", "one bit"),
    ],
)
def test_a_damaged_folder_is_refused(
    folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(folders["table"], tmp_path / "model")
    damage(folder)
    with pytest.raises(BadData, match=message):
        read_model(folder)
