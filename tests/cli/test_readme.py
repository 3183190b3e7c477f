"""The README is true: its shell commands run, in order, and its words are the words of the house."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import policy
from tests.cli.conftest import Reg

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MNIST = Path(os.environ.get("REG_TEST_MNIST", ROOT.parent / "shared" / "data" / "mnist"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    return [line.split("#")[0].strip() for line in block.splitlines() if line.split("#")[0].strip()]


FIVE = next(commands(block) for block in blocks("sh") if "reg promote" in block)


def test_five_commands_lead_to_a_promoted_model() -> None:
    assert [words.split()[1] for words in FIVE] == ["dataset", "train", "evaluate", "promote", "lineage"]


def test_every_other_command_of_the_readme_is_run_elsewhere() -> None:
    """Each is a make target, an installation or a setting, or is covered by name in a test."""
    others = {line for block in blocks("sh") for line in commands(block) if line not in FIVE}
    assert others == {
        "make demo",
        "make test",
        "pip install --constraint constraints.txt '.[cpu]'",
        "export WANDB_API_KEY=...",
        "export WANDB_BASE_URL=https://wandb.example.org",
        "export WANDB_ENTITY=my-team WANDB_PROJECT=my-project",
        "reg serve",
        "reg train --dataset mnist:latest --config train.yaml --mode quick",  # test_long_runs
        "reg train --resume 8ez7t9e0",
        "reg sweep sweep.yaml --dataset mnist:latest --agents 2",  # pipelines/test_sweep
        "reg exec --use mnist:latest=data/ --out model=out/ -- python train.py",  # test_own_code
        "reg model push model.onnx --dataset mnist:latest --scale 1/255",
        "reg show model:v3 --card",
        "reg status",
        "reg history production",
        "reg why production",
        "reg rollback production",
        "reg admin user add alice --out alice.key",
        "reg admin team add vision",
        "reg admin member add alice --team vision --role member",
        "reg admin alias protect model production",
        "reg serve --host 0.0.0.0",
    }


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo:", "test:"} <= {line.split(" ")[0] for line in makefile.splitlines()}


def test_the_policy_in_the_readme_is_a_policy() -> None:
    (text,) = blocks("yaml")
    assert policy.load(text, name="README.md").runtime.device == "cuda"


def test_files_that_the_readme_links_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason=f"MNIST is not at {MNIST}; set REG_TEST_MNIST")
def test_from_nothing_to_a_promoted_model_on_mnist(make_reg: Callable[[str], Reg]) -> None:
    reg = make_reg("readme")
    shutil.copytree(MNIST, reg.folder / "data")
    (reg.folder / "data").chmod(0o755)
    (reg.folder / "data" / "dataset.yaml").write_text("name: mnist\n")
    for line in FIVE:
        done = reg(*line.split()[1:])
        assert done.code == 0, f"{line}\n{done.out}{done.err}"
    evaluation = reg("get", "evaluation-model:latest", "--to", "evaluation", "--json")
    assert evaluation.code == 0
    assert "mnist:v0" in done.out
    metrics = json.loads((reg.folder / "evaluation" / "evaluation.json").read_text())["metrics"]
    assert metrics["accuracy"]["value"] >= 0.985
    assert metrics["accuracy"]["n"] == 10_000
