"""The running average of a network's weights: what is validated and kept.

On a schedule that ends low the raw weights of a middle epoch are good by luck only, and luck is what a checkpoint picked on a
hundred items would be.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """A network whose weights and statistics are the exponential moving average of another's.

    Args:
        horizon: steps after which a past value has lost most of its weight; until then it is the plain mean.
    """

    def __init__(self, network: nn.Module, *, horizon: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self._mine, self._horizon, self._steps = _floats(self.network), horizon, 0

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take the other network's values of this step in."""
        self._steps += 1
        torch._foreach_lerp_(self._mine, _floats(network), 1 / min(self._steps, max(self._horizon, 1)))

    def state(self) -> Mapping[str, Any]:
        """What `restore` needs to go on."""
        return {"weights": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self._steps = int(state["steps"])


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
