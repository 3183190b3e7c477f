"""Items are matched by their ids, whatever the order, the width of the texts or the alphabet; and never by accident."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import matching

ids = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=20), min_size=1, max_size=40, unique=True)


def order(mine: list[object], others: list[object]) -> list[int] | None:
    one, other = (matching.comparable(np.array(some, dtype=object)) for some in (mine, others))
    found = matching.order(one, other, matching.fingerprints(one), matching.fingerprints(other))
    return None if found is None else found.tolist()


@settings(deadline=None)
@given(mine=ids, seed=st.integers(0, 99))
def test_every_item_is_found_where_it_is(mine: list[str], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(len(mine))
    found = order(mine, [mine[at] for at in shuffled])
    assert found is not None
    assert [mine[shuffled[at]] for at in found] == mine


@settings(deadline=None)
@given(mine=ids, other=st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_another_item_is_no_match(mine: list[str], other: str) -> None:
    if other not in mine:
        assert order(mine, [*mine[:-1], other]) is None
        assert order(mine, [*mine, other]) is None


def test_numbers_are_matched_as_numbers() -> None:
    mine, others = np.array([5, -1, 10**12]), np.array([10**12, 5, -1])
    found = matching.order(mine, others, matching.fingerprints(mine), matching.fingerprints(others))
    assert found is not None
    assert found.tolist() == [1, 2, 0]


def test_ids_that_share_a_fingerprint_are_told_apart() -> None:
    mine, others = np.array([b"a", b"b", b"c"]), np.array([b"b", b"c", b"a"])
    same = np.zeros(3, dtype=np.uint64)
    found = matching.order(mine, others, same, same)
    assert found is not None
    assert found.tolist() == [2, 0, 1]
    assert matching.repeated(mine, same) is None


@pytest.mark.parametrize("some", [["a", "b", "a", "c", "a"], ["é", "b", "é", "c", "é"], [7, 2, 7, 3, 7]], ids=str)
def test_an_id_that_occurs_again_is_named_and_counted(some: list[object]) -> None:
    kept = matching.comparable(np.array(some, dtype=object if isinstance(some[0], str) else None))
    found = matching.repeated(kept, matching.fingerprints(kept))
    assert found is not None
    value, times, more = found
    assert (value.decode() if isinstance(value, bytes) else value, times, more) == (some[0], 3, 2)
