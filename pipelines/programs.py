"""Runs a program as if nobody stood between it and the terminal: output and signals pass, and the exit code is kept.

What it prints is also handed to a reader, line by line: that is how it gets into the log of a W&B run. Where our own output is
a terminal the program gets one too, so progress bars stay progress bars. Ctrl-C in a terminal reaches every process of
the foreground by itself; what only we are told (a `kill`, a scheduler's SIGTERM, a stop from W&B's page) is passed on. How
to end is then the program's decision, and ours is to wait for it. If we are killed, it is ended too (`pipelines.orphans`): who
would log what it makes?
"""

from __future__ import annotations

import codecs
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from threading import Thread
from types import FrameType
from typing import IO, NamedTuple

from pipelines import orphans
from registry.errors import UsageError

OnLines = Callable[[str], None]
_CHUNK = 65536
_LONGEST_LINE = 65536
# A program may leave a child behind that keeps its output open for ever; what is still on its way arrives in this time.
_AFTERMATH_SECONDS = 5
_FORWARDED = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


def run(command: Sequence[str], *, environment: Mapping[str, str], on_lines: OnLines, out: IO[str], err: IO[str]) -> int:
    """Run a program to its end.

    Args:
        environment: all of its variables.
        on_lines: called with what it printed, whole lines, from other threads; of a line that is redrawn (a progress bar) with
            its last state.
        out, err: where its two outputs go.
    Returns:
        Its exit code; 128 + n where signal n ended it, as a shell says it.
    Raises:
        UsageError: it cannot be started.
    """
    with orphans.watch() as watch:
        return _run(command, environment, on_lines, (out, err), watch)


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    on_lines: OnLines,
    outputs: tuple[IO[str], IO[str]],
    watch: orphans.Watch | None,
) -> int:
    channels = [_channel(stream) for stream in outputs]
    try:
        child = subprocess.Popen(list(command), env=dict(environment), stdout=channels[0].its, stderr=channels[1].its)
    except OSError as exc:
        for channel in channels:
            os.close(channel.ours)
        raise UsageError(f"cannot start '{command[0]}': {exc.strerror}", hint="reg exec -- python train.py") from exc
    finally:
        for channel in channels:
            os.close(channel.its)
    if watch is not None:
        watch.over(child.pid)
    streams = zip(channels, outputs, strict=True)
    pumps = [Thread(target=_pump, args=(channel.ours, stream, on_lines), daemon=True) for channel, stream in streams]
    with _signals_go_to(child):
        for pump in pumps:
            pump.start()
        code = child.wait()
    for pump in pumps:
        pump.join(_AFTERMATH_SECONDS)
    return code if code >= 0 else 128 - code


class _Channel(NamedTuple):
    """File descriptors: ours to read, its to write."""

    ours: int
    its: int


def _channel(stream: IO[str]) -> _Channel:
    """A terminal where the stream is one, else a pipe."""
    if os.name != "posix" or not stream.isatty():
        return _Channel(*os.pipe())
    import fcntl
    import struct
    import termios

    found = _Channel(*os.openpty())
    size = get_terminal_size()
    fcntl.ioctl(found.its, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
    return found


def _pump(ours: int, stream: IO[str], on_lines: OnLines) -> None:
    """Pass bytes on as they come, and whole lines to the reader."""
    decoder, pending = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while True:
        try:
            chunk = os.read(ours, _CHUNK)
        except OSError:  # a terminal whose other end is closed
            chunk = b""
        if chunk:
            _pass_on(chunk, stream)
        pending += decoder.decode(chunk, final=not chunk)
        lines, newline, rest = pending.rpartition("\n")
        if len(rest) > _LONGEST_LINE or not chunk:
            lines, newline, rest = pending, "\n", ""
        if newline and lines:
            on_lines("\n".join(_as_it_ends(line) for line in lines.split("\n")))
        pending = rest
        if not chunk:
            os.close(ours)
            return


def _pass_on(chunk: bytes, stream: IO[str]) -> None:
    """To the stream's bytes; a reader that has gone (`head`) ends the passing on and not the program."""
    with suppress(OSError, ValueError):
        stream.flush()
        stream.buffer.write(chunk)  # type: ignore[attr-defined]  # a text stream of this process has one
        stream.buffer.flush()  # type: ignore[attr-defined]


def _as_it_ends(line: str) -> str:
    """A line as it stands when it has been redrawn for the last time."""
    return line.rstrip("\r").rpartition("\r")[2]


@contextmanager
def _signals_go_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and _in_foreground():
            return  # the terminal has told the child as well
        with suppress(ProcessLookupError):
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether a terminal tells our whole process group about Ctrl-C."""
    try:
        return os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0) == os.getpgrp()
    except (OSError, AttributeError, ValueError):
        return False
