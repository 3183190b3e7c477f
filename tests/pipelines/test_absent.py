"""Who asks for what is not there hears what there is instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.backend import Backend
from registry.errors import BadReference, NotFound
from registry.records import Target
from registry.references import check_collection, parse
from registry.verdict_folder import collection


def test_an_empty_project_is_told_from_a_wrong_name(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as empty:
        backend.resolve(parse("mnist"))
    (tmp_path / "x").write_text("x")
    with backend.run(job_type="dataset") as run:
        run.output("mnist", type="dataset", files=[("x", tmp_path / "x")])
    assert (empty.value.message, empty.value.hint) == (
        f"there is no 'mnist:latest': nothing was logged to {backend.entity}/{backend.project} yet",
        "reg dataset push data/",
    )


@pytest.mark.parametrize(
    ("asked", "said", "hint"),
    [
        ("mnits:v0", "there is no 'mnits' in", "did you mean 'mnist'?"),
        ("zoo", "there is no 'zoo' in", "reg ls"),
        ("mnist:v7", "has no version or alias 'v7'", "reg ls mnist"),
        ("elsewhere/mnist", "there is no 'elsewhere/mnist:latest', or this key cannot see it", "reg ls"),
    ],
    ids=["nearly", "unknown", "version", "another project"],
)
def test_what_is_absent_names_what_is_there(backend: Backend, asked: str, said: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        backend.resolve(parse(asked))
    assert said in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["model", "v-1_b.2", "x" * 128])
def test_a_name_that_the_sdk_takes_is_kept(name: str) -> None:
    assert check_collection(name) == name


@pytest.mark.parametrize(
    ("name", "nearest"), [("mein modell", "mein-modell"), ("ä", "my-name"), ("x" * 129, "x" * 128), ("a/b", "a-b")]
)
def test_a_name_that_the_sdk_refuses_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(BadReference) as caught:
        check_collection(name)
    assert caught.value.hint == f"--name {nearest}"
    assert check_collection(nearest) == nearest


def test_an_alias_whose_verdicts_could_not_be_logged_is_refused() -> None:
    assert collection(Target(registry="model", collection="mnist", alias="production")) == "verdict-mnist-production"
    with pytest.raises(BadReference, match="'verdict-mnist-my alias'"):
        collection(Target(registry="model", collection="mnist", alias="my alias"))
