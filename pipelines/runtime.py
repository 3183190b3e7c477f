"""An ONNX Runtime session and the proof of the device it ran on.

`onnxruntime.get_available_providers()` describes the build, not the run: a CUDA wheel without CUDA's libraries gives a CPU
session and a line in a log. So a session is opened here, run once on a batch of zeros, and believed only for what it
shows: its first active provider, the provider of each node, the copies between host and device, the memory that NVML
attributes to this process. Who asks for `cuda` gets CUDA or `DeviceUnavailable`; who asks for `auto` gets the reason
when it is the CPU.

Numbers must come out the same tomorrow, so what could change them is set and named in the fingerprint: TF32 is off
(ONNX Runtime's CUDA default is on, about 1e-3 away from fp32), and cuDNN picks its algorithm by rule instead of by a
race (`EXHAUSTIVE`, the default, may pick another one on each start).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.device import cpu_count, cpu_name, cuda_device, driver_version, loaded_versions, memory_held
from pipelines.placement import CPU, CUDA, Node, placed_nodes, placement_of
from registry.errors import BadData, DeviceUnavailable, EnvironmentProblem, MissingDependency
from registry.records import Runtime

_BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn")
_DTYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
_FATAL, _WARNING = 4, 2


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model ready to score; `run` is the only way in, `runtime` says where it runs.

    `shape` has None where any size fits. `why_cpu` is the reason CUDA was passed over, None when it was not.
    """

    model: Path
    runtime: Runtime
    input: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    output: str
    why_cpu: str | None
    _ort: Any
    _binding: Any = None
    _index: int = 0

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score one batch.

        Args:
            batch: the graph's input with its dtype, shape (n, ...); images stay uint8 until here.
        Returns:
            scores, float32, shape (n, classes): logits or probabilities, as `model.yaml` says.
        Raises:
            BadData: the batch has another dtype or shape than the graph takes.
            EnvironmentProblem: the runtime failed, for instance out of device memory.
        """
        if batch.dtype != self.dtype or not self._fits(batch.shape):
            sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
            found = f"{batch.dtype}{list(batch.shape)}"
            raise BadData(f"{self.model.name} takes {self.input} as {self.dtype}[{sizes}], the items are {found}")
        try:
            scores = self._scores(batch)
        except Exception as exc:
            place = f"{self.runtime.provider} ({self.runtime.device_name})"
            raise EnvironmentProblem(f"{self.model.name} failed on {place} at {len(batch)} items: {_first_line(exc)}") from exc
        return np.asarray(scores, dtype=np.float32)

    def run_each(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """Score one batch after the other."""
        return map(self.run, batches)

    def _scores(self, batch: NDArray[Any]) -> Any:
        if self._binding is None:
            return self._ort.run([self.output], {self.input: batch})[0]
        # The output stays on the device until it is asked for: the fastest way that ONNX Runtime has for host arrays.
        contiguous = np.ascontiguousarray(batch)  # its memory is read during the run
        self._binding.bind_cpu_input(self.input, contiguous)
        self._binding.bind_output(self.output, self.runtime.device, self._index)
        self._ort.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()[0]

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.shape):
            return False
        return all(want is None or want == got for want, got in zip(self.shape, shape, strict=True))


def open_session(
    model: Path,
    *,
    device: Literal["auto", "cpu", "cuda"],
    index: int = 0,
    tf32: bool = False,
    placement: Literal["compute", "any"] = "compute",
    threads: int | None = None,
) -> Session:
    """Open a model and prove where it runs.

    Args:
        device: `cuda` gives CUDA or an error; `auto` gives CUDA when it holds every proof, else the CPU.
        index: of the GPU, as CUDA numbers those that this process may use.
        tf32: let CUDA round fp32 products to TF32.
        placement: `compute` refuses CUDA sessions that left a Conv/MatMul/Gemm/Attention-class node on the CPU.
        threads: CPU threads within an operator; None takes every CPU this process may use.
    Raises:
        MissingDependency: onnxruntime is not installed.
        BadData: the model file is absent, corrupt, or no graph of one input and one `scores` output.
        DeviceUnavailable: `cuda` was asked for and a proof failed; the message says which.
    """
    ort = _onnxruntime()
    if not model.is_file():
        raise BadData(f"{model}: no such model file")
    threads = threads or cpu_count()
    if device == "cpu":
        return _open_cpu(ort, model, threads=threads, why=None)
    try:
        return _open_cuda(ort, model, index=index, threads=threads, tf32=tf32, placement=placement)
    except DeviceUnavailable as exc:
        if device == "cuda":
            raise
        return _open_cpu(ort, model, threads=threads, why=exc.message)


def installed_builds() -> tuple[str, ...]:
    """The installed packages that bring a module `onnxruntime`; more than one means that they overwrote each other."""
    return tuple(name for name in _BUILDS if _is_installed(name))


def check_cuda(runtime: Runtime, *, model: str, complaint: str = "", placement: Literal["compute", "any"] = "compute") -> None:
    """Believe that a session ran on CUDA, or say which proof failed.

    `device_memory_bytes` of None, where NVML cannot tell, is no evidence either way.

    Args:
        complaint: what loading CUDA's libraries said, empty when nothing.
    Raises:
        DeviceUnavailable: the session is not CUDA's, put no node there, left computing on the CPU, or holds no memory.
    """
    if runtime.providers[0] != CUDA:
        raise DeviceUnavailable(
            f"CUDA was asked for, but the session of {model} fell back to {runtime.providers[0]}"
            + (f": {complaint}" if complaint else ""),
            hint="pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )
    nodes, stranded = (runtime.placement.nodes, runtime.placement.compute_on_cpu) if runtime.placement else ({}, ())
    if placement == "compute" and stranded:
        raise DeviceUnavailable(f"{len(stranded)} computing node(s) of {model} were put on the CPU, the first is {stranded[0]}")
    if not nodes.get(CUDA):
        raise DeviceUnavailable(f"no node of {model} was put on CUDA; nodes by provider: {nodes}")
    if runtime.device_memory_bytes == 0:
        raise DeviceUnavailable(f"{model} ran, but NVML shows no memory of this process on the device", hint="nvidia-smi")


def fingerprint(runtime: Runtime) -> str:
    """Digest of everything about a runtime that can change a number, as `sha256:<hex>`; its own `fingerprint` is not read.

    Placement is left out, being the model's: two models on one runtime must agree. So is memory.
    """
    facts = runtime.model_dump(include={"device", "device_name", "provider", "provider_options", "tf32", "versions"})
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _open_cpu(ort: Any, model: Path, *, threads: int, why: str | None) -> Session:
    raw, nodes = _start(ort, model, providers=[CPU], threads=threads)
    runtime = Runtime(
        device="cpu",
        device_name=cpu_name(),
        provider=raw.get_providers()[0],
        providers=tuple(raw.get_providers()),
        provider_options={**_session_options(raw), "session.intra_op_num_threads": str(threads)},
        placement=placement_of(nodes, device="cpu"),
        versions={"onnxruntime": ort.__version__},
        fingerprint="",
    )
    return _session(raw, model, runtime, why_cpu=why)


def _open_cuda(ort: Any, model: Path, *, index: int, threads: int, tf32: bool, placement: Literal["compute", "any"]) -> Session:
    offered = ort.get_available_providers()
    if CUDA not in offered:
        builds = installed_builds() or ("onnxruntime",)
        raise DeviceUnavailable(
            f"the installed {' and '.join(builds)} {ort.__version__} has no CUDA: it offers {', '.join(offered)}",
            hint=f"pip uninstall -y {' '.join(builds)} && pip install onnxruntime-gpu",
        )
    card = cuda_device(index)
    complaint = _preload(ort)
    wanted = {"use_tf32": str(int(tf32)), "cudnn_conv_algo_search": "HEURISTIC"}
    try:
        raw, nodes = _start(ort, model, providers=[(CUDA, {"device_id": str(index), **wanted}), CPU], threads=threads)
    except (BadData, EnvironmentProblem) as exc:
        # A model that cannot start on the CPU either is itself at fault, and the complaint comes from here.
        _start(ort, model, providers=[CPU], threads=threads)
        raise DeviceUnavailable(f"CUDA cannot run {exc.message}", hint="nvidia-smi") from exc
    driver = driver_version()
    # Read back, not repeated: what the session says it took. Threads stay out, they compute nothing here.
    effective = raw.get_provider_options().get(CUDA, {})
    # NVIDIA's libraries obey this variable before anything ONNX Runtime tells them.
    override = os.environ.get("NVIDIA_TF32_OVERRIDE")
    runtime = Runtime(
        device="cuda",
        device_name=card.name,
        provider=raw.get_providers()[0],
        providers=tuple(raw.get_providers()),
        provider_options={
            **_session_options(raw),
            **{key: str(effective[key]) for key in wanted if key in effective},
            **({"NVIDIA_TF32_OVERRIDE": override} if override else {}),
        },
        placement=placement_of(nodes, device="cuda"),
        device_memory_bytes=memory_held(card),
        tf32=effective.get("use_tf32") == "1" and override != "0",
        versions={"onnxruntime": ort.__version__, **loaded_versions(), **({"driver": driver} if driver else {})},
        fingerprint="",
    )
    check_cuda(runtime, model=model.name, complaint=complaint, placement=placement)
    return _session(raw, model, runtime, why_cpu=None, index=index)


def _session(raw: Any, model: Path, runtime: Runtime, *, why_cpu: str | None, index: int = 0) -> Session:
    (taken,) = raw.get_inputs()
    return Session(
        model=model,
        runtime=runtime.model_copy(update={"fingerprint": fingerprint(runtime)}),
        input=taken.name,
        dtype=np.dtype(_DTYPES[taken.type]),
        shape=_shape(taken.shape),
        output=_output(raw, model),
        why_cpu=why_cpu,
        _ort=raw,
        # On the CPU there is nothing to carry over, and `run` is as fast.
        _binding=raw.io_binding() if runtime.device == "cuda" else None,
        _index=index,
    )


def _start(ort: Any, model: Path, *, providers: list[Any], threads: int) -> tuple[Any, list[Node]]:
    """Create the session, run it once on zeros under the profiler, and read back where each node went.

    The very session that will score is profiled: measured on the CPU, a profile that has ended costs nothing afterwards.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL  # what goes wrong arrives as an exception, once
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="reg-placement-") as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        # A failed CUDA start shouts on the process's stderr; it comes back to the caller as an error with its reason.
        ort.set_default_logger_severity(_FATAL)
        try:
            raw = ort.InferenceSession(str(model), options, providers=providers, enable_fallback=0)
        except Exception as exc:
            raise BadData(f"{model}: not a model that ONNX Runtime {ort.__version__} can load: {_first_line(exc)}") from exc
        finally:
            ort.set_default_logger_severity(_WARNING)
        raw.disable_fallback()
        if len(raw.get_inputs()) != 1 or raw.get_inputs()[0].type not in _DTYPES:
            found = ", ".join(f"{node.name} {node.type}" for node in raw.get_inputs()) or "none"
            raise BadData(f"{model}: one numeric input is needed, found {found}")
        (taken,), scores = raw.get_inputs(), _output(raw, model)
        zeros = np.zeros([1 if size is None else size for size in _shape(taken.shape)], _DTYPES[taken.type])
        try:
            raw.run([scores], {taken.name: zeros})
        except Exception as exc:
            raise EnvironmentProblem(f"{model.name} failed on its first run, one item of zeros: {_first_line(exc)}") from exc
        return raw, placed_nodes(raw, Path(raw.end_profiling()))


def _session_options(raw: Any) -> dict[str, str]:
    options = raw.get_session_options()
    return {
        "session.graph_optimization_level": options.graph_optimization_level.name,
        "session.use_deterministic_compute": str(int(options.use_deterministic_compute)),
    }


def _output(raw: Any, model: Path) -> str:
    names = [output.name for output in raw.get_outputs()]
    if "scores" in names:
        return "scores"
    if len(names) == 1:
        return str(names[0])
    raise BadData(f"{model}: no output named 'scores' among {', '.join(names)}")


def _preload(ort: Any) -> str:
    """Load CUDA's libraries from the NVIDIA packages that torch brings, and return what is still missing.

    `preload_dlls` looks beside onnxruntime itself; when torch lives in another folder of sys.path, its folders are shown
    to it one by one, and a last plain call tells what is loaded by then.
    """
    complaint = _complaint(ort.preload_dlls)
    spec = importlib.util.find_spec("nvidia") if complaint else None
    places = (spec.submodule_search_locations if spec else None) or ()
    folders = sorted(folder for place in places for folder in Path(place).glob("*/lib"))
    for folder in folders:
        _complaint(partial(ort.preload_dlls, directory=str(folder)))
    return _complaint(ort.preload_dlls) if folders else complaint


def _complaint(load: Callable[[], None]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        load()
    return next((line for line in said.getvalue().splitlines() if line.startswith("Failed")), "")


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependency(f"onnxruntime is not usable: {exc}", hint="pip install onnxruntime") from exc
    return onnxruntime


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _shape(declared: Iterable[int | str | None]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in declared)


def _first_line(exc: Exception) -> str:
    line = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
    return line.split(" : ", 3)[-1] if line.startswith("[ONNXRuntimeError]") else line
