"""From a labeled sheet to a champion, and out of everything again, on what `init` proposes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.retrain import flywheel
from flywheel.config import Home, UseCase, load_use_case
from flywheel.dataset import splits
from flywheel.reports.console import night_lines
from flywheel.store import open_store
from flywheel.tracking.registry import Registry
from tasks.erasure.erase import forget, plan
from tasks.use_case.onboard import Answers, onboard
from tests import nights
from tests.nights import AS_OF, DAY

pytestmark = [pytest.mark.prefect, pytest.mark.model, pytest.mark.slow]

CUSTOMER = "48017"
SAYS = {
    "Versand": ("das Paket kam nicht an", "der Bote war nicht da", "die Sendung ist verschollen"),
    "Rechnung": ("die Rechnung ist zu hoch", "der Betrag stimmt nicht", "es wurde doppelt gebucht"),
    "Lob": ("alles war wunderbar", "sehr nette Leute dort", "gerne wieder bei euch"),
}


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> None:
    nights.prefect_server()


def sheet(folder: Path, rows: int) -> Path:
    """A German sheet: the customer, what was said of which matter, when; labels unsorted."""
    path, labels = folder / "tickets.csv", list(SAYS)
    with path.open("w", newline="", encoding="cp1252") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Kundennummer", "Kommentar", "Kategorie", "Datum"])
        for n in range(rows):
            label = labels[n % 3]
            said = SAYS[label][n // 3 % 3]
            odd = f"{n * 7919 % 99_991}{'äöü'[n % 3]}{n}"
            text = f"{odd} {said}, {odd[::-1]} für mich"
            writer.writerow([48_000 + n % 60, text, label, f"{1 + n % 28:02}.02.2026 14:22"])
    return path


@dataclass
class Life:
    """A home, and the night that it lived."""

    home: Home
    case: UseCase
    waiting: Any
    night: dict[str, Any]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("init")
    home = Home(folder / "home")
    home.root.mkdir()
    with nights.living_in(home), nights.training_here():
        done = onboard(
            "tickets",
            sheet(folder, 300),
            home,
            answers=Answers(method="tfidf"),
            folder=folder,
            now=AS_OF,
        )
        case = load_use_case(done["file"])
        waiting = plan(home, CUSTOMER)
        yield Life(home, case, waiting, flywheel(case, AS_OF))


def test_what_init_proposes_ends_its_first_night_with_a_champion(life: Life) -> None:
    assert life.case.label_names == ("Versand", "Rechnung", "Lob")
    assert life.night["outcome"] == "promoted", "\n".join(night_lines(life.night))


def test_a_customer_of_the_file_is_found_before_the_first_night(life: Life) -> None:
    assert [one.rows for one in life.waiting.files] == [5]


def test_a_customer_of_the_file_is_forgotten_everywhere(life: Life) -> None:
    found = plan(life.home, CUSTOMER)
    assert found.rows["tickets"]["feedback"] == 5
    done = forget(life.home, CUSTOMER, at=AS_OF + timedelta(hours=1))
    assert done["complete"]
    with open_store(life.home.warehouse) as store:
        left = store.reactions("tickets")
    assert len(left) == 295
    assert CUSTOMER not in {one.customer_id for one in left}
    assert plan(life.home, CUSTOMER).is_empty
    # the next night trains without them
    assert flywheel(life.case, AS_OF + DAY)["outcome"] != "failed"


def test_a_night_on_four_rows_is_skipped_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    with nights.living_in(home), nights.training_here():
        done = onboard("four", sheet(tmp_path, 4), home, folder=tmp_path, now=AS_OF)
        night = flywheel(load_use_case(done["file"]), AS_OF)
    assert night["outcome"] == "skipped"
    (reason,) = night["reasons"]
    assert "training needs at least 20" in reason["detail"]
    assert "Versand" in reason["detail"]


def test_rows_that_only_the_holdout_gets_make_no_first_model_of_the_champion(
    tmp_path: Path,
) -> None:
    home, answers = Home(tmp_path / "home"), Answers(method="tfidf")
    home.root.mkdir()
    with nights.living_in(home), nights.training_here():
        done = onboard(
            "again", sheet(tmp_path, 300), home, answers=answers, folder=tmp_path, now=AS_OF
        )
        case = load_use_case(done["file"])
        first = flywheel(case, AS_OF)
        groups = {f"new-{n}" for n in range(100)}
        sides = splits.assign_by(case.split, groups, known={})
        row = {
            "kind": "label",
            "text": "das Paket liegt seit Tagen beim Nachbarn",
            "value": "Versand",
            "group_id": next(group for group, side in sides.items() if side == "holdout"),
            "rater_id": "ann",
            "source": "init",
            "given_at": AS_OF.isoformat(),
        }
        (home.inbox(case.name) / "one.jsonl").write_text(json.dumps(row) + "\n")
        before = Registry(home).versions(case.name)
        second = flywheel(case, AS_OF + DAY)
        after = Registry(home).versions(case.name)
    assert first["outcome"] == "promoted"
    assert second["holdout_examples"] == first["holdout_examples"] + 1
    reason = second["reasons"][0]
    assert (second["outcome"], reason["rule"]) == ("skipped", "something_new")
    assert "version 1, the champion, again" in reason["detail"]
    assert after == before
