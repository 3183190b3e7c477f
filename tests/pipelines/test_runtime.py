"""A session proves where it ran: no fallback goes unnoticed, nothing that changes a number stays out of the fingerprint."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from digits_model import digits, linear, save
from onnx import TensorProto, helper

from pipelines.placement import CPU, CUDA, Node, executed_nodes, placed_nodes, placement_of
from pipelines.runtime import check_cuda, fingerprint, installed_builds, open_session
from registry.errors import BadData, DeviceUnavailable, EnvironmentProblem, MissingDependency
from registry.records import Placement, Runtime

ON_CUDA = Runtime(
    device="cuda",
    device_name="NVIDIA H100",
    provider=CUDA,
    providers=(CUDA, CPU),
    provider_options={"use_tf32": "0"},
    placement=Placement(nodes={CUDA: 20, CPU: 3}),
    device_memory_bytes=500_000_000,
    tf32=False,
    versions={"onnxruntime": "1.31.1", "driver": "580.1"},
    fingerprint="",
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return linear(tmp_path / "model.onnx")


def test_a_cpu_session_says_where_every_node_ran(model: Path) -> None:
    runtime = open_session(model, device="cpu", threads=1).runtime

    assert (runtime.device, runtime.provider, runtime.providers) == ("cpu", CPU, (CPU,))
    assert runtime.placement == Placement(nodes={CPU: 3}, compute_on_cpu=(), memcpy=0)
    assert (runtime.tf32, runtime.device_memory_bytes) == (None, None)
    assert runtime.versions == {"onnxruntime": onnxruntime.__version__}


def test_scores_are_those_of_the_graph(model: Path) -> None:
    facts = digits()

    scores = open_session(model, device="cpu", threads=1).run(facts.images[:50])

    expected = facts.images[:50].reshape(50, -1).astype(np.float64) @ facts.weights + facts.bias
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert scores.dtype == np.float32


def test_bound_inputs_and_outputs_give_the_same_bits(model: Path) -> None:
    """What a CUDA session does, on the CPU: only the device that the output is bound to differs."""
    plain = open_session(model, device="cpu", threads=1)
    bound = dataclasses.replace(plain, _binding=plain._ort.io_binding())
    images = digits().images
    for batch in (images[:50], images[50:57], images[:100:2]):
        np.testing.assert_array_equal(bound.run(batch), plain.run(batch))


def test_cuda_is_given_or_refused_but_never_replaced(model: Path) -> None:
    if open_session(model, device="auto").runtime.device == "cuda":
        assert open_session(model, device="cuda").runtime.provider == CUDA
    else:
        with pytest.raises(DeviceUnavailable) as caught:
            open_session(model, device="cuda")
        assert caught.value.exit_code == 7


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this build of onnxruntime has CUDA")
def test_a_build_without_cuda_is_named_with_what_it_offers(model: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"onnxruntime 1\.\S+ has no CUDA: it offers .*CPUExecutionProvider") as caught:
        open_session(model, device="cuda")
    assert caught.value.hint == "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"


def test_auto_says_why_it_took_the_cpu(model: Path) -> None:
    session = open_session(model, device="auto", threads=1)

    assert (session.why_cpu is None) == (session.runtime.device == "cuda")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"provider": CPU, "providers": (CPU,)},
            "the session of model.onnx fell back to CPUExecutionProvider: Failed to load libcublas",
            id="the-session-fell-back",
        ),
        pytest.param(
            {"placement": Placement(nodes={CUDA: 20, CPU: 2}, compute_on_cpu=("Conv stem", "Gemm head"))},
            r"2 computing node\(s\) of model.onnx were put on the CPU, the first is Conv stem",
            id="a-computing-node-on-the-cpu",
        ),
        pytest.param({"placement": Placement(nodes={CPU: 3})}, "no node of model.onnx was put on CUDA", id="no-node-on-cuda"),
        pytest.param({"device_memory_bytes": 0}, "NVML shows no memory of this process", id="no-memory-held"),
    ],
)
def test_a_missing_proof_of_cuda_is_named(change: dict[str, Any], message: str) -> None:
    runtime = ON_CUDA.model_copy(update=change)
    with pytest.raises(DeviceUnavailable, match=message):
        check_cuda(runtime, model="model.onnx", complaint="Failed to load libcublas.so.13")


@pytest.mark.parametrize(
    "memory", [pytest.param(500_000_000, id="nvml-lists-us"), pytest.param(None, id="nvml-cannot-see-pids-in-a-container")]
)
def test_a_proven_cuda_session_is_believed(memory: int | None) -> None:
    check_cuda(ON_CUDA.model_copy(update={"device_memory_bytes": memory}), model="model.onnx")


def test_placement_any_records_computing_nodes_on_the_cpu_without_refusing() -> None:
    stranded = Placement(nodes={CUDA: 20, CPU: 1}, compute_on_cpu=("Gemm head",))
    check_cuda(ON_CUDA.model_copy(update={"placement": stranded}), model="model.onnx", placement="any")


@pytest.mark.parametrize(
    "op", ["Conv", "FusedConv", "QLinearConv", "MatMul", "FusedGemm", "MultiHeadAttention", "TreeEnsembleClassifier"]
)
def test_a_computing_node_on_the_cpu_betrays_a_fallback(op: str) -> None:
    placement = placement_of([Node(CUDA, "Relu", "a"), Node(CPU, op, "b")], device="cuda")
    assert placement == Placement(nodes={CPU: 1, CUDA: 1}, compute_on_cpu=(f"{op} b",))


def test_shape_arithmetic_on_the_cpu_betrays_nothing() -> None:
    nodes = [Node(CUDA, "Conv", "a"), Node(CPU, "Shape", "b"), Node(CPU, "Gather", "c")]
    assert placement_of(nodes, device="cuda").compute_on_cpu == ()


def test_copies_between_host_and_device_are_counted() -> None:
    nodes = [Node(CUDA, "MemcpyFromHost", "a"), Node(CUDA, "Conv", "b"), Node(CUDA, "MemcpyToHost", "c")]
    assert placement_of(nodes, device="cuda").memcpy == 2


def test_the_profile_of_a_run_tells_the_same_as_the_record_of_assignment(model: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=[CPU])
    session.run(None, {"image": digits().images[:1]})
    profile = Path(session.end_profiling())

    older_onnxruntime = object()
    assert placed_nodes(older_onnxruntime, profile) == sorted(placed_nodes(session, profile))
    assert [node.op for node in executed_nodes(profile)] == ["Cast", "Flatten", "Gemm"]


def test_a_node_in_a_loop_is_one_node(tmp_path: Path) -> None:
    turn = {"cat": "Node", "name": "body_kernel_time", "args": {"op_name": "Add", "provider": CPU}}
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, turn, turn]))

    assert executed_nodes(profile) == [Node(CPU, "Add", "body")]


def test_two_models_on_one_runtime_have_one_fingerprint(model: Path, tmp_path: Path) -> None:
    other = linear(tmp_path / "other.onnx", softmax=True)
    first, second = (open_session(path, device="cpu", threads=1).runtime for path in (model, other))

    assert first.fingerprint == second.fingerprint == fingerprint(first)
    assert first.fingerprint.startswith("sha256:")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"device_name": "NVIDIA H200"}, id="device"),
        pytest.param({"provider_options": {"use_tf32": "1"}}, id="options"),
        pytest.param({"tf32": True}, id="tf32"),
        pytest.param({"versions": {"onnxruntime": "1.31.1", "driver": "581.0"}}, id="driver"),
    ],
)
def test_what_can_change_a_number_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(ON_CUDA.model_copy(update=change)) != fingerprint(ON_CUDA)


@pytest.mark.parametrize(
    "change", [pytest.param({"device_memory_bytes": 1}, id="memory"), pytest.param({"placement": None}, id="placement")]
)
def test_what_cannot_change_a_number_leaves_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(ON_CUDA.model_copy(update=change)) == fingerprint(ON_CUDA)


def test_the_number_of_cpu_threads_is_part_of_the_fingerprint(model: Path) -> None:
    one, two = (open_session(model, device="cpu", threads=n).runtime for n in (1, 2))

    assert one.provider_options["session.intra_op_num_threads"] == "1"
    assert one.fingerprint != two.fingerprint


def test_a_corrupt_model_is_named_in_one_error_and_nothing_else_is_said(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = model.read_bytes()
    for name, content in {"truncated": whole[:500], "empty": b"", "text": b"not a graph"}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(BadData, match=f"{name}.onnx: not a model that ONNX Runtime"):
            open_session(path, device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [pytest.param("absent.onnx", id="absent"), pytest.param(".", id="folder")])
def test_a_path_without_a_model_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no such model file"):
        open_session(tmp_path / name, device="cpu")


def test_a_graph_without_scores_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights"], ["first"]),
        helper.make_node("Relu", ["first"], ["second"]),
    ]
    path = save(tmp_path / "two.onnx", nodes, constants={"weights": digits().weights}, outputs=("first", "second"))
    with pytest.raises(BadData, match=r"two.onnx: no output named 'scores' among first, second"):
        open_session(path, device="cpu")


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        pytest.param(np.zeros((2, 8, 8, 1), np.float32), r"float32\[2, 8, 8, 1\]", id="dtype"),
        pytest.param(np.zeros((2, 8, 7, 1), np.uint8), r"uint8\[2, 8, 7, 1\]", id="size"),
        pytest.param(np.zeros((2, 64), np.uint8), r"uint8\[2, 64\]", id="rank"),
    ],
)
def test_items_that_do_not_fit_the_graph_are_refused(batch: np.ndarray, found: str, model: Path) -> None:
    session = open_session(model, device="cpu", threads=1)
    with pytest.raises(BadData, match=rf"model.onnx takes image as uint8\[any, 8, 8, 1\], the items are {found}"):
        session.run(batch)


def test_a_run_that_fails_says_on_what_it_failed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "one_row"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"]),
    ]
    constants = {"one_row": np.array([1, 64]), "weights": digits().weights}
    session = open_session(save(tmp_path / "stiff.onnx", nodes, constants=constants), device="cpu", threads=1)
    with pytest.raises(EnvironmentProblem, match=r"stiff.onnx failed on CPUExecutionProvider .* at 2 items"):
        session.run(digits().images[:2])


def test_without_onnxruntime_the_error_says_what_to_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency) as caught:
        open_session(model, device="auto")
    assert (caught.value.exit_code, caught.value.hint) == (7, "pip install onnxruntime")


def test_builds_that_overwrote_each_other_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.31.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert set(installed_builds()) >= {"onnxruntime", "onnxruntime-gpu"}
