"""What this machine says about its own devices: the CPU's name, the CUDA driver's devices, the memory we hold on them.

The CUDA driver is asked through ctypes, because the question "is there a device at all" must be answered without torch and
before ONNX Runtime falls back in silence. NVML names processes by the pids of the machine, so inside a container it may
list strangers only: an absence counts as evidence only where our pid is the machine's pid.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from registry.errors import DeviceUnavailable

T = TypeVar("T")

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# The inode that Linux gives to the pid namespace of the machine itself (PROC_PID_INIT_INO); containers have another.
_MACHINE_PID_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True, kw_only=True)
class CudaDevice:
    """A CUDA device that this process may use (CUDA_VISIBLE_DEVICES has been applied)."""

    name: str
    bus_id: str


def cpu_name() -> str:
    """The processor's model, precise enough to tell instruction sets apart: virtual machines often say only "AMD EPYC"."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if not colon:
                break
            fields[key.strip()] = value.strip()
    except OSError:
        pass
    name = fields.get("model name") or platform.processor() or "unknown processor"
    exact = [f"{word} {fields[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in fields]
    return f"{name} ({', '.join([platform.machine(), *exact])})"


def cpu_count() -> int:
    """How many CPUs this process may use, which in a container or under taskset is fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_device(index: int = 0) -> CudaDevice:
    """Ask the CUDA driver for the device of this number.

    Raises:
        DeviceUnavailable: no driver, or the driver shows no such device; the message carries the driver's own words.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as exc:
        raise DeviceUnavailable(f"no CUDA driver on this machine ({_DRIVER} cannot be loaded)", hint="nvidia-smi") from exc

    def call(name: str, *arguments: object) -> None:
        code = getattr(driver, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            driver.cuGetErrorString(code, ctypes.byref(text))
            words = text.value.decode() if text.value else "unknown error"
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            seen = "" if visible is None else f" with CUDA_VISIBLE_DEVICES='{visible}'"
            raise DeviceUnavailable(f"the CUDA driver offers no device{seen}: {name} said {code}, {words}", hint="nvidia-smi")

    device = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    bus_id = ctypes.create_string_buffer(32)
    call("cuInit", 0)
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    if index and index >= count.value:
        raise DeviceUnavailable(f"the CUDA driver offers {count.value} device(s), numbered from 0", hint="nvidia-smi")
    call("cuDeviceGet", ctypes.byref(device), index)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceGetPCIBusId", bus_id, len(bus_id), device)
    return CudaDevice(name=name.value.decode(), bus_id=bus_id.value.decode())


def driver_version() -> str | None:
    """The NVIDIA driver's version by NVML, None where NVML does not answer."""
    return _ask_nvml(lambda nvml: str(nvml.nvmlSystemGetDriverVersion()))


def memory_held(device: CudaDevice) -> int | None:
    """Bytes of the device's memory that NVML attributes to this process.

    Returns:
        0 when NVML would have listed this process and did not; None when it cannot tell (no NVML, or a container whose
        pids are not the machine's).
    """

    def held(nvml: Any) -> int | None:
        handle = nvml.nvmlDeviceGetHandleByPciBusId(device.bus_id)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == os.getpid():
                return None if process.usedGpuMemory is None else int(process.usedGpuMemory)
        return 0 if _pids_are_the_machines() else None

    return _ask_nvml(held)


def _ask_nvml(question: Callable[[Any], T]) -> T | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            return question(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def loaded_versions() -> dict[str, str]:
    """Versions of the CUDA libraries that this process has loaded, by asking the libraries; empty off Linux."""
    versions: dict[str, str] = {}
    for path in _mapped_libraries():
        file = Path(path).name
        if file.startswith("libcudart.so"):
            number = ctypes.c_int()
            ctypes.CDLL(path).cudaRuntimeGetVersion(ctypes.byref(number))
            versions["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
        elif file.startswith("libcublasLt.so"):  # released apart from CUDA, like cuDNN
            versions["cublas"] = _number(path, "cublasLtGetVersion")
        elif file.startswith("libcudnn.so"):
            versions["cudnn"] = _number(path, "cudnnGetVersion")
    return versions


def _number(library: str, function: str) -> str:
    ask = getattr(ctypes.CDLL(library), function)
    ask.restype = ctypes.c_size_t
    return str(ask())


def _mapped_libraries() -> list[str]:
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths = {line[line.index("/") :] for line in lines if "/" in line}
    return sorted(path for path in paths if ".so" in path and os.path.exists(path))


def _pids_are_the_machines() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _MACHINE_PID_NAMESPACE
    except OSError:
        return False
