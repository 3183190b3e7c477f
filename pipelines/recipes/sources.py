"""Recipes in files: found by path, run once, and kept with the model they made.

A file is the smallest way to bring code: no package, no install. It runs as `python file.py` would, with its own folder on
the path, once per process. Its bytes go into the model artifact: a version that nobody can train again is a rumour. What goes
wrong inside is the user's own code speaking, so it is told as one error with the file and line, without a traceback of ours.
"""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from registry.errors import BadSettings, MissingDependency, RegError

KEPT_AS = "recipe.py"
_ROOT = Path(__file__).resolve().parents[2]
# By name: an environment may lie beside them, with the libraries of everybody.
_OURS = (_ROOT / "pipelines", _ROOT / "registry")


class CodeFailed(RegError):
    """Code that the user brought raised an exception; the message names its file and line."""

    exit_code = 2


def in_file(name: str) -> bool:
    """Whether this names something in a file: `path/to/file.py:Name`."""
    return name.rpartition(":")[0].endswith(".py") or name.endswith(".py")


def load(name: str) -> Any:
    """What a file calls by a name.

    Args:
        name: `path/to/file.py:Name`.
    Raises:
        BadSettings: no such file, or the file has no such name; the hint lists those it has.
        CodeFailed: the file is not Python, or raised while it was run.
        MissingDependency: it imports a package that is not installed.
    """
    file, colon, attribute = name.rpartition(":")
    if not colon or name.endswith(".py"):
        path = Path(name)
        raise BadSettings(f"'{name}' names a file and nothing in it", hint=f"{path}:{_first(path) or 'Recipe'}")
    path = Path(file).absolute()
    if not path.is_file():
        raise BadSettings(f"there is no file {file}", hint="reg init --recipe writes one to begin with")
    module = _module(path)
    if not hasattr(module, attribute):
        there = ", ".join(_own_names(module)) or "nothing"
        raise BadSettings(f"{file} has no '{attribute}'", hint=f"it has {there}")
    return getattr(module, attribute)


def source_of(thing: Any) -> Path | None:
    """The file that something was loaded from by `load`; None for what was imported as a module."""
    module = sys.modules.get(getattr(thing, "__module__", "") or type(thing).__module__)
    found = getattr(module, "__reg_source__", None)
    return Path(found) if found is not None else None


def label(name: str) -> str:
    """A recipe's name without the place of this machine: `recipe.py:Name` for one in a file."""
    return f"{KEPT_AS}:{name.rpartition(':')[2]}" if in_file(name) else name


def keep(recipe: Any, folder: Path) -> tuple[str, ...]:
    """Copy the file of a recipe into a model's folder; returns the names of what was copied, nothing for an imported one."""
    source = source_of(recipe)
    if source is None:
        return ()
    shutil.copyfile(source, folder / KEPT_AS)
    return (KEPT_AS,)


def digest(path: Path) -> str:
    """`sha256:<hex>` of a file's content."""
    return f"sha256:{sha256(path.read_bytes()).hexdigest()}"


@contextmanager
def blamed(thing: Any) -> Iterator[None]:
    """Tell an exception of the file that this was loaded from as `CodeFailed`; others pass."""
    try:
        yield
    except (RegError, KeyboardInterrupt):
        raise
    except Exception as exc:
        source = source_of(thing)
        if source is None:
            raise
        raise _failure(source, exc) or exc from exc


def _failure(source: Path, exc: BaseException) -> CodeFailed | None:
    """The deepest place in the file that the exception came through, in words; None when the fault is our own."""
    stack = traceback.extract_tb(exc.__traceback__)
    frames = [frame for frame in stack if frame.filename == str(source)]
    words = " ".join(str(exc).split())
    what = f"{type(exc).__name__}: {words}" if words else type(exc).__name__
    if not frames and any(Path(stack[-1].filename).is_relative_to(ours) for ours in _OURS):
        return None
    if not frames:  # a network of library layers fails in the library
        return CodeFailed(f"{source}: what it made failed with {what}", hint="the command again, with --debug, shows where")
    at = frames[-1]
    return CodeFailed(f"{source}, line {at.lineno}, in {at.name}: {what}", hint=at.line)


@cache
def _module(path: Path) -> ModuleType:
    name = f"reg_file_{sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__reg_source__"] = str(path)
    # Before it runs: classes, pydantic and pickle look their own module up by its name.
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as exc:
        del sys.modules[name]
        if isinstance(exc, SyntaxError) and exc.filename == str(path):
            raise CodeFailed(f"{path}, line {exc.lineno}: {exc.msg}", hint=(exc.text or "").strip() or None) from exc
        if isinstance(exc, ModuleNotFoundError) and exc.name is not None:
            raise MissingDependency(f"{path} needs {exc.name}", hint=f"pip install {exc.name}") from exc
        if isinstance(exc, (RegError, KeyboardInterrupt)):
            raise
        raise _failure(path, exc) or CodeFailed(f"{path}: {type(exc).__name__}: {exc}") from exc
    finally:
        with suppress(ValueError):
            sys.path.remove(str(path.parent))
    return module


def _own_names(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and inspect.getmodule(value) is module
    ]


def _first(path: Path) -> str | None:
    return next(reversed(_own_names(_module(path.absolute()))), None) if path.is_file() else None
