"""People's own code, by the commands they type: a script as a stage, a graph from elsewhere, a metric, a recipe, a card."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import starter
from registry import carding, gathering, policy, questions, settings
from registry.backend import Backend
from registry.cli import run
from registry.connection import connect
from registry.errors import BadReference
from registry.records import RunFact, Version
from registry.references import parse
from tests.cli.conftest import Done, Inside, Reg, serving
from tests.pipelines.own_code import COST, DOCUMENTED, export, write_digits

# Two runs in the SDK's eyes, one in the end; the first logs with steps of its own, as most frameworks do.
SCRIPT = """\
import json, os, subprocess, sys
import wandb

told = json.load(open(os.environ["REG_CONFIG"]))
for part in ("first", "second"):
    with wandb.init(config={part: True}) as run:
        assert run.config["opt"]["lr"] == told["opt"]["lr"] == 0.001
        start = run.starting_step
        for step in range(3):
            run.log({"loss": 1 / (1 + start + step)}, step=start + step)
        run.summary[f"of_{part}"] = part
        notes = wandb.Artifact("notes", type="notes")
        with notes.new_file("note.txt") as file:
            file.write(part)
        run.log_artifact(notes)
    assert wandb.Api().run(f"{run.entity}/{run.project}/{run.id}").state == "running", "the end is not the script's"
import numpy
assert numpy.load("data/digits.npz")["x_train"].shape == (500, 8, 8, 1)
assert os.path.samefile("data", os.environ["REG_INPUT_DIGITS"])
print("the key is", os.environ["WANDB_API_KEY"])
sys.path.insert(0, os.environ["OWN_CODE"])
from pathlib import Path
from tests.pipelines.own_code import export
export(Path(os.environ["REG_OUTPUT_MODEL"]) / "net.onnx", factor=16.0)
(Path("report.html")).write_text("<h1>fine</h1>")
inner = subprocess.run([sys.executable, "-m", "registry", "ls", "--json"], capture_output=True, text=True, check=True)
print("variables:", *sorted(name for name in os.environ if name.startswith(("REG_", "WANDB_"))))
print("inside:", [found["name"] for found in json.loads(inner.stdout)["collections"]])
"""
STOPPED = """\
import os, signal, sys
open(os.environ["REG_OUTPUT_PART"], "w").close()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("ready")
signal.pause()
"""
POLICY = """\
version: 1
target: {registry: model, alias: production}
runtime: {device: any}
data: {split: test, min_items: 100}
checks:
  - {id: cost, metric: cost, test: absolute, max: 1.0}
"""


@dataclass(frozen=True, kw_only=True)
class Story:
    """A home in which a script ran as a stage; `key` is the one that the script had."""

    reg: Inside
    done: Done
    key: str

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        with connect(settings.read({}, environment={"REG_HOME": str(self.reg.home)}, folder=self.reg.folder)) as backend:
            yield backend


@pytest.fixture(scope="module")
def story(make_reg: Callable[[str], Reg]) -> Iterator[Story]:
    root = Path(__file__).parents[2]
    reg = replace(make_reg("own"), extra={"OWN_CODE": str(root), "WANDB_DISABLE_GIT": "true"})
    write_digits(reg.folder / "digits")
    pushed = Inside(home=reg.home, folder=reg.folder)("dataset", "push", "digits")
    assert pushed.code == 0, pushed.err
    (reg.folder / "train.py").write_text(SCRIPT)
    (reg.folder / "config.yaml").write_text("opt: {lr: 0.1, name: adam}\n")
    words = ["exec", "--use", "digits=data/", "--out", "model=out/", "--out", "report:html=report.html", "--job-type", "train"]
    words += ["--config", "config.yaml", "--set", "opt.lr=1e-3", "--scale", "1/16", "--json", "--", sys.executable, "train.py"]
    done = reg(*words)
    assert done.code == 0, done.out + done.err
    inside = Inside(home=reg.home, folder=reg.folder, extra=reg.extra)
    with serving(reg):  # only now: the script had to find the server of its own command
        yield Story(reg=inside, done=done, key=(reg.home / "key").read_text().strip())


@pytest.fixture(scope="module")
def seen(story: Story) -> dict[str, Any]:
    """What the server knows after the script, asked once."""
    with story.backend() as backend:
        api = backend._api
        run = api.run(f"local/reg/{story.done.data['run_id']}")
        version = backend.resolve(parse("model:latest"))
        return {
            "runs": [one.id for one in api.runs("local/reg", filters={"jobType": "train"})],
            "run": run,
            "state": run.state,
            "history": list(run.scan_history(keys=["_step", "loss"])),
            "log": [line.content for line in run.console_logs()],
            "outputs": [str(one) for one in backend.outputs(fact(backend, version))],
            "inputs": [str(one) for one in backend.inputs(fact(backend, version))],
            "model": yaml.safe_load(backend.read_file(version, "model.yaml")),
        }


def fact(backend: Backend, version: Version) -> RunFact:
    made = backend.made_by(version)
    assert made is not None
    return made


def test_the_script_and_the_stage_are_one_run(story: Story, seen: dict[str, Any]) -> None:
    assert (seen["runs"], seen["state"], seen["run"].name) == ([story.done.data["run_id"]], "finished", "train.py")


def test_the_history_goes_on_from_one_init_to_the_next(seen: dict[str, Any]) -> None:
    assert seen["history"] == [{"_step": step, "loss": 1 / (1 + step)} for step in range(6)]


def test_config_and_summary_are_those_of_all(seen: dict[str, Any]) -> None:
    config, summary = seen["run"].config, seen["run"].summary
    assert {key: config[key] for key in ("opt", "first", "second")} == {
        "opt": {"lr": 0.001, "name": "adam"},
        "first": True,
        "second": True,
    }
    assert config["exec"]["command"] == [sys.executable, "train.py"]
    assert (summary["of_first"], summary["of_second"]) == ("first", "second")


def test_lineage_leads_through_the_script(seen: dict[str, Any]) -> None:
    assert seen["inputs"] == ["digits:v0"]
    assert sorted(seen["outputs"]) == ["model:v0", "notes:v0", "notes:v1", "report:v0"]


def test_the_log_has_what_was_printed_and_not_the_key(story: Story, seen: dict[str, Any]) -> None:
    assert "the key is ***" in seen["log"]
    assert [line for line in seen["log"] if story.key in line] == []
    assert f"the key is {story.key}" in story.done.err, "what a script prints is its own affair"


def test_a_reg_inside_the_script_sees_the_same_server(seen: dict[str, Any]) -> None:
    assert "inside: ['digits', 'notes']" in seen["log"] or "inside: ['notes', 'digits']" in seen["log"]


def test_the_scripts_graph_is_a_checked_model(story: Story, seen: dict[str, Any]) -> None:
    assert seen["model"]["source"]["before"] == ["as float32", "times 0.0625", "channels first"]
    assert seen["model"]["dataset"]["reference"] == "local/reg/digits:v0"
    assert [(one["type"], one["reference"]) for one in story.done.data["outputs"]] == [
        ("model", "local/reg/model:v0"),
        ("html", "local/reg/report:v0"),
    ]


def test_the_script_finds_every_variable_of_the_documentation(seen: dict[str, Any]) -> None:
    (printed,) = [line for line in seen["log"] if line.startswith("variables: ")]
    table = DOCUMENTED.split("| variable | what |")[1].split("\n\n")[0]
    documented = set(re.findall(r"`((?:REG|WANDB)_[A-Z_]+)(?:<NAME>)?", table))
    documented |= {"REG_INPUT_DIGITS", "REG_OUTPUT_MODEL", "REG_OUTPUT_REPORT"}
    assert documented - {"REG_INPUT_", "REG_OUTPUT_"} <= set(printed.split()[1:])


def test_what_was_laid_out_is_gone(story: Story) -> None:
    assert not (story.reg.folder / "data").exists()
    assert (story.reg.folder / "out" / "net.onnx").exists()


def test_a_script_that_is_stopped_keeps_its_code_and_logs_nothing(story: Story) -> None:
    words = ["--use", "digits=data", "--out", "part=part.bin", "--", sys.executable, "-c", STOPPED]
    process = story.reg.start("exec", *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, (story.reg.folder / "data").exists()) == (9, False)
    assert "ended with 9: the run is marked failed, no output is logged" in err
    with story.backend() as backend:
        assert [run.state for run in backend.runs(job_type="exec")] == ["failed"]
        assert "part" not in [one.name for one in backend.collections()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "model", "--", "true"], "--out model: NAME=PATH or NAME:TYPE=PATH was expected"),
        (["--", "no-such-program"], "there is no program 'no-such-program' here"),
        (["no-such-program", "--out", "--epochs", "5"], "there is no program 'no-such-program' here"),
        (["--", "no-such-program", "--json", "--debug"], "there is no program 'no-such-program' here"),
        (["--set", "lr", "--", "true"], "--set lr: key=value was expected"),
        (["--config", "nowhere.yaml", "--", "true"], "cannot read nowhere.yaml"),
        (["--scale", "two", "--", "true"], "--scale two: numbers such as 1/255"),
        (["--set", "exec=1", "--", "true"], "the config has a key 'exec'"),
    ],
    ids=["output", "program", "without-dashes", "its-own-options", "value", "file", "scale", "reserved"],
)
def test_a_stage_that_cannot_be_is_refused_before_anything_starts(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["exec", *words]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {message}")


def test_a_graph_from_elsewhere_is_pushed_evaluated_promoted_and_has_a_card(story: Story) -> None:
    reg = story.reg
    export(reg.folder / "soft.onnx", ending="Softmax")
    (reg.folder / "card.yaml").write_text("intended_use: Reading single digits.\nlicense: cc0-1.0\n")
    (reg.folder / "costs.py").write_text(COST)
    (reg.folder / "policy.yaml").write_text(POLICY)
    pushed = reg("model", "push", "soft.onnx", "--dataset", "digits", "--name", "net", "--scale", "1", "--card", "card.yaml")
    assert pushed.code == 0, pushed.err
    assert "probabilities: the graph ends in Softmax" in pushed.out
    promoted = reg("promote", "net:v0", "--policy", "policy.yaml", "--metric", "costs.py:cost", "--json")
    assert promoted.code == 0, promoted.out + promoted.err
    (check,) = promoted.data["verdict"]["judgement"]["checks"]
    assert (check["metric"], check["status"], check["candidate"] < 1.0) == ("cost", "PASS", True)
    card = reg("show", "net:v0", "--markdown").out
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], [one["name"] for one in head["model-index"]]) == ("cc0-1.0", ["net"])
    assert "cost" in head["metrics"]
    for said in ("Reading single digits.", "elsewhere: soft.onnx by elsewhere 3", "wandb-registry-model/net:production | PASS"):
        assert said in card


def test_a_later_evaluation_without_the_metric_does_not_hide_the_one_that_has_it(story: Story) -> None:
    assert story.reg("evaluate", "net:v0").code == 0
    with story.backend() as backend:
        question = questions.ask(backend, parse("net:v0"), policy.load(POLICY, name="policy.yaml"))
        mine, _ = gathering.gather(backend, question, None)
        assert [one.index for one in backend.versions(parse("evaluation-net"))] == [1, 0]
    assert (mine.version.index, "cost" in mine.evidence.evaluation.metrics) == (0, True)


def test_the_starter_trains_as_it_is_and_keeps_its_file_and_the_words(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(story.reg.folder)
    assert run(["init", "--recipe"]) == 0
    words = ["--recipe", "recipe.py:Recipe", "--set", "epochs=5", "--name", "net", "--json"]
    done = story.reg("train", "--dataset", "digits", *words)
    assert done.code == 0, done.out + done.err
    assert (done.data["model"]["recipe"], done.data["model"]["config"]["recipe"]) == ("recipe.py:Recipe",) * 2
    assert done.data["model"]["card"]["license"] == "cc0-1.0", "the words of the version before"
    with story.backend() as backend:
        kept = backend.read_file(backend.resolve(parse("net:latest")), "recipe.py")
    assert kept == (story.reg.folder / "recipe.py").read_bytes() == (Path(starter.__file__).parent / "recipe.py").read_bytes()


def test_only_models_have_a_card(story: Story) -> None:
    with story.backend() as backend, pytest.raises(BadReference, match="'digits:v0' is a dataset; only models have a card"):
        carding.card(backend, backend.resolve(parse("digits")))
