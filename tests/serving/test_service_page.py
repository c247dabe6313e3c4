"""The page in a real browser, by keyboard, as wide as a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.config import Home, UseCase
from tests import browser
from tests.browser import Page
from tests.engines import OpenModelSource, WordCounter
from tests.services import listening, rows

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")

ENTER = ("Enter", 13, "\r")


def said(page: Page, element: str) -> str:
    return str(page.value(f"document.getElementById({element!r}).textContent"))


def test_a_person_asks_corrects_and_takes_it_back(
    home: Home, use_case: UseCase, tmp_path: Path
) -> None:
    shelf = OpenModelSource({"1": WordCounter("1", use_case)})
    with (
        listening(home, use_case, shelf) as url,
        browser.open_page(url, tmp_path / "profile") as page,
    ):
        page.until("document.getElementById('labels').options.length === 3")
        page.until("document.activeElement.id === 'text'")
        page.type("<b>it</b> broke & how")
        page.tab_to("rater")
        page.press(*ENTER)
        page.until("!document.getElementById('answer').hidden")
        (answer,) = rows(home, use_case, "predictions")
        assert answer["text"] == "<b>it</b> broke & how"
        assert said(page, "label") == answer["label"]
        assert said(page, "prediction") == answer["prediction_id"]

        for element, counted in (("correct", "1 feedback"), ("withdraw", "2 feedback")):
            page.tab_to(element)
            page.press(*ENTER)
            page.until(f"document.getElementById('given').textContent.includes({counted!r})")
        given = rows(home, use_case, "feedback")
        assert [(f["kind"], f["prediction_id"]) for f in given] == [
            ("correct", answer["prediction_id"]),
            ("withdraw", answer["prediction_id"]),
        ]

        assert page.value("document.documentElement.scrollWidth") <= 390
        sent = [m["params"] for m in page.messages if m["method"] == "Network.requestWillBeSent"]
        assert len(sent) >= 6
        assert all(one["request"]["url"].startswith((url, "data:")) for one in sent)
        complaints = [m for m in page.messages if m["method"] == "Log.entryAdded"]
        assert complaints == []


def test_what_goes_wrong_is_said(home: Home, use_case: UseCase, tmp_path: Path) -> None:
    shelf = OpenModelSource({"1": WordCounter("1", use_case)}, named={})
    with (
        listening(home, use_case, shelf) as url,
        browser.open_page(url, tmp_path / "profile") as page,
    ):
        page.until("document.getElementById('who').textContent.startsWith('No version')")
        page.type("it broke")
        page.tab_to("rater")
        page.press(*ENTER)
        page.until("document.getElementById('error').textContent !== ''")
        assert said(page, "error") == "503: No version answers yet."
