"""Where `pipelines.data.memory` keeps what it remembers of a folder: known before anything that takes time is loaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

# Of a row of the memory, with a short name.
_BYTES = 100


def memory_file(home: Path, root: Path) -> Path:
    """What is remembered in a home of the files below a folder."""
    return home / "looked" / hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]


def remembered(home: Path, root: Path) -> int:
    """About how many files of a folder are remembered; 0 where none is, or the folder is gone."""
    try:
        return -(-memory_file(home, root).stat().st_size // _BYTES) if root.exists() else 0
    except OSError:
        return 0
