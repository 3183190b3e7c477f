"""A version that is built on another stores what is its own, and whoever asks sees what a copy of everything would show."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from registry.errors import BadData
from registry.server.access import Access
from registry.server.home import Home, open_home
from registry.server.store import (
    access,
    artifacts,
    integrity,
    keeping,
    layers,
    manifests,
    overview,
    people,
    possession,
    uploads,
)
from registry.server.tables import entries, stacks
from tests.wire.drafts import base64_md5, digest_of, entry, hex_md5

# In path order. Colons sort differently once a digest is behind them, and some look like the text of a manifest.
_PATHS = sorted(
    ["ab", "ab!", "ab:c", "ab/c", 'ab"c', '}, "x', '"contents": {', "back\\slash", "é", "🎈", *(f"{n:02}" for n in range(30))]
)
_CONTENTS = tuple(f"content {number}".encode() * (number + 1) for number in range(6))
_MD5S = {content: hex_md5(content) for content in _CONTENTS}

Files = Mapping[str, bytes]


class Undo(Exception):
    """Ends a transaction without a trace."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = open_home(tmp_path_factory.mktemp("layers") / "home")
    for content in _CONTENTS:
        home.blobs.write([content])
    with home.database.writing() as connection:
        people.create(connection, "reader")
    yield home
    home.close()


@contextmanager
def undone(home: Home) -> Iterator[Connection]:
    try:
        with home.database.writing() as connection:
            yield connection
            raise Undo
    except Undo:
        pass


def log(
    connection: Connection, home: Home, files: Files, *, base: int | None = None, owner: str = "local", name: str = "it"
) -> int:
    """The artifact that comes of an upload, whole or on a base."""
    contents = {path: entry(content) for path, content in files.items()}
    owning = people.entity(connection, owner)
    assert owning is not None
    # The digest of an addition is that of its own part, which nobody relies on.
    digest = digest_of(contents) if base is None else secrets.token_hex(16)
    draft = uploads.Draft(type="dataset", collection=name, digest=digest)
    made = uploads.create(connection, people.ensure_project(connection, owning, "p", None), draft)
    if artifacts.row_of(connection, made).state == artifacts.COMMITTED:
        return made
    manifest = home.blobs.write([json.dumps({"version": 1, "contents": contents}).encode()]).md5
    kind: manifests.Kind = "FULL" if base is None else "INCREMENTAL"
    manifests.announce(connection, made, kind=kind, name="m", md5=manifest, base_id=base)
    return uploads.commit(connection, made, blobs=home.blobs, user_id=None)


def delete(connection: Connection, artifact_id: int) -> None:
    artifacts.remove(connection, artifacts.by_id(connection, artifact_id), with_aliases=True, user_id=None)


def reader(connection: Connection) -> Access:
    found = access.of_author(connection, people.the_person(connection, "reader").id)
    assert found is not None
    return found


def paged(connection: Connection, artifact_id: int, *, size: int) -> list[manifests.Entry]:
    found: list[manifests.Entry] = []
    more = True
    while more:
        page = manifests.entry_page(connection, artifact_id, names=None, after=found[-1].path if found else None, first=size)
        found += page.items
        more = page.more
    return found


def walked(connection: Connection, artifact_id: int, *, size: int) -> list[manifests.Entry]:
    """The same as a page of the browser shows it, by number."""
    found: list[manifests.Entry] = []
    while True:
        page = overview.entry_page(connection, artifact_id, after=str(len(found)), first=size)
        found += page.items
        if not page.page_info.has_next_page:
            return found


def entries_of(artifact_id: int, files: Files) -> list[manifests.Entry]:
    return [
        manifests.Entry(
            artifact_id=artifact_id,
            path=path,
            digest=base64_md5(files[path]),
            size=len(files[path]),
            md5=_MD5S[files[path]],
            ref=None,
        )
        for path in sorted(files)
    ]


def check(connection: Connection, home: Home, versions: Mapping[int, tuple[str, Files]], names: Sequence[str]) -> None:
    """That everything which asks for entries hears what these versions say."""
    for number, (_, files) in versions.items():
        expected = entries_of(number, files)
        assert paged(connection, number, size=7) == expected
        assert walked(connection, number, size=9) == expected
        row = artifacts.row_of(connection, number)
        assert (row.file_count, row.size) == (len(files), sum(map(len, files.values())))
        assert row.digest == digest_of({path: entry(content) for path, content in files.items()})
        served = json.loads(home.blobs.read(row.manifest_md5))
        assert served == {"version": 1, "contents": {path: entry(content) for path, content in files.items()}}
        some = manifests.entry_page(connection, number, names=names, after=None, first=len(names))
        assert list(some.items) == [one for one in expected if one.path in names]
        assert some.total_count == len(some.items)
        assert list(integrity.lines(connection, number)) == [(one.path, one.digest) for one in expected]
    laws = (integrity.contents_agree, integrity.layers_are_used, integrity.references_hold)
    assert [breach for law in laws for breach in law(connection)] == []
    all_md5s = set(_MD5S.values())

    def named(*, without: Sequence[int] = (), owner: str | None = None) -> set[str]:
        return {
            _MD5S[content]
            for number, (place, files) in versions.items()
            for content in files.values()
            if number not in without and owner in (None, place)
        }

    assert keeping.kept(connection, "") & all_md5s == named()
    for without in ([number] for number in versions):
        assert keeping.kept(connection, "", without=without) & all_md5s == named(without=without)
    half = list(versions)[::2]
    assert keeping.kept(connection, "", without=half) & all_md5s == named(without=half)
    assert keeping.unkept(connection, all_md5s) == all_md5s - named()
    assert {need.md5 for need in keeping.needs(connection, "")} & all_md5s == named()
    assert {md5 for md5 in all_md5s if keeping.owners(connection, md5)} == named()
    asking = reader(connection)
    readable = named(owner="reader")
    assert possession.unreadable(connection, asking, all_md5s) == all_md5s - readable
    assert {md5 for md5 in all_md5s if access.may_read_blob(connection, asking, md5)} == readable
    hidden = select(func.count()).select_from(entries).where(~layers.shown_without([]))
    assert connection.execute(hidden).scalar_one() == 0


_files = st.dictionaries(st.sampled_from(_PATHS), st.sampled_from(_CONTENTS), max_size=5)
_many = st.dictionaries(st.sampled_from(_PATHS), st.sampled_from(_CONTENTS), min_size=20)
# Whose it is, which of the versions so far it builds on (None: it stands alone), and its files; or which version to delete.
_steps = st.lists(
    st.tuples(st.sampled_from(["local", "reader"]), st.integers(0, 9), _files)
    | st.tuples(st.sampled_from(["local", "reader"]), st.integers(0, 9) | st.none(), _files | _many)
    | st.integers(0, 9),
    max_size=10,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=_many, steps=_steps, names=st.lists(st.sampled_from(_PATHS), max_size=4, unique=True))
def test_versions_in_layers_are_what_whole_copies_would_be(
    home: Home, first: Files, steps: Sequence[Any], names: Sequence[str]
) -> None:
    with undone(home) as connection:
        versions: dict[int, tuple[str, Files]] = {log(connection, home, first): ("local", first)}
        for step in steps:
            live = list(versions)
            if isinstance(step, int):
                if live:
                    gone = live[step % len(live)]
                    delete(connection, gone)
                    del versions[gone]
            else:
                owner, on, files = step
                base = None if on is None or not live else live[on % len(live)]
                whole = files if base is None else {**versions[base][1], **files}
                made = log(connection, home, files, base=base, owner=owner)
                assert versions.setdefault(made, (owner, whole)) == (owner, whole)
            check(connection, home, versions, names)


def chain(connection: Connection, home: Home, *, count: int, additions: int) -> tuple[list[int], list[int]]:
    """A version of so many files and others, each built on the one before with one file of its own.

    Returns:
        The versions, and how many rows of entries each of the additions left behind.
    """
    files = {f"{number:05}": _CONTENTS[0] for number in range(count)}
    made, left = [log(connection, home, files)], []
    before = rows(connection)
    for number in range(additions):
        # Spread over the old files, so that each replaces one.
        made.append(log(connection, home, {f"{number * 7:05}": _CONTENTS[1 + number % 5]}, base=made[-1]))
        left.append((after := rows(connection)) - before)
        before = after
    return made, left


def rows(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(entries)).scalar_one()


def heights(connection: Connection) -> list[int]:
    query = select(func.count()).select_from(stacks).group_by(stacks.c.artifact_id).order_by(stacks.c.artifact_id)
    return list(connection.execute(query).scalars())


def test_one_file_more_is_a_few_rows_however_many_there_are_and_stacks_stay_low(home: Home) -> None:
    found = []
    for count in (300, 1500):
        with undone(home) as connection:
            _, left = chain(connection, home, count=count, additions=40)
            found.append(left)
            assert max(heights(connection)) <= 5
    assert found[0] == found[1]
    assert sum(found[0]) <= 40 * 12


def test_an_addition_that_is_a_large_part_of_the_whole_is_written_flat(home: Home) -> None:
    with undone(home) as connection:
        base = log(connection, home, dict.fromkeys(_PATHS, _CONTENTS[0]))
        log(connection, home, dict.fromkeys(_PATHS[:11], _CONTENTS[1]), base=base)
        assert heights(connection) == [1, 1]


def test_deleted_bytes_are_garbage_when_the_versions_built_on_them_replaced_them(home: Home) -> None:
    with undone(home) as connection:
        whole = log(connection, home, {f"{number:03}": _CONTENTS[0] for number in range(100)})
        personal = _MD5S[_CONTENTS[3]]
        base = log(connection, home, {**{f"{n}.png": _CONTENTS[1] for n in range(9)}, "face.png": _CONTENTS[3]}, base=whole)
        replaced = [log(connection, home, {"face.png": _CONTENTS[4]}, base=base, name=name) for name in ("it", "fork")]
        shows = log(connection, home, {"other.png": _CONTENTS[4]}, base=base)
        delete(connection, base)
        assert keeping.unkept(connection, [personal]) == set()
        assert len(paged(connection, shows, size=1000)) == 111
        delete(connection, shows)
        assert keeping.unkept(connection, [personal]) == {personal}
        assert [len(paged(connection, number, size=1000)) for number in replaced] == [110, 110]


def test_an_addition_to_a_version_whose_bytes_were_lost_is_refused_unless_it_replaces_them(home: Home) -> None:
    lost = b"to be lost"
    _MD5S[lost] = home.blobs.write([lost]).md5
    with undone(home) as connection:
        base = log(connection, home, {**dict.fromkeys(_PATHS, _CONTENTS[0]), "lost": lost})
        home.blobs.path(_MD5S.pop(lost)).unlink()
        mended = log(connection, home, {"lost": _CONTENTS[1]}, base=base)
        assert len(paged(connection, mended, size=1000)) == len(_PATHS) + 1
        with pytest.raises(BadData, match="the bytes of 'lost' are no longer stored, in the version that this one builds on"):
            log(connection, home, {"new": _CONTENTS[1]}, base=base)


def test_an_addition_to_a_version_whose_manifest_says_something_else_is_refused(home: Home) -> None:
    with undone(home) as connection:
        base = log(connection, home, dict.fromkeys(_PATHS, _CONTENTS[0]))
        connection.execute(entries.delete().where(entries.c.path == "ab"))
        with pytest.raises(BadData, match="does not name the files of that version"):
            log(connection, home, {"new": _CONTENTS[1]}, base=base)


@pytest.mark.parametrize(("owner", "missing"), [("reader", 0), ("local", 1)], ids=["readable", "not readable any more"])
def test_what_the_base_has_needs_no_bringing_as_long_as_the_base_can_be_read(home: Home, owner: str, missing: int) -> None:
    with undone(home) as connection:
        base = log(connection, home, dict.fromkeys(_PATHS, _CONTENTS[0]), owner=owner)
        made = log(connection, home, {"new": _CONTENTS[1]}, base=base, owner="reader")
        brought = {_MD5S[_CONTENTS[1]]}
        if missing:
            with pytest.raises(BadData, match=f"^{missing} files of this artifact never arrived from reader"):
                possession.require(connection, reader(connection), made, brought, base_id=base)
        else:
            possession.require(connection, reader(connection), made, brought, base_id=base)


def test_bytes_of_ones_own_part_are_to_be_brought_whatever_the_base_is(home: Home) -> None:
    with undone(home) as connection:
        log(connection, home, {"secret": _CONTENTS[1]}, owner="local")
        base = log(connection, home, dict.fromkeys(_PATHS, _CONTENTS[0]), owner="reader")
        made = log(connection, home, {"new": _CONTENTS[1]}, base=base, owner="reader")
        with pytest.raises(BadData, match=r"^1 files of this artifact never arrived from reader"):
            possession.require(connection, reader(connection), made, set(), base_id=base)
