"""What evaluation on a GPU proves, costs and changes, measured on the machine it runs on.

    python benchmarks/gpu_evaluation.py --model model.onnx --items items.npz --out gpu.json

`items.npz` holds `inputs` (as the graph takes them) and `targets`; without the two files a small convolutional network with
random weights and random images is built. Needs numpy, scipy, scikit-learn, pyarrow, pydantic and onnxruntime-gpu, and of
this repository only `registry` and `pipelines`. Exits 7, as `reg evaluate --device cuda` does, where CUDA does not hold its
proofs; what could be measured is in the file all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.abreast import open_on
from pipelines.devices import Devices
from pipelines.placement import CPU, CUDA
from pipelines.runtime import Session, open_session
from pipelines.scoring import evaluate, score, time_against, time_alone
from registry.errors import DeviceUnavailable, RegError
from registry.records import Pinned, Scored

BATCHES = (1, 32, 256, 1024)
REPEATS = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model.onnx; built when absent")
    parser.add_argument("--items", type=Path, help=".npz with inputs and targets; built when absent")
    parser.add_argument("--kind", choices=["logits", "probabilities"], default="logits", help="what the graph's scores are")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True, help="JSON result")
    parser.add_argument("--only-open", metavar="DEVICE", help="open a session on DEVICE, print what it is, and exit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or build_model(Path(folder) / "model.onnx")
        if arguments.only_open:
            return only_open(model, arguments.only_open)
        if arguments.items:
            with np.load(arguments.items) as file:
                inputs, targets = file["inputs"], file["targets"]
        else:
            random = np.random.default_rng(0)
            inputs, targets = random.integers(0, 256, (20_000, 28, 28, 1), dtype=np.uint8), random.integers(0, 10, 20_000)
        result: dict[str, Any] = {"model_bytes": model.stat().st_size, "items": len(inputs), "input": str(inputs.dtype)}
        try:
            measure(result, model, inputs, targets, kind=arguments.kind, batch_size=arguments.batch_size, folder=Path(folder))
        except RegError as exc:
            result["error"] = {"kind": type(exc).__name__, "message": exc.message, "exit_code": exc.exit_code}
            print(f"Error: {exc.message}", file=sys.stderr)
        finally:
            arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(result, indent=2))
        return int(result.get("error", {}).get("exit_code", 0))


def measure(
    result: dict[str, Any],
    model: Path,
    inputs: NDArray[Any],
    targets: NDArray[Any],
    *,
    kind: Any,
    batch_size: int,
    folder: Path,
) -> None:
    labels = tuple(str(k) for k in range(int(targets.max()) + 1))
    items = [f"test/{i}" for i in range(len(inputs))]
    given: dict[str, Any] = {"kind": kind, "inputs": inputs, "targets": targets, "items": items}

    result["hidden"] = {
        "asked_cuda": in_a_process_without_cuda(model, "cuda"),
        "asked_auto": in_a_process_without_cuda(model, "auto"),
    }
    cpu = open_session(model, device="cpu")
    result["cpu"] = {
        "runtime": cpu.runtime.model_dump(mode="json"),
        "latency": latency(cpu, inputs, batches=BATCHES[:2]),
    }
    start = time.perf_counter()
    cuda = open_session(model, device="cuda")
    result["cuda"] = {"seconds_to_open_and_prove": time.perf_counter() - start, "runtime": cuda.runtime.model_dump(mode="json")}
    tf32 = open_session(model, device="cuda", tf32=True)
    result["cuda"]["fingerprint_with_tf32"] = tf32.runtime.fingerprint
    result["cuda"]["latency"] = latency(cuda, inputs, batches=BATCHES)

    on_cpu = score(cpu, labels=labels, batch_size=batch_size, **given)
    raw = all_scores(cpu, inputs, batch_size)
    result["parity_with_cpu"] = {}
    for name, session in (("tf32_off", cuda), ("tf32_on", tf32), ("tf32_off_again", open_session(model, device="cuda"))):
        other, mine = all_scores(session, inputs, batch_size), score(session, labels=labels, batch_size=batch_size, **given)
        result["parity_with_cpu"][name] = {
            "max_abs_score": float(np.abs(other - raw).max()),
            "max_abs_probability": float(np.abs(mine.scores - on_cpu.scores).max()),
            "flips": int((mine.prediction != on_cpu.prediction).sum()),
            "accuracy": float(mine.correct.mean()),
            "nll": float(mine.nll.mean()),
        }
        if name == "tf32_off":
            first = other
    result["parity_with_cpu"]["two_cuda_sessions_agree_to_the_bit"] = bool(np.array_equal(first, other))

    rates = throughput(
        {
            "score": lambda: score(cuda, labels=labels, batch_size=batch_size, **given),
            "bare_loop": bare_loop(model, inputs, batch_size, search="HEURISTIC"),
            "bare_loop_exhaustive_search": bare_loop(model, inputs, batch_size, search="EXHAUSTIVE"),
        },
        len(inputs),
    )
    result["throughput"] = {
        "items_per_second": rates,
        "score_over_bare_loop": rates["score"] / rates["bare_loop"],
        "heuristic_over_exhaustive_search": rates["bare_loop"] / rates["bare_loop_exhaustive_search"],
    }
    result["two_devices"] = two_devices(model, given, cuda, labels=labels, batch_size=batch_size)

    twin = open_session(model, device="cuda")
    timings = time_against(cuda, twin, inputs, batches=(1,))
    ratios = [
        np.log(np.median(timings.ms[(timings.block == block) & (timings.role == "candidate")]))
        - np.log(np.median(timings.ms[(timings.block == block) & (timings.role == "baseline")]))
        for block in np.unique(timings.block)
    ]
    spread = 1.96 * np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    bounds = [np.exp(np.mean(ratios) - spread), np.exp(np.mean(ratios)), np.exp(np.mean(ratios) + spread)]
    result["model_against_itself"] = {"blocks": len(ratios), "p50_ratio_low_mid_high": [float(bound) for bound in bounds]}

    start = time.perf_counter()
    made = evaluate(
        cuda,
        model=Pinned(reference="benchmark/model:v0", digest="md5:" + "0" * 32),
        dataset=Scored(
            reference="benchmark/items:v0",
            digest="md5:" + "0" * 32,
            split="test",
            items=len(inputs),
            task="image-classification",
            labels=labels,
        ),
        folder=folder / "evaluation",
        latency_batches=(),
        **given,
    )
    result["evaluate_seconds_without_latency"] = time.perf_counter() - start
    result["metrics"] = {name: metric.model_dump(mode="json") for name, metric in made.evaluation.metrics.items()}


def two_devices(
    model: Path, given: dict[str, Any], one: Session, *, labels: tuple[str, ...], batch_size: int
) -> dict[str, Any] | str:
    """What a second GPU brings, and whether it changes a bit; why not, on a machine without one."""
    try:
        two = open_on(Devices(kind="cuda", indices=(0, 1)), model)
    except DeviceUnavailable as exc:
        return f"not measured: {exc.message}"
    rates = throughput(
        {
            "one": lambda: score(one, labels=labels, batch_size=batch_size, **given),
            "two": lambda: score(two, labels=labels, batch_size=batch_size, **given),
        },
        len(given["inputs"]),
    )
    alone, together = (score(session, labels=labels, batch_size=batch_size, **given) for session in (one, two))
    return {
        "items_per_second": rates,
        "two_over_one": rates["two"] / rates["one"],
        "same_bits": bool(np.array_equal(alone.scores, together.scores)),
        "one_fingerprint": two.runtime.fingerprint == one.runtime.fingerprint,
        "shares": [share.model_dump(mode="json") for share in two.runtime.shares],
    }


def latency(session: Session, inputs: NDArray[Any], *, batches: tuple[int, ...]) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in time_alone(session, inputs, batches=batches)]


def all_scores(session: Session, inputs: NDArray[Any], batch_size: int) -> NDArray[np.float32]:
    return np.concatenate([session.run(inputs[i : i + batch_size]) for i in range(0, len(inputs), batch_size)])


def bare_loop(model: Path, inputs: NDArray[Any], batch_size: int, *, search: str) -> Callable[[], object]:
    """The fastest plain way: one session, IO binding, no checks, scores back on the host."""
    import onnxruntime

    providers = [(CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": search}), CPU]
    session = onnxruntime.InferenceSession(str(model), providers=providers)
    binding, name, output = session.io_binding(), session.get_inputs()[0].name, session.get_outputs()[0].name

    def loop() -> list[NDArray[np.float32]]:
        found = []
        for start in range(0, len(inputs), batch_size):
            binding.bind_cpu_input(name, inputs[start : start + batch_size])
            binding.bind_output(output, "cuda")
            session.run_with_iobinding(binding)
            found.append(binding.copy_outputs_to_cpu()[0])
        return found

    return loop


def throughput(ways: dict[str, Callable[[], object]], items: int) -> dict[str, float]:
    """Items per second, median of repeats, the ways taking turns so that a change of clocks hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: items / float(np.median(times[1:])) for name, times in seconds.items()}


def in_a_process_without_cuda(model: Path, device: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--model", str(model), "--out", os.devnull, "--only-open", device]
    done = subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    return {"exit_code": done.returncode, "stdout": done.stdout.strip(), "stderr": done.stderr.strip()}


def only_open(model: Path, device: Any) -> int:
    try:
        session = open_session(model, device=device)
    except RegError as exc:
        print(f"Error: {exc.message}\nHint: {exc.hint}", file=sys.stderr)
        return exc.exit_code
    print(f"{session.runtime.provider}; CUDA passed over: {session.why_cpu}")
    return 0


def build_model(path: Path) -> Path:
    """A small convolutional network with random weights, raw uint8 images in, logits out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> Any:
        fan_in = int(np.prod(shape[1:]))
        return numpy_helper.from_array((random.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w4"], ["scores"], transB=1),
    ]
    constants = [weights("w1", 32, 1, 3, 3), weights("w2", 64, 32, 3, 3), weights("w3", 128, 64, 3, 3), weights("w4", 10, 128)]
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 28, 28, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [*constants, numpy_helper.from_array(np.float32(255), "full")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


if __name__ == "__main__":
    raise SystemExit(main())
