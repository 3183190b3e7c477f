"""GraphQL ids: standard padded base64 of `Kind:<integer>`.

The SDK decodes some of them: artifact ids travel as hex inside `wandb-artifact://` references, a project's internal id is
read as an integer, and registry members are told apart by the prefix `User:` or `Entity:`.
"""

from __future__ import annotations

import base64
import binascii
import re

from registry.errors import NotFound

# No more digits than the database's integers can have.
_NUMBER = re.compile(r"[0-9]{1,18}")


def encode(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def decode(kind: str, text: str) -> int:
    """The integer of an id of this kind.

    Raises:
        NotFound: not an id, or one of another kind.
    """
    try:
        found, _, number = base64.b64decode(text, validate=True).decode().rpartition(":")
        if found != kind or not _NUMBER.fullmatch(number):
            raise ValueError(found)
        return int(number)
    except (ValueError, binascii.Error) as exc:
        raise NotFound(f"'{text[:80]}' is not the id of a {kind}") from exc
