"""Metrics beside W&B: `--log csv`, `--log tensorboard`, `--log mlflow` write the same rows to where a team already looks.

Beside, never instead: the run on the W&B server is what lineage and gates hang on. Each logger says from which step on it
wants rows (`first`), because a training that goes on after an interruption repeats the rows since its checkpoint, and none of
them may come twice. A package that a logger needs is asked for before any work, and is none of ours.
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

from pipelines.histograms import Histogram
from registry.errors import BadData, BadSettings, EnvironmentProblem, MissingDependency, UsageError

Row: TypeAlias = Mapping[str, float | Histogram]
Kind: TypeAlias = Literal["csv", "tensorboard", "mlflow"]

_PACKAGES: Mapping[Kind, Sequence[str]] = {"csv": (), "tensorboard": ("tensorboard",), "mlflow": ("mlflow", "alembic")}
_FLUSH_SECONDS = 1.0


class Logger(Protocol):
    """Takes rows at rising steps. Rows of steps before `first` it has already."""

    first: int

    def log(self, row: Row, step: int) -> None: ...

    def flush(self) -> None:
        """Make what was logged survive the end of this process, however sudden."""
        ...

    def close(self, *, failed: bool) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One `--log`: what kind, and where; None takes the usual place."""

    kind: Kind
    place: str | None = None


def parse(text: str) -> Wanted:
    """Read `kind` or `kind=place`.

    Raises:
        BadSettings: no such kind.
        MissingDependency: its package is not installed.
    """
    kind, equals, place = text.partition("=")
    if kind not in get_args(Kind) or (equals and not place):
        raise BadSettings(f"--log {text}: csv, tensorboard or mlflow was expected, perhaps with =PLACE", hint="--log csv")
    known = cast(Kind, kind)
    missing = [name for name in _PACKAGES[known] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(f"--log {kind} needs {' and '.join(missing)}", hint=f"pip install 'reg-lifecycle[{kind}]'")
    return Wanted(kind=known, place=place or None)


def start(wanted: Wanted, *, run: str, config: Mapping[str, Any], resumed: int | None) -> Logger:
    """Open a logger.

    Args:
        run: the id of the W&B run, by which the others' records are named.
        config: what MLflow shows as parameters, flat.
        resumed: the last step of the checkpoint that the training goes on from; None for a new one.
    Raises:
        UsageError: a new run would write over something.
        EnvironmentProblem: the place cannot be written or reached.
    """
    try:
        if wanted.kind == "csv":
            return Csv(Path(wanted.place or f"runs/{run}/metrics.csv"), resumed=resumed is not None)
        if wanted.kind == "tensorboard":
            return TensorBoard(Path(wanted.place or f"runs/{run}"), resumed=resumed)
        return MLflow(wanted.place or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", run=run, config=config)
    except OSError as exc:
        raise EnvironmentProblem(f"--log {wanted.kind}: {exc}", hint=f"--log {wanted.kind}=another/place") from exc


class Csv:
    """One line for each step, with a column for each metric; histograms are left out."""

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self._path, self._columns, self.first = path, ["step"], 0
        if path.exists() and not resumed:
            raise UsageError(f"--log csv: {path} exists already", hint=f"--log csv={path.with_stem(path.stem + '-2')}")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._read() if path.exists() else []
        if lines:
            self.first = int(lines[-1]["step"]) + 1
        self._write(lines)

    def log(self, row: Row, step: int) -> None:
        values = {"step": step, **{key: value for key, value in row.items() if not isinstance(value, Histogram)}}
        new = [key for key in values if key not in self._columns]
        if new:
            self._file.close()
            lines = self._read()
            self._columns += new
            self._write(lines)
        self._writer.writerow(values)
        self._file.flush()

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def close(self, *, failed: bool) -> None:
        self._file.close()

    def _read(self) -> list[dict[str, str]]:
        """All whole lines; the last one may be torn."""
        with self._path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        lines = text[: text.rfind("\n") + 1].splitlines()
        reader = csv.DictReader(lines)
        if lines and (reader.fieldnames or [""])[0] != "step":
            raise BadData(f"--log csv: {self._path} is not one of ours: its first column is not 'step'")
        self._columns = list(reader.fieldnames or ["step"])
        return list(reader)

    def _write(self, lines: Sequence[Mapping[str, str]]) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        draft.replace(self._path)
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._columns, restval="", lineterminator="\n")


class TensorBoard:
    """An events file in a folder that `tensorboard --logdir` is given, or the folder above it."""

    def __init__(self, folder: Path, *, resumed: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if resumed is None and any(folder.glob("events.out.tfevents.*")):
            raise UsageError(f"--log tensorboard: {folder} holds events already", hint=f"--log tensorboard={folder}-2")
        # What an earlier process wrote after the checkpoint, TensorBoard leaves out by this.
        self.first = 0 if resumed is None else resumed + 1
        self._writer = SummaryWriter(str(folder), purge_step=None if resumed is None else self.first)

    def log(self, row: Row, step: int) -> None:
        for key, value in row.items():
            if not isinstance(value, Histogram):
                self._writer.add_scalar(key, value, step)
                continue
            middles = [(low + high) / 2 for low, high in zip(value.edges, value.edges[1:], strict=False)]
            self._writer.add_histogram_raw(
                key,
                min=value.edges[0],
                max=value.edges[-1],
                num=sum(value.counts),
                sum=sum(count * middle for count, middle in zip(value.counts, middles, strict=True)),
                sum_squares=sum(count * middle**2 for count, middle in zip(value.counts, middles, strict=True)),
                bucket_limits=value.edges[1:],
                bucket_counts=value.counts,
                global_step=step,
            )

    def flush(self) -> None:
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class MLflow:
    """A run of the experiment `reg` on a tracking server or in a local database; histograms are left out.

    Args:
        uri: as MLFLOW_TRACKING_URI has it.
    """

    def __init__(self, uri: str, *, run: str, config: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        # It tells of each table that it makes in a new database; importing it sets the level, so this comes after.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            experiment = self._client.get_experiment_by_name("reg")
            number = experiment.experiment_id if experiment is not None else self._client.create_experiment("reg")
            found = self._client.search_runs([number], filter_string=f"tags.wandb_run_id = '{run}'")
            if found:
                self._run = found[0].info.run_id
                self._client.update_run(self._run, status="RUNNING")
            else:
                self._run = self._client.create_run(number, run_name=run, tags={"wandb_run_id": run}).info.run_id
                params = [Param(key, str(value)) for key, value in config.items()]
                self._client.log_batch(self._run, params=params)
            keys = found[0].data.metrics.keys() if found else ()
            steps = [point.step for key in keys for point in self._client.get_metric_history(self._run, key)]
        except MlflowException as exc:
            words = " ".join(str(exc).split())
            raise EnvironmentProblem(f"--log mlflow: {uri}: {words}", hint="--log mlflow=sqlite:///mlflow.db") from exc
        self.first = max(steps, default=-1) + 1
        self._waiting: list[Any] = []
        self._flushed_at = time.monotonic()

    def log(self, row: Row, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {key: value for key, value in row.items() if not isinstance(value, Histogram)}
        self._waiting += [Metric(key, float(value), now, step) for key, value in numbers.items()]
        # A transaction for each row would take longer than a training step.
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        from mlflow.exceptions import MlflowException

        waiting, self._waiting, self._flushed_at = self._waiting, [], time.monotonic()
        try:
            for start in range(0, len(waiting), 1000):  # the most that MLflow takes at once
                self._client.log_batch(self._run, metrics=waiting[start : start + 1000])
        except MlflowException as exc:
            raise EnvironmentProblem(
                f"--log mlflow: {' '.join(str(exc).split())}", hint="reg train without --log mlflow"
            ) from exc

    def close(self, *, failed: bool) -> None:
        self.flush()
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")
