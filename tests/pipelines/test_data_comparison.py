"""Two versions are compared by the content of their items, so a shifted position is no change and a moved label is one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_files import images, publish, write_images, write_text
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.data.comparison import Changed, Moved, Relabelled, Seen, _Items, _matched, diff
from pipelines.data.reading import Dataset, inspect, load

NOISE = images(12)
BEFORE = {
    f"{split}/{label}/{k}.png": NOISE[k + 2 * n]
    for n, (split, label) in enumerate((s, c) for s in ("train", "test") for c in "ab")
    for k in range(2)
}


def dataset(folder: Path, files: dict[str, NDArray[np.uint8]]) -> Dataset:
    return load(publish(inspect(write_images(folder / "pets", files)), folder / "artifact"))


def without(*names: str) -> dict[str, NDArray[np.uint8]]:
    return {name: pixels for name, pixels in BEFORE.items() if name not in names}


def test_a_dataset_does_not_differ_from_itself(tmp_path: Path) -> None:
    same = dataset(tmp_path, BEFORE)
    assert not diff(same, same)
    assert diff(same, same).unchanged == 8


def test_other_names_for_the_same_images_are_no_change(tmp_path: Path) -> None:
    renamed = {name.replace(".png", "-new.png"): pixels for name, pixels in BEFORE.items()}
    assert not diff(dataset(tmp_path / "1", BEFORE), dataset(tmp_path / "2", renamed))


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        pytest.param({**BEFORE, "train/a/9.png": NOISE[9]}, {"added": ("train/a/9.png",)}, id="added"),
        pytest.param(without("train/a/0.png"), {"removed": ("train/a/0.png",)}, id="removed"),
        pytest.param(
            {**without("train/a/0.png"), "train/b/9.png": BEFORE["train/a/0.png"]},
            {"relabelled": (Relabelled("train/a/0.png", "train/b/9.png", "a", "b"),)},
            id="relabelled",
        ),
        pytest.param(
            {**without("train/a/0.png"), "test/a/9.png": BEFORE["train/a/0.png"]},
            {"moved": (Moved("train/a/0.png", "test/a/9.png"),)},
            id="moved",
        ),
        pytest.param({**BEFORE, "train/a/9.png": BEFORE["train/a/0.png"]}, {"added": ("train/a/9.png",)}, id="one copy more"),
    ],
)
def test_a_change_is_called_by_its_name(
    tmp_path: Path, after: dict[str, NDArray[np.uint8]], changes: dict[str, object]
) -> None:
    found = diff(dataset(tmp_path / "1", BEFORE), dataset(tmp_path / "2", after))
    nothing: dict[str, object] = {"added": (), "removed": (), "relabelled": (), "moved": ()}
    assert {name: getattr(found, name) for name in nothing} == {**nothing, **changes}


def test_of_two_copies_the_one_that_is_gone_is_removed(tmp_path: Path) -> None:
    twice = {**BEFORE, "test/a/9.png": BEFORE["train/a/0.png"]}
    once = {name: pixels for name, pixels in twice.items() if name != "train/a/0.png"}
    found = diff(dataset(tmp_path / "1", twice), dataset(tmp_path / "2", once))
    assert (found.removed, found.moved) == (("train/a/0.png",), ())


def test_the_balance_of_classes_stands_side_by_side(tmp_path: Path) -> None:
    found = diff(dataset(tmp_path / "1", BEFORE), dataset(tmp_path / "2", {**BEFORE, "train/c/9.png": NOISE[9]}))
    assert found.balance == {"train": {"a": (2, 2), "b": (2, 2), "c": (0, 1)}, "test": {"a": (2, 2), "b": (2, 2), "c": (0, 0)}}


def test_a_table_whose_rows_shifted_lost_only_the_row_that_is_gone(tmp_path: Path) -> None:
    rows = [f"{k},{'red' if k % 3 else 'blue'},{k % 2}\n" for k in range(10)]
    tables = []
    for name, kept in (("1", rows), ("2", rows[1:])):
        folder = write_text(tmp_path / name / "t" / "train.csv", "a,b,y\n" + "".join(kept)).parent
        write_text(folder / "test.csv", "a,b,y\n50,red,0\n51,red,1\n")
        tables.append(load(publish(inspect(folder), tmp_path / name / "artifact")))
    found = diff(*tables)
    assert (found.removed, found.added, found.unchanged) == (("train/0",), (), 11)


def test_another_content_under_the_same_id_is_a_change(tmp_path: Path) -> None:
    after = {**BEFORE, "train/a/0.png": NOISE[9]}
    found = diff(dataset(tmp_path / "1", BEFORE), dataset(tmp_path / "2", after))
    assert (found.changed, found.added, found.removed) == ((Changed("train/a/0.png", "a", "a"),), (), ())


@pytest.mark.parametrize(
    ("after", "seen"),
    [
        pytest.param(
            {**without("train/a/0.png"), "test/a/9.png": BEFORE["train/a/0.png"]},
            [Seen("after", "test", 1, 5, (("train/a/0.png", "test/a/9.png"),))],
            id="from train to test",
        ),
        pytest.param(
            {**without("test/b/1.png"), "train/b/9.png": BEFORE["test/b/1.png"]},
            [Seen("before", "test", 1, 4, (("train/b/9.png", "test/b/1.png"),))],
            id="from test to train",
        ),
        pytest.param({**BEFORE, "train/a/9.png": NOISE[9]}, [], id="none"),
    ],
)
def test_what_one_version_trains_on_and_the_other_judges_by_is_called_out(
    tmp_path: Path, after: dict[str, NDArray[np.uint8]], seen: list[Seen]
) -> None:
    found = diff(dataset(tmp_path / "1", BEFORE), dataset(tmp_path / "2", after))
    assert list(found.seen) == seen


ITEMS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 1)), max_size=30)


@given(old=ITEMS, new=ITEMS)
def test_every_item_is_accounted_for_once(old: list[tuple[int, int, int]], new: list[tuple[int, int, int]]) -> None:
    a, b, gone, came = _matched(_items(old), _items(new), splits=2, labels=3)
    assert sorted([*a.tolist(), *gone.tolist()]) == list(range(len(old)))
    assert sorted([*b.tolist(), *came.tolist()]) == list(range(len(new)))
    assert [old[i][0] for i in a] == [new[j][0] for j in b], "a pair has one content"
    assert not {old[i][0] for i in gone} & {new[j][0] for j in came}, "what is left has no partner"
    same = sum((Counter(old) & Counter(new)).values())
    assert sum(old[i] == new[j] for i, j in zip(a, b, strict=True)) == same, "no change is made up"


def _items(items: list[tuple[int, int, int]]) -> _Items:
    contents, labels, splits = np.array(items, dtype=np.int64).reshape(-1, 3).T
    ids = np.array([f"{k}" for k in range(len(items))], dtype=np.str_)
    return _Items(ids=ids, splits=splits, labels=labels, contents=contents)
