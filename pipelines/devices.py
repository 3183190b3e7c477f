"""Which devices score a model: the words of `--device`, parsed once.

They are torch's: `cpu`, `cuda` (the first one), `cuda:1`, and several of a kind with commas between them, which share the
items. Several CPUs are sessions that share the threads of the one there is: no faster, but the same code as with GPUs. Kinds
are not mixed, because a score would depend on which of them computed it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from registry.errors import BadSettings

Kind = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Devices:
    """One device or several of a kind; `indices` number the GPUs as CUDA does. `parse(str(d)) == d`."""

    kind: Kind
    indices: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return ",".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"cuda:{index}" if self.kind == "cuda" else self.kind for index in self.indices)


def parse(text: str) -> Devices:
    """
    Raises:
        BadSettings: a word is no device, one is there twice, or kinds are mixed.
    """
    words = [word.strip() for word in text.split(",")]
    wrong = next((word for word in words if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", word)), None)
    if wrong is not None:
        raise BadSettings(f"'{wrong}' is no device: auto, cpu, cuda or cuda:N", hint="--device cuda:0,cuda:1")
    kinds = sorted({word.partition(":")[0] for word in words})
    if len(kinds) > 1 or (kinds == ["auto"] and len(words) > 1):
        raise BadSettings(
            f"'{text}' names {' and '.join(kinds)}: several devices are of one kind, and named",
            hint="--device cuda:0,cuda:1",
        )
    if kinds == ["cuda"]:
        indices = tuple(int(word.partition(":")[2] or 0) for word in words)
        twice = next((index for index in indices if indices.count(index) > 1), None)
        if twice is not None:
            raise BadSettings(f"'{text}' names cuda:{twice} more than once", hint=f"--device cuda:{twice}")
        return Devices(kind="cuda", indices=indices)
    return Devices(kind="cpu" if kinds == ["cpu"] else "auto", indices=tuple(range(len(words))))
