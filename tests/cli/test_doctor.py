"""`reg doctor` tells versions, sizes, the schema and the range of the SDK, and what to do where one of them is wrong."""

from __future__ import annotations

import sqlite3
import sys
import tarfile
from contextlib import closing
from dataclasses import replace
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.cli.conftest import Done, Inside, Reg

pytest.importorskip("torch")
HOMES = Path(__file__).parents[1] / "golden" / "homes"


def findings(done: Done) -> dict[str, Any]:
    return {finding["what"]: finding for finding in done.data["findings"]}


@pytest.fixture
def golden(inside: Inside) -> Inside:
    """`reg` with the home of the first schema."""
    with tarfile.open(HOMES / "0001.tar.xz") as archive:
        archive.extractall(inside.home.parent, filter="data")
    return inside


def test_versions_sizes_and_the_schema_are_told_before_and_after_a_migration(golden: Inside) -> None:
    before = findings(golden("doctor", "--json"))
    tested = str(next(r.specifier for r in map(Requirement, requires("reg-lifecycle") or []) if r.name == "wandb"))
    ours = {"reg": version("reg-lifecycle"), "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    assert before["reg"]["facts"] == ours
    assert before["wandb"]["facts"] == {"version": version("wandb"), "tested": tested, "inside": True}
    blobs = [path.stat().st_size for path in (golden.home / "blobs").rglob("*") if path.is_file()]
    assert (before["home"]["facts"]["blobs"], before["home"]["facts"]["blob_bytes"]) == (len(blobs), sum(blobs))
    newest = before["schema"]["facts"]["newest"]
    assert (before["schema"]["state"], before["schema"]["facts"]["schema"]) == ("note", "0001")
    assert before["schema"]["says"] == f"0001; the next command brings it to {newest} and keeps a copy beside it"
    after = findings(golden("doctor", "--json"))
    assert (after["schema"]["state"], after["schema"]["says"]) == ("ok", newest)


def test_a_home_of_a_newer_reg_is_a_problem_with_a_way_out(golden: Inside) -> None:
    with closing(sqlite3.connect(golden.home / "reg.db")) as database, database:
        database.execute("INSERT INTO migrations (name) VALUES ('9999 the future')")
    done = golden("doctor", "--json")
    schema = findings(done)["schema"]
    assert (done.code, schema["state"]) == (7, "problem")
    assert schema["says"].startswith("9999: a newer reg wrote this home, this one knows ")
    assert schema["hint"] == "pip install --upgrade reg-lifecycle, or point REG_HOME at another folder"


def test_an_sdk_outside_the_tested_range_is_a_problem_with_a_way_in(reg: Reg, tmp_path: Path) -> None:
    elsewhere = tmp_path / "wandb-9.9.9.dist-info"
    elsewhere.mkdir()
    (elsewhere / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 9.9.9\n")
    done = replace(reg, extra={"PYTHONPATH": str(tmp_path)})("doctor", "--json")
    wandb = findings(done)["wandb"]
    assert (done.code, wandb["state"], wandb["facts"]["inside"]) == (7, "problem", False)
    assert wandb["says"] == f"9.9.9, outside the tested range {wandb['facts']['tested']}"
    assert wandb["hint"] == f"pip install 'wandb{wandb['facts']['tested']}'"
