"""Promotions of one alias at the same time: whatever the order of their steps, one beats the baseline and the others stop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry import history
from registry.connection import connect
from registry.embedded import announce
from registry.records import Target
from tests import models_on_a_server as made
from tests.wire.conftest import running

TARGET = Target(registry="model", collection="model", alias="production")
ROUNDS, RIVALS = 4, 3

# A process that asks, waits for the word, and promotes; it says "moved" or the name of the error.
RIVAL = """
import sys
from pathlib import Path
from registry import policy, promotion, questions
from registry.connection import connect
from registry.errors import RegError
from registry.provenance import Provenance
from registry.references import parse
from tests import models_on_a_server as made

with connect(made.settings_of(Path(sys.argv[1]))) as backend:
    rules = policy.load(made.RULES, name="policy.yaml")
    print("ready", flush=True)
    for line in sys.stdin:
        question = questions.ask(backend, parse(line.strip()), rules)
        print("asked", flush=True)
        sys.stdin.readline()
        try:
            done = promotion.promote(backend, question, None, by=Provenance(actor="rival"))
            print("moved" if done.moved else "refused", flush=True)
        except RegError as error:
            print(type(error).__name__, flush=True)
"""


class Rival:
    def __init__(self, home: Path) -> None:
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(home)], cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=60) == 0
        self._process.stdout.close()


@pytest.fixture
def rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Rival]]:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    home = tmp_path / "home"
    with ExitStack() as stack:
        server = stack.enter_context(running(home))
        stack.enter_context(announce(home, server.url))
        with connect(made.settings_of(home)) as backend:
            data = made.dataset(backend)
            for index in range(RIVALS + 1):
                made.model(backend, data, f"m{index}", wrong=10)
        started = [Rival(home) for _ in range(RIVALS)]
        for rival in started:
            stack.callback(rival.close)
            assert rival.hear() == "ready"
        yield started


@pytest.mark.slow
def test_one_of_several_promotions_at_once_beats_the_baseline_and_the_others_stop(rivals: list[Rival], tmp_path: Path) -> None:
    answers, holder = [], 0
    for _ in range(ROUNDS):
        # Nobody proposes the present holder.
        proposed = [index for index in range(RIVALS + 1) if index != holder]
        for rival, index in zip(rivals, proposed, strict=True):
            rival.tell(f"model:v{index}")
        assert [rival.hear() for rival in rivals] == ["asked"] * RIVALS
        for rival in rivals:
            rival.tell("go")
        said = [rival.hear() for rival in rivals]
        answers.append(sorted(said))
        assert said.count("moved") == 1, answers
        holder = proposed[said.index("moved")]
    losers = {answer for round_ in answers for answer in round_} - {"moved"}
    assert losers <= {"AliasMoved", "PromotionUnderWay"}
    with connect(made.settings_of(tmp_path / "home")) as backend:
        told = history.moves(backend, TARGET)
    assert [move.kind for move in told] == ["promotion"] * ROUNDS
    assert [move.before for move in told] == [None, *(move.to for move in told[:-1])], "each beat the holder before it"
