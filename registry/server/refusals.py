"""How an error looks on the wire: one JSON shape, and a status the SDK does not retry unless retrying helps.

The SDK retries 5xx, 408 and 429 for minutes and takes other 4xx as final. So nothing here is a 5xx: an error of ours or a bug
of ours answers at once with its message. The one exception that heals by itself, another process holding the database,
answers 429.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import Conflict, NotFound, RegError, Unauthorised
from registry.server.database import Busy, StorageProblem

_log = logging.getLogger(__name__)


class Unauthenticated(Unauthorised):
    """The request does not say who it comes from in a way we know."""


class TooLarge(RegError):
    """A request body beyond what this server holds in memory."""


# By specificity: the first that an error's class descends from decides.
_STATUS: tuple[tuple[type[RegError], int], ...] = (
    (Unauthenticated, 401),
    (Unauthorised, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Busy, 429),
    (StorageProblem, 422),
    # 409 would be right for a conflict, but the client retries it on the mutation that starts a run.
    (Conflict, 422),
)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A status and its body: `errors` is what GraphQL clients read, `error` what the file stream and people read."""

    status: int
    body: Mapping[str, Any]


def refusal(status: int, message: str) -> Refusal:
    return Refusal(status=status, body={"errors": [{"message": message}], "error": message})


def of(error: BaseException) -> Refusal:
    """The answer to a request that ended in this error; one that is not ours is logged with its traceback."""
    if isinstance(error, RegError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
        return refusal(status, f"{error.message} ({error.hint})" if error.hint else error.message)
    if isinstance(error, OSError):
        _log.error("the operating system refused", exc_info=error)
        return refusal(422, f"the server's disk refused: {error.strerror or type(error).__name__}")
    _log.error("a request failed", exc_info=error)
    return refusal(400, f"the server failed at this request: {type(error).__name__}")
