"""Training and scoring from disk: the same items in the same order give the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_problems import Given, digits, weights, wines

from pipelines import scoring
from pipelines.data.inputs import Room, Rows
from pipelines.feeding import Feed, epoch_order
from pipelines.training import Trained, fit
from registry.errors import BadData


def on_disk(array: np.ndarray, *, block: int) -> Rows:
    rows = Room(0).unpacked([np.ascontiguousarray(array)], shape=array.shape, dtype=array.dtype, name="array")
    rows.block = block
    return rows


def from_disk(given: Given, *assignments: str, block: int) -> Trained:
    inputs = on_disk(given.inputs, block=block)
    config = given.config(*assignments)
    return fit(given.problem, config, inputs=inputs, targets=given.targets, log=lambda values, step: None)


@pytest.mark.parametrize("problem", [digits, wines], ids=["images", "table"])
def test_items_drawn_in_the_same_order_train_the_same_network(problem: object) -> None:
    given_: Given = problem()  # type: ignore[operator]
    short = ["epochs=2", "validation_fraction=0.2"]
    assert weights(from_disk(given_, *short, block=1)) == weights(given_.fit(*short))


def test_items_drawn_in_blocks_train_a_network_as_good() -> None:
    given_ = digits()
    short = ["epochs=6", "validation_fraction=0.2"]
    blocks = from_disk(given_, *short, block=16)
    assert weights(blocks) != weights(given_.fit(*short))
    assert blocks.validation["accuracy"] > 0.9
    assert weights(blocks) == weights(from_disk(given_, *short, block=16))


def test_an_infinite_value_on_disk_is_named_by_its_item() -> None:
    given_ = wines()
    broken = given_.inputs.copy()
    broken[40, 2] = np.inf
    with pytest.raises(BadData, match="of item 40 is infinite"):
        fit(
            given_.problem,
            given_.config("epochs=1"),
            inputs=on_disk(broken, block=1),
            targets=given_.targets,
            log=lambda values, step: None,
        )


@given(
    n=st.integers(1, 400), block=st.integers(1, 50), window=st.one_of(st.none(), st.integers(1, 200)), seed=st.integers(0, 9)
)
def test_an_epoch_sees_every_item_once(n: int, block: int, window: int | None, seed: int) -> None:
    order = epoch_order(n, torch.Generator().manual_seed(seed), block=block, window=window)
    assert sorted(order.tolist()) == list(range(n))


@given(blocks=st.integers(2, 20), block=st.integers(2, 10), at_once=st.integers(1, 5), seed=st.integers(0, 9))
def test_a_window_holds_whole_blocks_from_anywhere(blocks: int, block: int, at_once: int, seed: int) -> None:
    order = epoch_order(blocks * block, torch.Generator().manual_seed(seed), block=block, window=at_once * block)
    for start in range(0, len(order), at_once * block):
        window = sorted(order[start : start + at_once * block].tolist())
        held = {item // block for item in window}
        assert window == [item for number in sorted(held) for item in range(number * block, (number + 1) * block)]


def test_items_of_a_window_are_mixed() -> None:
    order = epoch_order(10_000, torch.Generator().manual_seed(0), block=100, window=2_000)
    neighbours = (order[1:] // 100 == order[:-1] // 100).double().mean().item()
    assert neighbours == pytest.approx(1 / 20, abs=0.02), "one of twenty blocks in the window, by chance"


def test_blocks_of_one_are_drawn_as_from_memory() -> None:
    drawn, plain = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(epoch_order(100, drawn, block=1, window=10), torch.randperm(100, generator=plain))


@pytest.mark.parametrize("window", [1, 7 * 64, 1 << 30], ids=["less than a batch", "some batches", "more than all"])
def test_batches_are_the_items_in_order_however_much_is_read_at_once(window: int) -> None:
    given_ = digits()
    feed = Feed(on_disk(given_.inputs, block=4), given_.targets, torch.device("cpu"), window=window)
    order = torch.randperm(len(feed), generator=torch.Generator().manual_seed(0))
    batches = list(feed.batches(order, 50))
    assert [len(targets) for _, targets in batches] == [50] * (len(feed) // 50)
    seen = order[: len(batches) * 50].numpy()
    np.testing.assert_array_equal(torch.cat([inputs for inputs, _ in batches]).numpy(), given_.inputs[seen])
    np.testing.assert_array_equal(torch.cat([targets for _, targets in batches]).numpy(), given_.targets[seen])


def test_a_disk_that_fails_while_reading_ahead_stops_the_epoch() -> None:
    given_ = digits()
    rows = on_disk(given_.inputs, block=1)
    feed = Feed(rows, given_.targets, torch.device("cpu"), window=200 * 64)
    batches = feed.batches(torch.arange(len(feed)), 100)
    next(batches)
    rows._stream.truncate(0)
    with pytest.raises(BadData, match="became shorter while it was read"):
        list(batches)


class _Sums:
    """A scorer whose scores depend on every pixel."""

    model = Path("sums.onnx")

    def run(self, batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), -1).astype(np.float32)
        return np.stack([flat @ np.random.default_rng(k).normal(size=flat.shape[1]).astype(np.float32) for k in range(10)], 1)

    def run_each(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return map(self.run, batches)


def test_scores_of_items_on_disk_are_those_of_items_in_memory() -> None:
    given_ = digits()
    ids, labels = [f"test/{at}" for at in range(len(given_.test_inputs))], given_.problem.labels
    ours, theirs = (
        scoring.score(_Sums(), kind="logits", inputs=inputs, targets=given_.test_targets, items=ids, labels=labels)  # type: ignore[arg-type]
        for inputs in (given_.test_inputs, on_disk(given_.test_inputs, block=8))
    )
    for name, column in ours.columns().items():
        np.testing.assert_array_equal(theirs.columns()[name], column)
