"""The comparison of two dataset versions as one page: complete in one file, without scripts or network.

Tables say how much shifted, the pictures where: for each feature the shares of its bins, the earlier version as an outline and
the later one filled. The most shifted features come first, and what there is no room for is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from pipelines.data.comparison import DatasetDiff
from pipelines.data.drift import Bin, Drifts
from registry.errors import UsageError

_WIDTH, _HEIGHT = 260, 64
_FEATURES, _CLASSES, _ITEMS, _BARS = 60, 60, 50, 24


def write_page(file: Path, first: str, second: str, found: DatasetDiff, drift: Drifts) -> None:
    """Write the page.

    Args:
        first, second: what the two versions are called.
    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file.write_text(page(first, second, found, drift), encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror}", hint="--save drift.html") from exc


def page(first: str, second: str, found: DatasetDiff, drift: Drifts) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("pipelines.data", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = {
        "added": found.added,
        "removed": found.removed,
        "changed": [c.item for c in found.changed],
        "relabelled": [f"{r.before}: {r.label_before} → {r.label_after}" for r in found.relabelled],
        "moved": [f"{m.before} → {m.after}" for m in found.moved],
    }
    classes = [
        (split, label, *counts, counts[1] - counts[0])
        for split, balance in found.balance.items()
        for label, counts in balance.items()
    ]
    classes.sort(key=lambda row: -abs(row[4]))
    return environment.get_template("comparison_page.html.j2").render(
        first=first,
        second=second,
        found=found,
        drift=drift,
        kinds=kinds,
        classes=classes[:_CLASSES],
        more_classes=max(0, len(classes) - _CLASSES),
        features=[(one, histogram(one.bins)) for one in drift.features[:_FEATURES]],
        more_features=max(0, len(drift.features) - _FEATURES),
        most_items=_ITEMS,
    )


def histogram(bins: Sequence[Bin]) -> Markup:
    """Shares of bins as SVG; of many, the largest."""
    kept = sorted(sorted(range(len(bins)), key=lambda at: -max(bins[at].before, bins[at].after))[:_BARS])
    step = _WIDTH / max(len(kept), 1)
    most = max((max(bins[at].before, bins[at].after) for at in kept), default=0) or 1
    parts = []
    for place, at in enumerate(kept):
        name, before, after = bins[at]
        left, wide = place * step + 1, max(step - 2, 1)
        title = Markup("<title>{}: {:.1%} before, {:.1%} after</title>").format(name, before, after)
        bars = [
            Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                kind, left, _HEIGHT - 2 - tall, wide, tall
            )
            for kind, share in (("after", after), ("before", before))
            for tall in (share / most * (_HEIGHT - 6),)
        ]
        parts.append(Markup("<g>{}{}</g>").format(title, Markup().join(bars)))
    words = f"shares of {len(kept)} bins before (outline) and after (filled)"
    return Markup('<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, _WIDTH, _HEIGHT, words, Markup().join(parts)
    )
