"""What `reg doctor --fsck` shows: the home's bytes and its database, looked at on this machine and not through a server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry.cli.looking import size_text
from registry.cli.output import Output, styled, table
from registry.server import integrity
from registry.server.home import present_home
from registry.server.integrity import Fault, Report


def check(home: Path, output: Output, *, quarantine: bool) -> Report:
    """Look at everything, with a progress bar.

    Raises:
        NotFound: there is no home.
    """
    with present_home(home) as opened, output.progress("checking") as advance:
        return integrity.check(opened.database, opened.blobs, quarantine=quarantine, on_progress=advance)


def data(report: Report) -> dict[str, Any]:
    """A report as JSON-ready data."""
    return asdict(report)


def shown(report: Report) -> list[Any]:
    """A report for people."""
    looked = f"checked: {report.blobs} stored files ({size_text(report.size)}), {report.versions} versions"
    size = size_text(report.unnamed_size)
    unnamed = f"; nothing names {report.unnamed} of the files ({size}): reg gc" if report.unnamed else ""
    if not report.faults:
        return [f"{looked}; wrong: nothing{unnamed}"]
    rows = [(styled(fault.kind, "red"), fault.where, _says(fault)) for fault in report.faults]
    return [table(("wrong", "where", ""), rows), f"{looked}; wrong: {len(report.faults)}{unnamed}"]


def _says(fault: Fault) -> str:
    lines = [fault.says, *(f"spoils {name}" for name in fault.affects)]
    if fault.quarantined:
        lines.append(f"moved to {fault.quarantined}; log the files again and they are stored anew")
    elif fault.kind == "damaged":
        lines.append("reg doctor --fsck --quarantine moves it aside, so that it can be sent again")
    return "\n".join(lines)
