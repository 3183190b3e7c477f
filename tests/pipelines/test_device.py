"""The machine's own word on its devices; NVML's silence counts only where it could have spoken."""

from __future__ import annotations

import os
import platform
import sys
from types import SimpleNamespace

import onnxruntime
import pytest

from pipelines import device
from pipelines.device import CudaDevice
from registry.errors import DeviceUnavailable

CARD = CudaDevice(name="NVIDIA H100", bus_id="0000:01:00.0")


class NvmlSilent(Exception):
    """Stands for pynvml.NVMLError."""


def nvml(*pids: int, memory: int | None = 500) -> SimpleNamespace:
    """NVML as on a machine with one card, which cannot exist here: `pids` hold memory on it."""
    processes = [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid in pids]
    return SimpleNamespace(
        NVMLError=NvmlSilent,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByPciBusId=lambda bus_id: {CARD.bus_id: "card"}[bus_id],
        nvmlDeviceGetComputeRunningProcesses=lambda handle: processes,
    )


def test_the_processor_is_named_without_naming_the_machine() -> None:
    assert platform.machine() in device.cpu_name()
    assert platform.node() not in device.cpu_name()


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine may have CUDA")
def test_without_a_driver_the_missing_library_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match=r"no CUDA driver on this machine \((libcuda\.so\.1|nvcuda\.dll)"):
        device.cuda_device()


def test_memory_is_what_nvml_attributes_to_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, os.getpid()))
    assert device.memory_held(CARD) == 500


def test_memory_that_nvml_does_not_count_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(os.getpid(), memory=None))
    assert device.memory_held(CARD) is None


@pytest.mark.skipif(sys.platform != "linux", reason="pid namespaces are Linux's")
def test_absence_from_nvml_is_evidence_only_where_pids_are_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1))
    ours = os.stat("/proc/self/ns/pid").st_ino

    monkeypatch.setattr(device, "_MACHINE_PID_NAMESPACE", ours)
    on_the_machine = device.memory_held(CARD)
    monkeypatch.setattr(device, "_MACHINE_PID_NAMESPACE", ours + 1)
    in_a_container = device.memory_held(CARD)

    assert (on_the_machine, in_a_container) == (0, None)


def test_without_nvml_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (device.memory_held(CARD), device.driver_version()) == (None, None)
