"""The page of a verdict shows what was decided and on what, does nothing but be read, and stays small whatever it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_evidence import BEATS, FLOOR, LOSS, SLICES, change, evidence, models, policy
from test_verdicts import a_judgement, a_verdict

import registry.verdicts.drawing as drawing
from registry.gates import ABSENT, Evidence, judge
from registry.records import CheckResult, Judgement, Look, Metric, Outcome, Override, Pinned, Rollback, Target, Verdict
from registry.verdicts import Case, to_html
from registry.verdicts.drawing import Limit
from registry.verdicts.flips import SHOWN, items_shown
from registry.verdicts.page import MOST_BYTES

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
P50 = "id: p50, metric: latency_ms.p50, batch: 1, test: ratio, max: 1.10"
SMALL = "id: size, metric: bytes, test: absolute, max: 50MiB, severity: warn"


class Elements(HTMLParser):
    """Every element of a page, in order: (name, attributes); and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def named(self, css: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if css in (attributes.get("class") or "").split()]


def shown(case: Case) -> str:
    """The page's text, as one line."""
    return " ".join(Elements(to_html(case)).text.split())


def judged(*checks: str, candidate: Evidence, baseline: Evidence | None, **facts: Any) -> Case:
    judgement = judge(policy(*checks), candidate=candidate, baseline=baseline or ABSENT, look=Look(number=4, of=50))
    if baseline is None:
        facts |= {"baseline": None, "baseline_evaluation": None}
    return Case(verdict=a_verdict(judgement, **facts), candidate=candidate, baseline=baseline)


def confident(of: Evidence, confidence: dict[int, float]) -> Evidence:
    values = np.full(len(of.items["item"]), 0.5, dtype=np.float32)
    values[list(confidence)] = list(confidence.values())
    return change(of, items={"confidence": values})


def timed(candidate: Evidence, baseline: Evidence, *, factor: float) -> Evidence:
    """The candidate timed with the baseline: 30 blocks of 20 runs each of about a millisecond."""
    random = np.random.default_rng(0)
    role = np.tile(np.repeat(np.array(["candidate", "baseline"], dtype=object), 20), 30)
    columns = {
        "role": role,
        "batch": np.ones(1200, dtype=np.int32),
        "block": np.repeat(np.arange(30, dtype=np.int32), 40),
        "run": np.tile(np.arange(20, dtype=np.int32), 60),
        "ms": np.exp(random.normal(0, 0.1, 1200)) * np.where(role == "candidate", factor, 1.0),
    }
    evaluation = candidate.evaluation.model_copy(update={"against": baseline.evaluation.model})
    return replace(candidate, evaluation=evaluation, timings=columns)


@pytest.fixture(scope="module")
def full() -> Case:
    """A case with everything: a loss in one class, timings, a warning, a look, an approval, a picture."""
    n = 2000
    label = np.arange(n) % 10
    wrong = (label == 7) & (np.arange(n) < n / 2)
    candidate = confident(evidence(~wrong, label=label, model="c"), {7: 0.99, 17: 0.9})
    baseline = confident(evidence(np.arange(n) >= 30, label=label, model="b"), {3: 0.8})
    candidate = timed(candidate, baseline, factor=1.02)
    case = judged(FLOOR, BEATS, LOSS, SLICES, P50, SMALL, candidate=candidate, baseline=baseline, approved_by=("bob",))
    picture = "data:image/png;base64,iVBORw0KGgo="
    return replace(case, logged="team/vision/verdict-mnist-production:v4", pictures={"test/17": picture})


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (Outcome.PASS, "model:v8 may take production."),
        (Outcome.FAIL, "model:v8 may not take production."),
        (Outcome.INCONCLUSIVE, "The evidence cannot tell whether model:v8 may take production."),
        (Outcome.ERROR, "Whether model:v8 may take production could not be asked."),
    ],
    ids=str,
)
def test_the_outcome_is_the_first_sentence_and_the_colour_of_the_page(outcome: Outcome, answer: str) -> None:
    case = Case(verdict=a_verdict(Judgement(outcome=outcome, checks=(), reason="because of this")))
    found = Elements(to_html(case))
    assert [body["class"] for body in found.of("body")] == [str(outcome).lower()]
    assert f"{outcome} {answer} because of this" in " ".join(found.text.split())


def test_the_page_tells_its_parts_in_order(full: Case) -> None:
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", to_html(full))
    assert titles == ["Checks", "Slice by slice", "Latency", "What flipped", "Holdout and notes", "Judge it again"]


def test_who_decided_what_about_what_is_told(full: Case) -> None:
    text = shown(full)
    for fact in (
        "Candidate model:v8 team/vision/model:v8",
        "Dataset mnist:v0 split test, 2,000 items",
        "Policy sha256:111111111111",
        "Decided by ada approved by bob",
        "CI run ci.example/7",
        "Look 4 of 50 at this data.",
        "reg verdict verify team/vision/verdict-mnist-production:v4",
    ):
        assert fact in text


def test_every_check_that_measured_something_is_drawn_against_its_threshold(full: Case) -> None:
    names = [str(svg["aria-label"]) for svg in Elements(to_html(full)).of("svg") if "aria-label" in svg]
    drawn = {name.split(":")[0]: name for name in names[:6]}
    assert list(drawn) == ["floor", "beats", "nll", "slices, worst slice", "p50", "size"]
    assert drawn["floor"] == "floor: PASS. 0.95, [0.9414, 0.9574]. min 0.8. It must not be below."
    assert drawn["size"] == "size: PASS. 1 MiB, measured exactly. max 50 MiB. It must not be above."
    assert drawn["slices, worst slice"].startswith("slices, worst slice: FAIL. −0.485, ")


def test_a_check_that_could_not_be_asked_has_no_drawing() -> None:
    candidate, baseline = models(600, baseline_wrong=60, gained=10)
    case = judged("id: kappa, metric: kapppa, test: absolute, min: 0.9", candidate=candidate, baseline=baseline)
    page = to_html(replace(case, candidate=None))
    assert "nothing was measured" in page
    assert not Elements(page).named("interval")


@pytest.mark.parametrize(
    "facts",
    [
        {"delta": float("nan"), "interval": (0.0, 1.0)},
        {"delta": 0.5, "interval": (float("nan"), None), "threshold": 0.0},
        {"delta": 1e308, "interval": (-1e308, 1e308)},
        {"candidate": float("inf"), "delta": float("-inf"), "threshold": float("inf")},
    ],
)
def test_numbers_that_no_axis_can_hold_are_told_without_a_drawing(facts: dict[str, Any]) -> None:
    found = Elements(to_html(Case(verdict=a_verdict(a_judgement(**facts)))))
    assert not found.named("interval")
    assert "beats" in found.text


def test_slices_are_sorted_by_loss_and_those_that_fail_are_never_folded() -> None:
    def result(number: int, delta: float, status: str) -> CheckResult:
        found = {"id": "sites", "metric": "accuracy", "test": "not-worse", "threshold": -0.01, "reason": "so"}
        return CheckResult.model_validate(
            found | {"slice": f"site={number}", "status": status, "delta": delta, "interval": (delta - 0.1, delta + 0.1)}
        )

    results = [result(at, at / 1000, "PASS") for at in range(298)] + [result(998, 0.5, "FAIL"), result(999, -0.5, "PASS")]
    case = Case(verdict=a_verdict(Judgement(outcome=Outcome.FAIL, checks=tuple(results), reason="sites failed")))
    page = to_html(case)
    leaves = re.findall(r'<tr><th scope="row">(\d+)</th>.*?badge (\w+)', page)
    assert leaves == [("999", "pass"), *((str(at), "pass") for at in range(22)), ("998", "fail")]
    assert "276 of 300 slices are not shown: 276 PASS, from +0.022 to +0.297." in page
    assert "300 slices: 1 FAIL, 299 PASS" in page


def test_an_absolute_check_has_its_lowest_slices_first() -> None:
    label = np.arange(1000) % 10
    candidate = evidence(~((label == 4) & (np.arange(1000) < 500)), label=label)
    case = judged("id: floor, metric: accuracy, by: label, test: absolute, min: 0.6", candidate=candidate, baseline=None)
    leaves = re.findall(r'<tr><th scope="row">(\d+)</th><td class="number">', to_html(case))
    assert leaves[:2] == ["4", "0"]


def test_flips_are_counted_and_the_surest_mistakes_come_first(full: Case) -> None:
    text = shown(full)
    assert "Of 2,000 items the candidate mended 27 of the baseline's mistakes and made 97 new ones" in text
    assert "both right 1,873 mended 27 broken 97 both wrong 3" in text
    assert items_shown(full)[:2] == ("test/37", "test/47")  # 7 and 17 were wrong before, too
    assert len(items_shown(full)) == SHOWN
    assert "the 16 that the candidate is surest of, of 97" in text
    assert items_shown(full)[16] == "test/3", "the mistake that the baseline was surest of"


def test_classes_that_lost_most_come_first() -> None:
    candidate, baseline = models(600, baseline_wrong=20, gained=20, lost=11)
    page = to_html(judged(BEATS, candidate=candidate, baseline=baseline))
    rows = re.findall(
        r'<tr><th scope="row">(\d)</th>(?:<td class="number[^"]*">[\d,]+</td>){3}<td class="number">(\d+)</td>', page
    )
    assert rows[0] == ("9", "2")
    assert len(rows) == 10


def test_items_are_matched_by_id_in_any_order(full: Case) -> None:
    assert full.baseline is not None
    order = np.random.default_rng(0).permutation(2000)
    assert to_html(replace(full, baseline=change(full.baseline, rows=order))) == to_html(full)


def test_a_mistake_is_shown_with_its_picture_its_answers_and_what_the_data_say() -> None:
    site = np.array(["oslo"] * 599 + ["umeå"], dtype=object)
    candidate, baseline = models(600, baseline_wrong=0, lost=1)
    candidate = change(confident(candidate, {599: 0.975}), items={"site": site})
    case = judged(BEATS, candidate=candidate, baseline=confident(baseline, {599: 0.7}))
    page = to_html(replace(case, pictures={"test/599": "data:image/png;base64,AAAA", "test/1": "data:image/png;base64,BBBB"}))
    found = Elements(page)
    assert [image["src"] for image in found.of("img")] == ["data:image/png;base64,AAAA"]
    assert "label 9 candidate 0 97.5 % baseline 9 70.0 % test/599 site umeå" in " ".join(found.text.split())


def test_without_a_baseline_the_surest_mistakes_are_shown() -> None:
    candidate = confident(evidence(np.arange(600) >= 2), {0: 0.6, 1: 0.9})
    case = judged(FLOOR, candidate=candidate, baseline=None)
    assert "Nobody held the alias, so nothing flipped: of 600 items the candidate has 2 wrong." in shown(case)
    assert items_shown(case) == ("test/1", "test/0")


def test_a_task_without_right_and_wrong_shows_the_largest_losses() -> None:
    def scored(errors: list[float]) -> Evidence:
        n = len(errors)
        plain = evidence([True] * n)
        mean = float(np.mean(errors))
        mae = Metric(value=mean, direction="lower", kind="mean", unit="kg", n=n, column="absolute_error")
        items = {"item": plain.items["item"], "absolute_error": np.array(errors), "site": np.array(["oslo"] * n, dtype=object)}
        return replace(plain, evaluation=plain.evaluation.model_copy(update={"metrics": {"mae": mae}}), items=items)

    candidate, baseline = scored([1.0, 2.0, 5.0, 1.0]), scored([1.0, 3.0, 1.0, 0.5])
    case = Case(verdict=a_verdict(a_judgement(metric="mae")), candidate=candidate, baseline=baseline)
    text = shown(case)
    assert items_shown(case) == ("test/2", "test/3")
    assert "By mae, of 4 items 1 got better and 2 got worse ." in text
    assert "test/2 5 kg 1 kg −4 kg site oslo" in text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda case: {"baseline": change(case.baseline, rows=slice(1, None))}, "their items do not match"),
        (lambda case: {"baseline": change(case.baseline, dataset__digest="md5:" + "0" * 32)}, "the dataset digest differs"),
        (lambda case: {"baseline": change(case.baseline, items={"label": np.zeros(2000, int)})}, "disagree about the labels"),
        (lambda case: {"candidate": None, "baseline": None, "absent": "it is gone"}, "The items are not shown: it is gone."),
    ],
    ids=["other items", "other data", "other labels", "no evidence"],
)
def test_what_cannot_be_compared_is_said(full: Case, broken: Any, said: str) -> None:
    assert said in shown(replace(full, **broken(full)))


def test_latencies_are_drawn_only_where_both_were_timed_together(full: Case) -> None:
    assert full.candidate is not None
    assert len(Elements(to_html(full)).named("curve")) == 2
    assert "candidate 1.02" in shown(full)
    alone = replace(full, candidate=replace(full.candidate, timings=None))
    assert not Elements(to_html(alone)).named("curve")
    assert "Each model was timed alone, so that a difference may be the machine's." in shown(alone)


def test_an_override_and_a_rollback_stand_at_the_top() -> None:
    other = Pinned(reference="team/vision/model:v9", digest="md5:99")
    marks = {
        "override": Override(actor="grace", reason="incident 4711"),
        "rollback": Rollback(replaces=other, verdict=other, actor="bob", reason="v9 is slow"),
    }
    text = shown(Case(verdict=a_verdict(a_judgement(), **marks)))
    assert "Override. The gate said PASS. grace let the candidate in all the same: incident 4711" in text
    assert "Rollback. bob gave the alias back to model:v8, which replaces model:v9: v9 is slow." in text
    assert text.index("Rollback.") < text.index("Decided by")


def hostile(text: str) -> Case:
    """Everything that can be named from outside is named so that it would like to be markup, and there is too much of it."""
    n = 10_000
    columns = {
        text: np.array([text * 9] * n, dtype=object),
        "site": np.array([f"{text}{at % 300}" for at in range(n)], object),
    }
    item = np.array([f"test/{text * 3}{at}" for at in range(n)], dtype=object)
    candidate, baseline = (
        change(evidence(np.arange(n) % 50 != k, **columns), items={"item": item}, dataset__labels=(text,) * 10) for k in (0, 1)
    )
    candidate = timed(candidate, baseline, factor=1.0)
    checks = [f"id: sites{at}, metric: accuracy, by: site, test: not-worse, margin: 0.01" for at in range(12)]
    case = judged(BEATS, P50, *checks, candidate=candidate, baseline=baseline)
    pinned = Pinned(reference=text * 50, digest=text * 50)
    facts: dict[str, Any] = dict.fromkeys(("actor", "git_commit", "run", "split", "created_at"), text * 200)
    facts |= dict.fromkeys(("candidate", "dataset", "candidate_evaluation", "baseline_evaluation", "baseline"), pinned)
    judgement = case.verdict.judgement
    many = tuple(one.model_copy(update={"id": f"{text}{at}", "reason": text * 100}) for at, one in enumerate(judgement.checks))
    case = case.restated(
        **facts,
        ci_url="javascript:alert(3)",
        target=Target(registry=text, collection=text, alias=text),
        override=Override(actor=text, reason=text * 1000),
        judgement=judgement.model_copy(
            update={"checks": judgement.checks + many, "notes": (text * 100,) * 1000, "reason": text * 1000}
        ),
    )
    pictures = dict.fromkeys(items_shown(case), f"data:image/png;base64,{'A' * 200000}")
    return replace(case, pictures=pictures, unseen=text * 100)


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return to_html(hostile(NASTY))


def test_no_text_becomes_markup(hostile_page: str, full: Case) -> None:
    found = Elements(hostile_page)
    known = {name for name, _ in Elements(to_html(full)).found}
    assert {name for name, _ in found.found} - known <= {"img"}
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    assert all(str(image["src"]).startswith("data:image/png;") for image in found.of("img"))
    assert [link for link in found.of("a") if not str(link["href"]).startswith("#")] == []
    assert "{{7*7}}" in found.text


@pytest.mark.parametrize("text", [NASTY, '"' * 60, "漢" * 60], ids=["markup", "all escaped", "three bytes each"])
def test_a_page_stays_under_its_limit_whatever_it_is_about(text: str) -> None:
    assert len(to_html(hostile(text)).encode()) < MOST_BYTES


def test_what_is_not_an_image_is_no_picture(full: Case) -> None:
    page = to_html(replace(full, pictures=dict.fromkeys(items_shown(full), "data:text/html,<script>")))
    assert not Elements(page).of("img")


def test_the_page_needs_nothing_but_itself(full: Case) -> None:
    found = Elements(to_html(full))
    policy_ = next(meta["content"] for meta in found.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy_).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert {"script", "link", "iframe", "object", "form"}.isdisjoint({name for name, _ in found.found})
    assert "url(" not in to_html(full)


def test_the_same_case_gives_the_same_bytes(full: Case) -> None:
    assert to_html(full) == to_html(replace(full))


def test_every_drawing_has_a_name_or_is_said_elsewhere(full: Case) -> None:
    plots = Elements(to_html(full)).named("plot")
    assert len(plots) > 10
    assert all(("aria-label" in plot and plot["role"] == "img") or plot.get("aria-hidden") == "true" for plot in plots)


def test_an_interval_is_drawn_as_bar_dot_threshold_and_shade() -> None:
    drawn = drawing.interval(
        title="beats: PASS",
        description="a gain",
        tone="pass",
        point=5.0,
        bounds=(2.0, None),
        limit=Limit(value=0.0, words="min_gain 0", refused="below"),
        neutral=0.0,
        signed=True,
    )
    assert re.findall(r'<(rect|line|circle|path) class="([^"]*)" (.*?)>', drawn) == [
        ("rect", "refused", 'x="0%" y="18" width="6.14%" height="30"'),
        ("line", "limit", 'x1="6.14%" y1="18" x2="6.14%" y2="48"'),
        ("line", "neutral", 'x1="6.14%" y1="18" x2="6.14%" y2="48"'),
        ("line", "base", 'x1="0%" y1="48" x2="100%" y2="48"'),
        ("line", "base", 'x1="6.14%" y1="48" x2="6.14%" y2="52"'),
        ("line", "base", 'x1="41.23%" y1="48" x2="41.23%" y2="52"'),
        ("line", "base", 'x1="76.32%" y1="48" x2="76.32%" y2="52"'),
        ("line", "interval pass", 'x1="41.23%" y1="33" x2="100%" y2="33"'),
        ("line", "cap pass", 'x1="41.23%" y1="28" x2="41.23%" y2="38"'),
        ("path", "tip pass", 'd="M-1 0l-8-5v10z"'),
        ("circle", "point pass", 'cx="93.86%" cy="33" r="4.5"'),
    ]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (-0.004, 0.013, ["0.000", "+0.005", "+0.010"]),
        (-0.031, 0.012, ["−0.03", "−0.02", "−0.01", "0.00", "+0.01"]),
        (0.0, 50.0, ["0", "+20", "+40"]),
        (-1e-9, 2e-9, ["−1e−09", "0", "1e−09", "2e−09"]),
        (0.0, 12e6, ["0", "+5,000,000", "+10,000,000"]),
    ],
)
def test_an_axis_has_a_few_round_numbers(low: float, high: float, texts: list[str]) -> None:
    assert drawing.tick_texts(drawing.ticks(drawing.Scale(low=low, high=high)), signed=True) == texts


@pytest.mark.parametrize("values", [[], [None], [0.0], [3.0], [float("nan"), 1.0], [1.0, 1.0 + 1e-15]])
def test_an_axis_has_an_extent_whatever_it_must_hold(values: list[float | None]) -> None:
    scale = drawing.scale(values)
    assert scale.low < scale.high
    assert 1 <= len(drawing.ticks(scale)) <= 6


def test_a_density_of_equal_times_is_drawn() -> None:
    sample = drawing.Sample(name="candidate", tone="candidate", values=np.full(60, 2.0), marks=[("p50", 2.0)])
    drawn = drawing.densities([sample], title="t", description="d")
    assert "nan" not in drawn
    assert "p50 2" in drawn


CONTRAST = """
() => {
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                       return .2126 * r + .7152 * g + .0722 * b };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] === 1) return c.slice(0, 3) } return [255, 255, 255] };
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.textContent.trim() || ["title", "desc"].includes(e.tagName)) continue;
    const ink = numbers(e instanceof SVGElement ? style.fill : style.color).slice(0, 3);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.add(e.className.baseVal ?? (e.className || e.tagName));
  }
  return [...found];
}
"""


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("Debian's chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--headless", "--no-sandbox", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_and_asks_nobody(
    chrome: Any, full: Case, hostile_page: str, tmp_path: Path, scheme: str, width: int
) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    for name, text in (("full", to_html(full)), ("hostile", hostile_page)):
        file = tmp_path / f"{name}.html"
        file.write_text(text)
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width, name
        assert page.locator("table.checks circle.point").first.is_visible()
        assert page.evaluate(CONTRAST) == [], name
    page.close()
    assert complaints == []


def test_a_verdict_that_was_not_logged_says_so() -> None:
    dry = a_verdict(a_judgement())
    assert "This verdict was not logged (a dry run)" in shown(Case(verdict=dry))
    logged: Verdict = dry.model_copy(update={"run": "team/vision/abc"})
    assert "reg verdict verify verdict-mnist-production:vN" in shown(Case(verdict=logged))
