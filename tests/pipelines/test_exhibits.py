"""The pictures on a verdict's page are those of the very items it shows, and never a reason for a gate to stop."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from data_files import images, publish, write_idx, write_images
from numpy.typing import NDArray
from PIL import Image

from pipelines import exhibits
from pipelines.data.options import Options
from pipelines.data.reading import inspect
from registry.backend import Backend
from registry.records import Judgement, Outcome, Pinned, Target, Verdict, Version
from registry.verdicts import Case
from registry.verdicts.flips import items_shown
from tests.gate_evidence import change, evidence

PIXELS = images(6, shape=(5, 4))


@pytest.fixture(scope="module")
def datasets(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    """The same kind of data in three forms, and a dataset that `reg` did not make."""
    place = tmp_path_factory.mktemp("data")
    named = {f"{split}/{at % 2}/{at:02d}.png": PIXELS[at] for at in range(6) for split in ("train", "validation")}
    classes = {f"{at % 2}/{at:02d}.png": pixels for at, pixels in enumerate(images(40, shape=(5, 4)))}
    folders = {
        "split": write_images(place / "split", named),
        "whole": write_images(place / "whole", classes),
        "arrays": write_idx(place / "arrays"),
    }
    found = {}
    with backend.run(job_type="dataset") as run:
        for name, folder in folders.items():
            published = publish(inspect(folder, Options(name=name)), place / "published" / name)
            files = [(file.relative_to(published).as_posix(), file) for file in sorted(published.rglob("*")) if file.is_file()]
            found[name] = run.output(name, type="dataset", files=files)
        (place / "shards").mkdir()
        shards = publish(inspect(folders["split"], Options(name="packed"), pack_into=place / "shards"), place / "packed")
        files = [(file.name, file) for file in sorted(shards.iterdir())]
        found["packed"] = run.output("packed", type="dataset", files=files)
        (place / "notes.txt").write_text("no data")
        found["foreign"] = run.output("foreign", type="dataset", files=[("notes.txt", place / "notes.txt")])
    return found


def mistaken(*items: str) -> Case:
    """A first candidate that has exactly these items wrong."""
    candidate = change(evidence([False] * len(items)), items={"item": np.array(items, dtype=object)})
    nothing = ("baseline", "candidate_evaluation", "baseline_evaluation", "dataset", "split", "runtime_fingerprint")
    verdict = Verdict(
        target=Target(registry="model", collection="model", alias="production"),
        judgement=Judgement(outcome=Outcome.FAIL, checks=(), reason="too many mistakes"),
        policy_digest="sha256:00",
        candidate=Pinned(reference="team/vision/model:v8", digest="md5:00"),
        actor="ada",
        created_at="2026-01-01T00:00:00+00:00",
        **dict.fromkeys(nothing),
    )
    case = Case(verdict=verdict, candidate=candidate)
    assert set(items_shown(case)) == set(items)
    return case


def pixels(uri: str) -> NDArray[np.uint8]:
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


@pytest.mark.parametrize("large", [False, True], ids=["fetched whole", "fetched file by file"])
def test_items_of_a_folder_have_the_pictures_of_their_own_split(
    backend: Backend, datasets: dict[str, Version], large: bool
) -> None:
    dataset = replace(datasets["split"], size=exhibits.LARGEST + 1) if large else datasets["split"]
    case = exhibits.with_pictures(backend, mistaken("val/1/03.png", "val/0/04.png"), dataset)
    assert case.unseen == ""
    assert {item: pixels(uri).tolist() for item, uri in case.pictures.items()} == {
        "val/1/03.png": PIXELS[3].tolist(),
        "val/0/04.png": PIXELS[4].tolist(),
    }


def test_items_of_a_split_that_reg_cut_are_found_where_they_lie(backend: Backend, datasets: dict[str, Version]) -> None:
    case = exhibits.with_pictures(backend, mistaken("test/1/07.png", "test/1/99.png"), datasets["whole"])
    assert {item: pixels(uri).tolist() for item, uri in case.pictures.items()} == {
        "test/1/07.png": images(40, shape=(5, 4))[7].tolist()
    }
    assert case.unseen == "1 of them were not found in the data."


def test_items_of_an_array_are_read_by_their_position(backend: Backend, datasets: dict[str, Version]) -> None:
    case = exhibits.with_pictures(backend, mistaken("test/3"), datasets["arrays"])
    assert {item: pixels(uri).tolist() for item, uri in case.pictures.items()} == {"test/3": images(10, seed=1)[3].tolist()}


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("arrays", exhibits.LARGEST + 1, "is 256 MiB, arrays and shards are fetched for pictures up to 256 MiB"),
        ("foreign", 1, "holds no file 'reg.dataset.json'"),
    ],
)
def test_pictures_that_cannot_be_had_are_said_and_stop_nothing(
    backend: Backend, datasets: dict[str, Version], name: str, size: int, said: str
) -> None:
    case = exhibits.with_pictures(backend, mistaken("test/3"), replace(datasets[name], size=size))
    assert case.pictures == {}
    assert case.unseen.startswith("There are no pictures of the items: ")
    assert said in case.unseen


@pytest.mark.parametrize(
    ("shape", "small"),
    [((28, 28, 1), (28, 28)), ((240, 120, 3), (80, 40, 3)), ((81, 400, 4), (16, 80, 3)), ((1, 500, 1), (1, 80))],
)
def test_a_thumbnail_is_small_and_in_proportion(shape: tuple[int, ...], small: tuple[int, ...]) -> None:
    image = np.full(shape, 100, dtype=np.uint8)
    shown = pixels(exhibits.picture(image))
    assert shown.shape == small
    expected = 100 if shape[2] != 4 else round(100 * 100 / 255 + 255 * 155 / 255)
    assert set(np.unique(shown).tolist()) == {expected}


def test_items_inside_shards_are_shown(backend: Backend, datasets: dict[str, Version]) -> None:
    case = exhibits.with_pictures(backend, mistaken("val/1/03.png", "val/0/04.png"), datasets["packed"])
    assert {item: pixels(uri).tolist() for item, uri in case.pictures.items()} == {
        "val/1/03.png": PIXELS[3].tolist(),
        "val/0/04.png": PIXELS[4].tolist(),
    }
