"""Recipes: raw inputs in, scores out; preprocessing, augmentation and options do what they say; your own are found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_problems import digits, wines

from pipelines.recipes import BUILT_IN, Feature, Problem, find, for_task
from pipelines.recipes.image_classification import ConvNetOptions, ImageClassification
from pipelines.recipes.images import ImageAugmentOptions
from pipelines.recipes.tabular_classification import PerceptronOptions, TabularClassification
from registry.errors import BadSettings, MissingDependency

IMAGES, TABLES = ImageClassification(), TabularClassification()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_recipe_is_the_default_of_the_task_it_is_named_after(name: str) -> None:
    assert for_task(name) is find(name)
    assert (find(name).name, find(name).task) == (name, name)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("image-clasification", "no recipe is called 'image-clasification'", "did you mean 'image-classification'?"),
        (
            "no_such_module:RECIPE",
            "recipe 'no_such_module:RECIPE': no module 'no_such_module' can be imported",
            "pip install -e .",
        ),
        ("json:RECIPE", "recipe 'json:RECIPE': module 'json' has no attribute 'RECIPE'", None),
        (
            "json:loads",
            "'json:loads' is no recipe: it lacks name, task, defaults, steps, scores, model_options, augment_options, "
            "network, prepare, augment, loss, metrics",
            None,
        ),
    ],
    ids=["misspelt", "no module", "no attribute", "no recipe"],
)
def test_what_is_no_recipe_is_refused(name: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadSettings) as caught:
        find(name)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_task_without_recipe_is_refused() -> None:
    with pytest.raises(BadSettings, match="no built-in recipe solves 'speech'"):
        for_task("speech")


def test_a_recipe_of_your_own_is_trained_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_recipe.py").write_text(
        "from pipelines.recipes.image_classification import ImageClassification\n"
        "class Mine(ImageClassification):\n"
        "    name = 'mine'\n"
        "    defaults = {'batch_size': 64, 'lr': 0.01, 'weight_decay': 0.0, 'epochs': 1}\n"
        "RECIPE = Mine()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trained = digits().fit("recipe=my_recipe:RECIPE", "train_fraction=0.2")
    del sys.modules["my_recipe"]
    assert trained.epochs == 1


def test_a_recipe_that_needs_a_missing_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_recipe.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="recipe 'needy_recipe:RECIPE' needs no_such_package"):
        find("needy_recipe:RECIPE")


@pytest.mark.parametrize(
    "image",
    [(8, 8, 1), (28, 28, 1), (32, 32, 3), (5, 40, 4), (1, 1, 1), (64, 48, 3), (224, 224, 3)],
    ids=lambda image: "x".join(map(str, image)),
)
def test_an_image_of_any_size_has_a_network(image: tuple[int, int, int]) -> None:
    problem = Problem(task=IMAGES.task, labels=("a", "b", "c"), image=image)
    network = IMAGES.network(problem, ConvNetOptions(width=2)).eval()
    scores = network(torch.zeros((2, *image), dtype=torch.uint8))
    assert (scores.shape, scores.dtype) == ((2, 3), torch.float32)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_width_and_depth_make_a_larger_network(depth: int) -> None:
    def size(options: ConvNetOptions) -> int:
        return sum(parameter.numel() for parameter in IMAGES.network(digits().problem, options).parameters())

    assert size(ConvNetOptions(width=4, depth=depth)) < size(ConvNetOptions(width=4, depth=depth + 1))
    assert size(ConvNetOptions(width=4, depth=depth)) < size(ConvNetOptions(width=5, depth=depth))


def test_pixels_are_standardised_by_channel_inside_the_network() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, [50, 250, 1], size=(40, 8, 8, 3)).astype(np.uint8)
    network = IMAGES.network(Problem(task=IMAGES.task, labels=("a",), image=(8, 8, 3)), ConvNetOptions(width=2))
    IMAGES.prepare(network, images)
    expected_deviation = [*images.std(axis=(0, 1, 2))[:2], 1.0]  # the third channel is constant
    assert network.get_buffer("mean").flatten().tolist() == pytest.approx(images.mean(axis=(0, 1, 2)).tolist())
    assert network.get_buffer("deviation").flatten().tolist() == pytest.approx(expected_deviation)


def augmented(images: np.ndarray, *, seed: int = 0, **options: int | bool) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return IMAGES.augment(torch.tensor(images), ImageAugmentOptions(**options), generator).numpy()


def test_a_shifted_image_is_the_image_moved_by_at_most_the_shift() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(30, 6, 9, 3)).astype(np.uint8)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    offsets = set()
    for image, wide in zip(augmented(images, shift=2), padded, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(image, wide[y : y + 6, x : x + 9])]
        assert found, "an image was not shifted but changed"
        offsets.add(found[0])
    assert len(offsets) > 10


def test_a_mirrored_image_is_the_image_or_its_mirror() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(30, 6, 9, 1)).astype(np.uint8)
    mirrored = [
        bool((new == old[:, ::-1]).all()) for new, old in zip(augmented(images, shift=0, mirror=True), images, strict=True)
    ]
    same = [bool((new == old).all()) for new, old in zip(augmented(images, shift=0, mirror=True), images, strict=True)]
    assert [a or b for a, b in zip(mirrored, same, strict=True)] == [True] * 30
    assert 5 < sum(mirrored) < 25


@pytest.mark.parametrize(("side", "shift"), [(8, 0), (28, 2), (224, 16)])
def test_the_default_shift_grows_with_the_image(side: int, shift: int) -> None:
    image = np.zeros((200, side, side, 1), dtype=np.uint8)
    image[:, side // 2, side // 2] = 255
    rows = np.argwhere(augmented(image))[:, 1] - side // 2
    assert (rows.min(), rows.max()) == (-shift, shift)


def perceptron(inputs: np.ndarray) -> torch.nn.Module:
    features = (
        Feature(name="size", kind="numeric"),
        Feature(name="colour", kind="categorical", categories=("red", "green")),
        Feature(name="weight", kind="numeric"),
    )
    torch.manual_seed(0)
    network = TABLES.network(Problem(task=TABLES.task, labels=("a", "b"), features=features), PerceptronOptions(width=8))
    TABLES.prepare(network, inputs)
    return network.eval()


ROWS = np.array([[1, 0, 5], [3, 1, 5], [np.nan, -1, 5]], dtype=np.float32)


def scores(network: torch.nn.Module, *row: float) -> list[float]:
    return network(torch.tensor([row]))[0].tolist()


def test_columns_are_standardised_by_their_known_values() -> None:
    network = perceptron(ROWS)
    assert network.get_buffer("mean").tolist() == [2.0, 5.0]
    assert network.get_buffer("deviation").tolist() == [1.0, 1.0]  # the third column is constant
    assert network.get_buffer("has_missing").tolist() == [1.0, 0.0]


def test_a_missing_number_is_not_the_mean_where_training_saw_missing_ones() -> None:
    assert scores(perceptron(ROWS), np.nan, 0, 5) != scores(perceptron(ROWS), 2, 0, 5)


def test_a_missing_number_is_the_mean_where_training_saw_none() -> None:
    assert scores(perceptron(ROWS), 1, 0, np.nan) == scores(perceptron(ROWS), 1, 0, 5)


@pytest.mark.parametrize("code", [-1, 2, 99, np.nan])
def test_an_unknown_category_is_none_of_the_known_ones(code: float) -> None:
    network = perceptron(ROWS)
    assert scores(network, 1, code, 5) == scores(network, 1, -1, 5)
    assert scores(network, 1, code, 5) not in (scores(network, 1, 0, 5), scores(network, 1, 1, 5))


def test_a_table_of_categories_alone_has_a_network() -> None:
    features = (Feature(name="colour", kind="categorical", categories=("red", "green")),)
    network = TABLES.network(Problem(task=TABLES.task, labels=("a", "b"), features=features), PerceptronOptions(depth=0))
    TABLES.prepare(network, np.zeros((3, 1), dtype=np.float32))
    assert network(torch.zeros(3, 1)).shape == (3, 2)


def test_metrics_are_loss_in_nats_and_accuracy_as_a_fraction() -> None:
    measured = IMAGES.metrics(torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, -9.0], [9.0, -9.0]]), torch.tensor([0, 0, 0, 1]))
    assert measured == {"loss": pytest.approx((2 * np.log(2) + 18) / 4, abs=1e-6), "accuracy": 0.75}


def test_a_wine_without_its_category_column_is_another_wine() -> None:
    given = wines()
    network = given.fit("epochs=5").network
    row = given.test_inputs[:1].copy()
    before = network(torch.tensor(row))
    row[0, 0] = (row[0, 0] + 1) % 3
    assert not torch.equal(before, network(torch.tensor(row)))
