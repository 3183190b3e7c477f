"""`reg gc`: removes from this machine's home what nothing keeps.

It works on the home itself, beside any servers that run for it, and not through one: what is safe here is safe by the
database's transactions (`registry.server.collecting`), and a server must not be kept busy with it. W&B has no such command;
its servers collect by themselves.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from registry import scratch, settings
from registry.cli.looking import size_text
from registry.cli.output import Output, table
from registry.errors import UsageError
from registry.scratch import Left
from registry.server import collecting
from registry.server.collecting import Garbage, Patience
from registry.server.home import present_home

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_NAMES = 20


class Duration(click.ParamType[timedelta]):
    """`90s`, `30m`, `1h`, `7d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,6})([smhd])", value)
        if match is None:
            self.fail(f"'{value}' is no duration: a number and s, m, h or d, such as 30m", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.command(epilog="Examples: reg gc --dry-run · reg gc --yes · reg gc --abandoned 1d --yes --json")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and stop.")
@click.option("--yes", is_flag=True, help="Remove it without asking.")
@click.option("--grace", type=Duration(), default="1h", show_default=True, help="Leave alone bytes that came so recently.")
@click.option("--abandoned", type=Duration(), default="7d", show_default=True, help="Silence that ends an upload.")
@click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def gc(dry_run: bool, yes: bool, grace: timedelta, abandoned: timedelta, as_json: bool, debug: bool) -> None:
    """Remove from the home what no version, alias, lineage or time to live keeps.

    That is: versions whose time to live is over, unless they hold an alias other than `latest`, are linked to a registry, or
    are what such a version was made from; uploads that nobody finished; every stored byte that nothing names any more; and
    what commands that were killed left of work under way.
    """
    output = Output(as_json=as_json)
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise UsageError("reg gc asks before it removes anything, and nobody is there to answer", hint="reg gc --dry-run")
    patience = Patience(grace=grace, abandoned=abandoned)
    with present_home(settings.read({}, environment=os.environ, folder=Path.cwd()).home) as home:
        output.notice(f"home {home.path}")
        with output.progress("looking") as advance:
            plan = collecting.find(home.database, home.blobs, patience, advance)
            left = scratch.left_behind(scratch.of_home(home.path))
        if dry_run or (plan.nothing and not left):
            output.result(_data(plan, left, home.path, removed=False), *_shown(plan, left, "nothing was removed"))
            return
        if not yes:
            output.result({}, *_shown(plan, left, ""))
            click.confirm("Remove this?", abort=True, err=True)
        with output.progress("removing") as advance:
            done = collecting.remove(home.database, home.blobs, plan, patience, advance)
            scratch.clear(left)
    output.result(_data(done, left, home.path, removed=True), *_shown(done, left, "removed"))


def _data(garbage: Garbage, left: Sequence[Left], home: Path, *, removed: bool) -> dict[str, Any]:
    work = {"left_behind": len(left), "left_behind_size": sum(one.size for one in left)}
    return {"home": str(home), "removed": removed, **asdict(garbage), **work}


def _shown(garbage: Garbage, left: Sequence[Left], outcome: str) -> list[Any]:
    rows = [
        ("versions past their time to live", len(garbage.expired), size_text(sum(gone.size for gone in garbage.expired))),
        ("uploads that nobody finished", len(garbage.abandoned), ""),
        ("stored files that nothing names", garbage.blobs, size_text(garbage.size)),
        ("large files that came in part", garbage.parts, ""),
        ("folders of commands that were killed", len(left), size_text(sum(one.size for one in left))),
    ]
    names = [f"  {gone.name} (over since {gone.since})" for gone in garbage.expired]
    names += [f"  {gone.name} (silent since {gone.since})" for gone in garbage.abandoned]
    more = [f"  … and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    young = [f"{garbage.young} files came too recently to be judged (--grace)"] if garbage.young else []
    said = [outcome] if outcome else []
    return [table(("garbage", "#number", "#size"), rows), *names[:_MOST_NAMES], *more, *young, *said]
