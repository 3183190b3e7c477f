"""What every `reg admin` command is made of: how it talks, whom it asks, and the question before something is taken away."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from registry import settings
from registry.administration import administration
from registry.cli.output import Output
from registry.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

YES = click.option("--yes", is_flag=True, help="Do not ask.")
ORG = click.option("--org", metavar="ORG", help="Organisation (default: the only one).")


def command(group: click.Group, example: str) -> Callable[[Command], click.Command]:
    """A command that is handed how to talk and the server's `/admin`."""

    def decorate(command: Command) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document.")
        @click.option("--debug", is_flag=True, help="Show tracebacks.")
        @functools.wraps(command)
        def wrapped(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> Any:
            read = settings.read({}, environment=os.environ, folder=Path.cwd())
            with administration(read) as server:
                return command(Output(as_json=as_json), server, *args, **kwargs)

        return group.command(command.__name__.rpartition("_")[2], epilog=f"Example: reg admin {example}")(wrapped)

    return decorate


def done(output: Output, answer: Mapping[str, Any], what: str) -> None:
    output.notice(what)
    output.result(answer)


def confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this asks first, and nobody is there to answer", hint="add --yes")
    click.confirm(question, abort=True, err=True)
