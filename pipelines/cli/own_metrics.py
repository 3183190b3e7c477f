"""`--metric FILE.py:FUNCTION`, the option of all commands that score models."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pipelines.own_metrics import OwnMetric

_Command = TypeVar("_Command", bound=Callable[..., Any])


def metric_option(command: _Command) -> _Command:
    """Give a command `--metric`; it is handed the names as `own`, for `loaded`."""
    option = click.option(
        "--metric",
        "own",
        metavar="FILE.py:FUNCTION",
        multiple=True,
        help="A metric of your own: a function of the scored items; repeatable.",
    )
    return option(command)


def loaded(names: tuple[str, ...]) -> tuple[OwnMetric, ...]:
    """
    Raises:
        BadSettings, CodeFailed: see `pipelines.own_metrics.load`.
    """
    # A plain install judges without what scoring needs.
    return tuple(import_module("pipelines.own_metrics").load(name) for name in names)
