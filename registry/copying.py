"""Puts a verified folder where a person asked for it, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from registry.errors import UsageError


def copy_folder(source: Path, target: Path) -> Path:
    """Copy `source` to `target`, which must not exist or be empty.

    Returns:
        `target`, absolute.
    Raises:
        UsageError: the target holds something already, or cannot be written.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder", hint="--to another/folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".incoming-") as draft:
            copied = shutil.copytree(source, Path(draft) / "files", copy_function=shutil.copyfile)
            if target.exists():
                target.rmdir()
            copied.rename(target)
    except OSError as exc:
        raise UsageError(f"cannot write to {target}: {exc.strerror}", hint="--to a/folder/you/can/write") from exc
    return target
