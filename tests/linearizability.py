"""Whether what many clients saw can have happened one after the other.

A history is linearizable when each operation can be given one moment between its question and its answer such that, in the
order of these moments, every answer is the one a single careful clerk would have given (Herlihy & Wing 1990). The search is
Wing and Gong's with Lowe's memory of what was tried: an operation may come next when no other was answered before it was
asked. It decides every history, good or bad; `test_linearizability` holds it against the definition itself, tried permutation
by permutation. How long that takes depends on luck, and on how much a question tells: give every change a value of its own. A
book that claims to know the order makes it short where it is right, and decides nothing: what it says is only tried first.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Call = TypeVar("Call", bound=Hashable)

# A good history usually needs as many steps as it is long, and meets few dead ends.
_MOST_TRIED = 200_000


class Clerk(Protocol[State, Call]):
    """The one who does everything one after the other; a fact is what a state holds and a question may have seen."""

    def apply(self, state: State, call: Call) -> tuple[State, Hashable]:
        """The state after a call, and its answer."""

    def facts(self, state: State) -> frozenset[Hashable]: ...

    def gives(self, call: Call) -> frozenset[Hashable]:
        """The facts that a call can bring about."""

    def needs(self, call: Call, answer: Hashable) -> frozenset[Hashable]:
        """The facts without which a call does not get this answer; only a call that never changes anything needs any."""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[Call]):
    """One call and its answer, on one clock; without an answer it may have happened, any time after it was asked, or not."""

    client: int
    call: Call
    answer: Hashable
    asked: float
    answered: float | None

    @property
    def end(self) -> float:
        return math.inf if self.answered is None else self.answered


class NotLinearizable(AssertionError):
    """No order explains the history; says between which operations every attempt got stuck."""


class Undecided(AssertionError):
    """The search was given up."""


def linearization(
    history: Sequence[Operation[Call]],
    clerk: Clerk[State, Call],
    start: State,
    *,
    book: Callable[[Operation[Call]], float] | None = None,
) -> list[Operation[Call]]:
    """An order that explains every answer; an operation without an answer is in it only if something depends on it.

    Args:
        book: the place of a change in the order that is to be tried first.
    Raises:
        NotLinearizable: there is none.
        Undecided: none was found in reasonable time.
    """
    return _Search(history, clerk, book).order(start)


class _Search(Generic[State, Call]):
    """Places in time order stand for operations, and the bits of a number for those that are done."""

    def __init__(
        self, history: Sequence[Operation[Call]], clerk: Clerk[State, Call], book: Callable[[Operation[Call]], float] | None
    ) -> None:
        self._all = sorted(history, key=lambda operation: (operation.asked, operation.end))
        self._clerk = clerk
        self._asked = [operation.asked for operation in self._all]
        self._dead: set[tuple[int, State]] = set()
        self._deepest: tuple[int, State | None] = (0, None)
        self._book = book
        self._answered = 0
        self._givers: dict[Hashable, int] = defaultdict(int)
        self._needers: dict[Hashable, int] = defaultdict(int)
        for place, operation in enumerate(self._all):
            for fact in clerk.gives(operation.call):
                self._givers[fact] |= 1 << place
            if operation.answered is not None:
                self._answered |= 1 << place
                for fact in clerk.needs(operation.call, operation.answer):
                    self._needers[fact] |= 1 << place

    def order(self, start: State) -> list[Operation[Call]]:
        path = [(0, start, self._steps(0, start))]
        while path:
            done, state, steps = path[-1]
            if not self._answered & ~done:
                levels = [level[0] for level in path]
                return [self._all[(after ^ before).bit_length() - 1] for before, after in itertools.pairwise(levels)]
            if done.bit_count() > self._deepest[0].bit_count():
                self._deepest = done, state
            step = next((step for step in steps if step not in self._dead), None)
            if step is not None:
                path.append((*step, self._steps(*step)))
                continue
            self._dead.add((done, state))
            path.pop()
            if len(self._dead) > _MOST_TRIED:
                raise Undecided(f"gave up after {len(self._dead):,} dead ends: {self._stuck()}")
        raise NotLinearizable(self._stuck())

    def _stuck(self) -> str:
        done, state = self._deepest
        fits = "".join(f"\n  {self._all[place]}" for place in self._candidates(done))
        return f"after {done.bit_count()} of {len(self._all)} operations, in {state}, none of these fits:{fits}"

    def _steps(self, done: int, state: State) -> Iterator[tuple[int, State]]:
        """What can come next with the answer it got, the most promising first.

        A question that gets its answer here is taken at once, without alternatives: it never changes anything, so it can only
        stand in the way of others by waiting. A change is not taken when it ends a fact for ever that a question still needs.
        Of the others the book's next comes first; without a book one that brings about what the operation needs that cannot
        wait longest: what is left for later still fits in more ways.
        """
        places = sorted(self._candidates(done), key=lambda place: self._all[place].end)
        if not places:
            return
        wanted = self._clerk.needs(self._all[places[0]].call, self._all[places[0]].answer)
        changes = []
        for place in places:
            operation = self._all[place]
            after, answer = self._clerk.apply(state, operation.call)
            if operation.answered is None and after == state:
                continue  # it changes nothing here, and nobody heard its answer: it may wait
            if operation.answered is not None and answer != operation.answer:
                continue
            step = done | 1 << place, after
            if self._clerk.needs(operation.call, answer):
                yield step
                return
            if not self._forgets(*step, before=state):
                changes.append((self._rank(operation, step, state, wanted, urgent=place == places[0]), step))
        changes.sort(key=lambda change: change[0])
        yield from (step for _, step in changes)

    def _rank(
        self, operation: Operation[Call], step: tuple[int, State], before: State, wanted: frozenset[Hashable], *, urgent: bool
    ) -> float:
        if self._book is not None:
            return self._book(operation) if step[1] != before else -1
        return 0 if urgent else 1 + len(wanted - self._clerk.facts(step[1]))

    def _forgets(self, done: int, after: State, *, before: State) -> bool:
        gone = self._clerk.facts(before) - self._clerk.facts(after)
        return any(self._lost(fact, done) for fact in gone)

    def _lost(self, fact: Hashable, done: int) -> bool:
        """Whether a question that is left needs the fact, and nothing can bring it about in time."""
        needers = self._needers[fact] & ~done
        first_end = math.inf
        while needers:
            place = needers.bit_length() - 1
            first_end = min(first_end, self._all[place].end)
            needers ^= 1 << place
        in_time = (1 << bisect_right(self._asked, first_end)) - 1
        return first_end < math.inf and not self._givers[fact] & ~done & in_time

    def _candidates(self, done: int) -> list[int]:
        """The places of those that were asked before any other that is left was answered."""
        found: list[int] = []
        first_answer = math.inf
        first_left = (~done & (done + 1)).bit_length() - 1
        for place in range(first_left, len(self._all)):
            if done >> place & 1:
                continue
            operation = self._all[place]
            if operation.asked > first_answer:
                break
            first_answer = min(first_answer, operation.end)
            found.append(place)
        return [place for place in found if self._all[place].asked <= first_answer]
