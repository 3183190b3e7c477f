"""The index of a history's keys says of rows that come in pieces what one look at each value says of all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.server.home import Home, open_home
from registry.server.store import history_keys, people, runs
from registry.server.store.history_keys import Key

_leaf = (
    st.integers(-3, 3)
    | st.floats(width=16, allow_nan=False)
    | st.booleans()
    | st.none()
    | st.sampled_from(["a", [1], 2**70, -(2**2000)])
)
_value = _leaf | st.dictionaries(st.sampled_from("ab"), _leaf, max_size=2) | st.just({"_type": "image-file", "path": "p"})
_rows = st.lists(st.dictionaries(st.sampled_from(["a", "b", "a.b"]), _value, max_size=3), max_size=6)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = open_home(tmp_path_factory.mktemp("keys") / "home")
    yield home
    home.close()


def looked_at(rows: list[dict[str, Any]]) -> list[Key]:
    known: dict[tuple[str, str], Key] = {}
    for row in rows:
        for key, kind, number in history_keys.flat(row):
            before = known.get((key, kind))
            grew = number is not None and (before is None or before.monotonic)
            if grew and before is not None and before.previous is not None and number is not None:
                grew = number >= before.previous
            count = 1 if before is None else before.count + 1
            known[key, kind] = Key(key=key, type=kind, count=count, monotonic=grew, previous=number)
    return sorted(known.values(), key=lambda key: (key.key, key.type))


def counted(home: Home, pieces: list[list[dict[str, Any]]]) -> list[Key]:
    """The index of a run whose rows come in these requests."""
    with home.database.writing() as connection:
        owner = people.entity(connection, "local")
        assert owner is not None
        run = runs.create(connection, people.ensure_project(connection, owner, "p", 1), name=None, user_id=1, values={})
        for rows in pieces:
            history_keys.add(connection, run.id, rows)
        return history_keys.of(connection, run.id)


@settings(max_examples=50)
@given(st.lists(_rows, max_size=3))
def test_keys_are_counted_over_all_requests(home: Home, pieces: list[list[dict[str, Any]]]) -> None:
    assert counted(home, pieces) == looked_at([row for rows in pieces for row in rows])


@pytest.mark.parametrize(
    ("pieces", "monotonic"),
    [
        ([[1, 1, 2.5], [3]], True),
        ([[1, 2], [1]], False),
        ([[1, math.nan, 2]], False),
        ([[1], [math.nan]], False),
        ([[1], [math.inf]], True),
        ([[2**53], [2**53 + 2]], True),
    ],
    ids=["grows", "falls between requests", "not a number", "not a number comes later", "without end", "large"],
)
def test_only_numbers_that_never_fall_are_monotonic(home: Home, pieces: list[list[float]], monotonic: bool) -> None:
    (key,) = counted(home, [[{"x": value} for value in values] for values in pieces])
    assert (key.type, key.count, key.monotonic) == ("number", sum(map(len, pieces)), monotonic)
