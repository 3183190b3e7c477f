"""What is known of files by their md5s is what the SDK would find out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import wandb

from registry.hashed_files import NO_FILES, Hashed, HashedFiles


def md5(content: str) -> bytes:
    return hashlib.md5(content.encode()).digest()


NAMES = ["a b.png", "a-x/1.png", "a/0.png", "a/é.png", "ü/日本.png"]
FILES = HashedFiles(
    names=NAMES,
    paths=[f"/somewhere/{name}" for name in NAMES],
    md5s=b"".join(map(md5, NAMES)),
    sizes=[len(name) for name in NAMES],
    stored=[name.startswith("a") for name in NAMES],
)


@pytest.mark.parametrize("others", [[], ["0 first"], ["dataset.json"], ["zz", "a/00", "ü/日本.png.txt"]])
@pytest.mark.parametrize("files", [FILES, NO_FILES], ids=["many", "none"])
def test_the_digest_is_that_of_the_sdk(tmp_path: Path, files: HashedFiles, others: list[str]) -> None:
    artifact = wandb.Artifact("x", type="dataset")
    for name in [*files.names, *others]:
        (tmp_path / "file").write_text(name)
        artifact.add_file(str(tmp_path / "file"), name=name)
    assert files.digest({name: md5(name) for name in others}) == artifact.digest


def test_rows_are_the_columns_crosswise() -> None:
    assert FILES.at([1, 4]).rows() == {
        name: Hashed(path=f"/somewhere/{name}", md5=md5(name).hex(), size=len(name), stored=name.startswith("a"))
        for name in (NAMES[1], NAMES[4])
    }
    assert not any(FILES.unbelieved().stored)
