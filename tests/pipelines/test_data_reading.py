"""A push looks before it writes, leaves out what is not data, and describes the same files in the same bytes for ever."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from data_files import images, publish, write_idx, write_images, write_text

from pipelines.data import summary
from pipelines.data.options import Options
from pipelines.data.reading import inspect, load
from pipelines.data.spec import DESCRIPTION, DatasetSpec, Division
from registry.errors import BadData, UsageError

NOISE = images(8)
PETS = {
    f"{split}/{label}.png": NOISE[k]
    for k, (split, label) in enumerate((s, f"{c}/1") for s in ("train", "test") for c in ("cat", "dog"))
}


def test_the_description_is_a_function_of_the_files(tmp_path: Path) -> None:
    first = inspect(write_idx(tmp_path / "here" / "mnist"))
    second = inspect(write_idx(tmp_path / "there" / "mnist"))
    assert first.spec.to_json() == second.spec.to_json()
    assert "here" not in first.spec.to_json()


def test_a_pulled_dataset_pushed_again_is_the_same_version(tmp_path: Path) -> None:
    write_text(tmp_path / "data/dataset.yaml", "name: pets\nlabels: classes.txt\n")
    write_text(tmp_path / "data/classes.txt", "dog\ncat\n")
    first = inspect(write_images(tmp_path / "data", PETS))
    again = inspect(publish(first, tmp_path / "pulled"))
    assert (again.spec, [name for name, _ in again.files]) == (first.spec, [name for name, _ in first.files])


def test_inspecting_writes_nothing(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    before = sorted(folder.rglob("*"))
    inspect(folder)
    assert sorted(folder.rglob("*")) == before


def test_progress_ends_at_the_size_of_the_data(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    spec = inspect(write_images(tmp_path / "pets", PETS), on_progress=lambda done, total: told.append((done, total))).spec
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (spec.bytes, spec.bytes)


@pytest.mark.parametrize("place", ["data", "data/mnist"], ids=["beside dataset.yaml", "one folder below"])
def test_a_folder_called_data_is_named_by_its_dataset_yaml(tmp_path: Path, place: str) -> None:
    write_idx(tmp_path / place)
    write_text(tmp_path / "data/dataset.yaml", "name: mnist\n")
    assert inspect(tmp_path / "data").spec.name == "mnist"


@pytest.mark.parametrize(
    ("options", "yaml", "name"),
    [
        pytest.param(Options(name="said"), "name: written", "said", id="option first"),
        pytest.param(Options(), "name: written", "written", id="then dataset.yaml"),
        pytest.param(Options(), "# nothing", "pets", id="then the folder"),
    ],
)
def test_a_name_is_taken_from_the_nearest_mouth(tmp_path: Path, options: Options, yaml: str, name: str) -> None:
    write_text(tmp_path / "pets/dataset.yaml", yaml)
    assert inspect(write_images(tmp_path / "pets", PETS), options).spec.name == name


def test_a_file_is_named_by_its_stem_and_pushed_alone(tmp_path: Path) -> None:
    file = write_text(tmp_path / "iris.v2.csv", "a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(10)))
    write_text(tmp_path / "other.csv", "a,y\n1,2\n")
    found = inspect(file)
    assert (found.spec.name, [name for name, _ in found.files]) == ("iris", ["iris.v2.csv"])


@pytest.mark.parametrize("name", ["a/b", "a:b", "", "v 1\n"])
def test_a_name_that_is_no_name_is_refused_with_a_better_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadData) as caught:
        inspect(write_images(tmp_path / "pets", PETS), Options(name=name))
    assert (caught.value.hint or "").startswith("--name ")


def test_junk_stays_behind_and_documents_go_along(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    for junk in (
        ".DS_Store",
        "train/Thumbs.db",
        "train/cat/.hidden.png",
        "__MACOSX/x.png",
        "train/cat/notes.txt",
        "README.md",
        DESCRIPTION,
    ):
        write_text(folder / junk, "x")
    found = inspect(folder)
    assert [name for name, _ in found.files] == ["README.md", *sorted(PETS)]
    assert found.ignored == ("train/cat/notes.txt",)


@pytest.mark.parametrize(
    ("link", "to", "message"),
    [
        pytest.param("train/cat/x.png", "/etc/hostname", "is a link out of the folder, to /etc/hostname", id="file outside"),
        pytest.param("train/bird", "/etc", "is a link to a folder (/etc)", id="folder outside"),
        pytest.param("train/bird", "cat", "is a link to a folder (cat)", id="folder inside"),
        pytest.param("train/cat/x.png", "gone.png", "train/cat/x.png cannot be read: No such file", id="nowhere"),
    ],
)
def test_a_link_is_not_followed_out_of_the_data(tmp_path: Path, link: str, to: str, message: str) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    (folder / link).symlink_to(to)
    with pytest.raises(BadData) as caught:
        inspect(folder)
    assert message in caught.value.message


def test_a_link_within_the_data_is_one_more_item(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    (folder / "train/cat/x.png").symlink_to(folder / "train/cat/1.png")
    assert inspect(folder).spec.splits["train"].duplicates == 1


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        pytest.param({}, Options(), "is empty", id="nothing"),
        pytest.param({"x.bin": "x"}, Options(), "holds no data that reg knows, only x.bin", id="unknown"),
        pytest.param(
            {"x.csv": "a", "d.npz": "b"},
            Options(),
            "holds 1 × npz (such as d.npz) and 1 × csv (such as x.csv)",
            id="two formats",
        ),
        pytest.param({"x.csv": "a"}, Options(format="npz"), "holds no npz files, only x.csv", id="not the format"),
        pytest.param({"a/train.csv": "a", "b/test.csv": "b"}, Options(), "holds data in 2 folders", id="two folders"),
        pytest.param(
            {"x.csv": "a,y\n1,2\n1,3\n"}, Options(task="image-classification"), "is data for tabular-classification", id="task"
        ),
    ],
)
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, files: dict[str, str], options: Options, message: str) -> None:
    (tmp_path / "data").mkdir()
    for name, text in files.items():
        write_text(tmp_path / "data" / name, text)
    with pytest.raises(BadData) as caught:
        inspect(tmp_path / "data", options)
    assert message in caught.value.message


def test_a_path_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="there is nothing at"):
        inspect(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    (folder / "train").chmod(0)
    try:
        with pytest.raises(BadData, match="cannot read the folder"):
            inspect(folder)
    finally:
        (folder / "train").chmod(0o755)


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="the file system allows only Unicode names")
def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    os.rename(folder / "train/cat/1.png", os.fsencode(folder / "train/cat") + b"/\xff.png")
    with pytest.raises(BadData, match="is not UTF-8"):
        inspect(folder)


def test_a_name_with_a_line_break_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets", PETS)
    (folder / "train/cat/1.png").rename(folder / "train/cat/1\n.png")
    with pytest.raises(BadData, match=r"^the name of 'train/cat/1\\n.png' holds '\\n', which nobody sees$"):
        inspect(folder)


@pytest.mark.parametrize(
    ("yaml", "message", "hint"),
    [
        pytest.param("nam: x", "unknown key 'nam'", "did you mean 'name'?", id="misspelt key"),
        pytest.param("- x", "holds a list", "name: mnist", id="no mapping"),
        pytest.param("a: [", "cannot read", None, id="no YAML"),
        pytest.param(
            "format: idxx",
            "format is 'idxx', one of idx, npz, npy, images, masks, metadata, csv, parquet was expected",
            "format: csv",
            id="format",
        ),
        pytest.param("task: segmentation", "task is 'segmentation'", "task: tabular-classification", id="task"),
        pytest.param("labels: [no, yes]", "labels is [False, True]", "labels: ['no', 'yes']", id="YAML booleans"),
        pytest.param("labels: gone.txt", "gone.txt, the labels of", "labels: [zero, one]", id="labels file absent"),
        pytest.param("labels: ../x.txt", "a file beside it was expected", "labels: labels.txt", id="labels file elsewhere"),
        pytest.param("test_fraction: 2", "test_fraction is 2.0", "--test-fraction 0.2", id="fraction"),
        pytest.param("seed: -1", "seed is -1", "--seed 0", id="seed"),
        pytest.param("labels: [a, b, a]", "labels names 'a' twice", "labels: [zero, one]", id="label twice"),
        pytest.param("drop: id", "drop is 'id', a list of column names was expected", "drop: [id]", id="drop"),
        pytest.param(
            "labels: [cat, cow]",
            "lies in the class 'dog', which is not one of the 2 classes given",
            None,
            id="labels incomplete",
        ),
    ],
)
def test_a_mistake_in_dataset_yaml_is_explained(tmp_path: Path, yaml: str, message: str, hint: str | None) -> None:
    write_text(tmp_path / "pets/dataset.yaml", yaml)
    with pytest.raises(BadData) as caught:
        inspect(write_images(tmp_path / "pets", PETS))
    assert message in caught.value.message
    assert hint is None or caught.value.hint == hint


def test_labels_in_dataset_yaml_set_the_order_and_allow_absent_classes(tmp_path: Path) -> None:
    write_text(tmp_path / "pets/dataset.yaml", "labels: [dog, cow, cat]")
    spec = inspect(write_images(tmp_path / "pets", PETS)).spec
    assert spec.splits["train"].classes == {"dog": 1, "cow": 0, "cat": 1}


def test_a_test_fraction_of_zero_keeps_everything_in_train(tmp_path: Path) -> None:
    folder = write_images(
        tmp_path / "pets", {name.removeprefix("train/"): pixels for name, pixels in PETS.items() if "train" in name}
    )
    found = inspect(folder, Options(test_fraction=0))
    dataset = load(publish(found, tmp_path / "artifact"))
    assert (found.spec.division, dataset.split("train").items.tolist()) == (None, ["train/cat/1.png", "train/dog/1.png"])


def test_the_drawn_split_is_recorded_with_its_defaults(tmp_path: Path) -> None:
    file = write_text(tmp_path / "t.csv", "a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(10)))
    assert inspect(file).spec.division == Division(seed=0, test_fraction=0.2)


def test_an_unknown_split_is_answered_with_those_there_are(tmp_path: Path) -> None:
    dataset = load(publish(inspect(write_idx(tmp_path / "mnist")), tmp_path / "artifact"))
    with pytest.raises(UsageError, match="mnist has no split 'val', only train, test"):
        dataset.split("val")


def test_an_artifact_that_lost_items_is_refused(tmp_path: Path) -> None:
    artifact = publish(inspect(write_images(tmp_path / "pets", {**PETS, "train/cat/2.png": NOISE[5]})), tmp_path / "artifact")
    (artifact / "train/cat/2.png").unlink()
    with pytest.raises(BadData, match="split 'train' of pets holds 2 items"):
        load(artifact).split("train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(None, "is no dataset of reg", id="absent"),
        pytest.param({"schema_version": 4}, "has schema_version 4, this reg reads up to 3", id="of a later reg"),
        pytest.param({"colour": "red"}, "colour: Extra inputs are not permitted", id="unknown key"),
        pytest.param({"labels": ["0"]}, "the classes of split 'train' do not add up to its 20 items", id="contradicts itself"),
    ],
)
def test_a_description_is_not_believed_blindly(tmp_path: Path, change: dict[str, object] | None, message: str) -> None:
    artifact = publish(inspect(write_idx(tmp_path / "mnist")), tmp_path / "artifact")
    file = artifact / DESCRIPTION
    if change is None:
        file.unlink()
    else:
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(BadData) as caught:
        load(artifact)
    assert message in caught.value.message


def test_the_description_survives_its_file(tmp_path: Path) -> None:
    spec = inspect(write_idx(tmp_path / "mnist")).spec
    assert DatasetSpec.from_json(spec.to_json()) == spec


def test_a_summary_has_a_row_per_split_and_warns_of_leaks_repetitions_and_gaps(tmp_path: Path) -> None:
    write_text(tmp_path / "pets/dataset.yaml", "labels: [cat, cow, dog]")
    leaky = {**PETS, "test/cat/2.png": PETS["train/cat/1.png"], "test/cat/3.png": PETS["test/cat/1.png"]}
    spec = inspect(write_images(tmp_path / "pets", leaky)).spec
    assert summary.rows(spec)[1] == ("test", 4, 2, "1 (dog) to 3 (cat) per class", 48, 1)
    assert summary.rows(spec)[0].balance == "1 per class"
    assert dict(summary.facts(spec))["classes"] == "3: cat, cow, dog"
    assert summary.warnings(spec) == (
        "1 of 4 items (25.00%) of 'test' are also in 'train', for example test/cat/2.png = train/cat/1.png: "
        "a model may know them by heart",
        "'train' has no items of cow",
        "1 of 4 items of 'test' repeat another one",
        "'test' has no items of cow",
    )
