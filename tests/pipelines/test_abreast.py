"""Several devices share the items of one evaluation: in order, whole batches in a fixed turn, each with its own proof."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_model import LABELS, digits, linear

from pipelines import devices
from pipelines.abreast import Abreast, open_on
from pipelines.devices import Devices
from pipelines.runtime import Session, open_session
from pipelines.scoring import score
from registry.errors import BadData, BadSettings, DeviceUnavailable

SEVERAL = Devices(kind="cpu", indices=(0, 1, 2))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear(tmp_path_factory.mktemp("abreast") / "model.onnx")


@pytest.fixture
def three(model: Path) -> Abreast:
    opened = open_on(SEVERAL, model)
    assert isinstance(opened, Abreast)
    return opened


def scored(session: Any, **changes: Any) -> Any:
    facts = digits()
    given = {"inputs": facts.images, "targets": facts.targets, "items": facts.ids, "labels": LABELS, **changes}
    return score(session, kind="logits", **given)


@pytest.mark.parametrize("batch_size", [1, 50, 256, 10_000], ids=["one item", "many", "usual", "fewer than devices"])
def test_three_devices_give_the_bits_of_one(three: Abreast, batch_size: int) -> None:
    alone = scored(three.sessions[0], batch_size=batch_size)
    together = scored(three, batch_size=batch_size)
    for name, column in alone.columns().items():
        np.testing.assert_array_equal(together.columns()[name], column, err_msg=name)


def test_each_device_scores_the_batches_of_its_turn_at_the_same_time_as_the_others(three: Abreast) -> None:
    # Nobody gets on before all three are computing: one device after the other would wait here for ever.
    meet = threading.Barrier(3, timeout=60)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def watched(number: int, session: Session) -> Any:
        class Watched:
            def run(self, batch: np.ndarray) -> np.ndarray:
                meet.wait()
                seen[number].append(int(batch[0, 0]))
                return np.full((1, 1), batch[0, 0], dtype=np.float32)

        return Watched()

    abreast = replace(three, sessions=tuple(watched(number, one) for number, one in enumerate(three.sessions)))
    scores = abreast.run_each(np.array([[number]]) for number in range(6))
    assert [int(one[0, 0]) for one in scores] == [0, 1, 2, 3, 4, 5]
    assert seen == {0: [0, 3], 1: [1, 4], 2: [2, 5]}


def test_no_more_than_a_few_batches_are_read_ahead(three: Abreast) -> None:
    read = 0

    def batches() -> Iterator[np.ndarray]:
        nonlocal read
        for start in range(40):
            read += 1
            yield digits().images[start : start + 1]

    scores = three.run_each(batches())
    next(scores)
    assert read == 6
    scores.close()  # type: ignore[attr-defined]  # a generator


def test_an_error_on_one_device_ends_all_and_leaves_no_thread(three: Abreast) -> None:
    before = threading.active_count()
    good, bad = digits().images[:4], np.zeros((4, 3, 3, 1), dtype=np.uint8)
    with pytest.raises(BadData, match=r"the items are uint8\[4, 3, 3, 1\]"):
        list(three.run_each([good, bad, good, good, good]))
    assert threading.active_count() == before


def test_the_record_names_each_device_with_its_proof_and_has_the_fingerprint_of_one(three: Abreast, model: Path) -> None:
    threads = int(three.runtime.provider_options["session.intra_op_num_threads"])
    alone = open_session(model, device="cpu", threads=threads).runtime
    assert three.runtime.fingerprint == alone.fingerprint
    assert [(share.name, share.device_name, share.placement) for share in three.runtime.shares] == [
        ("cpu", alone.device_name, alone.placement)
    ] * 3
    assert alone.shares == ()


def test_devices_that_are_not_alike_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of different make cannot exist here: what differs are the threads, of which the fingerprint tells too."""
    threads = iter((1, 2))
    monkeypatch.setattr(
        "pipelines.abreast.open_session", lambda *words, **named: open_session(*words, **{**named, "threads": next(threads)})
    )
    with pytest.raises(DeviceUnavailable, match=r"cpu is a .* and cpu a .*: a score would depend on which of them"):
        open_on(Devices(kind="cpu", indices=(0, 1)), model)


def test_a_device_that_cannot_be_had_is_named(model: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"^cuda:7: ") as caught:
        open_on(Devices(kind="cuda", indices=(7, 8)), model)
    assert caught.value.exit_code == 7


def test_one_device_is_a_plain_session(model: Path) -> None:
    assert isinstance(open_on(Devices(kind="cpu"), model), Session)


@pytest.mark.parametrize(
    ("text", "parsed", "canonical"),
    [
        ("auto", Devices(kind="auto"), "auto"),
        ("cpu", Devices(kind="cpu"), "cpu"),
        ("cuda", Devices(kind="cuda"), "cuda:0"),
        ("cuda:3", Devices(kind="cuda", indices=(3,)), "cuda:3"),
        ("cuda:1, cuda:0", Devices(kind="cuda", indices=(1, 0)), "cuda:1,cuda:0"),
        ("cpu,cpu", Devices(kind="cpu", indices=(0, 1)), "cpu,cpu"),
    ],
)
def test_devices_are_read_as_torch_writes_them(text: str, parsed: Devices, canonical: str) -> None:
    assert (devices.parse(text), str(parsed), devices.parse(str(parsed))) == (parsed, canonical, parsed)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gpu", "'gpu' is no device: auto, cpu, cuda or cuda:N"),
        ("cuda:-1", "'cuda:-1' is no device"),
        ("cuda:0,", "'' is no device"),
        ("cpu:1", "'cpu:1' is no device"),
        ("cuda:0,cpu", "'cuda:0,cpu' names cpu and cuda: several devices are of one kind"),
        ("auto,auto", "'auto,auto' names auto: several devices are of one kind, and named"),
        ("cuda,cuda:0", "'cuda,cuda:0' names cuda:0 more than once"),
    ],
)
def test_words_that_are_no_devices_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadSettings) as caught:
        devices.parse(text)
    assert caught.value.message.startswith(complaint)
