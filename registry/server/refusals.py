"""How an error looks on the wire: one JSON shape, and a status the SDK does not retry unless retrying helps.

The SDK retries 5xx, 408 and 429 for minutes and takes other 4xx as final. So nothing here is a 5xx: an error of ours or a bug
of ours answers at once with its message. What heals by itself, another process holding the database or too many requests at
once, answers 429; so does a full disk where the client would drop what it sent without a word (`sent_again`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from registry.errors import Conflict, NotFound, RegError, Unauthorised
from registry.server import documents, limits
from registry.server.database import Busy, StorageProblem
from registry.server.hosts import Misdirected

_log = logging.getLogger(__name__)


class Unauthenticated(Unauthorised):
    """The request does not say who it comes from in a way we know."""


class TooLarge(RegError):
    """A request body beyond what this server holds in memory."""


class Overloaded(RegError):
    """Others use all of something at the moment; asking again helps."""


# By specificity: the first that an error's class descends from decides.
_STATUS: tuple[tuple[type[RegError], int], ...] = (
    (Unauthenticated, 401),
    (Unauthorised, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Misdirected, 421),
    (Busy, 429),
    (Overloaded, 429),
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
    """A refusal in these words, cut where they only repeat what the client sent."""
    message = documents.whole_text(message if len(message) <= limits.MESSAGE else f"{message[: limits.MESSAGE]}…")
    return Refusal(status=status, body={"errors": [{"message": message}], "error": message})


@contextmanager
def sent_again() -> Iterator[None]:
    """For what a client drops without a word when it is refused: a disk that has no room makes it send the same once more.

    Raises:
        Busy: in place of what the disk said.
    """
    try:
        yield
    except StorageProblem as exc:
        raise Busy(f"{exc.message}; nothing of this is stored, send it again", hint=exc.hint) from exc
    except OSError as exc:
        raise Busy(f"the server's disk refused: {exc.strerror}; nothing of this is stored, send it again") from exc


def of(error: BaseException) -> Refusal:
    """The answer to a request that ended in this error; one that is not ours is logged with its traceback."""
    if isinstance(error, RegError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
        return refusal(status, f"{error.message} ({error.hint})" if error.hint else error.message)
    if isinstance(error, RecursionError):
        # Only what a client nested deeply comes here: nothing of ours calls itself without end.
        return refusal(400, "the request is nested too deeply")
    if isinstance(error, OSError):
        _log.error("the operating system refused", exc_info=error)
        return refusal(422, f"the server's disk refused: {error.strerror or type(error).__name__}")
    _log.error("a request failed", exc_info=error)
    return refusal(400, f"the server failed at this request: {type(error).__name__}")
