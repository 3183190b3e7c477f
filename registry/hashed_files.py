"""Files whose content is known by its md5, and the digest by which W&B knows a version that holds them.

They may be very many, so they lie side by side in columns: where one of sixty thousand changed, making an object for each of
them would be most of the work.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

_MD5 = 16


class Hashed(NamedTuple):
    """A file of this disk whose md5 (hex) and size (bytes) are known, and whether the server is believed to have its bytes."""

    path: str
    md5: str
    size: int
    stored: bool = False


@dataclass(frozen=True, kw_only=True)
class HashedFiles:
    """Files of this disk, in columns of one length; see `Hashed`.

    Attributes:
        names: inside the artifact: relative, with `/`, nothing in them to be shortened; sorted.
        md5s: 16 bytes for each.
    """

    names: Sequence[str] = ()
    paths: Sequence[str] = ()
    md5s: bytes = b""
    sizes: Sequence[int] = ()
    stored: Sequence[bool] = ()

    def rows(self) -> dict[str, Hashed]:
        """Each by its name."""
        text = self.md5s.hex()
        md5s = [text[start : start + 2 * _MD5] for start in range(0, len(text), 2 * _MD5)]
        return dict(zip(self.names, map(Hashed, self.paths, md5s, self.sizes, self.stored), strict=True))

    def at(self, places: Sequence[int]) -> HashedFiles:
        """Those at these places, which are in order."""
        return HashedFiles(
            names=[self.names[place] for place in places],
            paths=[self.paths[place] for place in places],
            md5s=b"".join([self.md5s[place * _MD5 : (place + 1) * _MD5] for place in places]),
            sizes=[self.sizes[place] for place in places],
            stored=[self.stored[place] for place in places],
        )

    def unbelieved(self) -> HashedFiles:
        """The same, of which none is believed to be stored."""
        return replace(self, stored=[False] * len(self.names))

    def digest(self, others: Mapping[str, bytes]) -> str:
        """The digest (hex) of a version that holds these and others, by the formula of W&B's manifests of version 1.

        Args:
            others: the md5 of each, by name.
        """
        # Base64 of each md5, in one go: of whole groups of three bytes, which the formula wants filled up with "=".
        groups = bytearray((_MD5 + 2) * len(self.names))
        for place in range(_MD5):
            groups[place :: _MD5 + 2] = self.md5s[place::_MD5]
        text = b64encode(groups).decode()
        lines = [
            f"{name}:{text[start : start + 22]}==\n" for name, start in zip(self.names, range(0, len(text), 24), strict=True)
        ]
        for name in sorted(others, reverse=True):
            lines.insert(bisect_left(self.names, name), f"{name}:{b64encode(others[name]).decode()}\n")
        said = f"wandb-artifact-manifest-v1\n{''.join(lines)}"
        return hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()


NO_FILES = HashedFiles()


@dataclass(frozen=True, kw_only=True)
class Since:
    """What sets hashed files apart from those of an earlier version.

    Attributes:
        digest: of that version, hex; `count` is the number of its files.
        changed: those that it does not have, or has with another content.
        is_less: whether it has files that are not among these.
    """

    digest: str
    count: int
    changed: HashedFiles
    is_less: bool
