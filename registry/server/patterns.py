"""Regular expressions that a client wrote, matched in time that grows with the text and nothing else.

Python's own engine goes back: `(a+)+$` against thirty characters keeps it, and with it the whole process, busy for minutes.
RE2 does not, and in exchange knows no look-around and no back-references, which W&B's filters do not promise either.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from registry.errors import BadData
from registry.server import limits


def compiled(pattern: str) -> Any:
    """
    Raises:
        BadData: not a regular expression, or one that RE2 cannot match in bounded time and memory.
    """
    if len(pattern) > limits.PATTERN:
        raise BadData(f"the regular expression has {len(pattern)} characters, this server takes {limits.PATTERN}")
    try:
        return _compiled(pattern)
    except re2.error as exc:
        reason = exc.args[0].decode("utf-8", "replace") if exc.args and isinstance(exc.args[0], bytes) else str(exc)
        raise BadData(f"{pattern[:80]!r} is not a regular expression: {reason}") from exc


def matches(pattern: str, text: str | None) -> bool:
    """Whether the pattern is found anywhere in the text; the database's own function of that name."""
    return text is not None and compiled(pattern).search(text) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = limits.PATTERN_MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)
