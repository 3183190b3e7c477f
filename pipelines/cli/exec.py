"""`reg exec -- COMMAND`."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from pipelines import exec as stage
from pipelines.cli.model import statement, statement_options
from pipelines.materials import Materials, parse_input, parse_output
from registry import provenance
from registry.cli.looking import version_data
from registry.cli.params import FILE, Session, session
from registry.errors import BadSettings, UsageError


@click.command(
    name="exec",
    context_settings={"allow_interspersed_args": False},  # from the program's name on, options are the program's
    epilog="Examples: reg exec --use mnist:latest=data/ --out model=out/ -- python train.py --epochs 5"
    " · reg exec --use raw=raw/ --out clean:dataset=clean/ --job-type prepare -- ./prepare.sh",
)
@click.option("--use", "uses", metavar="REF[=PATH]", multiple=True, help="Input: its files are at PATH while the script runs.")
@click.option("--out", "outs", metavar="NAME[:TYPE]=PATH", multiple=True, help="Output, logged as NAME if the script succeeds.")
@click.option("--name", metavar="TEXT", help="Name of the run (default: the script's).")
@click.option("--job-type", default="exec", show_default=True, help="Job type of the run.")
@click.option("--config", "config_file", type=FILE, help="YAML or JSON file for the run's config.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One value of the config; repeatable.")
@statement_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@session
def execute(
    session: Session,
    uses: tuple[str, ...],
    outs: tuple[str, ...],
    name: str | None,
    job_type: str,
    config_file: Path | None,
    assignments: tuple[str, ...],
    command: tuple[str, ...],
    **said: Any,
) -> int:
    """Run COMMAND as a stage: one W&B run with its inputs, outputs, log and exit code.

    A script that calls wandb.init() joins this run. It finds each input in REG_INPUT_<NAME>, each output's place in
    REG_OUTPUT_<NAME>, and the config as JSON in the file REG_CONFIG. Without TYPE an output is a model if it is called model or
    holds an ONNX graph, a dataset if it is called dataset, else a result; a model is checked as by `reg model push` against the
    dataset used. With --json the script's output goes to stderr. The exit code is the script's.
    """
    plan = stage.Plan(
        command=_found(command),
        materials=Materials(inputs=tuple(map(parse_input, uses)), outputs=tuple(map(parse_output, outs))),
        config=_config(config_file, assignments),
        job_type=job_type,
        name=name,
        statement=statement(**said),
        environment=dict(os.environ),
    )
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    out = sys.stderr if session.output.as_json else sys.stdout
    with session.writing() as backend:
        done = stage.run(backend, plan, by=by, progress=session.output.progress, out=out, err=sys.stderr)
    for warning in done.warnings:
        session.output.warn(warning)
    if done.exit_code:
        session.output.notice(f"'{command[0]}' ended with {done.exit_code}: the run is marked failed, no output is logged")
    for version in done.outputs:
        session.output.notice(f"logged {version.type} {version}")
    data = {
        "exit_code": done.exit_code,
        "run_id": done.run_id,
        "run": done.run_url,
        "inputs": [version_data(version) for version in done.inputs],
        "outputs": [version_data(version) for version in done.outputs],
    }
    session.output.result(data)
    return done.exit_code


def _found(command: Sequence[str]) -> tuple[str, ...]:
    """
    Raises:
        UsageError: there is no such program.
    """
    if shutil.which(command[0]) is None:
        raise UsageError(f"there is no program '{command[0]}' here", hint="reg exec -- python train.py")
    return tuple(command)


def _config(file: Path | None, assignments: Sequence[str]) -> Mapping[str, Any]:
    config: dict[str, Any] = {} if file is None else dict(_read(file))
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise BadSettings(f"--set {text}: key=value was expected", hint="--set lr=0.1")
        *groups, last = key.strip().split(".")
        at = config
        for group in groups:
            at = at.setdefault(group, {})
            if not isinstance(at, dict):
                raise BadSettings(f"--set {text}: {group} is a value, not a group", hint=f"--set {group}={value}")
        at[last] = _value(value, text)
    if "exec" in config:
        raise BadSettings("the config has a key 'exec', which is where the command is kept", hint="rename it")
    return config


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise BadSettings(f"cannot read {file}: {' '.join(str(exc).split())}") from exc
    if content is not None and (not isinstance(content, dict) or any(not isinstance(key, str) for key in content)):
        raise BadSettings(f"{file} holds {type(content).__name__}, keys and values were expected", hint="lr: 0.1")
    return content or {}


def _value(text: str, whole: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise BadSettings(f"--set {whole}: the value is not YAML: {' '.join(str(exc).split())}") from exc
    # YAML 1.1 takes 1e-3 for a text.
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value) else value
