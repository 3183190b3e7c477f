"""The page of a sweep as a file: parallel coordinates, the best so far, which parameters mattered, every trial. No scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines import sweep as stage
from pipelines.importance import Importance
from pipelines.sweep import Outcome
from registry.coordinates import STYLE, Line, parallel
from registry.errors import UsageError
from registry.sweeps import ranked

_HERE = Path(__file__).parent
_STYLE = (_HERE / "sweep_page.css").read_text(encoding="utf-8") + STYLE
_environment = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters["shown"] = stage.shown


def save(file: Path, found: Outcome, matter: Sequence[Importance]) -> None:
    """Write the page (`.html`) or only its drawing (`.svg`).

    Raises:
        UsageError: another ending, no metric to draw against, or a file that cannot be written.
    """
    if file.suffix not in (".html", ".svg"):
        raise UsageError(f"cannot save a sweep as '{file.name}'", hint="--save sweep.html, or sweep.svg")
    drawing = drawn(found)
    text = _svg_file(drawing) if file.suffix == ".svg" else _page(found, matter, drawing)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror}") from exc


def drawn(found: Outcome) -> Markup:
    """The parallel coordinates of a sweep's trials."""
    metric, names = found.sweep.metric, found.sweep.varied
    if metric is None:
        raise UsageError(f"sweep {found.sweep.id} names no metric, so there is nothing to draw its parameters against")
    lines = [
        Line(name=trial.run.name, cells=[trial.parameters.get(name) for name in names], value=trial.value)
        for trial in found.trials
    ]
    return parallel(names, lines, metric=metric.name, maximize=metric.goal == "maximize")


def _svg_file(drawing: Markup) -> str:
    opened = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(drawing).replace("<svg ", opened, 1).replace(">", f">\n<style>{STYLE}</style>", 1) + "\n"


def _page(found: Outcome, matter: Sequence[Importance], drawing: Markup) -> str:
    columns, rows = stage.rows(found.sweep, ranked(found.sweep, found.trials))
    return _environment.get_template("sweep_page.html.j2").render(
        found=found, matter=matter, drawing=drawing, style=Markup(_STYLE), columns=columns, rows=rows
    )
