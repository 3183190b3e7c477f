"""Puts a verified folder where a person asked for it, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import BadData, UsageError
from registry.scratch import scratch


def copy_folder(source: Path, target: Path) -> Path:
    """Copy `source` to `target`, which must not exist or be empty.

    Returns:
        `target`, absolute.
    Raises:
        UsageError: the target holds something already, or cannot be written.
        BadData: the source holds a symbolic link, whose content would come from somewhere else.
    """
    linked = next((path for path in source.rglob("*") if path.is_symlink()), None)
    if linked is not None:
        raise BadData(f"{linked} is a symbolic link, which no download makes", hint=f"remove {source}, then try again")
    with arriving(target) as draft:
        shutil.copytree(source, draft, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return target.absolute()


@contextmanager
def arriving(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target`, which must not exist or be empty, when the block ends; removed if it raises.

    Raises:
        UsageError: the target holds something already, or cannot be written.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder", hint="--to another/folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent, "incoming", hidden=True) as draft:
            yield draft
            if target.exists():
                target.rmdir()
            draft.rename(target)
    except OSError as exc:
        raise UsageError(f"cannot write to {target}: {exc.strerror}", hint="--to a/folder/you/can/write") from exc
