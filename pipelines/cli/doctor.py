"""`reg doctor`: this machine, the home and the server, each line with what to do when it is not well."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

import click
from packaging.requirements import Requirement

from pipelines.device import cpu_name, cuda_device, driver_version
from pipelines.runtime import installed_builds
from registry.cli.looking import size_text
from registry.cli.output import styled, table
from registry.cli.params import Session, session
from registry.errors import DeviceUnavailable, RegError

State = Literal["ok", "note", "problem"]
_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}
_DISTRIBUTION = "reg-lifecycle"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report; `exit_code` is what a problem makes the command end with."""

    what: str
    state: State
    says: str
    hint: str | None = None
    exit_code: int = 1


@click.command(epilog="Examples: reg doctor · reg doctor --require cuda")
@click.option("--require", type=click.Choice(["cuda"]), help="Fail (exit 7) unless this is really there.")
@session
def doctor(session: Session, require: str | None) -> int:
    """Check this machine, the home and the server."""
    findings = [*_packages(), _builds(), _cpu(), _cuda(required=require == "cuda"), *_home(session), _server(session)]
    rows = [(f.what, styled(f.state, _STYLES[f.state]), f.says + (f"\n{f.hint}" if f.hint else "")) for f in findings]
    session.output.result({"findings": [asdict(f) for f in findings]}, table(("", "state", ""), rows))
    return max((f.exit_code for f in findings if f.state == "problem"), default=0)


def _packages() -> list[Finding]:
    ranges = {r.name: r.specifier for r in map(Requirement, requires(_DISTRIBUTION) or [])}
    findings = [Finding(what="reg", state="ok", says=f"{version(_DISTRIBUTION)} on Python {sys.version.split()[0]}")]
    for name in ("wandb", "torch", "onnx"):
        try:
            found = version(name)
        except PackageNotFoundError:
            findings.append(Finding(what=name, state="note", says="not installed", hint=f"pip install '{_DISTRIBUTION}[cpu]'"))
            continue
        inside = found in ranges[name]
        outside = f"{found} is outside the tested range {ranges[name]}"
        findings.append(Finding(what=name, state="ok" if inside else "problem", says=found if inside else outside, exit_code=7))
    return findings


def _builds() -> Finding:
    builds = installed_builds()
    if len(builds) > 1:
        return Finding(
            what="onnxruntime",
            state="problem",
            says=f"{' and '.join(builds)} are both installed and have overwritten each other",
            hint=f"pip uninstall -y {' '.join(builds)} && pip install '{_DISTRIBUTION}[gpu]'",
            exit_code=7,
        )
    if not builds:
        hint = f"pip install '{_DISTRIBUTION}[cpu]' (or [gpu])"
        return Finding(what="onnxruntime", state="note", says="not installed: this machine can judge, not evaluate", hint=hint)
    return Finding(what="onnxruntime", state="ok", says=f"{builds[0]} {version(builds[0])}")


def _cpu() -> Finding:
    return Finding(what="cpu", state="ok", says=cpu_name())


def _cuda(*, required: bool) -> Finding:
    try:
        device = cuda_device()
    except DeviceUnavailable as exc:
        return Finding(
            what="cuda", state="problem" if required else "note", says=exc.message, hint=exc.hint, exit_code=exc.exit_code
        )
    if required and "onnxruntime-gpu" not in installed_builds():
        hint = f"pip install '{_DISTRIBUTION}[gpu]'"
        return Finding(what="cuda", state="problem", says=f"{device.name}, but no onnxruntime-gpu", hint=hint, exit_code=7)
    return Finding(what="cuda", state="ok", says=f"{device.name}, driver {driver_version()}")


def _home(session: Session) -> list[Finding]:
    home = session.settings.home
    if not home.exists():
        return [Finding(what="home", state="note", says=f"{home} does not exist yet; the first command makes it")]
    blobs = sum(path.stat().st_size for path in (home / "blobs").rglob("*") if path.is_file())
    database = (home / "reg.db").stat().st_size if (home / "reg.db").exists() else 0
    free = shutil.disk_usage(home).free
    says = f"{home}: database {size_text(database)}, blobs {size_text(blobs)}, {size_text(free)} free on the disk"
    state: State = "ok" if free > 1 << 30 else "note"
    return [Finding(what="home", state=state, says=says, hint=None if state == "ok" else "less than 1 GiB is free")]


def _server(session: Session) -> Finding:
    try:
        with session.reading() as backend:
            return Finding(what="server", state="ok", says=f"{backend.where}, at {backend.url}")
    except RegError as exc:
        return Finding(what="server", state="problem", says=exc.message, hint=exc.hint, exit_code=exc.exit_code)
