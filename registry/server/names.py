"""Names and paths that a client chose: what may become part of an address, a file on somebody's disk, or a link.

A path is judged for every platform at once, because the version that a Linux machine uploads may be fetched on Windows: what
would leave the folder on either, or open a device, is refused. What is merely unusual (spaces, colons, names that differ in
case) is somebody's honest data and passes; a client on a file system that cannot hold it says so when it downloads.
"""

from __future__ import annotations

import re
import unicodedata

from registry.errors import BadData
from registry.server import limits

# What turns, hides or breaks text: control characters, line and paragraph separators, direction overrides, halves of pairs.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"}
)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
# Followed by a browser they run or show what the writer of the reference chose, as if it were a page of ours.
_SCRIPTING = frozenset({"javascript", "vbscript", "data", "blob", "about", "view-source"})


def readable(text: str) -> bool:
    """Whether a name shows what it is: no character of it is invisible or moves the others."""
    if text.isascii():
        return text.isprintable()
    return not any(letter in _DIRECTIONS or unicodedata.category(letter) in _UNSEEN for letter in text)


def check_path(path: str, what: str) -> None:
    """A path inside a version or a run, with `/` between its parts.

    Raises:
        BadData: it would leave the folder that it is downloaded to, name a device, or fit on no disk.
    """
    flaw = _flaw(path)
    if flaw is not None:
        raise BadData(f"{what} {path[:80]!r} {flaw}")


def check_reference(uri: str, what: str) -> None:
    """
    Raises:
        BadData: the reference is not one line of text, too long, or made to be run by whoever follows it.
    """
    if not readable(uri) or not uri.strip() or len(uri) > limits.REFERENCE:
        raise BadData(f"{what} {uri[:80]!r} is not the URI of something: one line of at most {limits.REFERENCE:,} characters")
    scheme = _SCHEME.match(uri.strip())
    if scheme is not None and scheme.group(1).lower() in _SCRIPTING:
        raise BadData(f"{what} {uri[:80]!r} names no place: {scheme.group(1)[:40]} is for code and content")


def _flaw(path: str) -> str | None:
    if not path:
        return "is empty"
    if not readable(path):
        return "holds characters that cannot be seen"
    if path[0] in "/\\" or _DRIVE.match(path):
        return "is absolute: it would be written outside of where it is downloaded to"
    if len(path) > limits.PATH_BYTES or (not path.isascii() and len(path.encode()) > limits.PATH_BYTES):
        return f"is longer than the {limits.PATH_BYTES:,} bytes of a path"
    for part in path.replace("\\", "/").split("/"):
        # Windows drops dots and spaces at the end, so that ".. " is the folder above there too. Keys of S3 have empty parts.
        if part.startswith("..") and not part.rstrip(". "):
            return "would be written outside of where it is downloaded to"
        if len(part) > limits.PATH_PART_BYTES or (not part.isascii() and len(part.encode()) > limits.PATH_PART_BYTES):
            return f"has a part longer than {limits.PATH_PART_BYTES} bytes"
        if part.lower() in _DEVICES:
            return f"names the device {part.upper()}, where Windows would write instead of to a file"
    return None
