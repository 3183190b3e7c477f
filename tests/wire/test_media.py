"""Media, tables, charts and gradients: what a script logs is what is read back, files and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

PIXELS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def find(run: wandb.Run) -> wandb.apis.public.Run:
    return wandb.Api().run(f"local/{run.project}/{run.id}")


def image() -> wandb.Image:
    box = {"position": {"minX": 0.1, "maxX": 0.2, "minY": 0.1, "maxY": 0.2}, "class_id": 0, "scores": {"sure": 0.5}}
    return wandb.Image(
        PIXELS,
        caption="a caption",
        masks={"seen": {"mask_data": np.zeros((8, 8), int), "class_labels": {0: "sky"}}},
        boxes={"seen": {"box_data": [box], "class_labels": {0: "sky"}}},
    )


def a_file(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


@pytest.mark.parametrize(("make", "kind", "folders"), [
    pytest.param(image, "image-file", {"images", "metadata"}, id="image with masks and boxes"),
    pytest.param(lambda: [wandb.Image(PIXELS), wandb.Image(PIXELS)], "images/separated", {"images"}, id="images"),
    pytest.param(lambda: wandb.Audio(a_file("a.wav", b"RIFF"), caption="a"), "audio-file", {"audio"}, id="audio"),
    pytest.param(lambda: wandb.Video(a_file("v.mp4", b"mp4"), format="mp4"), "video-file", {"videos"}, id="video"),
    pytest.param(lambda: wandb.Html("<b>x</b>"), "html-file", {"html"}, id="html"),
    pytest.param(lambda: wandb.Object3D(np.ones((3, 3))), "object3D-file", {"object3D"}, id="point cloud"),
    pytest.param(lambda: wandb.Molecule(a_file("m.pdb", b"HEADER\n")), "molecule-file", {"molecule"}, id="molecule"),
    pytest.param(lambda: wandb.Table(columns=["a"], data=[[1]]), "table-file", {"table"}, id="table"),
])  # fmt: skip
def test_media_come_with_their_files(sdk: Path, make: Any, kind: str, folders: set[str]) -> None:
    with wandb.init(project="media") as run:
        run.log({"it": make()})
    found = find(run)
    assert found.summary["it"]["_type"] == kind
    files = [file for file in found.files() if file.name.startswith("media/")]
    assert {file.name.split("/")[1] for file in files} == folders
    assert all(file.size > 0 for file in files)


def test_a_histogram_is_numbers_in_the_row(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"it": wandb.Histogram(np_histogram=([1, 2, 3], [0.0, 0.5, 2.0, 3.0]))})
    (row,) = find(run).scan_history()
    assert row["it"] == {"_type": "histogram", "values": [1, 2, 3], "bins": [0.0, 0.5, 2.0, 3.0]}


def test_tables_are_joined_partitioned_and_referred_to_across_artifacts(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        artifact = wandb.Artifact("tables", "dataset")
        left = wandb.Table(columns=["id", "image"], data=[[1, wandb.Image(PIXELS)], [2, wandb.Image(PIXELS)]])
        right = wandb.Table(columns=["id", "word"], data=[[1, "one"], [3, "three"]])
        for name, item in {"left": left, "right": right, "joined": wandb.JoinedTable(left, right, "id")}.items():
            artifact.add(item, name)
        for number in (1, 2):
            artifact.add(wandb.Table(columns=["id"], data=[[number]]), f"parts/{number}")
        artifact.add(wandb.data_types.PartitionedTable("parts"), "all")
        run.log_artifact(artifact).wait()
        again = wandb.Artifact("again", "dataset")
        again.add(run.use_artifact("tables:latest").get("left"), "copy")
        again.add_reference(artifact.get_entry("right.table.json"), "right.table.json")
        run.log_artifact(again).wait()
    used = wandb.Api().artifact(f"local/{project}/tables:latest")
    assert sorted(row for _, (row,) in used.get("all").iterrows()) == [1, 2]
    assert used.get("joined") is not None
    referring = wandb.Api().artifact(f"local/{project}/again:latest")
    assert [row[0] for row in referring.get("copy").data] == [1, 2]
    assert [row[0] for row in referring.get("right").data] == [1, 3]


def test_a_table_that_grows_is_a_version_for_each_time(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        table = wandb.Table(columns=["a"], log_mode="INCREMENTAL")
        for number in range(3):
            table.add_data(number)
            run.log({"grown": table})
    summary = find(run).summary["grown"]
    assert (summary["_type"], summary["nrows"], summary["increment_num"]) == ("incremental-table-file", 3, 2)
    versions = [artifact.name for artifact in find(run).logged_artifacts()]
    assert sorted(versions) == [f"run-{run.id}-incr-grown:v{number}" for number in range(3)]


def test_charts_are_tables_with_a_specification(sdk: Path, project: str) -> None:
    table = wandb.Table(columns=["x", "y"], data=[[1, 2], [2, 3]])
    charts = {
        "confusion": wandb.plot.confusion_matrix(y_true=[0, 1], preds=[0, 1], class_names=["a", "b"]),
        "roc": wandb.plot.roc_curve([0, 1], [[0.1, 0.9], [0.2, 0.8]]),
        "pr": wandb.plot.pr_curve([0, 1], [[0.1, 0.9], [0.2, 0.8]]),
        "line": wandb.plot.line(table, "x", "y"),
        "bar": wandb.plot.bar(table, "x", "y"),
    }
    with wandb.init(project=project) as run:
        run.log(charts)
    found = find(run)
    assert set(found.rawconfig["_wandb"]["visualize"]) == set(charts)
    assert {key for key in found.summary.keys() if key.endswith("_table")} == {f"{name}_table" for name in charts}  # noqa: SIM118
    logged = wandb.Api().artifact(f"local/{project}/run-{run.id}-line_table:latest").get("line_table")
    assert logged.data == [[1, 2], [2, 3]]


def test_summaries_are_those_that_were_defined(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.define_metric("loss", summary="min")
        run.define_metric("acc", summary="max,mean,last")
        run.define_metric("epoch", hidden=True)
        run.define_metric("val/*", step_metric="epoch")
        for number in range(3):
            run.log({"loss": 3 - number, "acc": number, "epoch": number, "val/x": -number})
    found = find(run)
    assert {key: found.summary_metrics[key] for key in ("loss", "acc", "val/x")} == {
        "loss": {"min": 1}, "acc": {"max": 2, "mean": 1, "last": 2}, "val/x": -2,
    }  # fmt: skip
    assert found.history(keys=["val/x"], x_axis="epoch", pandas=False)[-1] == {"epoch": 2, "val/x": -2}


def test_watched_gradients_and_parameters_are_histograms(sdk: Path, project: str) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    with wandb.init(project=project) as run:
        run.watch(model, log="all", log_freq=1)
        model(torch.ones(1, 2)).sum().backward()
        run.log({"x": 1})
        run.unwatch(model)
    keys = find(run).history_keys["keys"]
    watched = {key: keys[key]["typeCounts"][0]["type"] for key in keys if "/" in key}
    assert watched == dict.fromkeys(("gradients/weight", "gradients/bias", "parameters/weight", "parameters/bias"), "histogram")
