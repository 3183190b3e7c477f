"""A case: a verdict with as much of what it rests on as is at hand; every rendering is made of one.

The verdict alone is enough for most forms. A page also shows items and timings, so it takes the evidence, and pictures of items
from whoever can read the dataset (`pipelines.exhibits`). What is absent is said in words rather than left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from registry.records import Verdict
from registry.scores import Evidence


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What a verdict can be shown with.

    Attributes:
        candidate, baseline: the evaluations that the verdict rests on; None where they are not at hand, and `baseline` also
            where nobody held the alias.
        absent: why the evidence is not at hand, as the end of a sentence; empty where it is.
        pictures: data URIs of images by item id.
        unseen: why items have no pictures, as a sentence; empty where there is nothing to say.
        logged: the reference of the verdict's own artifact; None while it has none.
    """

    verdict: Verdict
    candidate: Evidence | None = None
    baseline: Evidence | None = None
    absent: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    unseen: str = ""
    logged: str | None = None

    def restated(self, **changes: Any) -> Case:
        """The same case with other facts in its verdict."""
        return replace(self, verdict=self.verdict.model_copy(update=changes))
