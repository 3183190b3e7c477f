"""Which files are tables, by their names alone: whoever pushes images does not wait for pyarrow to be loaded."""

from __future__ import annotations

from pathlib import PurePosixPath

from pipelines.data.files import File

_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def claims_csv(file: File) -> bool:
    return file.name.lower().endswith(_CSV)


def claims_parquet(file: File) -> bool:
    return file.name.lower().endswith(".parquet")


def names_a_table(file: File) -> bool:
    """Whether a file is called what the table of an image folder is called."""
    return claims_csv(file) and PurePosixPath(file.name).name.partition(".")[0].lower() == "metadata"
