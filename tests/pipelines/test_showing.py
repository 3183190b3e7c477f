"""What a run shows for looking: the pictures hold what they say, and every task has those it is looked at by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wandb
from digits_model import LABELS, digits, linear

from pipelines import plots
from pipelines.data.contents import Split
from pipelines.job import open_job
from pipelines.metrics import calibration_bins
from pipelines.overlays import heated, in_colour, tinted
from pipelines.runtime import open_session
from pipelines.scoring import evaluate
from pipelines.showing import show
from registry.backend import Backend
from registry.records import Pinned, Scored

IMAGE = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6, 1)


def test_a_classifier_shows_confusion_curves_calibration_and_its_worst_mistakes(backend: Backend, tmp_path: Path) -> None:
    given = digits()
    some = slice(0, 300)
    scored = Scored(reference="a/b/d:v0", digest="md5:01", split="test", items=300, task="image-classification", labels=LABELS)
    done = evaluate(
        open_session(linear(tmp_path / "model.onnx"), device="cpu"),
        kind="logits",
        inputs=given.images[some],
        targets=given.targets[some],
        items=given.ids[some],
        model=Pinned(reference="a/b/m:v0", digest="md5:00"),
        dataset=scored,
        folder=tmp_path / "evaluation",
        latency_batches=(1,),
        latency_seconds=0.01,
    )
    split = Split(
        name="test",
        items=np.array(given.ids[some]),
        inputs=given.images[some],
        targets=given.targets[some],
        digests=list,
    )
    with open_job(backend, job_type="evaluate") as job:
        show(job, done, split, labels=LABELS)
    run = wandb.Api().run(f"local/reg/{job.id}")
    kinds = {key: value["_type"] for key, value in run.summary.items() if hasattr(value, "keys") and "_type" in value}
    assert kinds == {
        "reliability": "images/separated",
        **dict.fromkeys(("worst_mistakes", "predictions"), "table-file"),
        **dict.fromkeys(
            (f"{name}_table" for name in ("confusion_matrix", "roc", "precision_recall", "calibration")), "table-file"
        ),
    }
    assert run.summary["pr_auc"] == done.evaluation.metrics["pr_auc"].value


def test_a_mask_is_tinted_by_class_and_its_first_class_left_alone() -> None:
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[0], mask[1], mask[2] = 1, 2, 255
    found = tinted(IMAGE, mask)
    times = found.shape[0] // 4
    small = found[::times, ::times].astype(int)
    assert found.shape == (4 * times, 6 * times, 3)
    assert np.array_equal(small[3], np.repeat(IMAGE[3], 3, axis=1))
    # Half of the pixel, half of the colour.
    assert np.abs(small[0] - (IMAGE[0] / 2 + np.array([230, 159, 0]) / 2)).max() <= 1
    assert np.abs(small[1] - (IMAGE[1] / 2 + np.array([86, 180, 233]) / 2)).max() <= 1
    assert np.abs(small[2] - (IMAGE[2] / 2 + 64)).max() <= 1


def test_cold_pixels_stay_grey_and_hot_ones_do_not() -> None:
    heat = np.zeros((4, 6))
    heat[0, 0] = 1.0
    found = heated(IMAGE, heat)
    times = found.shape[0] // 4
    small = found[::times, ::times].astype(int)
    assert np.array_equal(small[1:], np.repeat(IMAGE[1:], 3, axis=2))
    assert small[0, 0, 0] > 190 > 100 > small[0, 0, 2]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_images_are_enlarged_pixel_by_pixel(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 8, channels), dtype=np.uint8)
    image[..., 3:] = 255
    found = in_colour(image)
    assert found.shape == (100, 160, 3)
    assert np.array_equal(found[::20, ::20], np.broadcast_to(image[..., : min(channels, 3)], (5, 8, 3)))


def test_transparent_pixels_are_shown_on_white() -> None:
    image = np.zeros((200, 200, 4), dtype=np.uint8)
    assert (in_colour(image) == 255).all()


def test_a_reliability_diagram_has_bars_where_there_are_items() -> None:
    confidence = np.array([0.55] * 50 + [0.95] * 50)
    correct = np.array([True] * 25 + [False] * 25 + [True] * 50)
    found = plots.reliability(calibration_bins(confidence, correct), ece=0.05)
    blue = (found == np.array([0x00, 0x72, 0xB2])).all(axis=2)
    columns = np.flatnonzero(blue.sum(axis=0) > 40)
    assert (np.diff(columns) > 20).sum() == 1, "two bars with a gap between them"


def test_residuals_are_drawn_for_items_without_spread_too() -> None:
    label = np.full(30, 5.0)
    for prediction in (label, label + np.linspace(-1, 1, 30)):
        found = plots.residuals(label, prediction, name="price in €")
        assert (found.ndim, found.dtype, found.std() > 5) == (3, np.uint8, True)
