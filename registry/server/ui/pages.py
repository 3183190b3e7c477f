"""The edge of the pages: which address shows what, as HTML or as JSON, to whom, and under which rules for the browser.

A page's JSON twin has the same address with `.json` or `?format=json`; a name that itself ends in `.json` wins over a twin. No
page runs a script, and the browser is told so: text that a user logged can then do no more than be read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry import __version__, coordinates
from registry.errors import NotFound, RegError
from registry.server import refusals
from registry.server.context import Context, User
from registry.server.home import Home
from registry.server.refusals import Unauthenticated
from registry.server.store import access
from registry.server.transfers import path_segments
from registry.server.ui import artifacts, charts, formats, links, login, projects, registries, restricted, runs, sweeps
from registry.server.ui.visit import Redirect, Visit

_HERE = Path(__file__).parent
_STYLE = (_HERE / "static" / "style.css").read_bytes() + coordinates.STYLE.encode()
_STYLE_ADDRESS = f"/-/style.css?{hashlib.sha256(_STYLE).hexdigest()[:12]}"

_RULES = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Authorization, Cookie",
}

_TEMPLATES: Mapping[type, str] = {
    projects.Home: "home.html",
    projects.Project: "project.html",
    runs.Run: "run.html",
    sweeps.Sweep: "sweep.html",
    artifacts.Collection: "collection.html",
    artifacts.Version: "version.html",
    registries.Registry: "registry.html",
}

_environment = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals.update(links=links, style=_STYLE_ADDRESS, server_version=__version__)
_environment.filters.update(
    url=links.address,
    draw=charts.draw,
    moment=formats.moment,
    size=formats.size,
    count=formats.count,
    number=formats.number,
    brief=formats.brief,
    text=formats.text,
    console=formats.console,
    flat=formats.flat,
)
_environment.globals["duration"] = formats.duration
_environment.filters["parallel"] = sweeps.drawn


def _show(segments: list[str]) -> Callable[[Visit], Any] | None:
    """What an address shows; None when it is none of ours."""
    match segments:
        case [] | ["index"]:
            return projects.home
        case ["orgs", organization, "registry", name]:
            return lambda visit: registries.registry(visit, organization, name)
        case [_, "registry", _]:
            return _selected
        case [entity, project] | [entity, project, "workspace" | "overview" | "runs" | "artifacts" | "sweeps"]:
            return lambda visit: projects.project(visit, entity, project)
        case [entity, project, "runs", run]:
            return lambda visit: runs.run(visit, entity, project, run)
        case [entity, project, "sweeps", sweep]:
            return lambda visit: sweeps.sweep(visit, entity, project, sweep)
        case [entity, project, "runs", run, "files", *file] if file:
            return lambda visit: runs.file(visit, entity, project, run, "/".join(file))
        case [entity, project, "artifacts", _, collection]:
            return lambda visit: artifacts.collection(visit, entity, project, collection)
        case [entity, project, "artifacts", _, collection, tag]:
            return lambda visit: artifacts.version(visit, entity, project, collection, tag)
        case [entity, project, "artifacts", _, collection, tag, "files", *file] if file:
            return lambda visit: artifacts.file(visit, entity, project, collection, tag, "/".join(file))
    return None


def _selected(visit: Visit) -> Any:
    """The address that the SDK prints for links outside of an organisation's registries; it says where in its query."""
    found = registries.selection(visit)
    if found is None:
        raise NotFound("this address needs ?selectionPath=entity/project/collection")
    return found


async def page(request: Request) -> Response:
    """Whatever has an address, for people and for programs."""
    try:
        return await run_in_threadpool(_answer, request)
    except Unauthenticated as error:
        if not _for_people(request):
            raise
        return _ask(request, error.message if request.headers.get("authorization") else None)
    except Exception as error:
        if not _for_people(request):
            raise
        return _problem(error)


async def enter(request: Request) -> Response:
    """The login: its form, and the one-time link."""
    home: Home = request.app.state.home
    target = login.local_address(request.query_params.get("next"))
    token = request.query_params.get("token")
    try:
        user: User | None = await run_in_threadpool(login.visitor, request, home.database, request.app.state.keys, home.signer)
    except RegError:
        user = None
    if user is not None:
        return _redirect(target)
    if token is None or request.method != "GET":
        return _ask(request, None, target=target, status_code=200)
    try:
        key_id = await run_in_threadpool(login.follow, home.database, home.signer, token)
    except RegError as error:
        return _ask(request, error.message, target=target)
    # A page rather than a redirect: its request is ours, so that the browser sends the new cookie with it.
    answer = _html("entered.html", 200, target=target)
    answer.headers.append("Set-Cookie", login.cookie(request, home.signer, key_id))
    return answer


async def present_key(request: Request) -> Response:
    """The submitted login form."""
    home: Home = request.app.state.home
    try:
        fields = await login.form(request)
        target = login.local_address(fields.get("next"))
        if login.from_elsewhere(request):
            return _ask(request, "the form was sent by another site", target=target)
        key_id = await run_in_threadpool(login.present, home.database, request.app.state.keys, fields.get("key", ""))
    except Unauthenticated as error:
        return _ask(request, error.message, target=target)
    except RegError as error:
        return _problem(error)
    answer = _redirect(target)
    answer.headers.append("Set-Cookie", login.cookie(request, home.signer, key_id))
    return answer


async def leave(request: Request) -> Response:
    if login.from_elsewhere(request):
        return _ask(request, "the form was sent by another site", target=links.HOME)
    answer = _redirect(links.LOGIN)
    answer.headers.append("Set-Cookie", login.no_cookie(request))
    return answer


async def authorize(request: Request) -> Response:
    """Where `wandb login` sends people for a key."""
    return _html("authorize.html", 200, base_url=_base_url(request))


async def stylesheet(request: Request) -> Response:
    headers = _RULES | {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_STYLE, media_type="text/css", headers=headers)


routes = [
    Route("/-/style.css", stylesheet),
    Route(links.LOGIN, enter),
    Route(links.LOGIN, present_key, methods=["POST"]),
    Route(links.LOGOUT, leave, methods=["POST"]),
    Route("/authorize", authorize),
    Route("/{rest:path}", page),
]


def _answer(request: Request) -> Response:
    home: Home = request.app.state.home
    segments = [segment for segment in path_segments(request) if segment]
    query = dict(request.query_params)
    asked = [(segments, query)]
    if segments and segments[-1].endswith(".json"):
        asked.append(([*segments[:-1], segments[-1].removesuffix(".json")], {**query, "format": "json"}))
    shown = [(show, some, words) for some, words in asked if (show := _show(some)) is not None]
    if not shown:
        raise NotFound(f"nothing is served at {request.url.path}")
    user = login.visitor(request, home.database, request.app.state.keys, home.signer)
    with home.database.reading() as connection:
        context = Context(
            connection=connection,
            blobs=home.blobs,
            signer=home.signer,
            user=user,
            access=access.of(connection, user),
            base_url=_base_url(request),
        )
        for show, some, words in shown:
            visit = Visit(context=context, path=links.path(some), query=words)
            try:
                found = show(visit)
            except NotFound:
                if words is shown[-1][2]:
                    raise
            else:
                return _shown(visit, restricted.shown(visit, found))
    raise AssertionError("unreachable: the last address shows something or raises")


def _shown(visit: Visit, found: Any) -> Response:
    if isinstance(found, Redirect):
        return _redirect(found.to)
    if visit.query.get("format") == "json":
        content = json.dumps(_plain(found), ensure_ascii=False, allow_nan=False)
        return Response(content, media_type="application/json", headers=_RULES)
    return _html(_TEMPLATES[type(found)], 200, page=found, visit=visit, user=visit.context.user)


def _plain(value: Any) -> Any:
    """As JSON: rows with the address of their page; what is not finite, which JSON has no word for, as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        address = links.address(value)
        return fields if address is None else {**fields, "url": address}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def _for_people(request: Request) -> bool:
    """Whether an error should be a page: browsers say that they want one, programs do not."""
    as_data = request.query_params.get("format") == "json" or request.url.path.endswith(".json")
    return not as_data and "text/html" in request.headers.get("accept", "")


def _ask(request: Request, complaint: str | None, *, target: str | None = None, status_code: int = 401) -> Response:
    """The login form, in the place of the page that needs it."""
    here = links.path([segment for segment in path_segments(request) if segment])
    here = f"{here}?{request.url.query}" if request.url.query else here
    # A browser keeps a strict cookie back when another site's link leads here; asked from our own page it sends it.
    again = here if login.from_elsewhere(request) and request.method == "GET" else None
    return _html("login.html", status_code, complaint=complaint, target=target or login.local_address(here), again=again)


def _problem(error: Exception) -> Response:
    refusal = refusals.of(error)
    hint = error.hint if isinstance(error, RegError) else None
    message = error.message if isinstance(error, RegError) else str(refusal.body["error"])
    return _html("error.html", refusal.status, status=refusal.status, message=message, hint=hint)


def _html(template: str, status_code: int, **values: Any) -> Response:
    content = _environment.get_template(template).render(values)
    return Response(content, status_code=status_code, media_type="text/html", headers=_RULES)


def _redirect(address: str) -> Response:
    return Response(status_code=303, headers={**_RULES, "Location": address})


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
