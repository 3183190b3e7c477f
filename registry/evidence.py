"""The folder of an `evaluation` artifact: written once by whoever scored a model, read by anyone who judges it.

The format has one home, so writing and reading are here together, and both need nothing but pyarrow and pydantic: a gate
runs on machines without torch or onnxruntime. Such a folder comes back from anywhere, so reading believes nothing: a
truncated file, a row too many, an item twice or a `correct` that contradicts its own label is `BadData`, never evidence.
Beside the columns of its task a predictions.parquet may have any others of one value per item: what is known about the
items (site, age, patient), to slice and cluster by, and values of the user's own metrics. Those of them that are one number for
all items have their values on resamples in a file of their own.
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

from registry import matching
from registry.errors import BadData
from registry.records import OWN_METRIC, Evaluation
from registry.replicates import MOST, Drawn, Replicates
from registry.scores import Evidence

EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.parquet"
LATENCY = "latency.parquet"

Columns = Mapping[str, NDArray[Any]]

_DRAWN = b"reg.drawn"
_VALUES = pa.schema([pa.field("value", pa.float64(), nullable=False)])
_ITEM = pa.schema([pa.field("item", pa.string(), nullable=False)])
_CLASSIFICATION = pa.schema(
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


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    predictions: Columns,
    timings: Columns | None = None,
    replicates: Mapping[str, Replicates] | None = None,
) -> Path:
    """Write an evaluation folder, which is created when absent.

    Args:
        predictions: a column per field of predictions.parquet; `scores` of shape (n, classes), the others of shape (n,).
            Columns beyond those of the task hold texts (None for a missing one), numbers or bools.
        timings: the columns of latency.parquet; given exactly when `evaluation.against` is.
        replicates: of metrics of the user's own, by name.
    Returns:
        The folder.
    Raises:
        BadData: the parts contradict each other, so that reading them back would be refused.
    """
    _check(folder, evaluation, predictions, timings)
    folder.mkdir(parents=True, exist_ok=True)
    schema = _schema(evaluation)
    arrays = {name: _array(name, column, schema) for name, column in predictions.items()}
    fields = [schema.field(name) if name in schema.names else pa.field(name, array.type) for name, array in arrays.items()]
    table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))
    pq.write_table(table, folder / PREDICTIONS, compression="zstd")
    if timings is not None:
        columns = [pa.array(timings[name], type=_LATENCY.field(name).type) for name in _LATENCY.names]
        pq.write_table(pa.Table.from_arrays(columns, schema=_LATENCY), folder / LATENCY, compression="zstd")
    for name, found in (replicates or {}).items():
        about = {_DRAWN: found.drawn.model_dump_json()}
        table = pa.table({"value": pa.array(found.values, type=pa.float64())}, metadata=about)
        pq.write_table(table, folder / _replicates(name), compression="zstd")
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
    table = _read_table(folder / PREDICTIONS, _schema(evaluation))
    predictions = {name: _column(folder / PREDICTIONS, table, name) for name in table.column_names}
    timings = None
    if evaluation.against is not None or (folder / LATENCY).exists():
        raw = _read_table(folder / LATENCY, _LATENCY)
        timings = {name: np.asarray(raw[name].combine_chunks().to_numpy(zero_copy_only=False)) for name in _LATENCY.names}
    _check(folder, evaluation, predictions, timings)
    kept = {name: folder / _replicates(name) for name in evaluation.metrics if OWN_METRIC.fullmatch(name)}
    replicates = {name: _read_replicates(file) for name, file in kept.items() if file.is_file()}
    return Evidence(evaluation=evaluation, items=predictions, timings=timings, replicates=replicates)


def _replicates(name: str) -> str:
    return f"metric-{name}.parquet"


def _read_replicates(file: Path) -> Replicates:
    table = _read_table(file, _VALUES)
    try:
        drawn = Drawn.model_validate_json((table.schema.metadata or {}).get(_DRAWN, b""))
    except ValidationError as exc:
        raise BadData(f"{file}: it does not say of which resamples it holds the values") from exc
    if not 0 < len(table) <= MOST or drawn.units < 2:
        raise BadData(f"{file}: {len(table):,} values on resamples of {drawn.units} units cannot be used")
    return Replicates(values=np.asarray(table["value"].combine_chunks().to_numpy(zero_copy_only=False)), drawn=drawn)


def _schema(evaluation: Evaluation) -> pa.Schema:
    """The columns that evaluations of this task must have."""
    return _CLASSIFICATION if evaluation.dataset.task.endswith("classification") else _ITEM


def _array(name: str, column: NDArray[Any], schema: pa.Schema) -> pa.Array:
    if column.ndim == 2:
        known = schema.field(name).type if name in schema.names else None
        rows = np.ascontiguousarray(column, dtype=np.float32 if known is not None else None)
        offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()), type=known)
    return pa.array(column, type=schema.field(name).type if name in schema.names else None)


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
    doubled = [name for name in table.column_names if table.column_names.count(name) > 1]
    if doubled:
        raise BadData(f"{file}: {table.column_names.count(doubled[0])} columns are called '{doubled[0]}'")
    return table


def _column(file: Path, table: pa.Table, name: str) -> NDArray[Any]:
    """A column as numpy has it: texts as objects with None for a missing one, numbers with NaN, bools as they are."""
    values = table[name].combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _nested(file, table, name)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or _is_number(values.type)):
        raise BadData(f"{file}: column '{name}' is {values.type}, texts, numbers or bools were expected")
    if values.null_count and _is_number(values.type):
        values = values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_))


def _nested(file: Path, table: pa.Table, name: str) -> NDArray[Any]:
    lists = pa.chunked_array(table[name].chunks, type=table[name].type).combine_chunks()
    lengths = np.unique(np.asarray(lists.value_lengths()))
    if len(lengths) > 1:
        raise BadData(f"{file}: rows have between {lengths[0]} and {lengths[-1]} {name}")
    values = lists.flatten()
    if values.null_count or not _is_number(values.type):
        empty = f"has {values.null_count} empty values" if values.null_count else f"holds lists of {values.type}"
        raise BadData(f"{file}: column '{name}' {empty}")
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), -1) if len(lists) else np.empty((0, 0), np.float32)


def _check(folder: Path, evaluation: Evaluation, predictions: Columns, timings: Columns | None) -> None:
    rows = len(predictions["item"])
    if rows != evaluation.dataset.items:
        raise BadData(f"{folder}: {PREDICTIONS} has {rows} rows, {EVALUATION} says {evaluation.dataset.items} items")
    for name, metric in evaluation.metrics.items():
        if metric.column is not None and metric.n != rows:
            raise BadData(f"{folder}: metric {name} says n = {metric.n}, {PREDICTIONS} has {rows} rows")
    ids = matching.comparable(predictions["item"])
    if rows and (found := matching.repeated(ids, matching.fingerprints(ids))) is not None:
        item, times, _ = found
        raise BadData(f"{folder}: item '{item.decode() if isinstance(item, bytes) else item}' occurs {times} times")
    if _schema(evaluation) is _CLASSIFICATION:
        _check_classes(folder, predictions)
    if (timings is None) != (evaluation.against is None):
        given, missing = ("'against'", LATENCY) if timings is None else (LATENCY, "'against'")
        raise BadData(f"{folder}: {given} without {missing}")


def _check_classes(folder: Path, predictions: Columns) -> None:
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
