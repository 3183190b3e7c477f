"""Folders of photographs go through as they are: one size is said once, recorded, and every reader follows it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data_files import images, publish, write_images, write_text
from photos import originals, save, write_petals, write_photos
from PIL import Image

from pipelines.data import decoding, pictures, stacking, summary
from pipelines.data import memory as remembering
from pipelines.data.comparison import diff
from pipelines.data.decoding import pixels_of
from pipelines.data.files import Files
from pipelines.data.inputs import OnDisk, Room
from pipelines.data.memory import recall
from pipelines.data.options import Options, read_options
from pipelines.data.reading import Dataset, inspect, load
from pipelines.data.spec import DESCRIPTION, IGNORED, DatasetSpec, Rendering
from registry.errors import BadData

SIZE = Options(size=(24, 32))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "photos", train=7, test=6)


@pytest.fixture(scope="module")
def petals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_petals(tmp_path_factory.mktemp("petals") / "petals", train=6, test=4)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def opened(folder: Path, place: Path, options: Options = SIZE) -> Dataset:
    return load(publish(inspect(folder, options), place))


def test_photographs_become_one_shape_and_stay_as_they_are(photos: Path, tmp_path: Path) -> None:
    found = inspect(photos, SIZE)
    assert (found.spec.schema_version, found.spec.input.shape) == (3, (24, 32, 3))
    assert found.spec.rendering == Rendering(size=(24, 32), fit="crop", channels=3)
    artifact = publish(found, tmp_path / "artifact")
    assert all((artifact / name).read_bytes() == path.read_bytes() for name, path in found.files)
    test = load(artifact).split("test")
    assert (test.inputs.shape, found.spec.splits["test"].bytes) == ((12, 24, 32, 3), test.inputs.nbytes)
    for item, pixels in zip(test.items, test.inputs, strict=True):
        assert np.array_equal(pixels, pixels_of(photos / item, found.spec.rendering)), item


def test_without_a_size_the_sizes_are_told_and_a_command_that_works(tmp_path: Path) -> None:
    sizes = [(50, 40), (50, 40), (90, 120), (33, 60)]
    files = {f"{label}/{k}.png": images(1, seed=k, shape=size)[0] for label in "ab" for k, size in enumerate(sizes)}
    folder = write_images(tmp_path / "my photos" / "pets", files)
    with pytest.raises(BadData) as caught:
        inspect(folder)
    assert caught.value.message == "the images have 3 sizes, from 33×60 (a/3.png) to 90×120 (a/2.png); 4 of 8 are 50×40"
    assert caught.value.hint == f"reg dataset push '{folder}' --size 32"


def test_images_of_one_size_are_read_as_ever(tmp_path: Path) -> None:
    files = {f"{label}/{k}.png": images(1, seed=k)[0] for label in "ab" for k in range(10)}
    spec = inspect(write_images(tmp_path / "pets", files)).spec
    assert (spec.schema_version, spec.rendering) == (1, None)
    assert "rendering" not in json.loads(spec.to_json())


def test_grey_and_coloured_images_become_rgb_without_changing_what_they_are(tmp_path: Path) -> None:
    grey = {f"train/{label}/{k}.png": images(20, seed=ord(label))[k] for label in "ab" for k in range(4)}
    before = opened(write_images(tmp_path / "pets", grey), tmp_path / "before", Options(test_fraction=0.0))
    save(Image.fromarray(images(1, shape=(4, 3, 3))[0]), tmp_path / "pets/train/a/colour", 2)
    after = opened(tmp_path / "pets", tmp_path / "after", Options(test_fraction=0.0))
    assert (before.spec.input.shape, after.spec.input.shape) == ((4, 3, 1), (4, 3, 3))
    found = diff(before, after)
    assert (found.added, found.removed, found.changed, found.unchanged) == (("train/a/colour.png",), (), (), 8)
    assert found.inputs is not None
    assert np.array_equal(after.split("train").inputs[0], np.repeat(before.split("train").inputs[0], 3, axis=-1))


def test_a_picture_that_lies_otherwise_than_it_is_seen_is_turned(tmp_path: Path) -> None:
    pictures = [originals()[0].crop((20 * k, 150, 20 * k + 45, 180)) for k in range(6)]
    for k, one in enumerate(pictures):
        save(one, tmp_path / "pets" / "ab"[k % 2] / str(k), 4 if k == 3 else 0)
    found = inspect(tmp_path / "pets", Options(test_fraction=0.0))
    assert (found.spec.rendering, found.spec.input.shape) == (Rendering(), (30, 45, 3))
    train = load(publish(found, tmp_path / "artifact")).split("train")
    turned = train.inputs[train.items.tolist().index("train/b/3.jpg")]
    assert np.abs(turned.astype(int) - np.asarray(pictures[3])).mean() < 6


@pytest.mark.parametrize("where", ["packed", "on disk"])
def test_other_ways_to_store_and_read_give_the_same_items(photos: Path, tmp_path: Path, where: str) -> None:
    plain = opened(photos, tmp_path / "plain")
    if where == "packed":
        (tmp_path / "shards").mkdir()
        other = load(publish(inspect(photos, SIZE, pack_into=tmp_path / "shards"), tmp_path / "artifact"))
    else:
        other = load(tmp_path / "plain", memory=0)
        assert isinstance(other.split("test").inputs, OnDisk)
    assert other.spec == plain.spec
    for split in ("train", "test"):
        one, two = plain.split(split), other.split(split)
        assert np.array_equal(one.inputs[:], two.inputs[:])
        assert np.array_equal(one.digests().array, two.digests().array)
        assert np.array_equal(one.targets, two.targets)


def test_the_digests_of_a_look_are_those_of_a_reader(photos: Path, tmp_path: Path) -> None:
    found = inspect(photos, SIZE)
    test = load(publish(found, tmp_path / "artifact")).split("test")
    assert [digest.hex() for digest in test.digests()] == [found.pictures[item].digest for item in test.items.tolist()]


def test_a_photograph_is_decoded_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(inspect(photos, SIZE), tmp_path / "artifact")
    inputs = load(tmp_path / "artifact", memory=0).split("test").inputs
    first = inputs[[3, 0, 7]]
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_opened", None)
        assert np.array_equal(inputs[[7, 3, 3]], first[[2, 0, 0]])
        with pytest.raises(TypeError):
            inputs[[7, 1]]
    assert np.array_equal(inputs[:], load(tmp_path / "artifact").split("test").inputs)


@pytest.mark.parametrize("why", ["scarce", "full"])
def test_a_disk_without_room_keeps_nothing_and_costs_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    publish(inspect(photos, SIZE), tmp_path / "artifact")
    expected = load(tmp_path / "artifact").split("test").inputs
    if why == "scarce":
        monkeypatch.setattr(pictures.shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    else:

        def full(*args: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pictures.os, "pwrite", full)
    inputs = load(tmp_path / "artifact", memory=0).split("test").inputs
    assert all(np.array_equal(inputs[:], expected) for _ in range(2))


def test_images_on_disk_can_be_read_by_other_processes(photos: Path, tmp_path: Path) -> None:
    publish(inspect(photos, SIZE), tmp_path / "artifact")
    inputs = load(tmp_path / "artifact", memory=0).split("test").inputs
    again = pickle.loads(pickle.dumps(inputs))
    assert np.array_equal(again[[3, 0]], inputs[[3, 0]])


def test_another_size_changes_no_picture(photos: Path, tmp_path: Path) -> None:
    before = opened(photos, tmp_path / "before")
    after = opened(photos, tmp_path / "after", Options(size=(16, 16), fit="pad"))
    found = diff(before, after)
    assert not found
    assert found.unchanged == 26
    assert found.inputs is not None
    assert "24×32" in found.inputs[0]
    assert "scaled to fit" in found.inputs[1]


def test_a_drawn_split_is_repeated_from_any_size(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", train=12, test=0)
    dataset = opened(folder, tmp_path / "artifact")
    assert dataset.spec.division is not None
    test, train = dataset.split("test"), dataset.split("train")
    assert (len(test), len(train)) == (dataset.spec.splits["test"].items, dataset.spec.splits["train"].items)
    assert np.array_equal(test.digests_as(dataset.spec.rendering).array, test.digests().array)  # type: ignore[misc]
    other = opened(folder, tmp_path / "other", Options(size=(9, 9), fit="pad")).split("test")
    assert other.items.tolist() == test.items.tolist()
    packed = publish(inspect(folder, SIZE, pack_into=_empty(tmp_path / "shards")), tmp_path / "packed")
    assert load(packed).split("test").items.tolist() == test.items.tolist()


def test_copies_of_a_photograph_stay_on_one_side_of_a_drawn_split(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", train=12, test=0)
    for file in sorted(folder.rglob("*.png")):
        with Image.open(file) as image:
            image.save(file.with_suffix(".bmp" if image.mode != "RGBA" else ".tif"))
    spec = inspect(folder, SIZE).spec
    assert spec.overlaps == ()
    assert sum(split.duplicates for split in spec.splits.values()) == 12


def test_what_is_remembered_under_one_size_is_not_believed_under_another(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "_TICK_NS", -60_000_000_000)
    first = inspect(photos, SIZE)
    none, nothing = Files.of(()), np.empty((0, 16), np.uint8)
    recall(tmp_path, photos).keep(none, nothing, first.data, first.pictures, rendered=first.rendered)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_opened", None)
        assert inspect(photos, SIZE, memory=recall(tmp_path, photos)).spec == first.spec
    other = Options(size=(16, 16))
    assert inspect(photos, other, memory=recall(tmp_path, photos)).spec == inspect(photos, other).spec


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_masks_are_framed_as_their_images(petals: Path, tmp_path: Path, fit: str) -> None:
    options = Options(size=(48, 48), fit=fit, labels=("leaf", "petal"))  # type: ignore[arg-type]
    dataset = opened(petals, tmp_path / "artifact", options)
    train = dataset.split("train")
    assert (train.inputs.shape, train.targets.shape) == ((6, 48, 48, 3), (6, 48, 48))
    red, green, _ = np.moveaxis(train.inputs[:].astype(int), -1, 0)
    seen = train.targets != IGNORED
    assert seen.all() == (fit == "crop")
    sure = seen & (abs(red - green - 40) > 30)
    assert ((red > green + 40) == (train.targets == 1))[sure].mean() > 0.98
    assert dataset.spec.splits["train"].ignored == (~seen).sum()


def test_black_and_white_masks_may_be_padded(petals: Path, tmp_path: Path) -> None:
    for mask in petals.rglob("masks/*.png"):
        place = tmp_path / "petals" / mask.relative_to(petals)
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(mask) as image:
            Image.fromarray(np.asarray(image) * np.uint8(255)).save(place)
    for image_file in petals.rglob("images/*"):
        place = tmp_path / "petals" / image_file.relative_to(petals)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(image_file.read_bytes())
    found, plain = (inspect(folder, Options(size=(32, 32), fit="pad")).spec for folder in (tmp_path / "petals", petals))
    assert (found.labels, found.mask_values) == (("0", "255"), (0, 255))
    assert [*found.splits["train"].pixels.values()] == [*plain.splits["train"].pixels.values()]
    assert found.splits["train"].ignored == plain.splits["train"].ignored > 0


def test_a_mask_of_another_size_than_its_image_is_named(petals: Path, tmp_path: Path) -> None:
    files = {f"train/{kind}/{k}.png": images(1, shape=(9, 9 + k))[0] % 2 for kind in ("images", "masks") for k in range(3)}
    files["train/masks/1.png"] = files["train/masks/1.png"][:, 1:]
    with pytest.raises(BadData, match=r"train/masks/1.png is 9×9, its image is 9×10"):
        inspect(write_images(tmp_path / "scans", files), Options(size=(8, 8)))


def test_numbers_are_learned_from_photographs_too(photos: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    folder = tmp_path / "measured"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((photos / name).read_bytes())
    write_text(folder / "metadata.csv", "file_name,size\n" + "".join(f"{name},{k}.5\n" for k, name in enumerate(names)))
    dataset = opened(folder, tmp_path / "artifact")
    assert (dataset.spec.task, dataset.split("test").inputs.shape) == ("image-regression", (12, 24, 32, 3))
    assert isinstance(load(tmp_path / "artifact", memory=0).split("train").inputs, OnDisk)


def test_what_is_said_beside_the_data_is_heard(photos: Path, tmp_path: Path) -> None:
    said, _ = read_options(write_text(tmp_path / "dataset.yaml", "size: 24x32\nfit: pad\nlevels: [0, 4095]\n"))
    assert said == Options(size=(24, 32), fit="pad", levels=(0, 4095))
    square, _ = read_options(write_text(tmp_path / "square.yaml", "size: 224\n"))
    listed, _ = read_options(write_text(tmp_path / "list.yaml", "size: [224, 224]\n"))
    assert square == listed == Options(size=(224, 224))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("size: large", "size is 'large', a number of pixels or HEIGHTxWIDTH was expected"),
        ("size: 0", "size is 0×0, sides from 1 to 16,384 pixels were expected"),
        ("fit: stretch", "fit is 'stretch', one of crop, pad was expected"),
        ("levels: [9, 1]", "levels are 9 and 1, black has to lie below white"),
    ],
)
def test_what_cannot_be_said_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BadData) as caught:
        read_options(write_text(tmp_path / "dataset.yaml", line))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(fit="pad"), "fit is pad, and there is no size to fit into"),
        (Options(size=(8, 8), format="npz"), "size is for image files, and these are data of the format npz"),
    ],
    ids=["fit alone", "arrays"],
)
def test_what_was_said_must_fit_the_data(tmp_path: Path, options: Options, message: str) -> None:
    write_images(tmp_path / "data", {f"{label}/{k}.png": images(1)[0] for label in "ab" for k in range(3)})
    np.savez(tmp_path / "data/all.npz", x_train=images(4), y_train=np.array([0, 1, 0, 1]))
    with pytest.raises(BadData, match=message):
        inspect(tmp_path / "data", options if options.format else Options(fit="pad", format="images"))


def test_a_description_says_in_words_how_pictures_are_read(photos: Path) -> None:
    spec = DatasetSpec.from_json(inspect(photos, SIZE).spec.to_json(), file=DESCRIPTION)
    words = dict(summary.facts(spec))["rendering"]
    assert words == "scaled to fill, centre cut out: 24×32; EXIF orientation honoured; all as RGB, transparent on white"


def test_more_photographs_than_fit_into_memory_are_counted_by_their_shape(photos: Path) -> None:
    found = inspect(photos, SIZE, room=Room(0))
    assert found.spec == inspect(photos, SIZE).spec


def test_a_survey_of_sizes_stays_short(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "_SURVEYED", 10)
    with pytest.raises(BadData, match=r"sizes \(of 9 looked at\)"):
        inspect(photos)
