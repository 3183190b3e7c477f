"""Optimisers by name, with weight decay where it does good: biases and normalisation have one dimension, and nothing to gain
from being pulled to zero."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.config import TrainConfig


def optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configuration's optimiser for the parameters of a network that lies on its device."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr)
