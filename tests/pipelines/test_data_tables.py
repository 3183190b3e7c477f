"""Tables are read in the terms of their train split; what cannot be a feature or a class is named by file, row and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import publish, write_text

from pipelines.data.contents import Split
from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspect, load
from pipelines.data.spec import Column, DatasetSpec
from pipelines.data.splits import TEST, TRAIN
from registry.errors import BadData

ROWS = "".join(f"{k * 1.5},{'red' if k % 3 else 'blue'},{'x' if k % 2 else 'y'}\n" for k in range(30))


def loaded(tmp_path: Path, **files: str) -> Dataset:
    for stem, text in files.items():
        write_text(tmp_path / "table" / f"{stem}.csv", text)
    return load(publish(inspect(tmp_path / "table"), tmp_path / "artifact"))


def values(split: Split) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in split.inputs]


def test_numbers_and_categories_are_encoded_in_the_terms_of_train(tmp_path: Path) -> None:
    dataset = loaded(
        tmp_path, train="size,colour,label\n1,red,no\n,blue,yes\n2.5,,no\n", test="label,colour,size\nyes,green,4\nno,red,\n"
    )
    assert dataset.spec.input.model_dump()["columns"] == (
        Column(name="size", kind="numeric").model_dump(),
        Column(name="colour", kind="categorical", categories=("blue", "red")).model_dump(),
    )
    assert values(dataset.split("train")) == [[1, 1], [None, 0], [2.5, None]]
    assert values(dataset.split("test")) == [[4, -1], [None, 1]]
    assert (dataset.split("test").targets.tolist(), dataset.spec.labels) == ([1, 0], ("no", "yes"))
    assert dataset.split("test").inputs.dtype == np.float32


def test_digits_in_test_stay_texts_where_train_has_texts(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, train="code,y\nx1,0\n012,1\n", test="code,y\n012,0\n12,1\n")
    assert values(dataset.split("test")) == [[0], [-1]]


def test_one_table_gets_a_recorded_stratified_split_that_a_loader_repeats(tmp_path: Path) -> None:
    found = inspect(write_text(tmp_path / "iris.csv", "a,b,label\n" + ROWS))
    dataset = load(publish(found, tmp_path / "artifact"))
    assert {name: split.classes for name, split in found.spec.splits.items()} == {
        TRAIN: {"x": 12, "y": 12},
        TEST: {"x": 3, "y": 3},
    }
    items = [item for name in (TRAIN, TEST) for item in dataset.split(name).items.tolist()]
    assert sorted(int(item.partition("/")[2]) for item in items) == list(range(30))
    test = dataset.split(TEST)
    assert [float(row[0]) for row in test.inputs] == [1.5 * int(item.removeprefix("test/")) for item in test.items]


def test_a_table_of_few_different_rows_is_split_nevertheless(tmp_path: Path) -> None:
    spec = inspect(
        write_text(tmp_path / "t.csv", "sex,label\n" + "".join(f"{'mf'[k % 2]},{'xy'[k % 3 > 0]}\n" for k in range(60)))
    ).spec
    assert spec.splits[TEST].classes == {"x": 4, "y": 8}
    assert [overlap.items for overlap in spec.overlaps] == [12]


def test_a_drawn_split_is_the_same_for_ever(tmp_path: Path) -> None:
    test = loaded(tmp_path, t="a,b,label\n" + ROWS).split(TEST)
    assert test.items.tolist() == [f"test/{row}" for row in (5, 7, 8, 14, 16, 21)]


def test_categories_come_from_the_train_side_of_a_drawn_split(tmp_path: Path) -> None:
    rows = "".join(f"only-{k},{'x' if k % 2 else 'y'}\n" for k in range(20))
    dataset = loaded(tmp_path, t="name,label\n" + rows)
    assert values(dataset.split(TEST)) == [[-1]] * 4


def test_the_split_of_a_table_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    lines = ROWS.splitlines(keepends=True)
    sides = []
    for name, rows in (("forth", lines), ("back", lines[::-1])):
        test = loaded(tmp_path / name, t="a,b,label\n" + "".join(rows)).split(TEST)
        sides.append(sorted(test.inputs[:, 0].tolist()))
    assert sides[0] == sides[1]


def test_a_row_is_the_same_row_whatever_its_columns_order_label_or_spelling(tmp_path: Path) -> None:
    spec = loaded(tmp_path, train="a,b,y\n1,u,0\n2,v,1\n", test="y,b,a\n1,u,1.0\n0,w,5\n").spec
    assert [(overlap.items, overlap.examples) for overlap in spec.overlaps] == [(1, (("train/0", "test/0"),))]


def test_quoted_fields_may_hold_commas_quotes_and_new_lines(tmp_path: Path) -> None:
    row = "line 1\n" + 100 * "line, " + '""2""'
    rows = "".join(f'{k},"{row}",{"x" if k % 2 else "y"}\n' for k in range(3000))  # more than Arrow's block of 1 MiB
    spec = inspect(write_text(tmp_path / "t.csv", "a,b,label\n" + rows)).spec
    assert spec.input.model_dump()["columns"][1]["categories"] == (row.replace('""', '"'),)
    assert spec.items == 3000


def test_semicolons_and_a_byte_order_mark_are_understood(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(("a;label\r\n" + "".join(f"{k};{'uv'[k % 2]}\r\n" for k in range(10))).encode("utf-8-sig"))
    assert inspect(tmp_path / "t.csv").spec.input.model_dump()["columns"][0]["name"] == "a"


@pytest.mark.parametrize(("last", "value"), [("0.5", 0.5), ("x", 2.0)], ids=["a decimal point", "a word"])
def test_the_last_row_may_decide_the_kind_of_a_column(tmp_path: Path, last: str, value: float) -> None:
    rows = "".join(f"{k % 2},{'uv'[k % 2]}\n" for k in range(400_000))  # more than Arrow's block of 1 MiB
    dataset = loaded(tmp_path, train=f"a,label\n{rows}{last},u\n", test="a,label\n0,u\n1,v\n")
    assert dataset.split("train").inputs[-1].tolist() == [value]


def test_words_like_na_are_values_among_words_and_missing_among_numbers(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, train="n,country,y\n1,NA,0\nNA,FR,1\n", test="n,country,y\n1,NA,0\n")
    assert values(dataset.split("train")) == [[1, 1], [None, 0]]


@pytest.mark.parametrize(
    ("targets", "labels"),
    [
        pytest.param(["10", "9", "9", "10"], ("9", "10"), id="whole numbers by size"),
        pytest.param(["1.0", "0.0", "1.0", "0.0"], ("0", "1"), id="decimals without a fraction"),
        pytest.param(["True", "false", "true", "False"], ("false", "true"), id="booleans"),
        pytest.param(["b", "a", "a", "b"], ("a", "b"), id="texts by alphabet"),
    ],
)
def test_class_names_are_ordered(tmp_path: Path, targets: list[str], labels: tuple[str, ...]) -> None:
    text = "a,target\n" + "".join(f"{k},{target}\n" for k, target in enumerate(targets))
    assert loaded(tmp_path, train=text, test=text).spec.labels == labels


@pytest.mark.parametrize(
    ("header", "options", "target"),
    [
        pytest.param("a,b,label", Options(), "label", id="by its name"),
        pytest.param("a,b,Class", Options(), "Class", id="in any case"),
        pytest.param("y,b,c", Options(target="c"), "c", id="said, against a likely name"),
        pytest.param("y,b,label", Options(drop=("y",)), "label", id="the other one dropped"),
    ],
)
def test_the_target_is_found(tmp_path: Path, header: str, options: Options, target: str) -> None:
    assert inspect(write_text(tmp_path / "t.csv", f"{header}\n{ROWS}"), options).spec.target == target


def test_a_dropped_column_is_no_feature_here_or_later(tmp_path: Path) -> None:
    found = inspect(write_text(tmp_path / "t.csv", "id,b,label\n" + ROWS), Options(drop=("id",)))
    dataset = load(publish(found, tmp_path / "artifact"))
    assert (dataset.spec.dropped, dataset.split(TEST).inputs.shape) == (("id",), (6, 1))


def parquet(file: Path, **columns: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def test_parquet_keeps_its_own_types(tmp_path: Path) -> None:
    colours = pa.array(["red", "blue"] * 10).dictionary_encode()
    spec = inspect(parquet(tmp_path / "t.parquet", a=list(range(20)), colour=colours, y=[k % 3 == 0 for k in range(20)])).spec
    assert spec.labels == ("false", "true")
    assert spec.input.model_dump()["columns"][1] == {"name": "colour", "kind": "categorical", "categories": ("blue", "red")}


def test_the_files_of_one_split_are_read_one_after_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    parquet(folder / "train-00000-of-00002.parquet", a=[1, 2], y=["u", "v"])
    parquet(folder / "train-00001-of-00002.parquet", a=[3.5], y=["u"])
    parquet(folder / "test-00000-of-00001.parquet", a=[5], y=["v"])
    dataset = load(publish(inspect(folder), tmp_path / "artifact"))
    assert values(dataset.split("train")) == [[1], [2], [3.5]]
    assert dataset.split("train").items.tolist() == ["train/0", "train/1", "train/2"]


def test_the_row_of_a_later_file_is_counted_in_that_file(tmp_path: Path) -> None:
    parquet(tmp_path / "train-0.parquet", a=[1, 2], y=["u", "v"])
    parquet(tmp_path / "train-1.parquet", a=[3, 4], y=["u", None])
    with pytest.raises(BadData, match=r"train-1\.parquet, row 1: the target 'y' is missing"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param(
            "a,b,c\n" + ROWS,
            "no column is named target, label, class, y; its columns are a, b, c",
            "--target c",
            id="no target",
        ),
        pytest.param("y,b,label\n" + ROWS, "t.csv: columns y, label could all be the target", "--target y", id="two targets"),
        pytest.param(
            "a,y\n" + "".join(f"{k % 7},name {k}\n" for k in range(2000)),
            "the target 'y' has 2000 different values in 2000",
            "--target",
            id="2000 classes",
        ),
        pytest.param(
            "a,label\n1,x\n2,\n3,y\n", "t.csv, row 1: the target 'label' is missing (1 of 3 rows)", "remove", id="empty target"
        ),
        pytest.param("a,label\n1,0\n2,nan\n3,1\n", "t.csv, row 1: the target 'label' is missing", "remove", id="NaN target"),
        pytest.param("a,label\n1,x\n2,y\ninf,y\n", "t.csv, row 2: column 'a' is inf", "leave the field empty", id="infinity"),
        pytest.param(
            "a,label\n1,x\n2,y\n1e39,y\n", "t.csv, row 2: column 'a' is 1e+39", "leave the field empty", id="beyond float32"
        ),
        pytest.param(
            "a,y\n" + "".join(f"name {k},{k % 2}\n" for k in range(1500)),
            "column 'a' has 1500 different texts",
            "drop: [a]",
            id="free text",
        ),
        pytest.param("a,label\n2020-01-01,x\n2021-01-01,y\n", "column 'a' holds date32[day]", "drop: [a]", id="dates"),
        pytest.param("a,b,label\n1,,x\n2,,y\n", "column 'b' is empty in every row", "drop: [b]", id="empty column"),
        pytest.param("a,a,label\n1,2,x\n", "t.csv has 2 columns named 'a'", None, id="column twice"),
        pytest.param(",a,label\n0,2,x\n", "t.csv: column 0 has no name", "index=False", id="pandas index"),
        pytest.param("label\nx\ny\nx\n", "t.csv has no column besides the target 'label'", None, id="only a target"),
        pytest.param(
            "a,label\n1,x\n2\n",
            "t.csv cannot be read as CSV: CSV parse error: Expected 2 columns, got 1",
            "head -c 300",
            id="short row",
        ),
        pytest.param("a,label\n", "t.csv has no rows below its header", "one item in each row", id="only a header"),
        pytest.param("", "t.csv is empty (0 bytes)", None, id="zero bytes"),
        pytest.param("12345678," * 200_000, "t.csv: the first line is longer than", "one row per item", id="one endless line"),
    ],
)
def test_what_a_table_cannot_be_is_named(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadData) as caught:
        inspect(write_text(tmp_path / "t.csv", text))
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        pytest.param(
            Options(target="lable"), "t.csv has no column 'lable'; its columns are a, b, label", "--target label", id="target"
        ),
        pytest.param(Options(target="y"), "t.csv has no column 'y';", "--target label", id="a target like none"),
        pytest.param(Options(drop=("bb",)), "t.csv has no column 'bb'; its columns are a, b, label", "drop: [b]", id="drop"),
        pytest.param(
            Options(labels=("x", "z")),
            "the target 'label' is 'y', which is none of the 2 classes given",
            "labels:",
            id="labels",
        ),
        pytest.param(Options(test_fraction=0.001), "the split 'test' of", "--test-fraction", id="fraction too small"),
    ],
)
def test_an_option_that_the_table_contradicts_is_named(tmp_path: Path, options: Options, message: str, hint: str) -> None:
    with pytest.raises(BadData) as caught:
        inspect(write_text(tmp_path / "t.csv", "a,b,label\n" + ROWS), options)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        pytest.param(
            "a,y\n1,0\nabc,1\n", "test.csv, row 1: column 'a' is 'abc', a number was expected", id="text among numbers"
        ),
        pytest.param("y\n1\n", "test.csv lacks the column 'a' of train.csv", id="feature missing"),
        pytest.param("a\n1\n", "test.csv lacks the column 'y' of train.csv", id="target missing"),
        pytest.param("a,b,y\n1,2,1\n", "test.csv has the column 'b', which is not in train.csv", id="feature too many"),
        pytest.param(
            "a,y\n1,2\n",
            "test.csv, row 0: the target 'y' is '2', which is none of the 2 classes of train.csv",
            id="new class",
        ),
    ],
)
def test_a_test_split_that_does_not_fit_train_is_named(tmp_path: Path, test: str, message: str) -> None:
    with pytest.raises(BadData) as caught:
        loaded(tmp_path, train="a,y\n1,0\n2,1\n", test=test)
    assert message in caught.value.message


def test_tables_whose_names_say_no_split_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"a\.csv is one of 2 tables"):
        loaded(tmp_path, a="a,y\n1,0\n", b="a,y\n1,0\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda b: b[:-30], "t.parquet cannot be read: Parquet magic bytes not found", id="cut"),
        pytest.param(lambda b: b"hello", "t.parquet cannot be read", id="no parquet"),
    ],
)
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    file = parquet(tmp_path / "t.parquet", a=list(range(20)), y=[0, 1] * 10)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadData) as caught:
        inspect(file)
    assert message in caught.value.message


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,label\nä,x\nö,y\n".encode("latin-1"))
    with pytest.raises(BadData, match="column 'a' holds bytes that are not UTF-8"):
        inspect(tmp_path / "t.csv")


def test_a_description_of_a_table_survives_its_file(tmp_path: Path) -> None:
    spec = inspect(write_text(tmp_path / "t.csv", "a,b,label\n" + ROWS)).spec
    assert DatasetSpec.from_json(spec.to_json()) == spec
