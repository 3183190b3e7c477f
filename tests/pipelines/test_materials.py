"""What goes into a script and what comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.materials import Materials, Output, Untouched, laid_out, make_ready, parse_input, parse_output, written
from registry.errors import BadData, BadReference, UsageError


@pytest.mark.parametrize(
    ("text", "name", "tag", "path", "variable"),
    [
        ("mnist:latest=data/", "mnist", "latest", Path("data"), "REG_INPUT_MNIST"),
        ("mnist", "mnist", "latest", None, "REG_INPUT_MNIST"),
        ("team/vision/road-maps.v2:v3=in", "road-maps.v2", "v3", Path("in"), "REG_INPUT_ROAD_MAPS_V2"),
    ],
    ids=["path", "no-path", "elsewhere"],
)
def test_an_input_is_a_reference_and_a_place(text: str, name: str, tag: str, path: Path | None, variable: str) -> None:
    found = parse_input(text)
    assert (found.reference.name, found.reference.tag, found.path, found.variable) == (name, tag, path, variable)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model=out/", ("model", None, Path("out"), True)),
        ("report:html=page.html", ("report", "html", Path("page.html"), False)),
    ],
)
def test_an_output_is_a_name_a_type_and_a_place(text: str, expected: Any) -> None:
    found = parse_output(text)
    assert (found.name, found.type, found.path, found.is_folder) == expected


@pytest.mark.parametrize("text", ["out/", "=out", "model=", "model:=out", "model:a b=out", "a/b=out"])
def test_an_output_that_is_written_wrongly_is_refused(text: str) -> None:
    with pytest.raises((UsageError, BadReference)):
        parse_output(text)


@pytest.mark.parametrize(
    ("uses", "outs", "what"),
    [
        (["mnist=a", "mnist:v0=b"], [], "variable REG_INPUT_MNIST"),
        (["mnist=data"], ["model=data/"], "place .*data"),
        ([], ["a-b=x", "a.b=y"], "variable REG_OUTPUT_A_B"),
    ],
    ids=["same-input", "same-place", "same-variable"],
)
def test_two_that_would_be_one_are_refused(uses: list[str], outs: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Materials(inputs=tuple(map(parse_input, uses)), outputs=tuple(map(parse_output, outs)))


def test_an_input_is_at_its_place_for_the_time_of_the_script_only(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "a.txt").write_text("a")
    wanted = parse_input(f"mnist={tmp_path}/deep/data")
    with laid_out([(wanted, tmp_path / "copy")]):
        assert (tmp_path / "deep" / "data" / "a.txt").read_text() == "a"
    assert not (tmp_path / "deep" / "data").exists()
    assert (tmp_path / "copy" / "a.txt").exists()


def test_a_place_that_a_killed_run_left_is_used_again_and_one_of_somebody_is_not(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "old")
    with laid_out([(parse_input(f"mnist={tmp_path}/data"), tmp_path / "new")]):
        assert (tmp_path / "data").resolve() == tmp_path / "new"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with (
        pytest.raises(UsageError, match="mine is already here"),
        laid_out([(parse_input(f"mnist={tmp_path}/mine"), tmp_path / "new")]),
    ):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_copy_that_a_script_changed_is_noticed(tmp_path: Path) -> None:
    for name in ("kept", "gone", "changed"):
        (tmp_path / name).write_text(name)
    copy = Untouched(tmp_path)
    assert (copy.changed(), oct((tmp_path / "kept").stat().st_mode & 0o777)) == ([], "0o444")
    (tmp_path / "gone").unlink()
    (tmp_path / "changed").chmod(0o644)
    (tmp_path / "changed").write_text("otherwise")
    (tmp_path / "new").write_text("new")
    assert copy.changed() == ["changed", "gone", "new"]
    copy.discard()
    assert not tmp_path.exists()


def test_an_output_counts_only_when_this_run_wrote_it(tmp_path: Path) -> None:
    output = parse_output(f"model={tmp_path}/out/")
    before = make_ready(output)
    with pytest.raises(BadData, match="is empty"):
        written(output, before=before)
    (tmp_path / "out" / "w.bin").write_bytes(b"1")
    assert written(output, before=before) == [tmp_path / "out" / "w.bin"]
    with pytest.raises(BadData, match="what is there was there before"):
        written(output, before=make_ready(output))
    missing = parse_output(f"report={tmp_path}/page.html")
    with pytest.raises(BadData, match=r"page\.html is not there") as caught:
        written(missing, before=make_ready(missing))
    assert "REG_OUTPUT_REPORT" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "type_", "file", "chosen"),
    [
        ("model", None, "weights.bin", "model"),
        ("net", None, "net.onnx", "model"),
        ("dataset", None, "a.csv", "dataset"),
        ("report", None, "a.html", "result"),
        ("model", "checkpoint", "net.onnx", "checkpoint"),
    ],
)
def test_the_type_follows_from_what_is_said_or_seen(
    tmp_path: Path, name: str, type_: str | None, file: str, chosen: str
) -> None:
    (tmp_path / file).write_text("x")
    assert Output(name=name, type=type_, path=tmp_path, is_folder=True).chosen_type == chosen
