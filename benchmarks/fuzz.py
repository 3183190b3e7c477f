"""A long search for inputs that find a bug in the embedded server: no 5xx, no bug behind a 4xx, no hang, no half answer.

    python -m benchmarks.fuzz --minutes 5 [--seed 7] [--only filters]

Attacks take turns with fresh seeds. Of each distinct failure the smallest input is printed, as it goes into `FOUND` of
tests/wire/test_fuzz.py; the server's log, with tracebacks, stays where it says.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.wire.attacks import ATTACKS, Attack, Target, operations
from tests.wire.raw import limited, peak_memory
from tests.wire.test_artifact_model import CONTENTS, LIFE, live

_A_TURN = 30
_LIVES = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Search for inputs that find a bug.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", help="attacks whose name holds this")
    asked = parser.parse_args()
    attacks: list[tuple[str, Attack | None]] = [*ATTACKS.items(), *operations(), (LIFE, None)]
    attacks = [(name, attack) for name, attack in attacks if (asked.only or "") in name]
    sent: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    found: dict[str, str] = {}
    home = Path(tempfile.mkdtemp(prefix="reg-fuzz-")) / "home"
    until = time.monotonic() + 60 * asked.minutes
    with limited(home) as server:
        target = Target(server)
        for content in CONTENTS:
            target.put(content)
        target.client.event_hooks["response"].append(lambda answer: codes.update([answer.status_code]))
        for turn in itertools.count():
            # Shuffled, so that a short search is not always of the same few.
            for name, attack in random.Random(asked.seed + turn).sample(attacks, len(attacks)):
                if time.monotonic() > until:
                    break
                failure = search(target, name, attack, number=asked.seed + turn, sent=sent)
                if failure is not None and failure.splitlines()[0] not in found:
                    found[failure.splitlines()[0]] = failure
                    sys.stdout.write(f"\n== {name}\n{failure}\n")
            else:
                continue
            break
        target.client.close()
        memory = peak_memory(server)
    rows = "".join(f"{count:8,}  {name}\n" for name, count in sent.most_common(20))
    sys.stdout.write(
        f"\nseed {asked.seed}: {sum(sent.values()):,} inputs, {len(found)} findings, {memory >> 20} MiB at most\n{rows}"
    )
    sys.stdout.write(f"answers: {dict(sorted(codes.items()))}\n")
    sys.stdout.write(f"log: {home / 'log'}\n")
    return 1 if found else 0


def search(target: Target, name: str, attack: Attack | None, *, number: int, sent: Counter[str]) -> str | None:
    """One turn of an attack, or of the model of artifacts; the shrunk failure, if there is one."""
    try:
        if attack is None:
            sent[name] += _LIVES
            live(target, examples=_LIVES, steps=30, derandomize=False)
        else:
            send(target, name, attack, number=number, sent=sent)
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"
    return None


def send(target: Target, name: str, attack: Attack, *, number: int, sent: Counter[str]) -> None:
    @seed(number)
    @given(attack.drawn)
    @settings(
        max_examples=_A_TURN,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    def one(drawn: Any) -> None:
        sent[name] += 1
        attack.send(target, drawn)

    one()


if __name__ == "__main__":
    sys.exit(main())
