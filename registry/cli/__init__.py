"""`reg`, the command group: commands load on demand, errors become exit codes.

This is the only place that loads code on demand. Each command is a line in a table (name, where it lives, one line of
help), so that `reg --help` imports click and nothing else; the stages of `pipelines` bring their own table by entry point
(group `reg.commands`), and so can anybody else's package. It is also one of the two places that catch errors: everything
in `registry.errors` becomes two lines on stderr and its exit code, and a traceback only with `--debug`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import NoReturn

import click

from registry import __version__
from registry.collector import loading
from registry.errors import MissingDependency, RegError

CommandTable = Mapping[str, tuple[str, str]]

TABLE: CommandTable = {
    "ls": ("registry.cli.looking:ls", "List collections, or the versions of one."),
    "show": ("registry.cli.looking:show", "Show one version: what it is, where it came from, what it holds."),
    "get": ("registry.cli.looking:get", "Download a version's files."),
    "approve": ("registry.cli.approve:approve", "Consent to what a verdict judged, where a policy asks people."),
    "rollback": ("registry.cli.rollback:roll_back", "Give an alias back to the version that held it before."),
    "status": ("registry.cli.audit:status", "Who holds each alias, how good it is, and what waits."),
    "history": ("registry.cli.audit:history", "Every move of an alias: when, who, from, to, why."),
    "why": ("registry.cli.audit:why", "Why the holder of an alias holds it: the evidence, on a page."),
    "policy": ("registry.cli.policy:policy", "Check a policy, or see what it means and what it can see."),
    "verdict": ("registry.cli.verdict:verdict", "Read a verdict, or judge again what it judged."),
    "lineage": ("registry.cli.lineage:lineage", "Show what led to a version and what came of it."),
    "serve": ("registry.cli.serve:serve", "Run the embedded W&B server in the foreground."),
    "admin": ("registry.cli.admin:admin", "Manage users, keys, teams, roles and protected aliases."),
    "gc": ("registry.cli.gc:gc", "Remove from the home what nothing keeps."),
}

# The order of a life, so that the help reads as a story.
_ORDER = (
    "dataset",
    "train",
    "exec",
    "model",
    "sweep",
    "evaluate",
    "gate",
    "promote",
    "approve",
    "rollback",
    "status",
    "history",
    "why",
    "verdict",
    "policy",
    "lineage",
    "ls",
    "show",
    "get",
    "serve",
    "admin",
    "gc",
    "doctor",
    "demo",
    "init",
)


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = _commands()
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _commands().get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        try:
            with loading():
                command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.partition(".")[0] in ("registry", "pipelines"):
                raise
            raise MissingDependency(
                f"'reg {cmd_name}' needs {exc.name}, which a plain install does not bring",
                hint="pip install 'reg-lifecycle[cpu]'",
            ) from exc
        assert isinstance(command, click.Command), found[0]
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            import difflib

            near = difflib.get_close_matches(args[0], _commands(), n=1)
            hint = f"did you mean 'reg {near[0]}'?" if near else "reg --help"
            raise NoSuchCommand(f"no such command '{args[0]}'", hint=hint) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table = _commands()
        with formatter.section("Commands"):
            formatter.write_dl([(name, table[name][1]) for name in self.list_commands(ctx)])


class NoSuchCommand(RegError):
    exit_code = 2


def _commands() -> CommandTable:
    found = dict(TABLE)
    for entry in entry_points(group="reg.commands"):
        found.update(entry.load())
    return found


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: reg dataset push data/ && reg train --dataset mnist:latest && reg promote model:v0 --alias production",
)
@click.version_option(__version__, prog_name="reg")
def group() -> None:
    """Take data and models through their life on Weights & Biases: no alias moves without evidence.

    Without a W&B account everything happens on an embedded server in your home folder; set WANDB_BASE_URL and
    WANDB_API_KEY to use W&B's cloud or your own server instead.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run `reg` and exit with the code of what happened."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _leave(run(arguments))


def _leave(code: int) -> NoReturn:
    """End the process. What Python would do besides, taking all modules apart, takes a tenth of a second."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(code)  # somebody is still at work
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)  # what was said did not all arrive: Python knows how to end then
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run `reg` and return its exit code; what it has to say about a failure is on stderr, or on stdout with --json."""
    # Behind `--` are the words of somebody else's program.
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in ours
    try:
        result = group.main(args=arguments, prog_name="reg", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _fail("interrupted", None, 130, ours)
    except KeyboardInterrupt:
        return _fail("interrupted", None, 130, ours)
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx else "reg"
        message = exc.format_message().removesuffix(".").replace("\n", " ")
        return _fail(message[:1].lower() + message[1:], f"{path} --help", 2, ours)
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; Python must not complain again when it flushes at exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
        return 0
    except RegError as exc:
        if debug:
            raise
        return _fail(exc.message, exc.hint, exc.exit_code, ours)
    except Exception as exc:
        if debug:
            raise
        kind = f"{type(exc).__module__}.{type(exc).__name__}".removeprefix("builtins.")
        again = " ".join(["reg", *arguments, "--debug"])
        return _fail(f"internal error, {kind}: {exc}", f"report it with the output of: {again}", 1, ours)


def _fail(message: str, hint: str | None, exit_code: int, arguments: list[str]) -> int:
    from registry.cli.output import show_error

    show_error(message, hint=hint, exit_code=exit_code, as_json="--json" in arguments)
    return exit_code


__all__ = ["CommandTable", "group", "main", "run"]
