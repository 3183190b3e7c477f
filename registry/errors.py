"""Every error a user of `reg` can meet, as one family; each knows its exit code.

The message says what happened with the actual values, the hint is something the reader can paste. Errors are raised
where the fact is known, caught only at the command line's edge (`registry.cli`) and at the wire's edge (`registry.server`).
A gate that says "no" is not an error: it is a value (`registry.records.Outcome`) that carries its own exit code.

    RegError                      1   internal, or nothing more precise is known
    ├── NotFound                  1   a reference names nothing
    ├── UsageError                2   the caller can mend it: wrong words, files, values
    │   ├── BadReference          2
    │   ├── BadPolicy             2
    │   ├── BadSettings           2
    │   └── BadData               2   an input file is corrupt, ragged, empty, out of range
    ├── EvaluationMismatch        1   two evaluations cannot be compared item by item
    ├── ApprovalNeeded            5
    ├── Conflict                  6   somebody else changed what we were about to change
    │   └── AliasMoved            6
    ├── EnvironmentProblem        7   this machine cannot do what was asked
    │   ├── MissingDependency     7
    │   ├── DeviceUnavailable     7
    │   └── ParityFailed          7
    ├── RemoteProblem             8   the W&B server did not do its part
    │   ├── Unreachable           8
    │   └── Unauthorised          8
    └── Interrupted             130   by Ctrl-C, in work that can go on
"""

from __future__ import annotations

from typing import ClassVar


class RegError(Exception):
    """Base of all errors shown to a user.

    Args:
        message: what happened, with the actual values; one sentence, no final full stop needed.
        hint: a command or edit that the reader can paste, or None.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(RegError):
    """A reference is well formed but names nothing on this server."""


class UsageError(RegError):
    """The caller's words, files or values cannot be used as they are."""

    exit_code = 2


class BadReference(UsageError):
    """A reference does not follow W&B's grammar."""


class BadPolicy(UsageError):
    """A policy file cannot be read as a policy."""


class BadSettings(UsageError):
    """A settings file, a flag or an environment variable holds an impossible value."""


class BadData(UsageError):
    """A data or model file is unreadable, truncated, ragged, empty or out of range."""


class EvaluationMismatch(RegError):
    """Two evaluations were not made on the same items, data, or runtime, so no difference between them is evidence."""


class ApprovalNeeded(RegError):
    """The gate passed, but the policy asks a person to approve."""

    exit_code = 5


class Conflict(RegError):
    """The state changed between our reading and our writing."""

    exit_code = 6


class AliasMoved(Conflict):
    """The alias no longer names the baseline that the candidate was judged against."""


class EnvironmentProblem(RegError):
    """This machine, its device or its packages cannot do what was asked."""

    exit_code = 7


class MissingDependency(EnvironmentProblem):
    """An optional package (torch, onnxruntime) is not installed."""


class DeviceUnavailable(EnvironmentProblem):
    """The device asked for is absent, or the runtime did not really use it."""


class ParityFailed(EnvironmentProblem):
    """The exported graph and the trained module disagree beyond the tolerance."""


class RemoteProblem(RegError):
    """The W&B server answered with an error or not at all."""

    exit_code = 8


class Unreachable(RemoteProblem):
    """No answer from the server."""


class Unauthorised(RemoteProblem):
    """The server does not accept the key, or the key may not do this."""


class Interrupted(RegError):
    """The person pressed Ctrl-C, and the hint says how to go on."""

    exit_code = 130
