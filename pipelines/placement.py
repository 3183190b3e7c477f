"""Where ONNX Runtime put each node of a graph, read from the session itself.

Two witnesses, because neither knows everything. The record of assignment (`session.record_ep_graph_assignment_info`) knows
every node, also in a branch not taken, but was closed before copies between host and device were added. The profile
of one run knows the copies, and is all there is before onnxruntime 1.24.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from registry.records import Placement

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# The operators that cost time and decide numbers. Shape arithmetic on the CPU is how ONNX Runtime means it to be.
_COMPUTE = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN", "Einsum", "TreeEnsemble", "SVM", "Linear")


class Node(NamedTuple):
    """One node of the graph, as the runtime placed it."""

    provider: str
    op: str
    name: str


def placed_nodes(session: Any, profile: Path) -> list[Node]:
    """The nodes of an `onnxruntime.InferenceSession` that has recorded its assignment and run once under the profiler."""
    executed = executed_nodes(profile)
    try:
        parts = session.get_provider_graph_assignment_info()
    except AttributeError:
        return executed
    assigned = [Node(part.ep_name, node.op_type, node.name) for part in parts for node in part.get_nodes()]
    return assigned + [node for node in executed if _is_copy(node)]


def executed_nodes(profile: Path) -> list[Node]:
    """The nodes that a profile of ONNX Runtime saw running; a node in a loop has an event per turn and is still one."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    runs = [event for event in events if event.get("cat") == "Node" and "op_name" in event.get("args", {})]
    nodes = {(run["args"]["provider"], run["args"]["op_name"], run["name"].removesuffix("_kernel_time")) for run in runs}
    return [Node(*node) for node in sorted(nodes)]


def placement_of(nodes: Iterable[Node], *, device: Literal["cpu", "cuda"]) -> Placement:
    """Count nodes by provider and name what betrays a fallback: on a CPU session, where nothing fell back, nothing does."""
    nodes = list(nodes)
    stranded = [node for node in nodes if node.provider == CPU and any(word in node.op for word in _COMPUTE)]
    return Placement(
        nodes=dict(sorted(Counter(node.provider for node in nodes).items())),
        compute_on_cpu=tuple(f"{node.op} {node.name}".strip() for node in stranded) if device == "cuda" else (),
        memcpy=sum(_is_copy(node) for node in nodes),
    )


def _is_copy(node: Node) -> bool:
    return node.op.startswith("Memcpy")
