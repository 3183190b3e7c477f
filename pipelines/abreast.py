"""One model on several devices, which share the items batch by batch.

A batch goes to the next device in a fixed turn and stays whole: each score comes from a batch of the same size and the same
items as on one device, so on devices that are alike it has the same bits, and how many devices there were changes no number.
Devices that are not alike are refused. So the fingerprint of the runtime is that of one of them, and evidence from two GPUs can
be paired with evidence from one; the devices themselves are recorded, each with its own proof. One model's latency is the
latency of one device, the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.device import cpu_count
from pipelines.devices import Devices
from pipelines.runtime import Session, open_session
from registry.errors import DeviceUnavailable
from registry.records import DeviceShare, Runtime

_AHEAD = 2  # batches of each device that are computed or wait for it: the next one is there when one is done


@dataclass(frozen=True, kw_only=True)
class Abreast:
    """Sessions of one model on devices that are alike, at least two; a `pipelines.running.Scorer` like one of them."""

    sessions: tuple[Session, ...]
    names: tuple[str, ...]

    @property
    def model(self) -> Path:
        return self.sessions[0].model

    @property
    def why_cpu(self) -> str | None:
        return self.sessions[0].why_cpu

    @property
    def runtime(self) -> Runtime:
        """That of the first device, with what each of them proved."""
        shares = tuple(
            DeviceShare(
                name=name,
                device_name=session.runtime.device_name,
                placement=session.runtime.placement,
                device_memory_bytes=session.runtime.device_memory_bytes,
            )
            for name, session in zip(self.names, self.sessions, strict=True)
        )
        return self.sessions[0].runtime.model_copy(update={"shares": shares})

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score one batch, on the first device."""
        return self.sessions[0].run(batch)

    def run_each(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """Score one batch after the other on all devices at once; the scores come in the order of the batches.

        Batches are read in the caller's thread, a few ahead of their scores.
        """
        waiting: deque[Future[NDArray[np.float32]]] = deque()
        with ExitStack() as stack:
            pools = [ThreadPoolExecutor(1, thread_name_prefix=f"reg-{name}") for name in self.names]
            for pool in pools:
                stack.callback(pool.shutdown, cancel_futures=True)
            for number, batch in enumerate(batches):
                turn = number % len(self.sessions)
                waiting.append(pools[turn].submit(self.sessions[turn].run, batch))
                if len(waiting) == _AHEAD * len(self.sessions):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def open_on(
    devices: Devices, model: Path, *, tf32: bool = False, placement: Literal["compute", "any"] = "compute"
) -> Session | Abreast:
    """Open a model on each device and prove for each where it runs; see `pipelines.runtime.open_session`.

    Raises:
        DeviceUnavailable: one cannot be had, or they are not alike; the message names it.
    """
    threads = max(1, cpu_count() // len(devices.indices))
    found = []
    for name, index in zip(devices.names, devices.indices, strict=True):
        try:
            found.append(open_session(model, device=devices.kind, index=index, tf32=tf32, placement=placement, threads=threads))
        except DeviceUnavailable as exc:
            raise DeviceUnavailable(f"{name}: {exc.message}", hint=exc.hint) from exc
    first = found[0]
    if len(found) == 1:
        return first
    for name, other in zip(devices.names, found, strict=True):
        if other.runtime.fingerprint != first.runtime.fingerprint:
            raise DeviceUnavailable(
                f"{devices.names[0]} is a {first.runtime.device_name} and {name} a {other.runtime.device_name}: "
                "a score would depend on which of them computed it",
                hint=f"--device {devices.names[0]}",
            )
    return Abreast(sessions=tuple(found), names=devices.names)
