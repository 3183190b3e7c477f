"""What is printed cannot steer the terminal that shows it."""

from __future__ import annotations

import pytest

from registry.cli.output import show_error


def test_an_error_that_quotes_foreign_bytes_does_not_reach_the_terminal_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("x.csv: 'a\x1b[2Jb\r' \u202e ü", hint="rm 'a\x07'", exit_code=2, as_json=False)
    assert capsys.readouterr().err == "Error: x.csv: 'a\\x1b[2Jb\\r' \\u202e ü\nHint: rm 'a\\x07'\n"
