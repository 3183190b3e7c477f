"""The recipes for masks and numbers: answers of the right form, in the right units, learned from what counts alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from task_samples import CLASSES, scenes
from torch import Tensor

from pipelines.answers import flips
from pipelines.config import resolve
from pipelines.onnx_export import export
from pipelines.recipes import Feature, Problem
from pipelines.recipes.image_regression import ImageRegression
from pipelines.recipes.images import ImageAugmentOptions
from pipelines.recipes.semantic_segmentation import SemanticSegmentation, UNetOptions
from pipelines.recipes.tables import PerceptronOptions
from pipelines.recipes.tabular_regression import TabularRegression
from pipelines.saliency import looked
from pipelines.training import Trained, fit
from registry.errors import BadData, BadSettings

MASKS, TABLES = SemanticSegmentation(), TabularRegression()
SCENES = Problem(task="semantic-segmentation", labels=CLASSES, image=(12, 14, 1))


def trained(problem: Problem, inputs: object, targets: object, *settings: str) -> Trained:
    config = resolve(task=problem.task, assignments=("device=cpu", "threads=1", *settings))
    return fit(problem, config, inputs=inputs, targets=targets, log=lambda values, step: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(12, 14), (13, 17), (8, 8), (9, 31)], ids=str)
def test_a_mask_is_as_large_as_its_image_whatever_that_is(size: tuple[int, int]) -> None:
    problem = Problem(task="semantic-segmentation", labels=("a", "b"), image=(*size, 3))
    network = MASKS.network(problem, UNetOptions(width=2, depth=3)).eval()
    assert network(torch.zeros(2, *size, 3, dtype=torch.uint8)).shape == (2, 2, *size)


def test_images_too_small_to_be_halved_are_refused() -> None:
    problem = Problem(task="semantic-segmentation", labels=("a", "b"), image=(7, 40, 1))
    with pytest.raises(BadSettings, match="can be halved 2 times") as caught:
        MASKS.network(problem, UNetOptions(depth=3))
    assert caught.value.hint == "--set model.depth=1"


def test_a_mask_moves_with_its_image() -> None:
    images = torch.randint(0, 255, (20, 10, 12, 2), dtype=torch.uint8)
    masks = images[..., 0].clone()
    options = ImageAugmentOptions(shift=3, mirror=True)
    moved, moved_masks = MASKS.augment_pairs(images, masks, options, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, images)
    assert torch.equal(moved[..., 0], moved_masks)


def test_unlabelled_pixels_change_no_loss_and_get_no_gradient() -> None:
    scores = torch.randn(2, 3, 6, 6, requires_grad=True)
    targets = torch.randint(0, 3, (2, 6, 6), dtype=torch.uint8)
    targets[:, :2] = 255
    loss = MASKS.loss(scores, targets)
    loss.backward()
    other = scores.detach().clone()
    other[:, :, :2] += 100 * torch.randn(2, 3, 2, 6)
    assert MASKS.loss(other, targets).item() == pytest.approx(loss.item(), rel=1e-6)
    assert scores.grad is not None
    assert scores.grad[:, :, :2].abs().max() == 0
    assert scores.grad[:, :, 2:].abs().min() > 0


def test_a_batch_without_any_label_has_a_loss_of_a_number() -> None:
    assert torch.isfinite(MASKS.loss(torch.randn(1, 2, 4, 4), torch.full((1, 4, 4), 255, dtype=torch.uint8)))


def test_a_perfect_answer_loses_nothing_and_sums_of_batches_are_the_whole() -> None:
    targets = torch.randint(0, 3, (10, 6, 6), dtype=torch.uint8)
    scores = torch.nn.functional.one_hot(targets.long(), 3).permute(0, 3, 1, 2) * 40.0
    assert MASKS.loss(scores, targets).item() == pytest.approx(0, abs=1e-6)
    assert MASKS.metrics(scores, targets) == pytest.approx({"loss": 0, "iou": 1, "dice": 1, "accuracy": 1}, abs=1e-6)
    noisy = scores + 30 * torch.randn_like(scores)
    parts = [MASKS.sums(noisy[some], targets[some]) for some in (slice(0, 5), slice(5, 10))]
    whole = MASKS.measured(MASKS.sums(noisy, targets))
    assert {k: v for k, v in MASKS.measured(parts[0] + parts[1]).items() if k != "loss"} == pytest.approx(
        {k: v for k, v in whole.items() if k != "loss"}
    )


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 250.0), (-3.0, 1e-5)], ids=["plain", "large", "tiny"])
def test_numbers_are_learned_in_any_unit_and_given_back_in_it(offset: float, scale: float, tmp_path: object) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 3)).astype(np.float32)
    values = (offset + scale * (rows @ [1.0, -2.0, 0.5]))[:, np.newaxis]
    features = tuple(Feature(name=name, kind="numeric") for name in "abc")
    problem = Problem(task="tabular-regression", labels=(), targets=("y",), features=features)
    done = trained(problem, rows, values, "epochs=8", "lr=0.02")
    assert done.validation["r2"] > 0.95
    answered = done.network(torch.from_numpy(rows)).detach().double().numpy()
    assert np.abs(answered - values).mean() < 0.3 * scale
    parity = export(done.network, problem, tmp_path / "model.onnx", items=rows)  # type: ignore[operator]
    assert (parity.flips, parity.atol) == (0, pytest.approx(1e-4 * float(np.std(answered)), rel=0.05))


def test_of_two_targets_the_larger_numbers_do_not_drown_the_other() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    values = rows.astype(np.float64) * [1e-3, 1e5]
    problem = Problem(
        task="tabular-regression",
        labels=(),
        targets=("small", "large"),
        features=(Feature(name="a", kind="numeric"), Feature(name="b", kind="numeric")),
    )
    answered = trained(problem, rows, values, "epochs=8", "lr=0.02").network(torch.from_numpy(rows)).detach().double().numpy()
    assert (1 - ((answered - values) ** 2).sum(axis=0) / ((values - values.mean(axis=0)) ** 2).sum(axis=0) > 0.95).all()


def test_what_is_learned_from_targets_comes_from_training_items_alone() -> None:
    data = load_diabetes()
    problem = Problem(
        task="tabular-regression",
        labels=(),
        targets=("target",),
        features=tuple(Feature(name=str(k), kind="numeric") for k in range(10)),
    )
    done = trained(problem, data.data.astype(np.float32), data.target[:, np.newaxis], "epochs=1")
    kept = np.setdiff1d(np.arange(442), done.held_out)
    assert len(done.held_out) == done.validation_items == 44
    assert done.network.mean.item() == pytest.approx(data.target[kept].mean(), rel=1e-6)
    assert done.network.deviation.item() == pytest.approx(data.target[kept].std(), rel=1e-6)


def test_a_constant_target_is_only_centred() -> None:
    assert TABLES.knowing(np.full((5, 1), 7.0)).deviation == (1.0,)


def test_validation_of_numbers_is_sklearns() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    random = torch.Generator().manual_seed(0)
    truth, said = torch.randn(50, 1, generator=random) * 3 + 10, torch.randn(50, 1, generator=random) * 3 + 10
    found = TABLES.knowing(truth.numpy()).metrics(said, truth)
    assert found == pytest.approx(
        {
            "loss": ((said - truth) ** 2).mean().item() / truth.numpy().std() ** 2,
            "r2": r2_score(truth, said),
            "rmse": root_mean_squared_error(truth, said),
            "mae": mean_absolute_error(truth, said),
        },
        rel=1e-5,
    )


@pytest.mark.parametrize(
    ("problem", "targets", "message"),
    [
        (SCENES, np.zeros((4, 12, 13), np.uint8), r"have the shape \[12, 13\], \[12, 14\] was expected"),
        (
            Problem(task="image-regression", labels=(), targets=("x",), image=(12, 14, 1)),
            np.array([[1.0], [np.nan], [2.0], [3.0]]),
            "a target is infinite or NaN",
        ),
        (
            Problem(task="image-regression", labels=(), targets=("x", "y"), image=(12, 14, 1)),
            np.ones((4, 1)),
            r"have the shape \[1\], \[2\] was expected",
        ),
    ],
    ids=["mask", "NaN", "targets"],
)
def test_targets_that_do_not_fit_the_problem_are_refused(problem: Problem, targets: object, message: str) -> None:
    with pytest.raises(BadData, match=message):
        trained(problem, np.zeros((4, 12, 14, 1), np.uint8), targets)


def test_a_recipe_cannot_pick_a_checkpoint_by_what_it_does_not_measure() -> None:
    rows, values = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32), np.arange(40.0)[:, np.newaxis]
    problem = Problem(task="tabular-regression", labels=(), targets=("y",), features=(Feature(name="a", kind="numeric"),))
    with pytest.raises(BadSettings, match="monitor is accuracy, this recipe measures loss, r2, rmse, mae"):
        trained(problem, rows, values, "monitor=accuracy")


def test_the_same_settings_train_the_same_masks() -> None:
    images, masks = scenes(40)
    networks = [
        trained(SCENES, images[..., np.newaxis], masks, "epochs=2", "model.width=2", "model.depth=1").network for _ in range(2)
    ]
    first, second = ([tensor.numpy().tobytes() for tensor in network.state_dict().values()] for network in networks)
    assert first == second


@pytest.mark.parametrize("name", ["semantic-segmentation", "image-regression", "tabular-regression"])
def test_the_options_of_a_task_are_checked_before_any_work(name: str) -> None:
    with pytest.raises(BadSettings, match=r"unknown key 'model\.widht'") as caught:
        resolve(task=name, assignments=("model.widht=3",))
    assert caught.value.hint == "did you mean 'model.width'?"


def test_a_perceptron_for_numbers_needs_no_hidden_layer() -> None:
    problem = Problem(task="tabular-regression", labels=(), targets=("y",), features=(Feature(name="a", kind="numeric"),))
    network = TABLES.knowing(np.array([[1.0], [3.0]])).network(problem, PerceptronOptions(depth=0))
    assert network(torch.tensor([[0.5], [float("nan")]])).shape == (2, 1)


def test_an_image_flips_when_more_than_a_thousandth_of_its_pixels_do() -> None:
    scores = np.zeros((3, 2, 50, 50), np.float32)
    scores[:, 0] = 1
    other = scores.copy()
    other[1, 1, 0, :2] = 2  # 2 of 2,500
    other[2, 1, 0, :3] = 2  # 3 of 2,500
    assert (flips(other, scores, "mask"), flips(other[:, :, 0, 0], scores[:, :, 0, 0], "values")) == (1, 0)


class TestLooking:
    """What is shown is what an answer depends on."""

    def problem(self, task: str = "image-regression") -> Problem:
        names = ("brightness",) if task.endswith("regression") else ()
        return Problem(task=task, labels=() if names else ("dark", "light"), targets=names, image=(16, 16, 1))

    def spots(self, n: int = 8) -> np.ndarray:
        """Noise with a bright square in each half."""
        images = np.random.default_rng(0).integers(0, 40, size=(n, 16, 16, 1), dtype=np.uint8)
        images[:, 4:12, 2:6] = images[:, 4:12, 10:14] = 200
        return images

    def test_a_number_is_explained_by_what_moves_it(self) -> None:
        found = looked(_LeftHalf(outputs=1).eval(), self.problem(), self.spots())
        assert found is not None
        assert (found.method, found.heat.shape, float(found.heat.max())) == ("occlusion", (8, 16, 16), 1.0)
        assert found.heat[:, :, 2:6].mean() > 0.3
        assert found.heat[:, :, 9:].max() == pytest.approx(0, abs=1e-6)

    def test_a_class_is_explained_by_what_speaks_for_it(self) -> None:
        found = looked(_LeftHalf(outputs=2).eval(), self.problem("image-classification"), self.spots())
        assert found is not None
        assert (found.method, found.shown.tolist(), float(found.heat.max())) == ("Grad-CAM", [1] * 8, 1.0)
        assert found.heat[:, 4:12, 2:6].mean() > 0.5
        assert found.heat[:, :, 11:].max() == pytest.approx(0, abs=1e-6)

    def test_a_network_without_maps_has_none(self) -> None:
        flat = torch.nn.Sequential(torch.nn.Flatten(), _Floats(), torch.nn.Linear(256, 2))
        assert looked(flat, self.problem("image-classification"), self.spots()) is None

    def test_masks_are_explained_by_what_they_show(self) -> None:
        images, masks = scenes(60)
        done = trained(SCENES, images[..., np.newaxis], masks, "epochs=1", "model.width=2", "model.depth=1")
        found = looked(done.network, SCENES, images[:5, ..., np.newaxis])
        assert found is not None
        assert (found.heat.shape, set(found.shown.tolist()) <= {0, 1, 2}) == ((5, 12, 14), True)

    def test_looking_leaves_the_network_as_it_was(self) -> None:
        network, images = _LeftHalf(outputs=2).eval(), self.spots()
        before = network(torch.from_numpy(images))
        looked(network, self.problem("image-classification"), images)
        assert torch.equal(network(torch.from_numpy(images)), before)
        assert not any(module._forward_hooks for module in network.modules())


class _LeftHalf(torch.nn.Module):
    """The brightness of the left half: as it is, or as the logit of the second of two classes. It has maps of both halves."""

    def __init__(self, *, outputs: int) -> None:
        super().__init__()
        self.halves = torch.nn.Conv2d(2, 2, 4, stride=2, padding=1, groups=2, bias=False)
        self.head = torch.nn.Linear(2, outputs, bias=False)
        with torch.no_grad():
            self.halves.weight.fill_(1 / 16)
            self.head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]][-outputs:]))

    def forward(self, image: Tensor) -> Tensor:
        left = (torch.arange(16) < 8).float()
        grey = image.permute(0, 3, 1, 2).float()
        answered: Tensor = self.head(self.halves(torch.cat([grey * left, grey * (1 - left)], dim=1)).mean(dim=(2, 3)))
        return answered


class _Floats(torch.nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return batch.float()


def test_an_image_recipe_for_numbers_is_the_image_network_in_units() -> None:
    recipe = ImageRegression().knowing(np.array([[10.0], [30.0]]))
    problem = Problem(task="image-regression", labels=(), targets=("age",), image=(8, 8, 1))
    network = recipe.network(problem, recipe.model_options(width=1))
    recipe.prepare(network, np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1), dtype=np.uint8))
    assert (network.mean.item(), network.deviation.item(), network.body.mean.item() > 50) == (20.0, 10.0, True)
