"""What goes into a script and what comes out of it, as folders: `--use mnist:latest=data/` and `--out model=out/`.

An input is not copied: a link at the place that the script reads leads to the one verified copy that this machine keeps of each
version. A script could write through the link, so the files are read-only, and the copy is looked at afterwards, because not
everybody is stopped by that; one that changed is thrown away and said. An output counts only if the script wrote it in this
very run: a folder left over from yesterday would otherwise become today's model.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.errors import BadData, UsageError
from registry.records import Version
from registry.references import Reference, check_collection, parse

Stamps = Mapping[str, tuple[int, int]]
"""Size and time of change of files, by name."""

KNOWN_TYPES = ("dataset", "model")
OTHER_TYPE = "result"


@dataclass(frozen=True, kw_only=True)
class Input:
    """`REFERENCE[=PATH]`; without a path only the variable says where the files are."""

    reference: Reference
    path: Path | None

    @property
    def variable(self) -> str:
        return f"REG_INPUT_{_word(self.reference.name)}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """`NAME[:TYPE]=PATH`. `is_folder`: it was written with a slash at its end, so it is made for the script."""

    name: str
    type: str | None
    path: Path
    is_folder: bool

    @property
    def variable(self) -> str:
        return f"REG_OUTPUT_{_word(self.name)}"

    @property
    def files(self) -> list[Path]:
        if self.path.is_dir():
            return sorted(path for path in self.path.rglob("*") if path.is_file())
        return [self.path] if self.path.is_file() else []

    @property
    def chosen_type(self) -> str:
        """The type that was given; else what the name or an ONNX graph inside says; else `result`."""
        if self.type is not None:
            return self.type
        if self.name in KNOWN_TYPES:
            return self.name
        return "model" if any(file.suffix == ".onnx" for file in self.files) else OTHER_TYPE


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Inputs and outputs of one stage.

    Raises:
        UsageError: two of them share a name or a place.
    """

    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        both: list[Input | Output] = [*self.inputs, *self.outputs]
        for what, values in (
            ("variable", [one.variable for one in both]),
            ("place", [str(one.path.absolute()) for one in both if one.path is not None]),
        ):
            doubled = next((value for value in values if values.count(value) > 1), None)
            if doubled is not None:
                raise UsageError(
                    f"two inputs or outputs share the {what} {doubled}", hint="give each a name and place of its own"
                )


def parse_input(text: str) -> Input:
    """
    Raises:
        BadReference: what stands before `=` is no reference.
    """
    reference, _, path = text.partition("=")
    return Input(reference=parse(reference), path=Path(path) if path else None)


def parse_output(text: str) -> Output:
    """
    Raises:
        UsageError: it is not `NAME=PATH` or `NAME:TYPE=PATH`.
        BadReference: NAME cannot name a collection.
    """
    named, equals, path = text.partition("=")
    name, colon, type_ = named.partition(":")
    if not equals or not path or not name or (colon and not re.fullmatch(r"[A-Za-z0-9_-]+", type_)):
        raise UsageError(f"--out {text}: NAME=PATH or NAME:TYPE=PATH was expected", hint="--out model=out/")
    check_collection(name, hint=f"--out {{}}={path}")
    return Output(name=name, type=type_ or None, path=Path(path), is_folder=path.endswith(("/", os.sep)))


@contextmanager
def laid_out(inputs: Sequence[tuple[Input, Path]]) -> Iterator[None]:
    """Put inputs where the script looks for them, and take them away again.

    Args:
        inputs: each with the folder that holds its files.
    Raises:
        UsageError: something else is there already.
    """
    laid: list[Path] = []
    try:
        for wanted, folder in inputs:
            if wanted.path is not None:
                laid.append(_link(wanted, folder))
        yield
    finally:
        for link in laid:
            link.unlink(missing_ok=True)


def check_free(inputs: Sequence[Input]) -> None:
    """
    Raises:
        UsageError: something that is not a link of an earlier run stands where an input is to be.
    """
    for wanted in inputs:
        path = wanted.path
        if path is None or path.is_symlink() or not path.exists():
            continue
        if not path.is_dir() or any(path.iterdir()):
            raise UsageError(
                f"{path} is already here, and '{wanted.reference}' is to be there for the script",
                hint=f"--use {wanted.reference}=inputs/{wanted.reference.name}",
            )


def _link(wanted: Input, folder: Path) -> Path:
    assert wanted.path is not None
    link = wanted.path.absolute()
    check_free([wanted])
    if link.is_symlink():  # left by a run that was killed
        link.unlink()
    elif link.is_dir():
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError as exc:
        raise UsageError(f"cannot link {link}: {exc.strerror}", hint=f"--use {wanted.reference}") from exc
    return link


class Untouched:
    """The one copy of a version on this machine, made read-only for a script; tells what changed all the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(0o444)
        self._before = _stamps(folder)

    def changed(self) -> list[str]:
        """Names of files that were changed, added or removed, sorted."""
        now = _stamps(self.folder)
        return sorted(name for name in {*now, *self._before} if now.get(name) != self._before.get(name))

    def discard(self) -> None:
        """Throw the folder away; the next use fetches it again."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make_ready(output: Output) -> Stamps:
    """Make the folder that an output goes to, and return what is there already."""
    (output.path if output.is_folder else output.path.parent).mkdir(parents=True, exist_ok=True)
    return _stamps(output.path)


def written(output: Output, *, before: Stamps) -> list[Path]:
    """The files of an output.

    Args:
        before: what `make_ready` said of it.
    Raises:
        BadData: there is nothing, or nothing that was written since.
    """
    files = output.files
    if not files:
        what = "is empty" if output.path.is_dir() else "is not there"
        raise BadData(f"the script succeeded, but {output.path} {what}", hint=f"the script finds the path in {output.variable}")
    if before and _stamps(output.path) == before:
        raise BadData(
            f"the script succeeded, but wrote nothing to {output.path}: what is there was there before",
            hint=f"rm -r {output.path}; the script finds the path in {output.variable}",
        )
    return files


def _stamps(path: Path) -> Stamps:
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path] if path.is_file() else []
    return {str(one.relative_to(path)): (one.stat().st_size, one.stat().st_mtime_ns) for one in files}


def _word(name: str) -> str:
    """A name as part of an environment variable's."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def located(version: Version, folder: Path, wanted: Input) -> str:
    """One line about where an input is."""
    return f"{version} is at {wanted.path if wanted.path is not None else folder} ({wanted.variable})"
