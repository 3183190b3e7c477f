"""Help is part of the product: every command, argument and option explains itself and shows an example."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from registry.cli import TABLE, group, run


def everything(at: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """The groups and commands below one, by the words that lead there."""
    if path:
        yield " ".join(path), at
    if isinstance(at, click.Group):
        context = click.Context(at)
        for name in at.list_commands(context):
            found = at.get_command(context, name)
            assert found is not None
            yield from everything(found, (*path, name))


EVERYTHING = dict(everything(group))
ALL = {name: found for name, found in EVERYTHING.items() if not isinstance(found, click.Group)}


def test_the_commands_of_the_design_are_there() -> None:
    wanted = {
        "dataset push",
        "dataset pull",
        "dataset ls",
        "dataset show",
        "dataset diff",
        "train",
        "exec",
        "model push",
        "evaluate",
        "gate",
        "promote",
    }
    wanted |= {
        "approve",
        "rollback",
        "status",
        "history",
        "why",
        "verdict show",
        "verdict verify",
        "policy check",
        "policy explain",
    }
    wanted |= {"lineage", "ls", "show", "get", "serve", "gc", "doctor", "demo", "init"}
    assert wanted <= set(ALL)


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = EVERYTHING[name]
    assert command.help, name
    assert command.epilog, name
    assert "Example" in command.epilog
    assert f"reg {name}" in command.epilog


@pytest.mark.parametrize("name", ALL)
def test_every_option_says_what_it_is_for(name: str) -> None:
    silent = [p.name for p in ALL[name].params if isinstance(p, click.Option) and not p.help]
    assert silent == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_example_is_a_command_line_that_parses(name: str) -> None:
    for example in (EVERYTHING[name].epilog or "").split(":", 1)[1].split("·"):
        line = example.split("&&")[-1].split("#")[0].split(" > ")[0].strip()
        words = shlex.split(line.removeprefix("reg "))[len(name.split()) :]
        command, context = EVERYTHING[name], click.Context(EVERYTHING[name])
        while isinstance(command, click.Group):
            found, inner, words = command.resolve_command(context, words)
            assert found is not None
            assert inner is not None
            command = inner
        command.make_context(name, words, resilient_parsing=False)


def test_a_command_that_needs_an_optional_package_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TABLE, "modelling", ("tests.cli.needs_torch:command", "needs a package that is not there"))
    assert run(["modelling"]) == 7
    assert capsys.readouterr().err.splitlines() == [
        "Error: 'reg modelling' needs a_package_that_nobody_has, which a plain install does not bring",
        "Hint: pip install 'reg-lifecycle[cpu]'",
    ]
