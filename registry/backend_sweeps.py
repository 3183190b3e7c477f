"""What `registry.backend` needs to know of the SDK's way with sweeps: what its objects hold, and what it says in passing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import wandb

from registry.sweeps import Sweep


def create(config: Mapping[str, Any], *, entity: str, project: str) -> str:
    """Register a sweep and return its id."""
    # The SDK prints the id and an address on stdout, where our own answer belongs.
    with contextlib.redirect_stdout(io.StringIO()):
        return str(wandb.sweep(dict(config), entity=entity, project=project))


def of_project(api: Any, entity: str, project: str) -> list[Sweep]:
    """The sweeps of a project, newest first; none of a project that does not exist yet."""
    try:
        return [_fact(sweep) for sweep in api.project(project, entity=entity).sweeps()]
    except ValueError:
        return []


def fact(api: Any, path: str) -> Sweep:
    """The sweep of this path as it is now; the SDK remembers it as it was."""
    found = api.sweep(path)
    found.load(force=True)
    return _fact(found)


def _fact(sweep: Any) -> Sweep:
    return Sweep(
        id=sweep.id,
        entity=sweep.entity,
        project=sweep.project,
        name=sweep.name,
        state=str(sweep.state).upper(),
        config=dict(sweep.config or {}),
        url=sweep.url,
        expected=sweep.expected_run_count,
    )
