"""Runs the `run:` steps of a workflow or composite action as GitHub's runner does: one shell each, with the files it names.

Only what our own workflows use is understood, and anything else fails loudly: expressions of names, strings, `==`, `!=`, `&&`,
`||` and `always()`; `env` of workflow, job and step; `if`; outputs of steps and jobs. `uses:` is not run but collected.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(r"\s*(?:(==|!=|&&|\|\||\(|\)|,)|'((?:[^']|'')*)'|([A-Za-z_][\w.\-]*))")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One step that was run."""

    name: str
    code: int
    out: str
    outputs: Mapping[str, str]
    summary: str


@dataclass(kw_only=True)
class Job:
    """What became of a job: its steps in order, up to the first that failed, and its outputs."""

    steps: list[Ran] = field(default_factory=list)
    outputs: Mapping[str, str] = field(default_factory=dict)
    skipped: bool = False

    @property
    def failed(self) -> Ran | None:
        return next((step for step in self.steps if step.code), None)

    def __getitem__(self, name: str) -> Ran:
        return next(step for step in self.steps if step.name == name)

    @property
    def log(self) -> str:
        return "\n".join(f"## {step.name}: {step.code}\n{step.out}\n{step.summary}" for step in self.steps)


def load(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def run_job(
    workflow: Mapping[str, Any], name: str, *, folder: Path, contexts: Mapping[str, Any], environment: Mapping[str, str]
) -> Job:
    """Run a job of a workflow in a checkout.

    Args:
        contexts: what expressions see: `inputs`, `vars`, `secrets`, `github`, `needs`, `runner`.
        environment: variables of the runner's machine, for every step.
    """
    job = workflow["jobs"][name]
    if not _true(job.get("if"), contexts):
        return Job(skipped=True)
    shared = _env(workflow.get("env"), contexts) | _env(job.get("env"), contexts)
    return _run_steps(job["steps"], job.get("outputs"), folder=folder, contexts=contexts, environment={**environment, **shared})


def run_action(
    action: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    folder: Path,
    contexts: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Job:
    """Run a composite action with these inputs."""
    inputs = {name: given.get(name, _text(one.get("default", ""), contexts)) for name, one in action["inputs"].items()}
    outputs = {name: one["value"] for name, one in action["outputs"].items()}
    contexts = {**contexts, "inputs": inputs}
    return _run_steps(action["runs"]["steps"], outputs, folder=folder, contexts=contexts, environment=environment)


def _run_steps(
    steps: list[dict[str, Any]],
    outputs: Mapping[str, str] | None,
    *,
    folder: Path,
    contexts: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Job:
    known: dict[str, Any] = {}
    job = Job()
    seen = {**contexts, "steps": known}
    for at, step in enumerate(steps):
        if "run" not in step or job.failed or not _true(step.get("if"), seen):
            continue
        ran = _run(step, at, folder=folder, contexts=seen, environment=environment)
        job.steps.append(ran)
        if "id" in step:
            known[step["id"]] = {"outputs": ran.outputs}
    job.outputs = {name: _text(value, seen) for name, value in (outputs or {}).items()}
    return job


def _run(step: Mapping[str, Any], at: int, *, folder: Path, contexts: Mapping[str, Any], environment: Mapping[str, str]) -> Ran:
    assert "${{" not in step["run"], f"an expression inside a script can be code: {step['run']}"
    temporary = Path(contexts["runner"]["temp"])
    temporary.mkdir(parents=True, exist_ok=True)
    files = {name: temporary / f"{name.lower()}-{at}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
    for file in files.values():
        file.write_text("")
    own = _env(step.get("env"), contexts)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={**environment, **own, **{name: str(file) for name, file in files.items()}},
        capture_output=True,
        text=True,
        timeout=560,
    )
    lines = files["GITHUB_OUTPUT"].read_text().splitlines()
    return Ran(
        name=step.get("name", step["run"]),
        code=done.returncode,
        out=done.stdout + done.stderr,
        outputs=dict(line.split("=", 1) for line in lines),
        summary=files["GITHUB_STEP_SUMMARY"].read_text(),
    )


def _env(declared: Mapping[str, Any] | None, contexts: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value, contexts) for name, value in (declared or {}).items()}


def _text(value: object, contexts: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _shown(_value(found[1], contexts)), str(value))


def _true(condition: object, contexts: Mapping[str, Any]) -> bool:
    return condition is None or bool(_value(str(condition).removeprefix("${{").removesuffix("}}"), contexts))


def _shown(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _value(expression: str, contexts: Mapping[str, Any]) -> Any:
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(expression.rstrip()):
        found = _TOKEN.match(expression, at)
        assert found, f"not understood: {expression[at:]}"
        operator, string, name = found.groups()
        tokens.append(("op", operator) if operator else ("name", name) if name else ("string", string.replace("''", "'")))
        at = found.end()
    value = _either(tokens, contexts)
    assert not tokens, f"not understood: {tokens} in {expression}"
    return value


def _either(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> Any:
    value = _both(tokens, contexts)
    while tokens and tokens[0] == ("op", "||"):
        tokens.pop(0)
        other = _both(tokens, contexts)
        value = value or other
    return value


def _both(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> Any:
    value = _compared(tokens, contexts)
    while tokens and tokens[0] == ("op", "&&"):
        tokens.pop(0)
        other = _compared(tokens, contexts)
        value = value and other
    return value


def _compared(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> Any:
    value = _atom(tokens, contexts)
    if tokens and tokens[0] in (("op", "=="), ("op", "!=")):
        equal = tokens.pop(0)[1] == "=="
        return (_shown(value) == _shown(_atom(tokens, contexts))) is equal
    return value


def _atom(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> Any:
    kind, word = tokens.pop(0)
    if kind == "string":
        return word
    assert kind == "name", f"not understood: {word}"
    value: Any = contexts
    for part in word.split("."):
        assert isinstance(value, Mapping), f"{word} reaches into a value"
        assert value is not contexts or part in contexts, f"no context '{part}'"
        value = value.get(part)
        if value is None:
            return None
    return value


def machine(**extra: str) -> dict[str, str]:
    """The variables of a fresh runner: ours, without what belongs to a user of W&B, reg or GitHub."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_", "GITHUB_", "RUNNER_"))}
    return {**ours, "GITHUB_ACTIONS": "true", **extra}
