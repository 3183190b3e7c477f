"""A policy means what it shows, or is refused with file, line, key and the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.errors import BadPolicy
from registry.policy import Policy, load
from registry.records import Outcome, Target

SHIPPED = sorted((Path(__file__).parents[1] / "pipelines").glob("policy*.yaml"))

FULL = """\
version: 1
target: {registry: model, collection: mnist, alias: production}
alpha: 0.05
baseline: {source: target-alias, when_absent: absolute-only}
data: {dataset: mnist, split: test, min_items: 2000, holdout: {max_looks: 50, on_exhausted: warn}}
runtime: {device: cuda, placement: compute, tf32: false, parity: {rtol: 1.0e-3, atol: 1.0e-4, max_flips: 0.001}}
checks:
  - {id: floor,  metric: accuracy, test: absolute, min: 0.97}
  - {id: beats,  metric: accuracy, test: superiority, min_gain: 0.0}
  - {id: nll,    metric: nll, test: non-inferiority, margin: {relative: 0.02}}
  - {id: slices, metric: accuracy, by: label, test: not-worse, margin: 0.01, min_items: 200}
  - {id: p95,    metric: latency_ms.p95, batch: 1, test: ratio, max: 1.10}
  - {id: size,   metric: bytes, test: absolute, max: 50MiB, severity: warn}
decide: {inconclusive: fail, approvals: {min: 0, not_author: true}}
"""
SMALLEST = """\
version: 1
runtime: {device: any}
checks:
  - {id: beats, metric: accuracy, test: superiority}
"""


def test_every_word_of_the_design_is_read() -> None:
    policy = load(FULL, name="policy.yaml")
    assert policy.target_for("model") == Target(registry="model", collection="mnist", alias="production")
    assert (policy.data.dataset, policy.data.min_items, policy.runtime.device) == ("mnist", 2000, "cuda")
    assert [check.id for check in policy.checks] == ["floor", "beats", "nll", "slices", "p95", "size"]
    assert policy.text == FULL


def test_what_is_left_out_is_the_model_s_own_name_and_its_training_data() -> None:
    policy = load(SMALLEST, name="policy.yaml")
    assert policy.target_for("digits") == Target(registry="model", collection="digits", alias="production")
    assert policy.data.dataset is None


def test_the_defaults_are_part_of_the_meaning_of_a_digest() -> None:
    # A default that changes changes what old policies mean under an old digest: make it `version: 2` instead.
    assert load(SMALLEST, name="policy.yaml").model_dump() == {
        "version": 1,
        "target": {"registry": "model", "collection": None, "alias": "production"},
        "alpha": 0.05,
        "candidate": {"holds": ()},
        "baseline": {"source": "target-alias", "when_absent": "absolute-only"},
        "data": {"dataset": None, "split": "test", "min_items": 100, "cluster": None, "holdout": None},
        "runtime": {"device": "any", "placement": "compute", "tf32": False, "parity": None},
        "checks": (
            {"id": "beats", "metric": "accuracy", "severity": "error", "batch": None, "test": "superiority", "min_gain": 0.0}
            | {"source": None}
            | {"by": None, "where": None, "min_items": 2, "on_small": "skip"},
        ),
        "decide": {"inconclusive": "fail", "approvals": {"min": 0, "not_author": True}},
    }


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_shipped_policy_loads_and_explains_each_line(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    policy = load(text, name=file.name)
    assert (policy.target.collection, policy.data.dataset) == (None, None)
    assert text.count("#") >= 10


def test_the_production_template_accepts_only_cuda() -> None:
    devices = {file.name: load(file.read_text(encoding="utf-8"), name=file.name).runtime.device for file in SHIPPED}
    gpu = {name for name, device in devices.items() if device == "cuda"}
    assert (gpu, set(devices.values())) == ({"policy.production.yaml"}, {"cuda", "any"})


@pytest.mark.parametrize(
    ("written", "instead", "line", "key", "says"),
    [
        ("alpha: 0.05", "alhpa: 0.05", 3, "alhpa", "did you mean 'alpha'"),
        ("alpha: 0.05", "alpha: 0.5", 3, "alpha", "less than 0.5"),
        ("alpha: 0.05", "alpha: 0", 3, "alpha", "greater than 0"),
        ("alpha: 0.05", "alpha: .nan", 3, "alpha", "nan"),
        ("alpha: 0.05", "alpha: true", 3, "alpha", "true is not a number"),
        ("version: 1", "version: 2", 1, "version", "'2' is not possible"),
        ("version: 1\n", "", 1, "version", "is missing"),
        ("alias: production", "alias: v3", 2, "target.alias", "the server numbers versions itself"),
        ("collection: mnist", "collection: a/b", 2, "target.collection", "a plain name is needed"),
        ("dataset: mnist", "dataset: a//b", 5, "data.dataset", "a name is missing"),
        ("when_absent: absolute-only", "when_absent: absolute", 4, "baseline.when_absent", "did you mean 'absolute-only'"),
        ("min_items: 2000", "min_items: 0", 5, "data.min_items", "greater than or equal to 1"),
        ("min_items: 2000", "min_items: 20.5", 5, "data.min_items", "integer"),
        ("max_looks: 50", "max_lookz: 50", 5, "data.holdout.max_lookz", "did you mean 'max_looks'"),
        ("on_exhausted: warn", "on_exhausted: warm", 5, "data.holdout.on_exhausted", "did you mean 'warn'"),
        ("device: cuda", "device: cdua", 6, "runtime.device", "did you mean 'cuda'"),
        ("device: cuda, ", "", 6, "runtime.device", "is missing"),
        ("max_flips: 0.001", "max_flips: 2", 6, "runtime.parity.max_flips", "less than or equal to 1"),
        ("max_flips: 0.001", "max_flip: 0.001", 6, "runtime.parity.max_flip", "did you mean 'max_flips'"),
        ("on_exhausted: warn", "correction: bonferroni", 5, "data.holdout.correction", "'bonferroni' is not possible"),
        ("id: beats", "id: floor", 9, "checks[1].id", "two checks have the id 'floor'"),
        ("id: floor", "id: 'a b'", 8, "checks[0].id", "pattern"),
        ("min_gain: 0.0", "min_gian: 0.1", 9, "checks[1].min_gian", "did you mean 'min_gain'"),
        ("min_gain: 0.0", "min_gain: -0.1", 9, "checks[1].min_gain.absolute", "greater than or equal to 0"),
        ("min: 0.97", "min: 0.97, min_gain: 0.1", 8, "checks[0].min_gain", "test absolute has no 'min_gain'"),
        ("min: 0.97", "use: point", 8, "checks[0]", "needs min, max or both"),
        ("min: 0.97", "min: 0.97, max: 0.5", 8, "checks[0].min", "no value can pass"),
        ("min: 0.97", "min: 97%", 8, "checks[0].min", "only bytes and latencies have units"),
        ("max: 50MiB", "max: 50MeB", 13, "checks[5].max", "its units are B, kB, MB, GB, KiB, MiB, GiB"),
        ("max: 50MiB", "max: much", 13, "checks[5].max", "number"),
        ("test: superiority", "test: superiorty", 9, "checks[1]", "did you mean 'superiority'"),
        ("test: superiority, ", "", 9, "checks[1]", "has no test"),
        ("{relative: 0.02}", "{relativ: 0.02}", 10, "checks[2].margin.relativ", "did you mean 'relative'"),
        ("{relative: 0.02}", "{relative: 0.02, absolute: 0.1}", 10, "checks[2].margin", "a number or {relative: x}"),
        ("{relative: 0.02}", "-0.1", 10, "checks[2].margin.absolute", "greater than or equal to 0"),
        ("batch: 1, ", "", 12, "checks[4].metric", "needs a batch size"),
        ("metric: nll", "metric: nll, batch: 1", 10, "checks[2].batch", "only latencies have"),
        ("latency_ms.p95", "latency.p95", 12, "checks[4].metric", "write latency_ms.p50"),
        ("accuracy, test: superiority", "bytes, test: superiority", 9, "checks[1].metric", "no items to pair"),
        ("by: label", "by: {}", 11, "checks[3].by", "a mapping of slice names to expressions"),
        ("by: label", "by: {old: age >}", 11, "checks[3].by.old", "'age >' ends where a column, a number or a quoted text"),
        ("by: label", "by: {old: 65}", 11, "checks[3].by.old", "65 is no expression"),
        ("by: label", "where: age = 3", 11, "checks[3].where", "'= 3' is not understood at character 5 of 'age = 3'"),
        ("min: 0.97", "min: 0.97, on_small: ignore", 8, "checks[0].on_small", "'ignore' is not possible"),
        (
            "test: absolute, max: 50MiB",
            "test: absolute, by: label, max: 50MiB",
            13,
            "checks[5].by",
            "has no items to choose from",
        ),
        ("batch: 1, test: ratio", "batch: 1, test: ratio, by: label", 12, "checks[4].by", "test ratio has no 'by'"),
        ("latency_ms.p95, batch: 1, test: ratio", "nll, test: ratio", 12, "checks[4].metric", "write test: non-inferiority"),
        ("test: ratio, max: 1.10", "test: absolute, max: 20ms", 12, "checks[4].use", "write use: point"),
        ("data: {", "data: 3\nx: {", 5, "data", "a mapping of keys is needed"),
        ("inconclusive: fail", "inconclusive: maybe", 14, "decide.inconclusive", "'maybe' is not possible"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_bad_policy_names_file_line_and_key(written: str, instead: str, line: int, key: str, says: str) -> None:
    assert FULL.count(written) == 1
    with pytest.raises(BadPolicy) as caught:
        load(FULL.replace(written, instead), name="gates/policy.yaml")
    assert caught.value.message.startswith(f"gates/policy.yaml:{line}: {key}: ")
    assert says in caught.value.message
    assert caught.value.hint


def test_a_policy_that_is_wrong_in_several_places_says_where_the_others_are() -> None:
    text = FULL.replace("data: {", "data: 3\nx: {").replace("inconclusive: fail", "inconclusive: maybe")
    with pytest.raises(BadPolicy, match=r"^policy.yaml:5: data: a mapping of keys .* \(and 2 more, on lines 6, 15\)$"):
        load(text, name="policy.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "policy.yaml: a policy is a mapping of keys, this file is empty"),
        ("- 1", "this file is a list"),
        ("alpha: [", "policy.yaml:1: not YAML"),
        ("alpha: 0.1\nalpha: 0.2", "policy.yaml:2: key 'alpha' again, it is already in line 1"),
        ("data: {split: a, split: b}", "policy.yaml:1: key 'split' again"),
        ("a: &x 1\nb: *x", "policy.yaml:2: '*x': aliases are not read"),
        ("a: &x [*x]", "aliases are not read"),
        ("--- {}\n--- {}", "policy.yaml:2: not YAML"),
        ("!!python/object/apply:os.getcwd []", "policy.yaml:1: not YAML"),
        ("alpha: 0.05\x00", "not YAML: unacceptable character"),
        ("alpha: 2024-99-99", "not YAML: month must be in 1..12"),
        ("[" * 600 + "]" * 600, "nested too deeply"),
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_what_is_no_policy_at_all_says_so(text: str, says: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        load(text, name="policy.yaml")
    assert says in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("checks: []", "nothing could ever be refused"),
        ("checks:\n  - {severity: warn, id: a, metric: nll, test: absolute, max: 1}", "warn"),
    ],
    ids=["no checks", "only warnings"],
)
def test_a_policy_that_could_never_refuse_is_refused(checks: str, says: str) -> None:
    with pytest.raises(BadPolicy, match=f"policy.yaml:3: checks: .*{says}"):
        load(f"version: 1\nruntime: {{device: any}}\n{checks}\n", name="policy.yaml")


@pytest.mark.parametrize(
    ("metric", "written", "number"),
    [
        ("bytes", "50MiB", 50 * 2**20),
        ("bytes", "1.5 GB", 1.5e9),
        ("bytes", "1000", 1000.0),
        ("latency_ms.p95, batch: 1, use: point", "20ms", 20.0),
        ("latency_ms.p95, batch: 1, use: point", "0.5s", 500.0),
        ("nll", "1e-3", 0.001),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_value_may_have_its_unit(metric: str, written: str, number: float) -> None:
    text = SMALLEST + f"  - {{id: limit, test: absolute, metric: {metric}, max: {written}}}\n"
    assert load(text, name="policy.yaml").checks[1].model_dump()["max"] == number


def test_the_digest_is_of_the_rules_and_not_of_their_spelling() -> None:
    policy = load(FULL, name="policy.yaml")
    respelt = FULL.replace("alpha: 0.05", "# a comment\nalpha: 5.0e-2").replace("50MiB", "52428800")
    assert load(respelt, name="policy.yaml").digest == policy.digest
    assert load(FULL.replace("0.97", "0.96"), name="policy.yaml").digest != policy.digest
    assert load(SMALLEST + "alpha: 0.05\n", name="policy.yaml").digest == load(SMALLEST, name="policy.yaml").digest


def test_the_digest_is_the_same_for_ever() -> None:
    # Verdicts of earlier releases name policies by this; a change of the canonical form must be a decision.
    expected = "sha256:1aa32aa41590f09306a1cc95f081459238cb0a538b9e50fbc9d13a0b17198405"
    assert load(SMALLEST, name="policy.yaml").digest == expected


def test_the_command_line_may_aim_the_rules_elsewhere() -> None:
    policy = load(FULL, name="policy.yaml")
    aimed = policy.aimed(alias="staging", dataset="emnist:v2")
    assert str(aimed.target_for("model")) == "wandb-registry-model/mnist:staging"
    assert aimed.data.dataset == "emnist:v2"
    assert (aimed.digest, aimed.text) == (policy.digest, FULL)
    assert policy.aimed() == policy


@pytest.mark.parametrize(
    ("aim", "says"),
    [
        ({"alias": "v3"}, "alias: 'v3' cannot be an alias"),
        ({"dataset": "a:b:c"}, "dataset: 'a:b:c'"),
        ({"collection": "a b/c"}, "path"),
    ],
    ids=["alias", "dataset", "collection"],
)
def test_rules_cannot_be_aimed_at_the_impossible(aim: dict[str, str], says: str) -> None:
    with pytest.raises(BadPolicy, match=says):
        load(FULL, name="policy.yaml").aimed(**aim)


def test_models_are_timed_together_only_when_a_check_needs_it() -> None:
    assert load(FULL, name="policy.yaml").timed_batches == (1,)
    assert not load(SMALLEST, name="policy.yaml").times_models_together


@pytest.mark.parametrize(
    ("decide", "when_absent", "outcome", "first", "asks"),
    [
        ("{}", "absolute-only", Outcome.PASS, False, False),
        ("{approvals: {min: 1}}", "absolute-only", Outcome.PASS, False, True),
        ("{approvals: {min: 1}}", "absolute-only", Outcome.FAIL, False, False),
        ("{}", "absolute-only", Outcome.INCONCLUSIVE, False, False),
        ("{inconclusive: approve}", "absolute-only", Outcome.INCONCLUSIVE, False, True),
        ("{inconclusive: approve}", "absolute-only", Outcome.ERROR, False, False),
        ("{}", "approve", Outcome.INCONCLUSIVE, True, True),
        ("{}", "approve", Outcome.INCONCLUSIVE, False, False),
    ],
)
def test_a_person_is_asked_exactly_when_the_policy_says_so(
    decide: str, when_absent: str, outcome: Outcome, first: bool, asks: bool
) -> None:
    text = SMALLEST + f"decide: {decide}\nbaseline: {{when_absent: {when_absent}}}\n"
    assert load(text, name="policy.yaml").asks_a_person(outcome, first=first) is asks


def test_every_key_says_what_it_means() -> None:
    schema = Policy.model_json_schema()
    sections = {"Policy": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, field in section.get("properties", {}).items()
        if not field.get("description")
    ]
    assert silent == []


@pytest.mark.parametrize(
    "check", ["min_gain: 0.01", "min_gain: {relative: 0.05}", "by: {old: 'age >= 65'}, where: site != 'x'"]
)
def test_what_a_check_says_survives_being_written_down(check: str) -> None:
    policy = load(SMALLEST.replace("superiority", f"superiority, {check}"), name="policy.yaml")
    assert load(Policy.model_validate(policy.model_dump()).text, name="policy.yaml").digest == policy.digest


def test_a_policy_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(FULL, name="policy.yaml").alpha = 0.4  # type: ignore[misc]


fractions = st.floats(0.001, 0.499)
checks = st.one_of(
    st.fixed_dictionaries({"test": st.just("absolute"), "metric": st.just("bytes"), "max": st.floats(0, 1e12)}),
    st.fixed_dictionaries({"test": st.just("absolute"), "metric": st.just("nll"), "min": fractions}),
    st.fixed_dictionaries({"test": st.just("superiority"), "metric": st.just("accuracy"), "min_gain": fractions}),
    st.fixed_dictionaries({"test": st.just("non-inferiority"), "metric": st.just("nll"), "margin": fractions}),
    st.fixed_dictionaries(
        {"test": st.just("not-worse"), "metric": st.just("dice"), "margin": fractions, "by": st.text(max_size=9)}
    ),
    st.fixed_dictionaries(
        {"test": st.just("ratio"), "metric": st.just("latency_ms.p50"), "batch": st.integers(1, 99), "max": fractions}
    ),
)


@settings(deadline=None)
@given(alpha=fractions, checks=st.lists(checks, min_size=1, max_size=5), items=st.integers(1, 10**9))
def test_a_policy_survives_being_written_down(alpha: float, checks: list[dict[str, object]], items: int) -> None:
    numbered = [{"id": f"c{at}"} | check for at, check in enumerate(checks)]
    facts = {"version": 1, "alpha": alpha, "runtime": {"device": "cpu"}, "checks": numbered, "data": {"min_items": items}}
    policy = Policy.model_validate(facts)
    read = load(policy.text, name="policy.yaml")
    assert read.model_dump() == policy.model_dump()
    assert read.digest == policy.digest
