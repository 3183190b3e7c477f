"""References: the names by which people point at versions, and digests, the names that cannot lie.

The grammar is W&B's, so that every string copied from a W&B page works:

    name                                     latest version of a collection in the current project
    name:v3   name:production                a version or an alias
    project/name:alias                       another project
    entity/project/name:alias                another entity
    wandb-registry-<registry>/<collection>   a collection of an organisation's registry (a project with that prefix)
    name@md5:9e107d9d372bb6826bd81d3542a419d6   a digest pin: the version whose manifest digest this is

Parsed once, at the door: inside the house a reference is a `Reference`, never a string. Laws, tested:
`parse(str(r)) == r` for every reference, and `str(parse(text))` is the canonical spelling of `text`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from registry.errors import BadReference

REGISTRY_PREFIX = "wandb-registry-"
LATEST = "latest"

# W&B's own limits: 128 characters; its client refuses "/" and ":" inside a name, and "@" is ours for digest pins.
_NAME = re.compile(r"[^\s/:@\\\x00-\x1f][^/:@\\\x00-\x1f]{0,127}")
# What the SDK logs under. W&B knows other names, too, from before; they can be looked up, but nothing new is called so.
_NEW_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VERSION = re.compile(r"v(0|[1-9][0-9]*)")
_HEX_LENGTH = {"md5": 32, "sha256": 64, "xxh128": 32}


@dataclass(frozen=True, kw_only=True)
class Digest:
    """A content digest that carries its algorithm; `str()` is `<algorithm>:<hex>`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `<algorithm>:<hex>`.

        Raises:
            BadReference: unknown algorithm, or a hex string of the wrong length.
        """
        algorithm, colon, hex_ = text.partition(":")
        wanted = _HEX_LENGTH.get(algorithm)
        if not colon or wanted is None or not re.fullmatch(rf"[0-9a-f]{{{wanted}}}", hex_):
            known = ", ".join(f"{name}:<{length} hex digits>" for name, length in _HEX_LENGTH.items())
            raise BadReference(f"'{text}' is not a digest", hint=f"write one of {known}")
        return cls(algorithm=algorithm, hex=hex_)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One version of one collection, named by alias, version number or digest.

    `tag` is an alias or `vN`; `digest` pins instead. Exactly one of the two is set.
    """

    name: str
    tag: str | None = LATEST
    digest: Digest | None = None
    project: str | None = None
    entity: str | None = None

    @property
    def version_index(self) -> int | None:
        """N of `vN`, or None when the tag is an alias or a digest is pinned."""
        match = _VERSION.fullmatch(self.tag or "")
        return int(match.group(1)) if match else None

    @property
    def registry(self) -> str | None:
        """The registry's short name when this points into one: `model` for `wandb-registry-model/...`."""
        if self.project is None or not self.project.startswith(REGISTRY_PREFIX):
            return None
        return self.project.removeprefix(REGISTRY_PREFIX)

    @property
    def path(self) -> str:
        """The collection alone: `[entity/][project/]name`."""
        return "/".join(part for part in (self.entity, self.project, self.name) if part)

    def at(self, tag: str) -> Reference:
        """The same collection under another alias or version."""
        return replace(self, tag=tag, digest=None)

    def within(self, *, entity: str, project: str) -> Reference:
        """Fill in what was left out; a registry's entity stays open, because W&B resolves it from the organisation."""
        if self.registry is not None:
            return self
        return replace(self, entity=self.entity or entity, project=self.project or project)

    def __str__(self) -> str:
        return f"{self.path}@{self.digest}" if self.digest else f"{self.path}:{self.tag}"


def parse(text: str) -> Reference:
    """Read a reference in any of the spellings above.

    Raises:
        BadReference: the text follows none of them; the message says which part is wrong.
    """
    collection, at, pin = text.strip().partition("@")
    digest = Digest.parse(pin) if at else None
    tag: str | None = None
    if digest is None:
        collection, colon, written = collection.partition(":")
        if colon and not _is_name(written):
            raise _bad(text, f"'{written}' after ':' is not an alias or version")
        tag = written if colon else LATEST
    parts = collection.split("/")
    if len(parts) > 3:
        raise _bad(text, f"{len(parts)} parts separated by '/', at most 3 are possible")
    for part in parts:
        if not _is_name(part):
            raise _bad(text, f"'{part}' is not a name" if part else "a name is missing")
    return Reference(
        name=parts[-1],
        tag=tag,
        digest=digest,
        project=parts[-2] if len(parts) > 1 else None,
        entity=parts[-3] if len(parts) > 2 else None,
    )


def check_collection(text: str, *, hint: str = "--name {}") -> str:
    """Return `text` when a new collection may be called that.

    Args:
        hint: what to write instead; `{}` is the nearest name that may be.
    Raises:
        BadReference: it is empty, over 128 characters, or holds anything but letters, digits, `-`, `_` and `.`.
    """
    if _NEW_NAME.fullmatch(text):
        return text
    raise BadReference(
        f"'{text}' cannot be a name on W&B: 1 to 128 letters (a to z), digits, '-', '_' and '.'",
        hint=hint.format(nearest_name(text, otherwise="my-name")),
    )


def nearest_name(text: str, *, otherwise: str) -> str:
    """The name most like `text` that W&B takes for anything; `otherwise` where nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")[:128] or otherwise


def check_alias(text: str) -> str:
    """Return `text` when people may set it as an alias.

    Raises:
        BadReference: it is empty, holds '/' or ':', is over 128 characters, or has the form `vN`, which only the server gives.
    """
    if not _is_name(text):
        raise BadReference(
            f"'{text}' cannot be an alias: 1 to 128 characters without '/', ':' and '@'", hint="--alias production"
        )
    if _VERSION.fullmatch(text):
        raise BadReference(f"'{text}' cannot be an alias: the server numbers versions itself", hint="--alias production")
    return text


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text == text.strip() and text not in {".", ".."}


def _bad(text: str, why: str) -> BadReference:
    return BadReference(
        f"'{text}' is not a reference: {why}",
        hint="write name, name:v3, name:alias, project/name:alias or entity/project/name:alias",
    )
