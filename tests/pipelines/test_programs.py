"""A program runs as if nobody stood between it and the terminal."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from pipelines.programs import run
from registry.errors import UsageError


def ran(folder: Path, code: str, lines: list[str] | None = None) -> tuple[int, bytes, bytes]:
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        keep = (lines if lines is not None else []).append
        status = run([sys.executable, "-c", code], environment=dict(os.environ), on_lines=keep, out=out, err=err)
    return status, (folder / "out").read_bytes(), (folder / "err").read_bytes()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(17)", 17),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
    ids=["well", "badly", "killed", "terminated"],
)
def test_the_exit_code_is_the_programs(tmp_path: Path, code: str, status: int) -> None:
    assert ran(tmp_path, code)[0] == status


def test_both_outputs_pass_byte_by_byte(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'caf\xe9\x00\r\n'); sys.stderr.buffer.write(b'\xff no newline')"
    assert ran(tmp_path, code) == (0, b"caf\xe9\x00\r\n", b"\xff no newline")


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("'one\\ntwo\\n'", "one\ntwo"),
        ("'10%\\r50%\\r100%\\n'", "100%"),
        ("'no newline'", "no newline"),
        ("'windows\\r\\n'", "windows"),
        ("'\u00fc' * 100000 + '\\n'", "\u00fc" * 100000),
    ],
    ids=["lines", "redrawn", "unfinished", "crlf", "long"],
)
def test_what_was_printed_is_read_line_by_line(tmp_path: Path, printed: str, seen: str) -> None:
    lines: list[str] = []
    ran(tmp_path, f"import sys; sys.stdout.reconfigure(encoding='utf-8', newline=''); sys.stdout.write({printed})", lines)
    assert "".join(lines) == seen if "\n" not in seen else "\n".join(lines) == seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_is_passed_on_and_the_program_decides(tmp_path: Path, number: signal.Signals) -> None:
    code = f"import signal, sys; signal.signal({number:d}, lambda *_: sys.exit(9)); print('ready', flush=True); signal.pause()"
    ready = threading.Event()

    class Lines(list[str]):
        def append(self, text: str) -> None:
            ready.set()

    killer = threading.Thread(target=lambda: (ready.wait(60), os.kill(os.getpid(), number)))
    before = signal.getsignal(number)
    killer.start()
    try:
        assert ran(tmp_path, code, Lines())[0] == 9
    finally:
        ready.set()
        killer.join()
    assert signal.getsignal(number) is before


def test_a_program_that_cannot_start_is_said(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, pytest.raises(UsageError, match=r"cannot start '\./nothing': No such file"):
        run(["./nothing"], environment={}, on_lines=lambda text: None, out=out, err=out)
