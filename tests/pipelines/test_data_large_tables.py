"""Parquet that is read batch by batch is the same dataset as the same files in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import publish

from pipelines.data import large_tables
from pipelines.data.inputs import OnDisk, Room
from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from registry.errors import BadData


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_tables, "_AT_ONCE", 7)


def table(n: int, *, seed: int = 0, colours: tuple[str | None, ...] = ("red", "green", "blue", None)) -> pa.Table:
    random = np.random.default_rng(seed)
    width = random.normal(size=n)
    return pa.table(
        {
            "width": pa.array(np.where(random.random(n) < 0.2, np.nan, width), from_pandas=True),
            "count": pa.array(random.integers(0, 5, n), pa.int64()),
            "colour": pa.array([colours[k] for k in random.integers(0, len(colours), n)], pa.string()),
            "patient": [f"p{k % 4}" for k in range(n)],
            "target": [("yes", "no", "maybe")[k] for k in random.integers(0, 3, n)],
        }
    )


def write(folder: Path, **tables: pa.Table) -> Path:
    folder.mkdir()
    for name, content in tables.items():
        pq.write_table(content, folder / f"{name}.parquet", row_group_size=10)
    return folder


def _train_and_test(folder: Path) -> Path:
    return write(folder, train=table(40), test=table(30, seed=1, colours=("red", "pink", None)))


def _several_files(folder: Path) -> Path:
    first = table(25).set_column(1, "count", pa.array(range(25), pa.int32()))
    return write(folder, **{"train-0": first, "train-1": table(30, seed=2), "test": table(20, seed=1)})


def _one_file(folder: Path) -> Path:
    content = table(60)
    colours = content["colour"].to_pylist()
    colours[11] = "seen once"
    return write(folder, data=content.set_column(2, "colour", pa.array(colours, pa.string())))


CASES = {"train and test": _train_and_test, "several files": _several_files, "one file, divided": _one_file}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_a_table_on_disk_is_the_table_in_memory(tmp_path: Path, make: object) -> None:
    folder = make(tmp_path / "data")  # type: ignore[operator]
    for seed in (0, 1, 2):
        options = Options(name="t", drop=("patient",), seed=seed)
        found = inspect(folder, options)
        assert inspect(folder, options, room=Room(0, tmp_path)).spec == found.spec
        published = publish(found, tmp_path / f"artifact{seed}")
        kept, streamed = load(published), load(published, memory=0)
        for name in found.spec.splits:
            ours, theirs = kept.split(name), streamed.split(name)
            assert isinstance(theirs.inputs, OnDisk)
            np.testing.assert_array_equal(theirs.inputs[:], ours.inputs)
            np.testing.assert_array_equal(theirs.targets, ours.targets)
            assert (theirs.items.tolist(), list(theirs.digests())) == (ours.items.tolist(), list(ours.digests()))
            assert list(theirs.facts) == list(ours.facts)
            for key, values in ours.facts.items():
                np.testing.assert_array_equal(theirs.facts[key], values)


def test_a_category_that_only_test_has_is_unknown(tmp_path: Path) -> None:
    folder = _one_file(tmp_path / "data")
    seeds = [seed for seed in range(30) if "seen once" not in _colours(folder, seed, tmp_path)]
    assert seeds, "some seed puts the item with the rare colour into test"
    source = inspect(folder, Options(name="t", seed=seeds[0]), room=Room(0, tmp_path))
    assert source.spec == inspect(folder, Options(name="t", seed=seeds[0])).spec


def _colours(folder: Path, seed: int, place: Path) -> tuple[str, ...]:
    input_ = inspect(folder, Options(name="t", seed=seed), room=Room(0, place)).spec.input
    return next(column.categories for column in input_.columns if column.name == "colour")  # type: ignore[union-attr]


def test_a_fact_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    folder = publish(inspect(_train_and_test(tmp_path / "data"), Options(name="t")), tmp_path / "artifact")
    with pytest.raises(KeyError):
        load(folder, memory=0).split("test").facts["nothing"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda t: t.set_column(4, "target", pa.array([*t["target"].to_pylist()[:-1], None])),
            r"train.parquet, row 39: the target 'target' is missing",
            id="missing target, by its row",
        ),
        pytest.param(
            lambda t: t.set_column(0, "width", pa.array([*[0.0] * 35, np.inf, *[0.0] * 4])),
            r"train.parquet, row 35: column 'width' is inf",
            id="infinite, by its row",
        ),
        pytest.param(lambda t: t.slice(0, 0), "train.parquet has no rows", id="no rows"),
        pytest.param(lambda t: t.drop_columns(["count"]), "test.parquet has the column 'count'", id="other columns"),
        pytest.param(
            lambda t: t.set_column(4, "target", pa.array([f"c{k}" for k in range(40)])),
            "has 40 different values in 40 rows, too many for classes",
            id="no classes",
        ),
    ],
)
def test_what_is_wrong_is_said_as_of_a_table_in_memory(tmp_path: Path, change: object, message: str) -> None:
    folder = write(tmp_path / "data", train=change(table(40)), test=table(30))  # type: ignore[operator]
    for room in (Room(), Room(0, tmp_path)):
        with pytest.raises(BadData, match=message):
            inspect(folder, Options(name="t"), room=room)


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    folder = _train_and_test(tmp_path / "data")
    file = folder / "train.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BadData, match=r"train.parquet cannot be read"):
        inspect(folder, Options(name="t"), room=Room(0, tmp_path))
