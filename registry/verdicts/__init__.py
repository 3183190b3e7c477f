"""A verdict as the files that people and programs read it in; nothing is decided or computed here.

    .md     for W&B, GitHub and editors       .xml    JUnit, for the test tab of a CI
    .json   the verdict itself                .html   a page with plots and items, complete in one file

All of it is pure text made from a case: the verdict and, for the page, the evidence it rests on; the same for the same case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from registry.records import Verdict
from registry.verdicts.case import Case
from registry.verdicts.junit import to_junit
from registry.verdicts.markdown import to_markdown
from registry.verdicts.page import to_html


def to_json(verdict: Verdict) -> str:
    """`verdict.json`, ending in a newline."""
    return verdict.model_dump_json(indent=2) + "\n"


PAGE = ".html"
RENDERINGS: Mapping[str, Callable[[Case], str]] = {
    ".json": lambda case: to_json(case.verdict),
    ".md": lambda case: to_markdown(case.verdict),
    ".xml": lambda case: to_junit(case.verdict),
    PAGE: to_html,
}

__all__ = ["PAGE", "RENDERINGS", "Case", "to_html", "to_json", "to_junit", "to_markdown"]
