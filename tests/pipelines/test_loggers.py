"""Each logger beside W&B writes every row once, also when a training was killed and goes on."""

from __future__ import annotations

import csv
import importlib.util
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines import loggers, reporting
from pipelines.histograms import Histogram
from pipelines.loggers import Csv, Row, Wanted, parse, start
from pipelines.reporting import Reporter
from registry.errors import BadData, BadSettings, MissingDependency, UsageError

ROWS: list[tuple[int, Row]] = [
    (20, {"train/loss": 2.0}),
    (40, {"train/loss": 1.5, "epoch": 1, "val/loss": 1.25}),
    (60, {"train/loss": 1.0, "weights/head": Histogram(counts=(1.0, 3.0), edges=(-1.0, 0.0, 1.0))}),
    (80, {"train/loss": 0.5, "epoch": 2, "val/loss": 0.75}),
]


def lines(path: Path) -> list[Mapping[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log(logger: loggers.Logger, *rows: tuple[int, Row]) -> None:
    for step, row in rows:
        logger.log(row, step)


def test_csv_has_a_column_for_each_metric_and_a_line_for_each_step(tmp_path: Path) -> None:
    logger = Csv(tmp_path / "runs" / "metrics.csv", resumed=False)
    log(logger, *ROWS)
    logger.close(failed=False)
    assert (tmp_path / "runs" / "metrics.csv").read_text() == (
        "step,train/loss,epoch,val/loss\n20,2.0,,\n40,1.5,1,1.25\n60,1.0,,\n80,0.5,2,0.75\n"
    )


def test_csv_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    killed = Csv(path, resumed=False)
    log(killed, *ROWS[:2])
    killed.close(failed=True)
    with path.open("a") as file:
        file.write("60,1.")  # a process that was killed while it wrote
    logger = Csv(path, resumed=True)
    assert logger.first == 41
    log(logger, *ROWS[2:])
    logger.close(failed=False)
    assert [(line["step"], line["train/loss"], line["val/loss"]) for line in lines(path)] == [
        ("20", "2.0", ""),
        ("40", "1.5", "1.25"),
        ("60", "1.0", ""),
        ("80", "0.5", "0.75"),
    ]


def test_csv_writes_over_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("mine")
    with pytest.raises(UsageError, match=r"metrics\.csv exists already"):
        Csv(path, resumed=False)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadData, match="its first column is not 'step'"):
        Csv(path, resumed=True)
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package, in its own code
def test_tensorboard_shows_every_row_once_also_after_an_interruption(tmp_path: Path) -> None:
    place = Wanted(kind="tensorboard", place=str(tmp_path))
    first = start(place, run="r", config={}, resumed=None)
    log(first, *ROWS[:3])
    first.close(failed=True)
    second = start(place, run="r", config={}, resumed=40)
    assert second.first == 41
    log(second, *ROWS[2:])
    second.close(failed=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(20, 2.0), (40, 1.5), (60, 1.0), (80, 0.5)]
    (histogram,) = events.Histograms("weights/head")
    assert (histogram.step, histogram.histogram_value.num) == (60, 4.0)
    with pytest.raises(UsageError, match="holds events already"):
        start(place, run="r", config={}, resumed=None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_has_one_run_with_every_row_once(tmp_path: Path) -> None:
    place = Wanted(kind="mlflow", place=f"sqlite:///{tmp_path / 'mlflow.db'}")
    first = start(place, run="r", config={"lr": 0.1}, resumed=None)
    log(first, *ROWS[:2])
    first.flush()
    second = start(place, run="r", config={"lr": 0.1}, resumed=20)
    assert second.first == 41
    log(second, *ROWS[2:])
    second.close(failed=False)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        metrics = database.execute("SELECT step, value FROM metrics WHERE key = 'train/loss' ORDER BY step").fetchall()
        runs = database.execute("SELECT status, name FROM runs").fetchall()
        params = database.execute("SELECT key, value FROM params").fetchall()
    assert metrics == [(20, 2.0), (40, 1.5), (60, 1.0), (80, 0.5)]
    assert (runs, params) == ([("FINISHED", "r")], [("lr", "0.1")])


@pytest.mark.parametrize("text", ["tensorbord", "csv=", "", "=x"])
def test_another_kind_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="csv, tensorboard or mlflow was expected"):
        parse(text)


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="--log mlflow needs mlflow and alembic") as caught:
        parse("mlflow")
    assert caught.value.hint == "pip install 'reg-lifecycle[mlflow]'"


class Kept:
    """A logger that keeps what it is told."""

    def __init__(self, *, first: int = 0) -> None:
        self.first, self.steps, self.flushed = first, [0][:0], 0

    def log(self, row: Row, step: int) -> None:
        self.steps.append(step)

    def flush(self) -> None:
        self.flushed += 1

    def close(self, *, failed: bool) -> None:
        pass


def test_rows_that_never_arrived_are_sent_again_and_others_are_not(tmp_path: Path) -> None:
    before = Reporter(lambda row, step: None)
    for step, row in ROWS[:3]:
        before.log(row, step)
    before.write(tmp_path)

    sent: list[tuple[int, Any]] = []
    lacks_one, has_more = Kept(first=21), Kept(first=61)
    after = Reporter(
        lambda row, step: sent.append((step, row)), first=41, loggers=[lacks_one, has_more], before=reporting.read(tmp_path)
    )
    after.log(*reversed(ROWS[3]))
    assert sent == ROWS[2:]
    assert (lacks_one.steps, has_more.steps) == ([40, 60, 80], [80])


def test_loggers_have_written_what_a_checkpoint_counts_on(tmp_path: Path) -> None:
    kept = Kept()
    Reporter(lambda row, step: None, loggers=[kept]).write(tmp_path)
    assert kept.flushed == 1


def test_a_damaged_history_is_refused(tmp_path: Path) -> None:
    (tmp_path / reporting.HISTORY).write_text("{")
    with pytest.raises(BadData, match="is no whole checkpoint"):
        reporting.read(tmp_path)
