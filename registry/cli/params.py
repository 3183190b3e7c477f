"""Parameter types and the options that every command shares, named once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry import references, settings
from registry.cli.output import Output
from registry.connection import connect
from registry.errors import BadReference

if TYPE_CHECKING:
    from registry.backend import Backend

_Command = TypeVar("_Command", bound=Callable[..., Any])


class ReferenceParam(click.ParamType[references.Reference]):
    """`name`, `name:alias`, `project/name:v3`, … parsed at the door."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> references.Reference:
        return value if isinstance(value, references.Reference) else references.parse(value)


class AliasParam(click.ParamType[str]):
    """An alias that people may set."""

    name = "alias"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return references.check_alias(value)


class CollectionParam(click.ParamType[str]):
    """A name under which something new may be logged; refused here, not after hours of work."""

    name = "collection"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return references.check_collection(value)


REFERENCE = ReferenceParam()
ALIAS = AliasParam()
COLLECTION = CollectionParam()
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a command body is handed: how to talk, and how to reach the server."""

    output: Output
    settings: settings.Settings

    @contextmanager
    def reading(self) -> Iterator[Backend]:
        """A backend for a command that changes nothing."""
        with connect(self.settings) as backend:
            yield backend

    @contextmanager
    def writing(self) -> Iterator[Backend]:
        """A backend for a command that writes, which first says where."""
        with connect(self.settings) as backend:
            self.say_where(backend)
            yield backend

    def say_where(self, backend: Backend) -> None:
        """What a command that writes says before it does."""
        self.output.notice(f"writing to {backend.where}")


def session(command: _Command) -> _Command:
    """Give a command the shared options and hand it a `Session` as its first argument."""

    @click.option("--project", metavar="NAME", help="W&B project (default: settings, then 'reg').")
    @click.option("--entity", metavar="NAME", help="W&B entity: a user or team (default: the key's own).")
    @click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(command)
    def wrapped(*args: Any, project: str | None, entity: str | None, as_json: bool, debug: bool, **kwargs: Any) -> Any:
        flags = {"project": _name(project), "entity": _name(entity)}
        read = settings.read(flags, environment=os.environ, folder=Path.cwd())
        return command(Session(output=Output(as_json=as_json), settings=read), *args, **kwargs)

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the name, not the changed signature


def _name(text: str | None) -> str | None:
    if text is not None and (not text or any(mark in text for mark in "/:@")):
        raise BadReference(f"'{text}' is not a name: no '/', ':' or '@'", hint="--project my-project")
    return text
