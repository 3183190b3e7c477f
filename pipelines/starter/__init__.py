"""`reg init`: the files a project starts with: settings, a policy and two workflows, commented, ready to be committed.

It asks nothing that it can find out: the name is the folder's, the branch is git's, the data are where people keep them. The
workflows are the ones of this repository with some words exchanged; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from registry.cli.output import Output
from registry.errors import UsageError
from registry.provenance import git

_SETTINGS = """\
# Settings of `reg` for this repository; flags and REG_*/WANDB_* variables go before them.
project: {project}
policy: policy.yaml
"""
_POLICIES = {"cpu": "policy.yaml", "cuda": "policy.production.yaml"}
_TASKS = ("classification", "segmentation", "regression")
_ON_CPU, _ON_GPU = "runtime: {device: any}", "runtime: {device: cuda, placement: compute, tf32: false}"
_WORKFLOWS = ("validate.yml", "gate-and-promote.yml")
_DATA = ("data", "dataset", "datasets")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the workflows of one repository say where others say something else."""

    package: str
    policy: str
    data: str
    project: str
    branch: str


@click.command(epilog="Examples: cd my-project && reg init --device cuda · reg init --recipe")
@click.option(
    "--device", type=click.Choice(sorted(_POLICIES)), default="cpu", show_default=True, help="Where evaluations count."
)
@click.option("--task", type=click.Choice(_TASKS), default=_TASKS[0], show_default=True, help="What the policy is for.")
@click.option("--workflows/--no-workflows", default=True, show_default=True, help="Also write workflows for GitHub Actions.")
@click.option("--recipe", is_flag=True, help="Write only recipe.py, a recipe of your own to begin with.")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def init(device: str, task: str, workflows: bool, recipe: bool, force: bool, debug: bool) -> None:
    """Write reg.yaml, policy.yaml and GitHub workflows into the current folder; or, with --recipe, a recipe of your own."""
    folder = Path.cwd()
    words = _found(folder)
    texts = _recipe() if recipe else _project(words, task=task, device=device, workflows=workflows)
    taken = [name for name in texts if (folder / name).exists()]
    if taken and not force:
        raise UsageError(
            f"{' and '.join(taken)} already here; nothing was written", hint=f"reg init{' --recipe' * recipe} --force"
        )
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    after = "reg train --dataset NAME --recipe recipe.py:Recipe" if recipe else f"reg dataset push {words.data}"
    Output(as_json=False).result({}, *(f"wrote {name}" for name in texts), f"next: {after}")


def _recipe() -> Mapping[str, str]:
    return {"recipe.py": _shipped("pipelines.starter", "recipe.py")}


def _project(words: Words, *, task: str, device: str, workflows: bool) -> Mapping[str, str]:
    files = {"reg.yaml": _SETTINGS.format(project=words.project), "policy.yaml": _policy(task, device)}
    return files | dict(github_files(words)) if workflows else files


def _policy(task: str, device: str) -> str:
    if task == _TASKS[0]:
        return _shipped("pipelines", _POLICIES[device])
    text = _shipped("pipelines", f"policy.{task}.yaml")
    return text.replace(_ON_CPU, _ON_GPU) if device == "cuda" else text


def github_files(words: Words) -> Mapping[str, str]:
    """Paths and contents of what belongs under `.github`."""
    exchanged = {
        "@PACKAGE@": words.package,
        "@POLICY@": words.policy,
        "@DATA@": words.data,
        "@PROJECT@": words.project,
        "branches: [main]": f"branches: [{words.branch}]",
        "push to main": f"push to {words.branch}",
    }
    written = {".github/smoke.policy.yaml": _shipped("pipelines.starter", "smoke.policy.yaml")}
    for name in _WORKFLOWS:
        text = _shipped("pipelines.starter", name)
        for word, ours in exchanged.items():
            text = text.replace(word, ours)
        written[f".github/workflows/{name}"] = text
    return written


def _found(folder: Path) -> Words:
    data = next((name for name in _DATA if (folder / name).is_dir()), _DATA[0])
    return Words(
        package="reg-lifecycle",
        policy="policy.yaml",
        data=f"{data}/",
        project=folder.name.replace(" ", "-") or "reg",
        branch=(git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD") or "").removeprefix("origin/")
        or git(folder, "branch", "--show-current")
        or "main",
    )


def _shipped(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
