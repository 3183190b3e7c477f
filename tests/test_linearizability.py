"""The checker of histories agrees with the definition: on histories that are good by construction, on bad ones that are known,
and on small ones of every kind by trying all orders."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability import NotLinearizable, Operation, linearization
from tests.wire.crowd import AliasClerk, Call, Drop, Holders, Move, Read, calls

CLERK = AliasClerk("a", "b")
START: Holders = ()


def op(call: Call, answer: object, asked: float, answered: float | None) -> Operation[Call]:
    return Operation(client=0, call=call, answer=answer, asked=asked, answered=answered)


def explains(order: Sequence[Operation[Call]], history: Sequence[Operation[Call]]) -> bool:
    """The definition: every answered operation once, in an order that real time allows, each with the clerk's answer."""
    if [some for some in history if some.answered is not None and some not in order]:
        return False
    for place, operation in enumerate(order):
        if any(later.end < operation.asked for later in order[place + 1 :]):
            return False
    state = START
    for operation in order:
        state, answer = CLERK.apply(state, operation.call)
        if operation.answered is not None and answer != operation.answer:
            return False
    return True


def by_trying_all(history: Sequence[Operation[Call]]) -> bool:
    optional = [some for some in history if some.answered is None]
    certain = [some for some in history if some.answered is not None]
    return any(
        explains(order, history)
        for size in range(len(optional) + 1)
        for chosen in itertools.combinations(optional, size)
        for order in itertools.permutations([*certain, *chosen])
    )


def is_linearizable(history: Sequence[Operation[Call]]) -> bool:
    try:
        order = linearization(history, CLERK, START)
    except NotLinearizable:
        return False
    assert explains(order, history)
    return True


aliases = st.sampled_from([("a",), ("b",), ("a", "b")])
any_call: st.SearchStrategy[Call] = st.one_of(
    st.builds(Move, version=st.integers(0, 3), aliases=aliases),
    st.builds(Drop, version=st.integers(0, 3), aliases=aliases),
    st.builds(Read, aliases=aliases),
)


@st.composite
def lived(draw: st.DrawFn) -> list[Operation[Call]]:
    """A history that happened: one clerk's answers, each known for a while before and after; some answers are lost."""
    state, history = START, []
    for moment, call in enumerate(draw(st.lists(any_call, max_size=30))):
        state, answer = CLERK.apply(state, call)
        before, after = draw(st.floats(0, 5)), draw(st.one_of(st.floats(0, 5), st.none()))
        history.append(op(call, answer, moment - before, None if after is None else moment + after))
    return draw(st.permutations(history))


@st.composite
def imagined(draw: st.DrawFn) -> list[Operation[Call]]:
    """A history that may be impossible: answers from nowhere, at moments from nowhere."""
    history = []
    for _ in range(draw(st.integers(1, 5))):
        call = draw(any_call)
        held = tuple(draw(st.one_of(st.none(), st.integers(0, 2))) for _ in call.aliases)
        asked = draw(st.integers(0, 6))
        lasts = draw(st.one_of(st.integers(0, 4), st.none()))
        history.append(op(call, held if isinstance(call, Read) else None, asked, None if lasts is None else asked + lasts))
    return history


@given(lived())
def test_what_happened_is_accepted(history: list[Operation[Call]]) -> None:
    assert is_linearizable(history)


@settings(max_examples=300)
@given(imagined())
def test_it_agrees_with_trying_every_order(history: list[Operation[Call]]) -> None:
    assert is_linearizable(history) == by_trying_all(history)


ONE, BOTH = ("a",), ("a", "b")
MOVED = [op(Move(version=1, aliases=BOTH), None, 0, 1)]
BAD = {
    "a stale read": [*MOVED, op(Read(aliases=ONE), (None,), 2, 3)],
    "a read from the future": [op(Read(aliases=ONE), (1,), 0, 1), op(Move(version=1, aliases=ONE), None, 2, 3)],
    "new, then old": [
        *MOVED,
        op(Move(version=2, aliases=ONE), None, 2, 9),
        op(Read(aliases=ONE), (2,), 3, 4),
        op(Read(aliases=ONE), (1,), 5, 6),
    ],
    "two that were moved together, apart": [*MOVED, op(Read(aliases=BOTH), (1, None), 0, 1)],
    "a lost move": [
        op(Move(version=1, aliases=ONE), None, 0, 4),
        op(Move(version=2, aliases=ONE), None, 0, 4),
        op(Read(aliases=ONE), (1,), 5, 6),
        op(Read(aliases=ONE), (2,), 5.5, 6.5),
        op(Read(aliases=ONE), (1,), 7, 8),
    ],
    "taken from another holder": [*MOVED, op(Drop(version=2, aliases=ONE), None, 2, 3), op(Read(aliases=ONE), (None,), 4, 5)],
    "without an answer, seen and then gone": [
        op(Move(version=1, aliases=ONE), None, 0, None),
        op(Read(aliases=ONE), (1,), 1, 2),
        op(Read(aliases=ONE), (None,), 3, 4),
    ],
    "a version nobody set": [*MOVED, op(Read(aliases=ONE), (7,), 0, 3)],
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_have_happened_is_refused(name: str) -> None:
    with pytest.raises(NotLinearizable, match="none of these fits"):
        linearization(BAD[name], CLERK, START)


def test_an_operation_without_an_answer_may_have_happened_much_later() -> None:
    history = [op(Move(version=1, aliases=ONE), None, 0, None), op(Read(aliases=ONE), (None,), 1, 2)]
    assert is_linearizable([*history, op(Read(aliases=ONE), (1,), 3, 4)])


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_that_does_everything_at_once_is_decided_with_a_book(seed: int) -> None:
    luck = random.Random(seed)
    moments = []
    for client in range(32):
        moment = luck.random()
        for call in calls(luck, versions=range(client * 10, client * 10 + 10), aliases=[("a",), ("b",), ("a", "b")]):
            lasts = 0.05 + luck.expovariate(1)
            moments.append((moment + lasts * luck.random(), moment, moment + lasts, call))
            moment += lasts
    state, history, places = START, [], {}
    for place, (_, asked, answered, call) in enumerate(sorted(moments, key=lambda found: found[0])):
        state, answer = CLERK.apply(state, call)
        history.append(op(call, answer, asked, answered))
        places[history[-1]] = place
    assert explains(linearization(history, CLERK, START, book=lambda one: places[one]), history)


@pytest.mark.parametrize("name", BAD)
def test_a_book_makes_nothing_true(name: str) -> None:
    places = {operation: place for place, operation in enumerate(BAD[name])}
    with pytest.raises(NotLinearizable):
        linearization(BAD[name], CLERK, START, book=lambda one: places[one])
