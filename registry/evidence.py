"""The folder of an `evaluation` artifact: written once by whoever scored a model, read by anyone who judges it.

The format has one home, so writing and reading are here together, and both need nothing but pyarrow and pydantic: a gate
runs on machines without torch or onnxruntime. Such a folder comes back from anywhere, so reading believes nothing: a
truncated file, a row too many, an item twice or a `correct` that contradicts its own label is `BadData`, never evidence.
`evaluation.json` is written last: where it exists, the folder is complete. See docs/artifacts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from registry.errors import BadData
from registry.pairing import Evidence
from registry.records import Evaluation

EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.parquet"
LATENCY = "latency.parquet"

Columns = Mapping[str, NDArray[Any]]

_PREDICTIONS = pa.schema(
    [
        pa.field("item", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("prediction", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
        pa.field("nll", pa.float64(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("scores", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
    ]
)
_LATENCY = pa.schema(
    [
        pa.field("role", pa.string(), nullable=False),
        pa.field("batch", pa.int32(), nullable=False),
        pa.field("block", pa.int32(), nullable=False),
        pa.field("run", pa.int32(), nullable=False),
        pa.field("ms", pa.float64(), nullable=False),
    ]
)


def write_evaluation(folder: Path, evaluation: Evaluation, predictions: Columns, timings: Columns | None = None) -> Path:
    """Write an evaluation folder, which is created when absent.

    Args:
        predictions: a column per field of predictions.parquet; `scores` of shape (n, classes), the others of shape (n,).
        timings: the columns of latency.parquet; given exactly when `evaluation.against` is.
    Returns:
        The folder.
    Raises:
        BadData: the parts contradict each other, so that reading them back would be refused.
    """
    _check(folder, evaluation, predictions, timings)
    folder.mkdir(parents=True, exist_ok=True)
    scores = np.ascontiguousarray(predictions["scores"], dtype=np.float32)
    offsets = np.arange(0, scores.size + 1, scores.shape[1], dtype=np.int32)
    arrays = [pa.array(predictions[name], type=_PREDICTIONS.field(name).type) for name in _PREDICTIONS.names[:-1]]
    nested = pa.ListArray.from_arrays(offsets, pa.array(scores.ravel()), type=_PREDICTIONS.field("scores").type)
    pq.write_table(pa.Table.from_arrays([*arrays, nested], schema=_PREDICTIONS), folder / PREDICTIONS, compression="zstd")
    if timings is not None:
        columns = [pa.array(timings[name], type=_LATENCY.field(name).type) for name in _LATENCY.names]
        pq.write_table(pa.Table.from_arrays(columns, schema=_LATENCY), folder / LATENCY, compression="zstd")
    (folder / EVALUATION).write_text(evaluation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def read_evaluation(folder: Path) -> Evidence:
    """Read an evaluation folder and check it against itself.

    Returns:
        Rows in file order: `item` as str objects, `scores` as float32 of shape (n, classes), the others of shape (n,).
    Raises:
        BadData: a file is absent, truncated or of another form, or the rows and evaluation.json contradict each other.
    """
    file = folder / EVALUATION
    try:
        evaluation = Evaluation.model_validate_json(file.read_bytes())
    except OSError as exc:
        raise BadData(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadData(f"{file}: not an evaluation: {key + ': ' if key else ''}{first['msg']}") from exc
    table = _read_table(folder / PREDICTIONS, _PREDICTIONS)
    predictions = {name: _flat(table, name) for name in _PREDICTIONS.names[:-1]}
    predictions["scores"] = _scores(folder / PREDICTIONS, table)
    timings = None
    if evaluation.against is not None or (folder / LATENCY).exists():
        raw = _read_table(folder / LATENCY, _LATENCY)
        timings = {name: _flat(raw, name) for name in _LATENCY.names}
    _check(folder, evaluation, predictions, timings)
    return Evidence(evaluation=evaluation, items=predictions, timings=timings)


def _read_table(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(file, partitioning=None)
    except (OSError, pa.ArrowException) as exc:
        raise BadData(f"{file}: cannot be read as Parquet: {str(exc).splitlines()[0]}") from exc
    # Types, not fields: another writer may call list elements "item" or leave columns nullable, with the same values.
    for field in schema:
        if field.name not in table.column_names:
            raise BadData(f"{file}: column '{field.name}' is missing, found {', '.join(table.column_names) or 'none'}")
        found = table.schema.field(field.name).type
        same = found.value_type == field.type.value_type if pa.types.is_list(found) and pa.types.is_list(field.type) else None
        if not (same if same is not None else found == field.type):
            raise BadData(f"{file}: column '{field.name}' is {found}, expected {field.type}")
        if table[field.name].null_count:
            raise BadData(f"{file}: column '{field.name}' has {table[field.name].null_count} empty values")
    return table.select(schema.names)


def _flat(table: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(table[name].combine_chunks().to_numpy(zero_copy_only=False))


def _scores(file: Path, table: pa.Table) -> NDArray[np.float32]:
    lists = pa.chunked_array(table["scores"].chunks, type=table["scores"].type).combine_chunks()
    lengths = np.unique(np.asarray(lists.value_lengths()))
    if len(lengths) > 1:
        raise BadData(f"{file}: rows have between {lengths[0]} and {lengths[-1]} scores")
    values = lists.flatten()
    if values.null_count:
        raise BadData(f"{file}: column 'scores' has {values.null_count} empty values")
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), -1) if len(lists) else np.empty((0, 0), np.float32)


def _check(folder: Path, evaluation: Evaluation, predictions: Columns, timings: Columns | None) -> None:
    rows = len(predictions["item"])
    if rows != evaluation.dataset.items:
        raise BadData(f"{folder}: {PREDICTIONS} has {rows} rows, {EVALUATION} says {evaluation.dataset.items} items")
    for name, metric in evaluation.metrics.items():
        if metric.column is not None and metric.n != rows:
            raise BadData(f"{folder}: metric {name} says n = {metric.n}, {PREDICTIONS} has {rows} rows")
    items, counts = np.unique(predictions["item"].astype(str), return_counts=True)
    if rows and counts.max() > 1:
        raise BadData(f"{folder}: item '{items[counts.argmax()]}' occurs {counts.max()} times")
    classes = predictions["scores"].shape[1]
    for name in ("label", "prediction"):
        outside = (predictions[name] < 0) | (predictions[name] >= classes)
        if outside.any():
            row = int(outside.argmax())
            item, value = predictions["item"][row], predictions[name][row]
            raise BadData(f"{folder}: item '{item}' has {name} {value}, outside the {classes} classes it has scores for")
    contradicting = predictions["correct"] != (predictions["label"] == predictions["prediction"])
    if contradicting.any():
        item = predictions["item"][int(contradicting.argmax())]
        raise BadData(f"{folder}: item '{item}' has a 'correct' that contradicts its label and prediction")
    if (timings is None) != (evaluation.against is None):
        given, missing = ("'against'", LATENCY) if timings is None else (LATENCY, "'against'")
        raise BadData(f"{folder}: {given} without {missing}")
