"""The only printer: data on stdout, everything said to a person (notices, progress, hints) on stderr.

With `--json` stdout carries exactly one JSON document with a `schema_version`; without it, tables. rich does the drawing, and
what is drawn becomes plain where the stream is not a terminal; a plain line is written there without it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

OnProgress = Callable[[int, int], None]


class Output:
    """How one command talks.

    Args:
        as_json: data only, as one JSON document.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def result(self, data: Mapping[str, Any], *shown: RenderableType) -> None:
        """The answer of the command: `data` with --json, `shown` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps({"schema_version": 1, **data}, default=str, allow_nan=True) + "\n")
            sys.stdout.flush()
            return
        for piece in shown:
            _show(sys.stdout, piece)

    def notice(self, text: str) -> None:
        """One line to a person about what is going on."""
        _show(sys.stderr, text, style="dim")

    def warn(self, text: str) -> None:
        """One line to a person about something that needs a look."""
        _show(sys.stderr, f"Warning: {text}", style="yellow")

    def text(self, text: str) -> None:
        """A document of another format on stdout, exactly as it is."""
        sys.stdout.write(text)

    def command(self, line: str) -> None:
        """One line for the program that reads our log, exactly as it is."""
        sys.stderr.write(f"{line}\n")

    @contextmanager
    def progress(self, what: str) -> Iterator[OnProgress]:
        """A progress bar on stderr for the time of the block; call the yielded function with (done, total)."""
        if not _is_watched(sys.stderr):
            yield lambda done, total: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=_console(sys.stderr), transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> RenderableType:
    """A plain table; a column whose name starts with '#' is numeric and right-aligned."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        drawn.add_column(Text(column.removeprefix("#")), justify="right" if column.startswith("#") else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    return drawn


def drawn_markdown(text: str) -> RenderableType:
    """A Markdown document as a terminal shows it."""
    from rich.markdown import Markdown

    return Markdown(text, hyperlinks=False)


def styled(text: str, style: str) -> Text:
    """A cell or line in a style such as `green` or `bold red`."""
    from rich.text import Text

    return Text(text, style=style)


def show_error(message: str, *, hint: str | None, exit_code: int, as_json: bool) -> None:
    """The two lines of a failure on stderr; with --json the same as data on stdout."""
    if as_json:
        error = {"message": message, "hint": hint, "exit_code": exit_code}
        sys.stdout.write(json.dumps({"schema_version": 1, "error": error}) + "\n")
        sys.stdout.flush()
        return
    sys.stderr.write(f"Error: {_harmless(message)}\n" + (f"Hint: {_harmless(hint)}\n" if hint else ""))
    sys.stderr.flush()


def _harmless(text: str) -> str:
    """`text` without what would steer the terminal: an error may quote names and bytes of other people."""
    return "".join(sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode() for sign in text)


def _show(stream: TextIO, piece: RenderableType, *, style: str | None = None) -> None:
    """A text for a script or a log is written as it is: for these few lines, loading rich takes longer than a request."""
    if isinstance(piece, str) and not _is_watched(stream):
        stream.write(f"{piece}\n")
        stream.flush()
    else:
        _console(stream).print(piece, style=style)


def _is_watched(stream: TextIO) -> bool:
    """Whether a person looks, or a program that wants to see what a person would."""
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Piped output has no width of its own; 80 columns would break tables that scripts and CI logs show in full.
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False, markup=False, emoji=False)
