"""The card of a model at the command line: the file it takes its words from, and how a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from registry.card import Words, read_words
from registry.cli.params import FILE
from registry.errors import BadSettings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def card_option(command: _Command) -> _Command:
    """Give a command `--card FILE`; it is handed the words in it as `words`."""
    option = click.option(
        "--card",
        "words",
        type=FILE,
        callback=lambda _, __, file: None if file is None else read(file),
        help="YAML file with the model card's words: intended_use, limitations, … (default: those of the latest version).",
    )
    return option(command)


def read(file: Path) -> Words:
    """
    Raises:
        BadSettings: see `registry.card.read_words`; or the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadSettings(f"cannot read {file}: {exc}", hint="intended_use: reads single digits from scanned forms") from exc
    return read_words(text, name=str(file))
