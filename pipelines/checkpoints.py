"""A checkpoint on disk: everything a training needs to go on as if nothing had happened, in files that cannot execute code.

Tensors lie in `state.safetensors`, everything else in `state.json`, which shows where each tensor belongs by its name. So a
checkpoint can be read by anybody without running what somebody else has written into it, as a pickle would. The folder is
filled beside its place and renamed: if it is there, it is whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from registry.errors import BadData

STATE, TENSORS = "state.json", "state.safetensors"
_TENSOR, _PAIRS = "$tensor", "$pairs"
_VERSION = 1


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state of nested mappings, lists, tensors and plain values.

    Args:
        folder: does not exist yet, or is an older checkpoint to be replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=folder.parent))
    try:
        tensors: dict[str, Tensor] = {}
        plain = _taken_apart(state, "", tensors)
        save_file(tensors, draft / TENSORS)
        (draft / STATE).write_text(json.dumps({"schema_version": _VERSION, "state": plain}, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: Path) -> dict[str, Any]:
    """Read what `write` wrote; tensors lie on the CPU.

    Raises:
        BadData: a file is missing or damaged, or a newer version of this program wrote it.
    """
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
        if content["schema_version"] != _VERSION:
            raise BadData(
                f"{folder} is a checkpoint of version {content['schema_version']}, this reg reads {_VERSION}",
                hint="pip install --upgrade reg-lifecycle",
            )
        state: dict[str, Any] = _put_together(content["state"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
        raise BadData(f"{folder} is no whole checkpoint: {exc}", hint="reg ls --type checkpoint") from exc
    return state


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        entries = {key: _taken_apart(inside, f"{name}.{key}".lstrip("."), tensors) for key, inside in value.items()}
        # An optimiser counts its parameters; JSON would turn the numbers into texts.
        return entries if all(isinstance(key, str) for key in entries) else {_PAIRS: [[*pair] for pair in entries.items()]}
    if isinstance(value, list | tuple):
        return [_taken_apart(inside, f"{name}.{position}", tensors) for position, inside in enumerate(value)]
    return value


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        pairs = value[_PAIRS] if value.keys() == {_PAIRS} else value.items()
        return {key: _put_together(inside, tensors) for key, inside in pairs}
    if isinstance(value, list):
        return [_put_together(inside, tensors) for inside in value]
    return value
