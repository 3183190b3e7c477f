"""Links that carry their own permission.

The SDK sends no credentials when it uploads to or downloads from a link it was given, so each link is signed: an HMAC over
method, path and expiry with a secret of this home. Processes that share a home share the secret and honour each other's links.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from urllib.parse import quote

from registry.errors import Unauthorised

# The SDK is given the links of a whole upload before its first byte (of all parts of a large file, of thousands of files) and
# never asks for others: 1 TB takes 22 hours on a line of 100 Mbit/s.
LIFETIME_SECONDS = 24 * 3600
# When a link to download is refused, the SDK asks for a fresh one. An hour is longer than it retries one transfer (16 minutes),
# and than anybody looks at a page before its pictures are loaded.
DOWNLOAD_SECONDS = 3600
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


class Signer:
    """Signs and checks paths.

    Args:
        secret: the home's random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, method: str, path: str) -> str:
        """`path` (decoded, starting with `/`), percent-encoded and with expiry and signature appended."""
        expires = int(time.time()) + (DOWNLOAD_SECONDS if method == "GET" else LIFETIME_SECONDS)
        return f"{quote(path)}?expires={expires}&signature={self._mac(method, path, expires)}"

    def check(self, method: str, path: str, *, expires: str, signature: str) -> None:
        """
        Raises:
            Unauthorised: forged, made for another path or method, or too old.
        """
        # A link's words come from anywhere: a thousand digits, other alphabets' digits, letters that are not ASCII.
        if not (_EXPIRES.fullmatch(expires) and _SIGNATURE.fullmatch(signature)):
            raise Unauthorised("this link is not one of ours")
        if not hmac.compare_digest(self._mac(method, path, int(expires)), signature):
            raise Unauthorised("this link is not one of ours")
        if int(expires) < time.time():
            raise Unauthorised("this link has expired")

    def _mac(self, method: str, path: str, expires: int) -> str:
        message = f"{method}\n{path}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
