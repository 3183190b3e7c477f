"""`reg doctor`: this machine, the home and the server, each line with what to do when it is not well.

The home is looked at from outside, without a server: one that a newer `reg` wrote, or a full disk, is what people call the
doctor for. That is why the schema is read from the file itself.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

import click
from packaging.requirements import Requirement

from pipelines.device import cpu_name, cuda_device, driver_version
from pipelines.runtime import installed_builds
from registry.cli import fsck
from registry.cli.looking import size_text
from registry.cli.output import styled, table
from registry.cli.params import Session, session
from registry.errors import DeviceUnavailable, RegError, UsageError

State = Literal["ok", "note", "problem"]
_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}
_DISTRIBUTION = "reg-lifecycle"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report; `facts` are what `--json` adds, `exit_code` is what a problem makes the command end with."""

    what: str
    state: State
    says: str
    hint: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    exit_code: int = 1


@click.command(epilog="Examples: reg doctor · reg doctor --require cuda · reg doctor --fsck --quarantine")
@click.option("--require", type=click.Choice(["cpu", "cuda"]), help="Fail (exit 7) unless this is really there.")
@click.option("--fsck", "deeply", is_flag=True, help="Also hash every stored byte again and check the home's database.")
@click.option("--quarantine", is_flag=True, help="With --fsck: move damaged files aside, so that they can be sent again.")
@session
def doctor(session: Session, require: str | None, deeply: bool, quarantine: bool) -> int:
    """Check this machine, the home and the server."""
    if quarantine and not deeply:
        raise UsageError("--quarantine moves aside what --fsck finds", hint="reg doctor --fsck --quarantine")
    findings = [*_packages(), _builds(), _cpu(), _cuda(required=require == "cuda"), *_home(session), _server(session)]
    rows = [(f.what, styled(f.state, _STYLES[f.state]), f.says + (f"\n{f.hint}" if f.hint else "")) for f in findings]
    data: dict[str, Any] = {"findings": [asdict(f) for f in findings]}
    shown = [table(("", "state", ""), rows)]
    code = max((f.exit_code for f in findings if f.state == "problem"), default=0)
    if deeply:
        report = fsck.check(session.settings.home, session.output, quarantine=quarantine)
        data["fsck"] = fsck.data(report)
        shown += fsck.shown(report)
        code = max(code, 1 if report.faults else 0)
    session.output.result(data, *shown)
    return code


def _packages() -> list[Finding]:
    ranges = {r.name: r.specifier for r in map(Requirement, requires(_DISTRIBUTION) or [])}
    ours = {"reg": version(_DISTRIBUTION), "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    says = f"{ours['reg']} on Python {ours['python']}, SQLite {ours['sqlite']}"
    findings = [Finding(what="reg", state="ok", says=says, facts=ours)]
    for name in ("wandb", "torch", "onnx"):
        try:
            found = version(name)
        except PackageNotFoundError:
            findings.append(Finding(what=name, state="note", says="not installed", hint=f"pip install '{_DISTRIBUTION}[cpu]'"))
            continue
        inside, tested = found in ranges[name], str(ranges[name])
        findings.append(
            Finding(
                what=name,
                state="ok" if inside else "problem",
                says=f"{found}, {'inside' if inside else 'outside'} the tested range {tested}",
                hint=None if inside else f"pip install '{name}{tested}'",
                facts={"version": found, "tested": tested, "inside": inside},
                exit_code=7,
            )
        )
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
    files = [path.stat().st_size for path in (home / "blobs").rglob("*") if path.is_file()]
    database = (home / "reg.db").stat().st_size if (home / "reg.db").exists() else 0
    free = shutil.disk_usage(home).free
    sizes = f"database {size_text(database)}, {len(files):,} blobs {size_text(sum(files))}, {size_text(free)} free on the disk"
    state: State = "ok" if free > 1 << 30 else "note"
    facts = {"path": str(home), "database_bytes": database, "blobs": len(files), "blob_bytes": sum(files), "free_bytes": free}
    hint = None if state == "ok" else "less than 1 GiB is free"
    return [Finding(what="home", state=state, says=f"{home}: {sizes}", hint=hint, facts=facts), *_schema(home / "reg.db")]


def _schema(database: Path) -> list[Finding]:
    if not database.exists():
        return []
    ours = max(
        file.name[:4] for file in (resources.files("registry") / "server/migrations").iterdir() if file.name.endswith(".sql")
    )
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("SELECT substr(max(name), 1, 4) FROM migrations").fetchone()
    except sqlite3.Error as exc:
        return [
            Finding(
                what="schema", state="problem", says=f"{database} cannot be read: {exc}", hint="reg doctor --fsck", exit_code=7
            )
        ]
    facts = {"schema": found, "newest": ours}
    if found < ours:
        copy = f"the next command brings it to {ours} and keeps a copy beside it"
        return [Finding(what="schema", state="note", says=f"{found}; {copy}", facts=facts)]
    if found > ours:
        hint = f"pip install --upgrade {_DISTRIBUTION}, or point REG_HOME at another folder"
        says = f"{found}: a newer reg wrote this home, this one knows {ours}"
        return [Finding(what="schema", state="problem", says=says, hint=hint, facts=facts, exit_code=7)]
    return [Finding(what="schema", state="ok", says=found, facts=facts)]


def _server(session: Session) -> Finding:
    try:
        with session.reading() as backend:
            return Finding(what="server", state="ok", says=f"{backend.where}, at {backend.url}")
    except RegError as exc:
        return Finding(what="server", state="problem", says=exc.message, hint=exc.hint, exit_code=exc.exit_code)
