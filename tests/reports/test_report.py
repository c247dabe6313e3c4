"""The page of a night says what was measured, loads nothing, and gives up what it quotes."""

from __future__ import annotations

import html as markup
import math
import re
import string
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flywheel.config import GateConfig, Home
from flywheel.evaluation import live_acceptance
from flywheel.evaluation.live_acceptance import Live
from flywheel.records import EarlierTrial, FreshRow, Trial
from flywheel.reports import charts, forget, formatting, headline, page, svg, tables
from flywheel.reports import night_facts as findings
from flywheel.reports.headline import fresh_gain, gain_of
from flywheel.reports.night_report import NightReport
from flywheel.stats.alpha_budget import Told
from tasks.report import page_path, write_page
from tests.report_facts import LABELS, failed, first_model, on_trial, promoted, skipped, variants

DASH = "\N{EN DASH}"
NIGHT = datetime(2026, 1, 2, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = GateConfig()
VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}
# what never has an end tag of its own in an SVG as we write it
SHAPES = {"line", "circle", "rect"}
SECTIONS = (
    "why", "contenders", "evidence", "slices", "confusion", "changed", "reliability", "data",
    "live", "cost", "holdout", "queue", "history",
)  # fmt: skip


class Page(HTMLParser):
    """A page in pieces; anything not closed in the order it was opened is an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.quotes: list[str] = []
        self.section = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        given = dict(attrs)
        if tag == "section":
            self.section = given["id"] or ""
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if given.get("class") == "said":
            self.quotes.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.section, []).append(data)
        if {"td", "th"} & set(self.open):
            self.rows[self.section][-1][-1] += data
        if "q" in self.open:
            self.quotes[-1] += data

    def said(self, section: str) -> str:
        return " ".join(" ".join(self.texts[section]).split())

    def row(self, section: str, starts: str) -> list[str]:
        """The one row of a section whose first cell starts so."""
        found = [row for row in self.rows[section] if row and row[0].startswith(starts)]
        assert len(found) == 1, found
        return found[0]


# ---- The page


@pytest.mark.parametrize("name", variants())
def test_every_page_is_well_formed_and_has_every_section(name: str) -> None:
    made = Page(page(variants()[name]))
    ids = [value for _, attribute, value in made.attributes if attribute == "id"]
    assert Counter(ids).most_common(1)[0][1] == 1
    assert [one for one in ids if one in SECTIONS] == list(SECTIONS)
    assert made.tags["h1"] == 1
    assert made.tags["section"] == made.tags["h2"] == len(SECTIONS)
    for section in SECTIONS:
        assert len(made.said(section)) > 20


@pytest.mark.parametrize("name", variants())
def test_a_page_loads_nothing_and_runs_nothing(name: str) -> None:
    html = page(variants()[name])
    made = Page(html)
    assert {"script", "img", "iframe", "object", "form", "base"}.isdisjoint(made.tags)
    for tag, attribute, value in made.attributes:
        assert not attribute.startswith("on")
        if attribute in ("href", "src", "srcset", "action", "data", "xlink:href"):
            assert value.startswith("#") or (tag, value) == ("link", "data:,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policies = [value for _, _, value in made.attributes if "default-src" in value]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_links_lead_to_places_on_the_page() -> None:
    made = Page(page(promoted()))
    ids = {value for _, name, value in made.attributes if name == "id"}
    links = [value[1:] for tag, name, value in made.attributes if (tag, name) == ("a", "href")]
    assert sorted(links) == sorted(SECTIONS)
    assert set(links) <= ids


def test_what_is_missing_is_said_to_be_missing() -> None:
    made = Page(page({}))
    for section in SECTIONS:
        assert re.search(r"\b(no|not|nothing|none)\b", made.said(section).lower()), section
    assert not made.rows
    assert made.tags["svg"] == 0


@pytest.mark.parametrize("section", sorted(set(promoted()) - {"outcome"}))
@pytest.mark.parametrize("absent", [None, "missing"])
def test_a_page_does_without_any_one_fact(section: str, absent: str | None) -> None:
    facts = promoted()
    if absent is None:
        facts[section] = None
    else:
        del facts[section]
    Page(page(facts))


def test_a_page_does_without_any_one_number() -> None:
    for path in paths(promoted()):
        for value in (None, math.nan, math.inf):
            facts = promoted()
            put(facts, path, value)
            html = page(facts)
            assert ">nan" not in html.lower()
            assert ">inf" not in html.lower()
            assert 'nan%"' not in html


def paths(facts: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all numbers, one of each kind: of a list only the last entry is entered."""
    if isinstance(facts, dict):
        return [path for name, value in facts.items() for path in paths(value, (*at, name))]
    if isinstance(facts, list):
        return paths(facts[-1], (*at, len(facts) - 1)) if facts else []
    return [at] if isinstance(facts, (int, float)) and not isinstance(facts, bool) else []


def put(facts: Any, path: tuple[Any, ...], value: object) -> None:
    for name in path[:-1]:
        facts = facts[name]
    facts[path[-1]] = value


def test_the_same_facts_give_the_same_page_and_stay_as_they_are() -> None:
    facts = promoted()
    before = deepcopy(facts)
    assert page(facts) == page(facts)
    assert facts == before


# ---- Words in the facts are data


EVIL = "</q></td><script>alert(1)</script><img src=x onerror='a()'>\"&amp; {{ 7 * 7 }} \u202e"


def everywhere(facts: Any, text: str) -> Any:
    """The facts with ``text`` after every string in them, and in the names of what was counted."""
    if isinstance(facts, dict):
        return {
            name if name in ("challenger", "champion") or not name.startswith("help") else text: (
                value if name in ("outcome", "as_of") else everywhere(value, text)
            )
            for name, value in facts.items()
        }
    if isinstance(facts, list):
        return [everywhere(one, text) for one in facts]
    return f"{facts} {text}" if isinstance(facts, str) else facts


def test_nobodys_words_become_markup_or_attributes() -> None:
    html = page(everywhere(promoted(), EVIL))
    made = Page(html)
    assert made.tags["script"] == made.tags["img"] == 0
    assert "<script" not in html
    assert "49" not in made.quotes[0]
    assert all(quote.endswith(EVIL) for quote in made.quotes)
    assert not [value for _, _, value in made.attributes if "alert" in value or "{{" in value]
    assert made.tags == Page(page(promoted())).tags


def test_half_a_character_can_be_written(tmp_path: Path) -> None:
    facts = promoted()
    facts["changed"]["won"][0]["text"] = "half \ud800 a pair"
    path = write_page(Home(tmp_path), "job", datetime(2026, 1, 2, tzinfo=UTC), page(facts))
    assert "half ? a pair" in path.read_text(encoding="utf-8")


def test_texts_stand_as_they_were_given() -> None:
    facts = promoted()
    given_ = [row["text"] for side in ("won", "lost") for row in facts["changed"][side]]
    given_ += [item["text"] for item in facts["queue"]]
    assert Page(page(facts)).quotes == given_


# ---- Numbers


def test_the_contenders_table_holds_the_facts() -> None:
    made = Page(page(promoted()))
    assert made.row("contenders", "Right answers ")[1:] == [
        "84.7\u202f%82.2 to 86.8\u202f%",
        "79.2\u202f%76.4 to 81.7\u202f%",
    ]
    assert made.row("contenders", "Log loss")[1:] == ["0.418", "0.513"]
    assert made.row("contenders", "Calibration error")[1:] == ["0.037", "0.061"]
    assert made.row("contenders", "Peak memory")[1:] == ["1,243\xa0MB"] * 2
    assert made.row("contenders", "Machine cost")[1:] == ["not measured"] * 2
    assert "912 rows" in made.said("contenders")


def test_evidence_slices_and_data_tables_hold_the_facts() -> None:
    facts = promoted()
    made = Page(page(facts))
    for night in facts["evidence"]["nights"]:
        cells = made.row("evidence", formatting.short_day(night["as_of"]))
        assert cells[1:5] == [str(night[name]) for name in ("rows", "groups", "won", "lost")]
        assert cells[5] == f"+{100 * night['gain']:.1f}"
    assert made.row("slices", "2025-11")[2:] == ["\u22122.3\u221214.0 to +9.5", "0.72"]
    assert len(made.rows["slices"]) == 1 + len(facts["slices"])
    assert [made.row("data", name)[1] for name in ("Read", "Taken", "Seen", "Set", "Parked")] == [
        "1,204", "1,120", "61", "9", "14",
    ]  # fmt: skip
    assert made.row("data", "near duplicates")[1:] == ["6,194", "118", "40"]
    assert made.row("data", "positive")[1] == "2,020"


def judged(number: int, *marks: bool) -> Trial:
    rows = [FreshRow(NIGHT, f"e{n}", f"g{n}", "app", m, not m) for n, m in enumerate(marks)]
    return Trial.of(number, 0.01, rows)


def test_the_evidence_of_a_trial_that_was_not_before_the_gate_is_shown_as_another_ones() -> None:
    facts = {**on_trial(), **findings.trials(None, judged(3, True, True, False), LIMITS)}
    made = Page(page(facts))
    assert made.row("evidence", formatting.short_day(NIGHT.isoformat()))[1:5] == [
        "3",
        "3",
        "2",
        "1",
    ]
    assert "trial number 3, of a challenger of an earlier night" in made.said("evidence")
    assert headline(facts).startswith("No change tonight: version 8 is not proven better")


def test_the_evidence_of_the_one_before_the_gate_is_its_own() -> None:
    both = findings.trials(judged(4, True), judged(3, False, False), LIMITS)
    made = Page(page(on_trial() | both))
    assert made.row("evidence", formatting.short_day(NIGHT.isoformat()))[1:5] == [
        "1",
        "1",
        "1",
        "0",
    ]
    assert "of an earlier night" not in made.said("evidence")


def test_nights_of_earlier_challengers_stand_in_the_evidence_and_in_no_gain() -> None:
    before = FreshRow(NIGHT - DAY, "e", "g", "app", False, True)
    trial = replace(judged(4, True), earlier=(EarlierTrial(0.01, (before,)),))
    facts = {**on_trial(), **findings.trials(trial, None, LIMITS)}
    made = Page(page(facts))
    first = f"{formatting.short_day((NIGHT - DAY).isoformat())} (before)"
    assert made.row("evidence", first)[1:5] == ["1", "1", "0", "1"]
    assert made.row("evidence", formatting.short_day(NIGHT.isoformat()))[1:3] == ["1", "1"]
    assert "earlier challengers against the same champion" in made.said("evidence")
    assert "earlier challengers" not in Page(page(on_trial())).said("evidence")
    found = fresh_gain(facts)
    assert found is not None
    assert found.value == 1.0
    # where others' nights prove the gain too, the holdout says how large it is
    assert seen(facts) == "holdout"
    alone = findings.evidence(judged(4, True), LIMITS)
    assert seen(on_trial() | {"evidence": alone}) == "fresh rows"


def seen(facts: NightReport) -> str | None:
    """Where the headline has its gain from, once fresh rows have proven one."""
    proven = {**facts["evidence"], "log_wealth": 9.0, "threshold": 4.0}
    gain = gain_of(facts | {"evidence": proven})
    return gain and gain.where


def test_a_holdout_that_was_not_asked_yet_is_not_worn() -> None:
    floors_only: list[dict[str, Any]] = [
        {
            "as_of": NIGHT,
            "number": 0,
            "alpha": None,
            "share": None,
            "rows": 60,
            "decision": "promote",
        }
    ]
    facts = {**first_model(), "ledger": worn(floors_only)}
    said = Page(page(facts)).said("holdout")
    assert "The first question sees a gain of" in said
    assert "The holdout has not been asked yet." in said
    assert "worn:" not in said
    once = [
        *floors_only,
        {**floors_only[0], "number": 1, "alpha": 0.01, "share": 0.5, "decision": "undecided"},
    ]
    asked = Page(page(first_model() | {"ledger": worn(once)})).said("holdout")
    assert "The next question sees a gain of" in asked
    assert "The holdout is worn:" in asked


def worn(asked: list[dict[str, Any]]) -> dict[str, Any]:
    told = Told(moved=tuple(one["decision"] != "undecided" for one in asked))
    return findings.wear(asked, rows=60, disagreement=None, limits=LIMITS, told=told)


def test_confusion_shows_gold_in_rows_for_both() -> None:
    made = Page(page(promoted()))
    rows = [row for row in made.rows["confusion"] if row[0] == "neutral"]
    assert rows == [["neutral", "29", "204", "27"], ["neutral", "38", "181", "41"]]


def test_many_labels_are_shown_as_what_is_mixed_up_most() -> None:
    facts = promoted()
    labels = list(string.ascii_lowercase)
    ours = [[50 if i == j else 0 for j in range(26)] for i in range(26)]
    ours[3][7], ours[9][1] = 4, 11
    facts |= {"labels": labels, "confusion": {"challenger": ours, "champion": None}}
    assert Page(page(facts)).rows["confusion"][1:] == [
        ["j", "b", "11", DASH],
        ["d", "h", "4", DASH],
    ]


def test_an_unusable_matrix_is_called_not_measured() -> None:
    for broken in ([[1, 2], [3, 4]], [[1, 2, 3]], "abc", [[1, 2, None]] * 3):
        assert tables.matrix(LABELS, broken) is None
        facts = {**promoted(), "confusion": {"challenger": broken}}
        assert "not measured" in Page(page(facts)).said("confusion")


def test_a_rule_that_is_off_is_shown_as_off_and_no_other() -> None:
    facts = promoted()
    rows = Page(page(facts)).rows["why"][1:]
    said = {row[1]: row[0] for row in rows}
    assert said["max memory mbno limit is set"] == f"{DASH}off"
    for reason, row in zip(facts["reasons"], rows, strict=True):
        assert row[0].endswith("off") == (not reason["on"])
    facts["reasons"] = [{"rule": "a", "passed": True, "detail": "", "on": False}]
    assert Page(page(facts)).rows["why"][1][0] == f"{DASH}off"


def test_passed_failed_and_open_rules_differ_in_words() -> None:
    facts = {"reasons": [{"rule": f"r{p}", "passed": p, "detail": ""} for p in (True, False, None)]}
    assert [row[0] for row in Page(page(facts)).rows["why"][1:]] == ["✓yes", "✕no", "?open"]


def test_a_slice_is_marked_worse_only_when_the_facts_say_so() -> None:
    marked = [row[0] for row in Page(page(on_trial())).rows["slices"] if row[0].endswith("worse")]
    assert marked == ["Portuguese of Brazillanguage, 62 rows · worse"]
    assert "· worse" not in Page(page(promoted())).said("slices")


def test_rows_of_the_holdout_are_said_never_to_be_shown() -> None:
    for facts in (promoted(), skipped()):
        assert "ows of the holdout are never shown" in Page(page(facts)).said("changed")


# ---- The headline


def rejected_by(*rules: str) -> dict[str, Any]:
    """What a night says that was rejected by these rules."""
    failed = [{"rule": rule, "passed": False, "on": True, "detail": ""} for rule in rules]
    return {"outcome": "rejected", "reasons": failed}


def level(gain: float) -> dict[str, Any]:
    return {"holdout": {"gain": {"value": gain, "low": -0.03, "high": 0.03}}}


LEVEL, WORSE = level(0.0), level(-0.02)
HEADLINES: list[tuple[Callable[[], dict[str, Any]], dict[str, Any], str]] = [
    (promoted, {}, "Version 7 replaces version 6: it answers about 8 more of 100 reviews rightly "
     "(3 to 13)."),
    (promoted, {"evidence": None}, "Version 7 replaces version 6: it answers about 5 more of 100 "
     "reviews rightly."),
    (promoted, {"evidence": None, "holdout": None}, "Version 7 replaces version 6."),
    (promoted, {"items": None, "evidence": None, "holdout": {"gain": {"value": -0.004, "low": -0.02,
     "high": 0.012}}}, "Version 7 replaces version 6: it answers about 0.4 fewer of 100 texts "
     "rightly (from 2 fewer to 1 more)."),
    (first_model, {}, "Version 1 is the first model: it answers about 85 of 100 reviews rightly "
     "(82 to 87)."),
    (first_model, {"holdout": None}, "Version 1 is the first model."),
    (promoted, {"outcome": "awaiting_approval"}, "Version 7 passed every rule and waits for a "
     "person's approval: it answers about 8 more of 100 reviews rightly (3 to 13). "
     "Until then version 6 answers."),
    (first_model, {"outcome": "awaiting_approval", "holdout": None}, "Version 1 passed every rule "
     "and waits for a person's approval. Until then no model answers."),
    (on_trial, {}, "No change tonight: version 8 is on trial, its lead is not proven yet; "
     "about 3 more nights like these would decide."),
    (on_trial, {"evidence": None}, "No change tonight: version 8 is not proven better than "
     "version 7."),
    (on_trial, {"evidence": {"nights": []}, "version": None}, "No change tonight: the challenger "
     "is on trial; no fresh rows have come yet to judge it by."),
    (on_trial, {"champion_version": None}, "Still no model: it is not known whether version 8 "
     "is good enough."),
    (on_trial, {"evidence": None, "holdout": {"further_labels": 907}}, "No change tonight: version "
     "8 is not proven better than version 7 yet; about 907 more labels would decide."),
    (on_trial, {"outcome": "rejected"}, "No change tonight: version 8 was measured and rejected: "
     "the rule calibration failed; version 7 stays."),
    (on_trial, rejected_by("better_than_champion") | LEVEL, "No change tonight: version 8 is not "
     "proven better: equal on the holdout; version 7 stays."),
    (on_trial, rejected_by("better_than_champion") | WORSE, "No change tonight: version 8 is not "
     "proven better: worse on the holdout, by 2 of 100 reviews; version 7 stays."),
    (on_trial, rejected_by("better_than_champion") | {"holdout": None}, "No change tonight: "
     "version 8 is not proven better: its trial ended without proof; version 7 stays."),
    (on_trial, rejected_by("max_latency_ms", "better_than_champion", "slices"), "No change "
     "tonight: version 8 was measured and rejected: it answers slower than the limit allows (and 1 "
     "more rule failed); version 7 stays."),
    (first_model, rejected_by("min_accuracy"), "Still no model: version 1 was measured and "
     "rejected: its accuracy is below the floor."),
    (first_model, {"outcome": "rejected"}, "Still no model: version 1 was measured and rejected."),
    (skipped, {}, "No change tonight: no model was trained; version 6 stays."),
    (skipped, {"champion_version": None}, "No change tonight: no model was trained; there is no "
     "model yet."),
    (failed, {}, "The night failed before it could decide; version 6 stays."),
    (dict, {}, "What came of this night is not recorded."),
    (dict, {"outcome": "celebrated"}, "What came of this night is not recorded."),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "changes", "said"), HEADLINES)
def test_the_headline_says_what_became_of_the_night(
    facts: Callable[[], dict[str, Any]], changes: dict[str, Any], said: str
) -> None:
    assert headline(facts() | changes) == said
    assert markup.escape(said).replace("&#x27;", "&#39;") in page(facts() | changes)


@pytest.mark.parametrize(
    ("groups", "ends"),
    [
        (None, "so far has no lead over version 7 that could be proven."),
        (0, "its lead is proven, but not every other rule could be checked."),
        (61, "about one more night like these would decide."),
        (62, "about 2 more nights like these would decide."),
    ],
)
def test_how_many_nights_would_decide_follows_from_the_groups(groups: object, ends: str) -> None:
    facts = on_trial()
    facts["evidence"]["groups_to_decide"] = groups
    assert headline(facts).endswith(ends)


def test_a_promotion_on_the_holdout_is_told_by_the_holdout() -> None:
    facts = promoted()
    facts["evidence"]["log_wealth"] = facts["evidence"]["threshold"] - 0.01
    facts["holdout"]["gain"] = {"value": 0.0548, "low": 0.031, "high": 0.0779}
    assert headline(facts).endswith("about 5 more of 100 reviews rightly (3 to 8).")


# ---- Drawings

numbers = st.floats(-1, 1, allow_nan=False)


@given(numbers, numbers, st.integers(1, 9))
@example(0.0, 5e-324, 1)
@example(0.0, 5e-324, 2)
def test_ticks_are_few_and_inside(low: float, high: float, most: int) -> None:
    low, high = sorted((low, high))
    found = svg.ticks(low, high, most)
    assert 0 <= len(found) <= max(most, 2)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


@given(st.lists(numbers, min_size=1, max_size=5), st.booleans())
def test_a_scale_keeps_all_it_was_made_for_inside_and_in_order(
    values: list[float], flip: bool
) -> None:
    around = svg.around(values)
    scale = svg.Scale(around.low, around.high, flip)
    places = [scale(value) for value in sorted(values, reverse=flip)]
    assert all(0 < place < 100 for place in places)
    assert places == sorted(places)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-400, 400), min_size=1, max_size=40))
def test_any_wealth_can_be_drawn(wealth: list[float]) -> None:
    nights = [{"as_of": None, "log_wealth": value} for value in wealth]
    drawn = charts.wealth({"threshold": 3.0, "nights": nights})
    assert drawn is not None
    assert drawn.count("<circle") == len(wealth)
    assert "nan" not in drawn
    assert drawn.count("<text") < 20


def test_a_higher_accuracy_stands_further_right() -> None:
    drawn = charts.contenders(promoted()["holdout"])
    assert drawn is not None
    ours = re.search(r'<circle class="ours" cx="([\d.]+)%', drawn)
    theirs = re.search(r'<svg class="mark" x="([\d.]+)%" y="[\d.]+%"><rect class="theirs"', drawn)
    assert ours is not None
    assert theirs is not None
    assert float(ours[1]) > float(theirs[1])


def test_drawings_say_in_words_what_they_show() -> None:
    html = page(promoted())
    for drawing in re.findall(r'<svg class="plot.*?</title>', html, re.DOTALL):
        assert 'role="img"' in drawing
        assert re.search(r"<title[^>]*>[^<]{20,}</title>", drawing)
    assert html.count('<svg class="plot') == 5
    assert "challenger 84.7\u202f% (82.2\u202f% to 86.8\u202f%)" in html


def test_no_night_has_a_drawing_of_nothing() -> None:
    for draw in (charts.contenders, charts.wealth, charts.reliability, charts.history):
        assert draw(None) is None
        assert draw({} if draw is not charts.history else []) is None  # type: ignore[operator]
    assert charts.gain(None, 0.1, 0.2) is None
    assert charts.bar(1, [0, None]) is None


# ---- Forgetting

GONE = 'The "blue" <kettle> & it\'s lid\n  came off on day two'


def quoting(*texts: str) -> str:
    facts = promoted()
    row = {"label": "negative", "champion": "neutral", "challenger": "negative"}
    facts["changed"]["won"] = [{**row, "text": text} for text in texts]
    return page(facts)


def test_a_forgotten_text_is_taken_out_and_nothing_else() -> None:
    before = quoting(GONE, "somebody else's words")
    after = forget(before, [GONE])
    assert Page(before).quotes[0] == GONE
    assert Page(after).quotes == ["[forgotten]", *Page(before).quotes[1:]]
    assert after == before.replace(str(markup_as_written(GONE)), "[forgotten]")


def markup_as_written(text: str) -> str:
    return markup.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


@pytest.mark.parametrize(
    "written",
    [
        markup.escape(GONE),
        markup_as_written(GONE),
        GONE.replace("&", "&#x26;").replace("<", "&#60;").replace(">", "&gt;"),
        markup.escape(" ".join(GONE.split())),
        markup.escape(GONE.upper()),
        markup.escape(GONE).replace(" ", "&nbsp;"),
        "".join(f"&#{ord(letter)};" for letter in GONE),
    ],
)
def test_a_text_is_found_however_it_is_escaped_and_spaced(written: str) -> None:
    assert forget(f"<p>before {written}, after</p>", [GONE]) == "<p>before [forgotten], after</p>"
    assert forget(f'<q class="said">{written}</q>', [GONE]) == '<q class="said">[forgotten]</q>'


def test_a_text_in_other_letters_is_found_too() -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in "the kettle sings aloud")
    assert forget(f"<p>so: {wide}</p>", ["the kettle sings aloud"]) == "<p>[forgotten]</p>"


def test_a_short_text_goes_only_where_it_is_the_whole_quote() -> None:
    before = quoting("neutral", "neutral it is")
    after = forget(before, ["Neutral"])
    assert Page(after).quotes[:2] == ["[forgotten]", "neutral it is"]
    assert after.count("neutral") == before.count("neutral") - 1


def test_a_text_cut_out_of_longer_words_stays() -> None:
    html = "<p>the kettle sings, number 12</p>"
    assert forget(html, ["the kettle sings, number 1"]) == html


def test_a_name_goes_wherever_it_stands_as_a_word() -> None:
    html = "<p>without customer-17, and customer-178</p>"
    assert forget(html, [], names=["customer-17"]) == (
        "<p>without [forgotten], and customer-178</p>"
    )


def test_an_identifier_goes_where_one_is_shown() -> None:
    assert "fb-20391" in page(promoted())
    assert "fb-20391" not in forget(page(promoted()), ["fb-20391"])


def test_markup_and_style_are_no_texts() -> None:
    html = page(promoted())
    hostile = ["section", 'class="said"', "font-variant-numeric: tabular-nums", "<td class"]
    assert forget(html, hostile) == html


@given(st.lists(st.text(max_size=40), max_size=5))
def test_forgetting_twice_is_forgetting_once(texts: list[str]) -> None:
    html = "<p>a</p>" + "".join(f'<q class="said">{markup_as_written(t)}</q>' for t in texts)
    once = forget(html, texts[:2])
    assert forget(once, texts[:2]) == once


@settings(deadline=None)
@given(st.text(min_size=1).filter(str.strip), st.text(max_size=30))
def test_any_text_that_is_quoted_can_be_forgotten(text: str, other: str) -> None:
    row = '<li><q class="said" dir="auto">{}</q></li>'
    html = row.format(markup_as_written(text)) + row.format(markup_as_written(other))
    first = forget(html, [text]).split("</li>")[0]
    assert first == row.format("[forgotten]").removesuffix("</li>")


# ---- Where it lies


def test_a_page_lies_under_its_use_case_by_its_time_in_utc(tmp_path: Path) -> None:
    home = Home(tmp_path)
    as_of = datetime(2026, 1, 2, 4, 30, tzinfo=timezone(timedelta(hours=2)))
    path = write_page(home, "job", as_of, "<p>first</p>")
    assert path == tmp_path / "reports" / "job" / "20260102T0230Z.html"
    assert path == page_path(home, "job", as_of)
    assert write_page(home, "job", as_of, "<p>again</p>") == path
    assert path.read_text() == "<p>again</p>"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_page_shows_how_served_answers_fared_and_what_audits_say() -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    night = Live(at, 10, accepted=6, corrected=1, rejected=1, audited=4, audited_right=3)
    row = Page(page(promoted() | {"live": [live_acceptance.facts(night)]})).row("live", "2")
    assert row[1:3] == ["10", "8"]
    for told, cell in zip(("75.0", "12.5", "12.5", "75.0"), row[3:], strict=True):
        assert cell.startswith(told)
