"""Who asks to be forgotten takes along what is theirs, and nothing that others gave.

The attack: somebody sends texts that others gave before, or that stand within them, and asks to be
forgotten. 624 rows of others and 400 rows of gold went so.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home
from flywheel.errors import TooManyQuotes
from flywheel.privacy import erasure_plan
from flywheel.privacy.own_words import MOST_QUOTES, Other, quoted
from flywheel.store import open_store
from flywheel.store.feedback import labeling
from flywheel.text.normalize import text_id
from tasks.erasure.erase import certificate_path, forget, plan
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other, places, predicted, tables

WHO = "mallory-0001"
COMMON = "I would like to know where my parcel is"
DAY = timedelta(days=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return Home()


def longer(number: int, **changes: Any) -> dict[str, Any]:
    """Somebody else's text with the common words in it; every third is gold."""
    return other(number, text=f"{COMMON}, order no. {number}", **changes)


def sent(name: str, text: str, **changes: Any) -> dict[str, Any]:
    """A label by the attacker, who says that it is from long ago."""
    told = {"feedback_id": name, "customer_id": WHO, "rater_id": WHO, "group_id": WHO}
    return other(0, **told, text=text, source="app", given_at="2001-01-01T00:00:00Z", **changes)


def take(home: Home, *rows: dict[str, Any], day: int) -> None:
    drop(home, f"day-{day}.jsonl", json_lines(*rows))
    ingest_inbox(JOB, home, at=AT + day * DAY)


def left(home: Home) -> set[str]:
    return {row[1] for row in tables(home)["feedback"]}


def lines_of(home: Home, day: int) -> int:
    (done,) = (home.inbox(JOB.name) / "done").glob(f"*day-{day}.jsonl")
    return len(done.read_bytes().splitlines())


def test_what_was_given_before_goes_for_nobody_else(home: Home) -> None:
    """Neither rows, nor labels of the desk whose queue named the last to give a text, nor draws."""
    text = "short, given by two"
    take(home, *(longer(n) for n in range(40)), other(50, text=text), day=0)
    again = [sent(f"again-{n}", longer(n)["text"]) for n in range(20)]
    take(home, sent("part", COMMON), sent("short", text), *again, day=1)
    desk = other(51, text=text, group_id=WHO, customer_id=None, source="desk")
    take(home, desk, other(90, text=f"He said: {COMMON}"), day=2)
    with open_store(home.warehouse) as store:
        drawn = [JOB.name, text_id(text), AT, 0.5]
        store.con.execute("INSERT INTO audits VALUES (?, ?, ?, ?)", drawn)
    shown = "\n".join(erasure_plan.plan_lines(plan(home, WHO)))
    assert "kept: 21 texts by others with words that others had given before" in shown
    assert "that quote them" not in shown
    done = forget(home, WHO, at=AT + 3 * DAY)
    assert left(home) == {f"other-{n}" for n in (*range(40), 50, 51, 90)}
    (labeled,) = (row for row in tables(home)["feedback"] if row[1] == "other-51")
    assert "group-50" in labeled
    assert len(tables(home)["audits"]) == 1
    assert (lines_of(home, 0), lines_of(home, 2)) == (41, 1)
    assert done["complete"]
    assert "words that others had given before" in "\n".join(done["not_undone"])
    assert places(home, WHO) == set()


def test_gold_goes_for_no_quote_and_no_file_of_a_version_for_a_common_word(home: Home) -> None:
    words = ['"peft_type": "LORA"', "responsibilities"]
    folder = home.adapters / "3"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(f"{{{words[0]}}}")
    (folder / "vocabulary.json").write_text(json.dumps({"words": [words[1]]}))
    (folder / "shots.json").write_text(json.dumps([{"text": words[1]}]))
    take(home, sent("part", COMMON), *(sent(word, word) for word in words), day=0)
    take(home, *(longer(n, source="desk") for n in range(3)), longer(3, source="app"), day=1)
    _examine(home, "other-0")
    done = forget(home, WHO, at=AT + 2 * DAY)
    assert left(home) == {f"other-{n}" for n in range(3)}
    assert done["complete"]
    assert done["of_these_quotes_by_others"] == {JOB.name: 1}
    assert done["kept_with_words_of_theirs"][JOB.name]["gold"] == 3
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert "3 gold rows that hold words of theirs: gold goes for no quote" in page
    assert lines_of(home, 1) == 3
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "vocabulary.json"}


def _examine(home: Home, feedback_id: str) -> None:
    """As curation leaves it: only gold is in a holdout."""
    names = "use_case, snapshot_id, example_id, label, confidence, split, feedback_ids"
    values = [JOB.name, "s", "e", "card", 1.0, "holdout", [feedback_id]]
    with open_store(home.warehouse) as store:
        row = ", ".join("?" for _ in values)
        store.con.execute(f"INSERT INTO snapshot_rows ({names}) VALUES ({row})", values)


def test_many_quotes_stop_the_command_which_says_how_to_go_on(home: Home) -> None:
    many = MOST_QUOTES + 5
    take(home, sent("part", COMMON), day=0)
    take(home, *(longer(n, source="app") for n in range(many - 5)), day=1)
    drop(home, "waits.jsonl", json_lines(*(longer(n, source="app") for n in range(50, 55))))
    before = tables(home)
    with pytest.raises(TooManyQuotes, match=rf"^{many} rows by other people .*Nothing was changed"):
        forget(home, WHO, at=AT + 2 * DAY)
    assert tables(home) == before
    shown = json.loads(CliRunner().invoke(cli, ["forget", WHO, "--json"]).stdout)
    assert len(shown["quote_ids"][JOB.name]) == many - 5
    kept = forget(home, WHO, at=AT + 2 * DAY, quotes="keep")
    assert left(home) == {f"other-{n}" for n in range(many - 5)}
    assert kept["kept_with_words_of_theirs"][JOB.name]["quotes"] == many - 5
    assert kept["complete"]
    assert len((home.inbox(JOB.name) / "waits.jsonl").read_bytes().splitlines()) == 5


@pytest.mark.slow
def test_many_quotes_go_where_somebody_decides_so(home: Home) -> None:
    take(home, sent("part", COMMON), other(99), day=0)
    take(home, *(longer(n, source="app") for n in range(MOST_QUOTES + 1)), day=1)
    done = forget(home, WHO, at=AT + 2 * DAY, quotes="delete")
    assert left(home) == {"other-99"}
    assert places(home, COMMON) == set()
    assert done["of_these_quotes_by_others"] == {JOB.name: MOST_QUOTES + 1}


def test_a_queue_names_the_group_that_gave_a_text_first(home: Home) -> None:
    with open_store(home.warehouse) as store:
        first = predicted("p-1", "customer-1001", "asked by two")
        again = predicted("p-2", WHO, "asked by two")
        later = again.__class__(**{**vars(again), "predicted_at": AT + DAY, "label": "cash"})
        store.add_predictions(JOB.name, [first, later])
        (one,), _ = labeling.candidates(store, JOB.name, trusted=["desk"])
    assert (one.group_id, one.answered) == ("customer-1001", "cash")


def test_own_words_are_told_by_who_had_them_first() -> None:
    def o(at: int, text: str, gold: bool = False) -> Other:
        return Other("feedback", f"{at}", at, gold, text)

    own = "my very own words about the violet heron"
    theirs = {own: 5, COMMON: 5}
    others = [
        o(4, f"{COMMON}!"), o(6, f"so: {COMMON}"), o(5, f"so: {own}"),
        o(9, f"gold: {own.upper()}", gold=True), o(9, "nothing of it at all, I believe"),
    ]  # fmt: skip
    found = quoted(others, theirs)
    assert (found.rows, found.gold, found.earlier) == ((2,), (3,), (0, 1))
    assert found.own == {own}
    assert found.known == frozenset()
