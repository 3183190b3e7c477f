"""What early termination reads is what whole histories say, however the rows came, were replaced, or went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from registry.server import searching
from registry.server.home import Home, open_home
from registry.server.searching import Curve
from registry.server.store import curves, history, people, runs

_SEARCH, _ = searching.parse(
    json.dumps(
        {
            "method": "random",
            "parameters": {"p": {"value": 1}},
            "metric": {"name": "val/loss", "goal": "maximize"},
            "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2},
        }
    )
)
_row = st.fixed_dictionaries(
    {"_step": st.integers(0, 12)},
    optional={"val/loss": st.integers(-9, 9) | st.floats(width=16) | st.booleans() | st.just("x"), "other": st.just(1)},
)
# A request: the number of its first line, and its rows. A step: what a rewind keeps.
_requests = st.lists(st.tuples(st.integers(0, 12), st.lists(_row, min_size=1, max_size=6)) | st.integers(-1, 12), max_size=6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = open_home(tmp_path_factory.mktemp("curves") / "home")
    yield home
    home.close()


def begun(connection: Connection) -> int:
    owner = people.entity(connection, "local")
    assert owner is not None
    return runs.create(connection, people.ensure_project(connection, owner, "p", 1), name=None, user_id=1, values={}).id


def send(connection: Connection, run_id: int, offset: int, rows: Sequence[dict[str, Any]]) -> None:
    texts = [json.dumps(row) for row in rows]
    history.assign(connection, run_id, history.lines(list(enumerate(texts, start=offset)), history.read(texts)))


def whole(connection: Connection, run_id: int) -> Curve:
    """The curve by everything that the history says."""
    rows = [json.loads(body) for body in history.window(connection, run_id, start=None, stop=None)]
    said = [row["val/loss"] for row in rows if "val/loss" in row]
    assert _SEARCH.hyperband is not None
    losses = [-float(value) for value in said if type(value) in (int, float) and value == value]
    reached = {bracket: losses[bracket - 1] for bracket in _SEARCH.hyperband.brackets if bracket <= len(losses)}
    return Curve(logged=len(losses), best=min(losses, default=None), reached=reached)


@settings(max_examples=50)
@given(_requests)
def test_a_curve_is_what_the_whole_history_says(home: Home, requests: list[Any]) -> None:
    with home.database.writing() as connection:
        run_id = begun(connection)
        for request in requests:
            if isinstance(request, int):
                history.cut(connection, run_id, step=request)
            else:
                send(connection, run_id, *request)
            assert curves.of(connection, _SEARCH, [run_id]) == {run_id: whole(connection, run_id)}


def test_rows_that_were_read_are_not_read_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    with home.database.writing() as connection:
        run_id = begun(connection)
        for start in (0, 100, 100):
            send(connection, run_id, start, [{"_step": step, "val/loss": step} for step in range(start, start + 100)])
            with monkeypatch.context() as patched:
                patched.setattr(history, "read", lambda texts, plain=history.read: read.append(len(texts)) or plain(texts))
                curves.of(connection, _SEARCH, [run_id])
    assert read == [100, 100]
