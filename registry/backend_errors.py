"""What the SDK raises, as errors of ours.

The SDK's word for "there is none" is a `ValueError` made on the client after the server answered null; everything else (403,
5xx, no answer) is a failed question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from registry.errors import NotFound, RegError, RemoteProblem, Unauthorised, Unreachable, UsageError

# How the SDK's own process words an answer it did not expect, the whole document behind it.
_REFUSAL = re.compile(r'returned error \d+: \{.*?"message" ?: ?"((?:[^"\\]|\\.)*)"')


def is_absent(error: BaseException) -> bool:
    """The SDK asked, the server answered, and there is no such thing."""
    return isinstance(getattr(error, "exc", None) or error, ValueError)


@contextmanager
def translated(doing: str, *, hint: str | None = None) -> Iterator[None]:
    """Turn whatever the SDK raises into one of our errors; ours pass through."""
    try:
        yield
    except (RegError, KeyboardInterrupt):
        raise
    except Exception as exc:
        raise _translation(exc, doing, hint) from exc


def _translation(error: Exception, doing: str, hint: str | None) -> RegError:
    cause = getattr(error, "exc", None) or error
    words = _words(error)
    if any(said in words.lower() for said in ("no api key configured", "api_key not configured")):
        return Unauthorised(f"cannot {doing}: there is no key for it", hint="export WANDB_API_KEY=...")
    if isinstance(error, wandb.errors.AuthenticationError):
        # The SDK calls every failure of its first question one of the key, also where nobody answered.
        asked = error.__cause__
        if isinstance(asked, WandbApiFailedError) and _status(asked) not in (401, 403):
            return _by_status(_status(asked), f"cannot {doing}: {words.partition(' while retrying: ')[0]}", hint)
        return Unauthorised(f"cannot {doing}: the server does not accept the key ({words})", hint="export WANDB_API_KEY=...")
    if isinstance(cause, WandbApiFailedError):
        return _by_status(_status(cause), f"cannot {doing}: {words}", hint)
    if isinstance(cause, requests.HTTPError):
        status = cause.response.status_code if cause.response is not None else None
        return _by_status(status, f"cannot {doing}: {words}", hint)
    if isinstance(cause, requests.RequestException | ConnectionError | TimeoutError):
        return Unreachable(f"cannot {doing}: {words}", hint="check WANDB_BASE_URL and the network")
    if isinstance(cause, wandb.errors.UsageError):
        return UsageError(f"cannot {doing}: {words}", hint=hint)
    if isinstance(cause, ValueError) and _REFUSAL.search(str(error)):
        return RemoteProblem(f"cannot {doing}: {words}", hint=hint or "reg doctor")
    if isinstance(cause, ValueError):
        return NotFound(f"cannot {doing}: {words}", hint=hint)
    return RemoteProblem(f"cannot {doing}: {type(error).__name__}: {words}", hint=hint)


def _words(error: Exception) -> str:
    """What the SDK says on one line; of a refusal that it quotes as JSON, the server's own sentence."""
    text = " ".join(str(error).split())
    if quoted := _REFUSAL.search(text):
        return str(json.loads(f'"{quoted[1]}"'))
    return text


def _status(error: WandbApiFailedError) -> int | None:
    """The status of the answer, if there was one."""
    return (error.response.http_status or None) if error.response is not None else None


def _by_status(status: int | None, message: str, hint: str | None) -> RegError:
    if status is None or status >= 500 or status in (408, 429):
        return Unreachable(message, hint="check WANDB_BASE_URL and the network; reg doctor")
    if status in (401, 403):
        return Unauthorised(message, hint="check WANDB_API_KEY and what it may do")
    return NotFound(message, hint=hint) if status == 404 else RemoteProblem(message, hint=hint)
