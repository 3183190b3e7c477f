"""An evaluation folder is believed only when it agrees with itself, and is read without any model runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.errors import BadData
from registry.evidence import read_evaluation, write_evaluation
from registry.records import Evaluation, Metric, Pinned, Runtime, Scored

MODEL = Pinned(reference="team/project/model:v1", digest="md5:" + "1" * 32)


def an_evaluation(*, items: int = 4, against: Pinned | None = MODEL) -> Evaluation:
    return Evaluation(
        model=MODEL,
        dataset=Scored(
            reference="team/project/digits:v0",
            digest="md5:" + "d" * 32,
            split="test",
            items=items,
            task="image-classification",
            labels=("a", "b"),
        ),
        runtime=Runtime(
            device="cpu",
            device_name="a processor",
            provider="CPUExecutionProvider",
            providers=("CPUExecutionProvider",),
            versions={"onnxruntime": "1.31.1"},
            fingerprint="sha256:" + "f" * 64,
        ),
        metrics={
            "accuracy": Metric(value=0.75, direction="higher", kind="correctness", unit="fraction", n=items, column="correct")
        },
        against=against,
    )


def predictions() -> dict[str, np.ndarray]:
    return {
        "item": np.array(["test/0", "test/1", "test/2", "test/3"], dtype=object),
        "label": np.array([0, 1, 1, 0], dtype=np.int32),
        "prediction": np.array([0, 1, 0, 0], dtype=np.int32),
        "correct": np.array([True, True, False, True]),
        "nll": np.array([0.1, 0.2, 2.0, 0.3]),
        "confidence": np.array([0.9, 0.8, 0.86, 0.7], dtype=np.float32),
        "scores": np.array([[0.9, 0.1], [0.2, 0.8], [0.86, 0.14], [0.7, 0.3]], dtype=np.float32),
    }


def timings() -> dict[str, np.ndarray]:
    ones = np.ones(2, dtype=np.int32)
    return {
        "role": np.array(["candidate", "baseline"], dtype=object),
        "batch": ones,
        "block": ones,
        "run": ones,
        "ms": np.array([0.5, 0.6]),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "evaluation", an_evaluation(), predictions(), timings())


def test_what_was_written_is_read(folder: Path) -> None:
    evidence = read_evaluation(folder)

    assert evidence.evaluation == an_evaluation()
    for found, wanted in ((evidence.items, predictions()), (evidence.timings or {}, timings())):
        assert {name: (column.dtype, column.tolist()) for name, column in found.items()} == {
            name: (column.dtype, column.tolist()) for name, column in wanted.items()
        }


def test_the_files_are_those_of_the_documentation(folder: Path) -> None:
    file = pq.ParquetFile(folder / "predictions.parquet")
    types = {name: str(file.schema_arrow.field(name).type) for name in file.schema_arrow.names}

    assert {path.name for path in folder.iterdir()} == {"evaluation.json", "predictions.parquet", "latency.parquet"}
    assert types == {
        "item": "string",
        "label": "int32",
        "prediction": "int32",
        "correct": "bool",
        "nll": "double",
        "confidence": "float",
        "scores": "list<element: float not null>",
    }
    assert {file.metadata.row_group(0).column(i).compression for i in range(7)} == {"ZSTD"}
    assert pq.read_schema(folder / "latency.parquet").names == ["role", "batch", "block", "run", "ms"]


def test_without_the_other_model_there_are_no_timings(tmp_path: Path) -> None:
    write_evaluation(tmp_path, an_evaluation(against=None), predictions())
    assert read_evaluation(tmp_path).timings is None


def test_another_writers_parquet_with_the_same_values_is_read(folder: Path) -> None:
    plain = {name: column.tolist() for name, column in predictions().items()}
    types = {"label": pa.int32(), "prediction": pa.int32(), "confidence": pa.float32(), "scores": pa.list_(pa.float32())}
    pq.write_table(
        pa.table({name: pa.array(rows, types.get(name)) for name, rows in plain.items()}), folder / "predictions.parquet"
    )

    assert read_evaluation(folder).items["scores"].tolist() == predictions()["scores"].tolist()


def test_a_broken_number_stays_broken_for_the_gate_to_judge(tmp_path: Path) -> None:
    rows = predictions()
    rows["nll"][2] = np.nan
    write_evaluation(tmp_path, an_evaluation(against=None), rows)
    assert np.isnan(read_evaluation(tmp_path).items["nll"][2])


def truncate(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def rewrite(**changes: Any) -> Callable[[Path], None]:
    """Replace columns of predictions.parquet; None drops one."""

    def damage(folder: Path) -> None:
        table = pq.read_table(folder / "predictions.parquet")
        for name, values in changes.items():
            at = table.column_names.index(name)
            table = table.remove_column(at) if values is None else table.set_column(at, name, values)
        pq.write_table(table, folder / "predictions.parquet")

    return damage


def edit(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "evaluation.json").read_text())
        (folder / "evaluation.json").write_text(json.dumps({**content, **changes}))

    return damage


def drop_a_row(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "predictions.parquet").slice(1), folder / "predictions.parquet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(truncate("evaluation.json"), "evaluation.json: not an evaluation: Invalid JSON", id="json-truncated"),
        pytest.param(truncate("predictions.parquet"), "predictions.parquet: cannot be read as Parquet", id="parquet-truncated"),
        pytest.param(truncate("latency.parquet"), "latency.parquet: cannot be read as Parquet", id="latency-truncated"),
        pytest.param(remove("evaluation.json"), "evaluation.json: cannot be read: No such file", id="json-absent"),
        pytest.param(remove("predictions.parquet"), "predictions.parquet: cannot be read", id="parquet-absent"),
        pytest.param(remove("latency.parquet"), "latency.parquet: cannot be read", id="latency-absent"),
        pytest.param(edit(schema_version=2), "evaluation.json: not an evaluation: schema_version: ", id="newer-schema"),
        pytest.param(edit(surprise=1), "evaluation.json: not an evaluation: surprise: ", id="unknown-key"),
        pytest.param(edit(against=None), "latency.parquet without 'against'", id="timings-against-nothing"),
        pytest.param(drop_a_row, "predictions.parquet has 3 rows, evaluation.json says 4 items", id="row-missing"),
        pytest.param(rewrite(nll=None), "column 'nll' is missing, found item, label", id="column-missing"),
        pytest.param(rewrite(nll=pa.array(["a"] * 4)), "column 'nll' is string, expected double", id="column-of-another-type"),
        pytest.param(
            rewrite(scores=pa.array(["a"] * 4)), "column 'scores' is string, expected list", id="scores-of-another-type"
        ),
        pytest.param(rewrite(nll=pa.array([0.1, None, 0.1, 0.1])), "column 'nll' has 1 empty values", id="empty-value"),
        pytest.param(rewrite(item=pa.array(["test/1"] * 2 + ["a", "b"])), "item 'test/1' occurs 2 times", id="item-twice"),
        pytest.param(
            rewrite(prediction=pa.array([0, 1, 2, 0], pa.int32())),
            "item 'test/2' has prediction 2",
            id="prediction-out-of-range",
        ),
        pytest.param(
            rewrite(correct=pa.array([True] * 4)), "item 'test/2' has a 'correct' that contradicts", id="correct-contradicts"
        ),
        pytest.param(
            rewrite(scores=pa.array([[0.5, 0.5]] * 3 + [[1.0]], pa.list_(pa.float32()))), "between 1 and 2 scores", id="ragged"
        ),
    ],
)
def test_a_folder_that_contradicts_itself_is_no_evidence(damage: Callable[[Path], None], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(BadData, match=message):
        read_evaluation(folder)


def test_a_metric_over_other_items_than_the_rows_is_refused(tmp_path: Path) -> None:
    told = an_evaluation(against=None)
    accuracy = told.metrics["accuracy"].model_copy(update={"n": 3})
    with pytest.raises(BadData, match=r"metric accuracy says n = 3, predictions.parquet has 4 rows"):
        write_evaluation(tmp_path, told.model_copy(update={"metrics": {"accuracy": accuracy}}), predictions())


def test_evidence_is_read_without_any_model_runtime() -> None:
    code = "import sys, registry.evidence; print({'torch', 'onnxruntime', 'sklearn', 'scipy', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
