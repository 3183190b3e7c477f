"""How a person's browser says who it is: a cookie, given for the API key or for the one-time link that `reg serve` prints.

The cookie names an API key by its id, signed with the home's secret, and ends with that key or after a day. It opens pages,
which only read, and nothing else: the wire's endpoints do not know it. Browsers share cookies between all ports of a host, so
its name carries the port; they hold a `SameSite=Strict` cookie back on the first request that comes from another site's link,
so the page that asks for the key then asks once more from here before it believes that there is none.
"""

from __future__ import annotations

import secrets
import threading
import time
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request

from registry.errors import RegError, Unauthorised
from registry.server.access_log import asked_by
from registry.server.auth import Keys
from registry.server.context import User
from registry.server.database import Database
from registry.server.refusals import TooLarge, Unauthenticated
from registry.server.signing import LIFETIME_SECONDS, Signer
from registry.server.store import keys as api_keys
from registry.server.store import people
from registry.server.ui import links

LINK_SECONDS = 15 * 60
_LARGEST_FORM = 16 << 10


class UsedLinks:
    """The one-time links that were followed in this process, until they are too old to matter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, int] = {}

    def use(self, nonce: str, until: int) -> bool:
        """Whether this is the first use."""
        with self._lock:
            moment = time.time()
            self._until = {known: end for known, end in self._until.items() if end >= moment}
            if nonce in self._until:
                return False
            self._until[nonce] = until
            return True


# `reg serve` makes a link and honours it in one process, so memory is enough.
_USED = UsedLinks()


def login_url(signer: Signer, base_url: str) -> str:
    """A link that logs a browser in as the local user, once, within a quarter of an hour."""
    subject = f"{int(time.time()) + LINK_SECONDS}-{secrets.token_hex(16)}"
    return f"{base_url}{links.LOGIN}?token={_sealed(signer, 'LOGIN', subject)}"


def follow(database: Database, signer: Signer, token: str) -> int:
    """The id of the API key that a one-time link stands for: the first of the local user.

    Raises:
        Unauthorised: the link is forged, too old, or was used before.
    """
    subject = _unsealed(signer, "LOGIN", token)
    until, _, nonce = (subject or "").partition("-")
    if subject is None or int(until) < time.time() or not _USED.use(nonce, int(until)):
        raise Unauthorised("this link was used before or is too old", hint="reg serve, for a new one, or enter the API key")
    with database.reading() as connection:
        owner = people.the_person(connection, people.LOCAL_USER)
        known = api_keys.listing(connection, owner.id)
    if not known:
        raise Unauthorised("the local user has no API key any more")
    return known[0].id


def present(database: Database, keys: Keys, key: str) -> int:
    """The id of an API key that a person typed.

    Raises:
        Unauthenticated: this server does not know it.
    """
    keys.user(f"Bearer {key.strip()}")
    with database.reading() as connection:
        found = api_keys.id_of(connection, key.strip())
    if found is None:
        raise Unauthenticated("this server does not know the API key any more")
    return found


def visitor(request: Request, database: Database, keys: Keys, signer: Signer) -> User:
    """Who asks for a page: by an `Authorization` header as the SDK sends it, or by the cookie.

    Raises:
        Unauthenticated: by neither.
    """
    header = request.headers.get("authorization")
    if header is not None:
        return keys.user(header)
    subject = _unsealed(signer, "SESSION", request.cookies.get(_cookie_name(request), ""))
    if subject is not None:
        with database.reading() as connection:
            user = api_keys.user_of_id(connection, int(subject))
        if user is not None:
            asked_by(user.username)
            return user
    raise Unauthenticated("log in to see this page", hint=f"{links.LOGIN}, or send the API key")


def cookie(request: Request, signer: Signer, key_id: int) -> str:
    """The header that gives a browser its session."""
    return _set_cookie(request, _sealed(signer, "SESSION", str(key_id)), LIFETIME_SECONDS)


def no_cookie(request: Request) -> str:
    """The header that takes the session away."""
    return _set_cookie(request, "", 0)


def local_address(text: str | None) -> str:
    """Where to go after the login, if that is a place on this server; the start page otherwise."""
    parts = urlsplit((text or "").replace("\\", "/"))
    inside = text is not None and text.isprintable() and text.startswith("/") and not text.startswith(("//", "/\\"))
    if not inside or parts.scheme or parts.netloc or parts.path in (links.LOGIN, links.LOGOUT):
        return links.HOME
    return quote(text or "", safe="/?&=%#:@!$'()*+,;~")


def from_elsewhere(request: Request) -> bool:
    """Whether another site caused the request, as browsers tell by themselves."""
    return request.headers.get("sec-fetch-site") in ("cross-site", "same-site")


async def form(request: Request) -> dict[str, str]:
    """The fields of a submitted form, each once.

    Raises:
        TooLarge: no form of ours is that long.
    """
    body = b""
    async for piece in request.stream():
        body += piece[: _LARGEST_FORM + 1 - len(body)]
    if len(body) > _LARGEST_FORM:
        raise TooLarge(f"a form has at most {_LARGEST_FORM} bytes")
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _sealed(signer: Signer, purpose: str, subject: str) -> str:
    signed = parse_qs(urlsplit(signer.sign(purpose, f"/{subject}")).query)
    return f"{subject}.{signed['expires'][0]}.{signed['signature'][0]}"


def _unsealed(signer: Signer, purpose: str, token: str) -> str | None:
    subject, _, rest = token.partition(".")
    expires, _, signature = rest.partition(".")
    try:
        signer.check(purpose, f"/{subject}", expires=expires, signature=signature)
    except (RegError, TypeError, ValueError):
        return None
    return subject


def _cookie_name(request: Request) -> str:
    return f"reg_session_{request.url.port or request.url.scheme}"


def _set_cookie(request: Request, value: str, seconds: int) -> str:
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{_cookie_name(request)}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}"
