"""The whole life on real data, by the commands a person types: the demo is run once, each of its commands a process of its own,
and copies of its home are looked at after.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry import policy, promotion, provenance, questions, references, settings
from registry.connection import connect
from registry.errors import AliasMoved
from registry.records import Target, Verdict
from tests.cli.conftest import Done, Inside, Reg, serving

pytestmark = pytest.mark.slow

PRODUCTION = "wandb-registry-model/model:production"


@pytest.fixture(scope="module")
def demo(make_reg: Callable[[str], Reg]) -> tuple[Path, Done]:
    """The folder of a finished demo, which nobody changes, and its transcript."""
    reg = make_reg("demo")
    done = reg("demo", "--home", str(reg.folder / "demo"))
    assert done.code == 0, done.out + done.err
    return reg.folder / "demo", done


@pytest.fixture(scope="module")
def digits(demo: tuple[Path, Done]) -> Path:
    """The data of the demo."""
    return demo[0] / "digits"


def copied(home: Path, place: Path) -> Inside:
    shutil.copytree(home, place / "home")
    (place / "work").mkdir()
    return Inside(home=place / "home", folder=place / "work")


@pytest.fixture(scope="module")
def lived(demo: tuple[Path, Done], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """`reg` with the home of the demo, to look at."""
    reg = copied(demo[0] / "home", tmp_path_factory.mktemp("lived"))
    with serving(reg):
        yield reg


@pytest.fixture
def life(demo: tuple[Path, Done], tmp_path: Path) -> Iterator[Inside]:
    """A copy of the demo's home that the test may change."""
    reg = copied(demo[0] / "home", tmp_path)
    with serving(reg):
        yield reg


def holder(reg: Reg) -> str:
    found: str = reg("show", PRODUCTION, "--json").data["source"]
    return found.rpartition("/")[2]


def test_the_demo_shows_each_command_and_the_four_answers(demo: tuple[Path, Done]) -> None:
    out = demo[1].out
    for command in ("reg dataset push digits/", "reg evaluate model:v0", "reg promote model:v3 --alias production"):
        assert f"$ {command}" in out
    assert [word for word in ("(exit code 4: INCONCLUSIVE)", "(exit code 3: FAIL)") if word not in out] == []
    assert "'wandb-registry-model/model:production' is now model:v1" in out


def test_production_is_held_by_the_model_that_won(lived: Inside) -> None:
    assert holder(lived) == "model:v1"


def test_lineage_leads_from_production_to_the_data_and_to_the_verdicts(lived: Inside) -> None:
    graph = lived("lineage", PRODUCTION, "--json").data
    kinds = {node["kind"] for node in graph["nodes"]}
    assert kinds == {"model", "train", "dataset", "evaluate", "evaluation", "promote", "verdict"}
    labels = {node["label"] for node in graph["nodes"]}
    assert {"digits:v0", "model:v1", "verdict-model-production:v1"} <= labels
    assert "model:v0" not in labels, "the beaten baseline is neither ancestor nor offspring"
    drawn = lived("lineage", PRODUCTION, "--up").out
    assert [line.split("─ ")[-1].strip() for line in drawn.splitlines()] == [
        "model:v1  what led to it",
        "train model on digits:v0",
        "dataset digits:v0  latest",
        "dataset push digits",
    ]


def test_lineage_is_drawn_for_markdown(lived: Inside) -> None:
    out = lived("lineage", PRODUCTION, "--up", "--format", "mermaid").out
    assert out.startswith("flowchart LR")
    assert out.count("-->") == 3


def test_every_run_of_the_life_is_finished(lived: Inside) -> None:
    nodes = lived("lineage", "digits:v0", "--json").data["nodes"]
    assert {node["state"] for node in nodes if node["run"]} == {"finished"}


def test_the_verdict_is_an_artifact_with_its_policy(lived: Inside, tmp_path: Path) -> None:
    done = lived("get", "verdict-model-production:v1", "--to", str(tmp_path / "v"))
    assert done.code == 0
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"verdict.json", "policy.yaml", "verdict.md", "verdict.html"}
    verdict = Verdict.model_validate_json((tmp_path / "v" / "verdict.json").read_text())
    assert verdict.baseline is not None
    assert (verdict.outcome, verdict.candidate.reference, verdict.baseline.reference) == (
        "PASS",
        "local/reg/model:v1",
        "local/reg/model:v0",
    )
    assert policy.load((tmp_path / "v" / "policy.yaml").read_text(), name="policy.yaml").digest == verdict.policy_digest


def test_an_unchanged_push_makes_no_version(life: Inside, digits: Path) -> None:
    done = life("dataset", "push", str(digits))
    assert done.code == 0
    assert "digits:v0 is unchanged" in done.out
    assert [v["reference"] for v in life("dataset", "ls", "digits", "--json").data["versions"]] == ["local/reg/digits:v0"]


def test_what_is_pulled_is_what_was_pushed(life: Inside, digits: Path) -> None:
    assert life("dataset", "pull", "digits", "--to", "pulled").code == 0
    pushed = {p.relative_to(digits): p for p in digits.rglob("*.png")}
    pulled = {p.relative_to(life.folder / "pulled"): p for p in (life.folder / "pulled").rglob("*.png")}
    assert {name: path.read_bytes() for name, path in pulled.items()} == {
        name: path.read_bytes() for name, path in pushed.items()
    }


def test_a_gate_answers_without_moving(life: Inside) -> None:
    done = life("gate", "model:v3", "--json")
    assert (done.code, done.data["verdict"]["judgement"]["outcome"], done.data["moved"]) == (3, "FAIL", False)
    assert holder(life) == "model:v1"


def test_a_dry_run_writes_nothing(life: Inside) -> None:
    before = life("ls", "--json").data
    done = life("promote", "model:v3", "--alias", "production", "--dry-run", "--json")
    assert (done.code, done.data["artifact"]) == (3, None)
    assert life("ls", "--json").data == before


def test_promoting_the_holder_again_changes_nothing(life: Inside) -> None:
    done = life("promote", "model:v1", "--alias", "production")
    assert done.code == 0
    assert f"model:v1 already holds '{PRODUCTION}'" in done.out


def test_an_override_moves_the_alias_and_is_on_record(life: Inside) -> None:
    done = life("promote", "model:v3", "--alias", "production", "--override", "v1 crashes on empty images", "--json")
    assert (done.code, done.data["moved"]) == (0, True)
    assert done.data["verdict"]["judgement"]["outcome"] == "FAIL"
    assert done.data["verdict"]["override"]["reason"] == "v1 crashes on empty images"
    assert holder(life) == "model:v3"


def test_an_override_without_a_reason_is_refused(life: Inside) -> None:
    assert life("promote", "model:v3", "--alias", "production", "--override", " ").code == 2
    assert holder(life) == "model:v1"


def test_a_policy_that_demands_a_gpu_is_not_met_by_a_cpu(life: Inside) -> None:
    assert life("init", "--device", "cuda").code == 0
    done = life("promote", "model:v3", "--alias", "production", "--project", "reg")
    assert done.code == 7
    assert "no CUDA" in done.err
    assert holder(life) == "model:v1"


def test_a_policy_that_asks_for_approval_stops_before_the_move(life: Inside) -> None:
    text = (
        (Path(__file__).parents[2] / "pipelines" / "policy.yaml")
        .read_text()
        .replace("approvals: {min: 0", "approvals: {min: 1")
    )
    text = text.replace(
        "id: beats, metric: accuracy, test: superiority, min_gain: 0.0", "id: beats, metric: accuracy, test: absolute, min: 0.5"
    )
    (life.folder / "policy.yaml").write_text(text)
    done = life("promote", "model:v2", "--alias", "production", "--policy", "policy.yaml")
    assert done.code == 5, done.out + done.err
    assert "asks for people's approval" in done.err
    assert holder(life) == "model:v1"


def test_evaluating_on_cuda_without_cuda_fails_and_logs_nothing(life: Inside) -> None:
    before = life("ls", "evaluation-model", "--json").data
    assert life("evaluate", "model:v1", "--device", "cuda").code == 7
    assert life("ls", "evaluation-model", "--json").data == before


def test_an_alias_that_moved_while_the_gate_ran_is_a_conflict(life: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(life.folder))
    read = settings.read({}, environment={"REG_HOME": str(life.home)}, folder=life.folder)
    rules = (
        (Path(__file__).parents[2] / "pipelines" / "policy.yaml")
        .read_text()
        .replace("min_gain: 0.0", "min_gain: 0.0, severity: warn")
    )
    target = Target(registry="model", collection="model", alias="production")
    with connect(read) as backend:
        question = questions.ask(backend, references.parse("model:v2"), policy.load(rules, name="policy"))
        assert question.baseline is not None
        with backend.run(job_type="promote", name="somebody else") as run:
            run.link(backend.resolve(references.parse("model:v0")), target)
        with pytest.raises(AliasMoved) as conflict:
            promotion.promote(backend, question, None, by=provenance.Provenance(actor="test"))
        assert backend.holder(target) == backend.resolve(references.parse(f"{PRODUCTION}"))
    assert "moved from local/reg/model:v1 to local/reg/model:v0" in conflict.value.message
    assert conflict.value.exit_code == 6
    assert holder(life) == "model:v0"


def test_a_registry_that_does_not_exist_is_an_error_and_not_an_absent_baseline(life: Inside) -> None:
    (life.folder / "policy.yaml").write_text(
        (Path(__file__).parents[2] / "pipelines" / "policy.yaml").read_text().replace("registry: model", "registry: modle")
    )
    done = life("promote", "model:v1", "--alias", "production", "--policy", "policy.yaml")
    assert done.code == 1
    assert "registry 'modle' does not exist" in done.err


def test_the_registry_of_the_settings_is_used_unless_a_policy_file_names_one(life: Inside) -> None:
    elsewhere = replace(life, extra={"REG_REGISTRY": "nowhere"})
    done = elsewhere("promote", "model:v1", "--alias", "production")
    assert done.code == 1
    assert "registry 'nowhere' does not exist" in done.err
    shipped = Path(__file__).parents[2] / "pipelines" / "policy.yaml"
    named = elsewhere("promote", "model:v1", "--alias", "production", "--policy", str(shipped))
    assert (named.code, f"model:v1 already holds '{PRODUCTION}'" in named.out) == (0, True)


def test_a_damaged_download_is_not_used(life: Inside) -> None:
    assert life("get", "model:v1", "--to", "whole").code == 0
    shutil.rmtree(life.home / "downloads")
    md5 = hashlib.md5((life.folder / "whole" / "model.onnx").read_bytes()).hexdigest()
    blob = life.home / "blobs" / md5[:2] / md5[2:]
    blob.write_bytes(blob.read_bytes()[:-100] + bytes(100))
    done = life("get", "model:v1", "--to", "damaged")
    assert done.code == 8
    assert "the download of 'model:v1' is damaged" in done.err
    assert not (life.folder / "damaged").exists()
    assert not (life.home / "downloads").exists() or list((life.home / "downloads" / "md5").iterdir()) == []


def test_the_demo_removes_only_what_is_its_own(life: Inside) -> None:
    (life.folder / "mine").mkdir()
    (life.folder / "mine" / "thesis.txt").write_text("years")
    assert life("demo", "--home", "mine", "--clean").code == 2
    assert (life.folder / "mine" / "thesis.txt").read_text() == "years"
