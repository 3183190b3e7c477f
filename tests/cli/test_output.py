"""What is printed is shown as it is, and cannot steer the terminal that shows it."""

from __future__ import annotations

import pytest

from registry.cli.output import Output, show_error, table


def test_an_error_that_quotes_foreign_bytes_does_not_reach_the_terminal_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("x.csv: 'a\x1b[2Jb\r' \u202e ü", hint="rm 'a\x07'", exit_code=2, as_json=False)
    assert capsys.readouterr().err == "Error: x.csv: 'a\\x1b[2Jb\\r' \\u202e ü\nHint: rm 'a\\x07'\n"


@pytest.mark.parametrize("watched", [False, True])
def test_a_line_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" if watched else "")
    monkeypatch.setenv("TERM", "dumb")
    output = Output(as_json=False)
    output.result({}, "mnist[bold]:v1 :smile: is new")
    output.warn("a[b]")
    found = capsys.readouterr()
    assert found.out == "mnist[bold]:v1 :smile: is new\n"
    assert "Warning: a[b]" in found.err


def test_a_table_in_a_log_is_not_cut_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).result({}, table(("name",), [("x" * 150,)]))
    assert "x" * 150 in capsys.readouterr().out
