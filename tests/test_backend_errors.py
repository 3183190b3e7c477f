"""What the SDK raises comes out as the error that it is: of the key, of the network, of the server, or plain absence."""

from __future__ import annotations

import pytest
import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from registry.backend_errors import translated
from registry.errors import NotFound, RegError, RemoteProblem, Unauthorised, Unreachable

FULL = (
    'ArtifactSaver.createArtifact: returned error 422: {"data":null,"errors":'
    '[{"message":"the server\'s disk refused: \\"/x\\" is full (free some space)"}]}'
)


def failed_to_verify(words: str) -> Exception:
    """As `wandb.Api()` says it."""
    error = wandb.errors.AuthenticationError(f"Failed to verify credentials with http://127.0.0.1:9: {words}")
    error.__cause__ = WandbApiFailedError(words)
    return error


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (ValueError(FULL), RemoteProblem, 'cannot log it: the server\'s disk refused: "/x" is full (free some space)'),
        (ValueError("artifact membership 'm:v1' not found"), NotFound, "cannot log it: artifact membership 'm:v1' not found"),
        (
            failed_to_verify("giving up after 4 attempt(s): connection refused\nwhile retrying: connection refused"),
            Unreachable,
            "cannot log it: Failed to verify credentials with http://127.0.0.1:9: "
            "giving up after 4 attempt(s): connection refused",
        ),
        (
            wandb.errors.AuthenticationError("WANDB_API_KEY invalid: API key must have 40+ characters, has 5."),
            Unauthorised,
            "cannot log it: the server does not accept the key"
            " (WANDB_API_KEY invalid: API key must have 40+ characters, has 5.)",
        ),
        (
            wandb.errors.UsageError("No API key configured. Use `wandb login` to log in."),
            Unauthorised,
            "cannot log it: there is no key for it",
        ),
    ],
    ids=["refusal quoted as JSON", "absent", "nobody answers", "impossible key", "no key"],
)
def test_it_is_told_as_what_it_is(raised: Exception, kind: type[RegError], said: str) -> None:
    with pytest.raises(RegError) as caught, translated("log it"):
        raise raised
    assert (type(caught.value), caught.value.message) == (kind, said)
