"""References are W&B's grammar, and every reference survives being written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadReference
from registry.references import Digest, Reference, check_alias, parse

HEX = "9e107d9d372bb6826bd81d3542a419d6"

_forbidden = [chr(code) for code in range(0x20)] + list("/:@\\")
names = (
    st.text(st.characters(exclude_characters=_forbidden, exclude_categories=["Cs"]), min_size=1, max_size=128)
    .map(str.strip)
    .filter(lambda text: text not in ("", ".", ".."))
)
digests = st.sampled_from([("md5", 32), ("sha256", 64), ("xxh128", 32)]).flatmap(
    lambda kind: st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1]).map(
        lambda hex_: Digest(algorithm=kind[0], hex=hex_)
    )
)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    digest = draw(st.none() | digests)
    project = draw(st.none() | names)
    entity = draw(st.none() | names) if project is not None else None
    tag = None if digest else draw(names | st.integers(0, 10**6).map("v{}".format))
    return Reference(name=draw(names), tag=tag, digest=digest, project=project, entity=entity)


@given(references())
def test_every_reference_survives_being_written_down(reference: Reference) -> None:
    assert parse(str(reference)) == reference


@given(references())
def test_the_canonical_spelling_is_its_own_canonical_spelling(reference: Reference) -> None:
    assert str(parse(str(reference))) == str(reference)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_bad_reference(text: str) -> None:
    try:
        reference = parse(text)
    except BadReference:
        return
    assert parse(str(reference)) == reference


@given(digests)
def test_every_digest_survives_being_written_down(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    ("text", "canonical", "parsed"),
    [
        ("model", "model:latest", Reference(name="model")),
        (" model ", "model:latest", Reference(name="model")),
        ("model:v3", "model:v3", Reference(name="model", tag="v3")),
        ("model:production", "model:production", Reference(name="model", tag="production")),
        ("vision/model:v0", "vision/model:v0", Reference(name="model", tag="v0", project="vision")),
        ("team/vision/model", "team/vision/model:latest", Reference(name="model", project="vision", entity="team")),
        (
            "wandb-registry-model/mnist:production",
            "wandb-registry-model/mnist:production",
            Reference(name="mnist", tag="production", project="wandb-registry-model"),
        ),
        (f"model@md5:{HEX}", f"model@md5:{HEX}", Reference(name="model", tag=None, digest=Digest(algorithm="md5", hex=HEX))),
        ("my model:the best", "my model:the best", Reference(name="my model", tag="the best")),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) else "",
)
def test_the_spellings_of_wandb_are_read(text: str, canonical: str, parsed: Reference) -> None:
    assert (parse(text), str(parse(text))) == (parsed, canonical)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a name is missing"),
        ("a//b", "a name is missing"),
        ("a/b/c/d", "4 parts"),
        ("model:", "not an alias or version"),
        ("model:a:b", "not an alias or version"),
        ("model:a/b", "not an alias or version"),
        ("..", "'..' is not a name"),
        ("a\\b", "is not a name"),
        ("n" * 129, "is not a name"),
        ("model@md5:123", "is not a digest"),
        (f"model@sha1:{HEX}", "is not a digest"),
        (f"model@md5:{HEX.upper()}", "is not a digest"),
        ("model@", "is not a digest"),
    ],
    ids=lambda value: value[:20] or "empty",
)
def test_a_bad_reference_says_which_part_is_wrong(text: str, why: str) -> None:
    with pytest.raises(BadReference, match=why) as caught:
        parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("tag", "index"), [("v0", 0), ("v12", 12), ("v01", None), ("v", None), ("production", None)])
def test_only_a_version_number_is_one(tag: str, index: int | None) -> None:
    assert Reference(name="model", tag=tag).version_index == index


@pytest.mark.parametrize("alias", ["production", "best so far", "v3-candidate", "V3"])
def test_people_may_set_an_alias(alias: str) -> None:
    assert check_alias(alias) == alias


@pytest.mark.parametrize("alias", ["", "v3", "v0", "a/b", "a:b", "a@b", " ", "x" * 129])
def test_what_only_the_server_may_set_is_no_alias(alias: str) -> None:
    with pytest.raises(BadReference):
        check_alias(alias)


def test_what_was_left_out_is_filled_in() -> None:
    assert str(parse("model:v3").within(entity="team", project="vision")) == "team/vision/model:v3"
    assert str(parse("other/model:v3").within(entity="team", project="vision")) == "team/other/model:v3"


def test_the_entity_of_a_registry_stays_open() -> None:
    reference = parse("wandb-registry-model/mnist:production")
    assert reference.registry == "model"
    assert reference.within(entity="team", project="vision") == reference


def test_another_tag_replaces_a_digest() -> None:
    assert str(parse(f"team/vision/model@md5:{HEX}").at("v3")) == "team/vision/model:v3"
