"""Before there is a champion: what would end the wait is said, and a challenger may answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from flows.retrain import flywheel
from flywheel.config import Home, UseCase, load_use_case
from flywheel.dataset import snapshots
from flywheel.diagnostics.doctor import examine
from flywheel.gate import cold_start
from flywheel.gate.cold_start import NO_MODEL
from flywheel.gate.power import settings
from flywheel.records import NightRecord, Reason
from flywheel.reports.console import status, status_lines
from flywheel.serving.models.unproven import ranked
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from flywheel.tracking.version_tags import HOLDOUT_SCORE
from flywheel.tracking.versions import Listed
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.ingest import ingest_inbox
from tasks.use_case.onboard import Answers, onboard
from tests import nights
from tests.engines import OpenModelSource, WordCounter
from tests.nights import AS_OF, CASE, DAY
from tests.services import serving, until
from tests.strategies import row

SMALL = CASE.model_copy(
    update={"gate": CASE.gate.model_copy(update={"min_holdout_examples": 64, "min_accuracy": 0.75})}
)
SIZE = Reason("holdout_size", None, "61 holdout rows (needs ≥ 64)")
FLOOR = Reason("min_accuracy", False, "accuracy 0.7200 (needs ≥ 0.75)")


def said(*reasons: Reason, case: UseCase = SMALL, **facts: Any) -> str:
    holdout = {"negative": 40, "positive": 21}
    found = cold_start.ways_out(case, reasons, holdout=holdout, score=0.724, **facts)
    assert (found.rule, found.passed) == (NO_MODEL, None)
    return found.detail


def test_a_holdout_that_is_too_small_says_how_many_labels_of_which_kind_it_lacks() -> None:
    told = said(SIZE)
    # 3 rows are missing, and two of five labels are held out: 8 would often be too few
    assert "about 12 more texts, so that 3 of them are held out" in told
    assert f"flywheel ingest -u {SMALL.name} FILE, its rows with source gold" in told
    assert "first of positive (21 holdout rows)" in told
    assert "gate.min_holdout_examples to 61" in told


@pytest.mark.parametrize(("rows", "share"), [(1, 0.9), (3, 0.4), (20, 0.3), (150, 0.2)])
def test_as_many_labels_are_asked_for_as_are_enough_nine_times_of_ten(
    rows: int, share: float
) -> None:
    number = cold_start.to_seat(rows, share)
    # chance of fewer than are wanted, of one label less and of as many
    assert binom.cdf(rows - 1, number, share) <= 0.1 < binom.cdf(rows - 1, number - 1, share)
    assert cold_start.to_seat(0, share) == 0


def test_four_rows_make_no_small_holdout_of_what_is_labeled_later(
    home: Home, tmp_path: Path
) -> None:
    table = tmp_path / "four.csv"
    table.write_text("text,label\nwhere is it,late\nnot here,late\npay me,money\nrefund,money\n")
    done = onboard("four", table, home, answers=Answers(method="tfidf"), folder=tmp_path)
    case = load_use_case(done["file"])
    assert case.split.holdout == 0.35
    # a share that suited four rows would have asked for 515
    assert cold_start.labels_needed(case, train=4, holdout=0) < 100


def labels_of(customers: int, *, texts: int) -> list[dict[str, Any]]:
    return [
        row(
            feedback_id=f"f{n}",
            text=f"text number {n} of {n * n} words",
            value=CASE.label_names[n % len(CASE.label_names)],
            group_id=None,
            customer_id=f"c{n % customers}",
            source=CASE.curation.gold_sources[0],
        )
        for n in range(texts)
    ]


@pytest.mark.parametrize(
    ("by_customer", "way"),
    [(True, "set split.by_customer: false"), (False, "Give one group_id only to texts")],
)
def test_too_few_groups_to_split_are_said_by_doctor_and_night(
    home: Home, by_customer: bool, way: str
) -> None:
    split = CASE.split.model_copy(update={"by_customer": by_customer})
    rules = CASE.curation.model_copy(update={"train_on_gold": True})
    recipe = CASE.training.model_copy(update={"min_examples": 200})
    case = CASE.model_copy(update={"split": split, "curation": rules, "training": recipe})
    rows = labels_of(3, texts=120)
    if not by_customer:
        rows = [{**one, "group_id": one["customer_id"]} for one in rows]
    nights.drop_rows(home, case, "a.jsonl", rows)
    ingest_inbox(case, home, at=AS_OF)
    snapshot = curate_snapshot.fn(case, home, at=AS_OF)
    reason = reason_to_skip(case, home, snapshot)
    assert reason is not None
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            case.name,
            NightRecord(AS_OF, "skipped", [], snapshot_id=snapshot.snapshot_id, recorded_at=AS_OF),
        )
    (finding,) = [one for one in examine(case, home) if one.name == "groups"]
    assert not finding.ok
    for told in (reason.detail, finding.detail, said(SIZE, groups=finding.detail)):
        assert "examples are of 3 groups, " in told
        assert "20 groups are needed" in told
        assert way in told
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    many = [replace(one, group_id=f"g{n % 20}") for n, one in enumerate(examples)]
    assert cold_start.few_groups(case, many) is None


def test_a_floor_that_was_missed_names_what_reached_it_and_what_a_lower_one_would_be() -> None:
    told = said(FLOOR, slate=(("qlora on tiny", 0.7), ("setfit on mini", 0.81)))
    assert "On validation rows setfit on mini reached 0.810" in told
    assert "gate.min_accuracy: 0.72 lets this model answer" in told
    told = said(FLOOR, baselines={"majority": 0.64, "tfidf_logistic": 0.77})
    assert "training.method: tfidf" in told
    assert "always the commonest label has 0.64" in told
    assert "flywheel bench" in said(FLOOR, slate=(("qlora on tiny", 0.7),))


def test_every_rule_that_is_not_met_is_named() -> None:
    golden = Reason("golden", False, "4 of 5 golden rows right")
    off = Reason("slices", None, "switched off", on=False)
    told = said(golden, off)
    assert "golden: 4 of 5 golden rows right" in told
    assert "slices" not in told


def test_the_unproven_service_is_offered_where_it_is_off() -> None:
    assert "With serving.unproven: true" in said(SIZE)
    on = SMALL.model_copy(update={"serving": SMALL.serving.model_copy(update={"unproven": True})})
    assert "marked as unproven (serving.unproven)" in said(SIZE, case=on)


def test_other_settings_have_another_name_and_the_order_of_labels_counts() -> None:
    labels = dict(reversed(SMALL.labels.items()))
    turned = SMALL.model_copy(update={"labels": labels})
    assert len({settings(SMALL), settings(CASE), settings(turned)}) == 3


# ---- A life

FLOORED = CASE.model_copy(
    update={
        "name": "floored-reviews",
        "training": CASE.training.model_copy(update={"method": "tfidf", "base": None}),
        "gate": CASE.gate.model_copy(update={"min_accuracy": 0.999}),
    }
)


@pytest.mark.prefect
@pytest.mark.slow
def test_below_the_floor_each_night_says_the_way_out_and_a_lower_floor_ends_it(
    tmp_path: Path,
) -> None:
    nights.prefect_server()
    home = nights.make_home(tmp_path / "home")
    rows = nights.seed_rows(topic=0) + nights.gold_rows()
    lower = FLOORED.model_copy(
        update={"gate": FLOORED.gate.model_copy(update={"min_accuracy": 0.5})}
    )
    with nights.living_in(home), nights.training_here():
        nights.drop_into(home, FLOORED, rows)
        lived = [flywheel(FLOORED, AS_OF), flywheel(FLOORED, AS_OF + DAY)]
        shown = "\n".join(status_lines(status(FLOORED, home)))
        lived.append(flywheel(lower, AS_OF + 2 * DAY))
        lived.append(flywheel(lower, AS_OF + 3 * DAY))
        pages = [p.read_text() for p in sorted(home.reports(FLOORED.name).glob("*Z.html"))]
        (version,) = Registry(home).versions(FLOORED.name)
    score = lived[2]["challenger_accuracy"]
    assert float(version.tags[HOLDOUT_SCORE]) == pytest.approx(score, abs=1e-6)
    assert [one["outcome"] for one in lived] == ["rejected", "skipped", "promoted", "skipped"]
    for night, page in zip(lived[:2], pages[:2], strict=True):
        (told,) = [r["detail"] for r in night["reasons"] if r["rule"] == NO_MODEL]
        assert "A lower floor is a person" in told
        assert "lets this model answer" in page
    assert "no model yet: " in shown
    assert "no model was trained; version 1 stays" in pages[3]
    assert "What there is to learn from" in pages[3]
    assert "train_examples" not in lived[3]


# ---- An unproven challenger answers


def test_a_challenger_answers_as_unproven_until_there_is_a_champion(
    home: Home, use_case: UseCase
) -> None:
    shelf = OpenModelSource({n: WordCounter(n, use_case) for n in "12"}, named={CHALLENGER: "1"})
    with serving(home, use_case, shelf=shelf, unproven=True) as client:

        def answer() -> dict[str, Any]:
            found: dict[str, Any] = client.post("/predict", json={"text": "it works"}).json()
            return found

        assert (answer()["model_version"], answer()["unproven"]) == ("1", True)
        assert client.get("/readyz").json()["unproven"] is True
        shelf.named[CHALLENGER] = "2"
        until(lambda: answer()["model_version"] == "2")
        shelf.named[CHAMPION] = "2"
        until(lambda: answer()["unproven"] is False)
        del shelf.named[CHAMPION]
        shelf.named[CHALLENGER] = "1"
        until(lambda: client.get("/readyz").json()["registry_ok"] is False)
        assert (answer()["model_version"], answer()["unproven"]) == ("2", False)


def listed(number: int, score: str | None, *aliases: str, labels: str = "l", **tags: str) -> Listed:
    known = {} if score is None else {"holdout_score": score}
    return Listed(str(number), {"part.labels": labels, **known, **tags}, aliases)


def test_the_best_of_the_holdout_answers_and_the_newest_challenger_is_the_last_resort() -> None:
    versions = [
        listed(1, "0.7"),
        listed(2, "0.9", labels="others"),
        listed(3, "0.8"),
        listed(4, "0.8"),
        listed(5, "0.95", certificate_id="c"),
        listed(6, "0.95", approval="rejected"),
        listed(7, "nan"),
        listed(8, "0.75"),
    ]
    assert ranked([*versions, listed(9, "0.6", CHALLENGER)]) == ["4", "3", "8", "1", "9"]
    # registered before figures were kept
    assert ranked([listed(1, "0.7"), listed(10, None, CHALLENGER)]) == ["1", "10"]
    assert ranked([listed(1, None), listed(2, None, CHALLENGER)]) == ["2"]
    assert ranked(versions) == []


def test_an_unproven_service_names_the_best_challenger_that_can_be_served(
    home: Home, use_case: UseCase
) -> None:
    scores = {"1": "0.6", "2": "0.8", "3": "0.9", "4": "0.7"}
    shelf = OpenModelSource(
        {n: WordCounter(n, use_case) for n in scores},
        named={CHALLENGER: "4"},
        tags={
            n: {"holdout_score": score}
            for n, score in zip("1234", ("0.6", "0.8", "0.9", "0.7"), strict=True)
        },
        missing={"3"},
    )
    with serving(home, use_case, shelf=shelf, unproven=True) as client:
        answer = client.post("/predict", json={"text": "it works"}).json()
        assert (answer["model_version"], answer["unproven"]) == ("2", True)
        ready = client.get("/readyz").json()
        assert (ready["model_version"], ready["unproven"]) == ("2", True)
        assert ready["refused_versions"] == ["3"]


def test_without_the_setting_no_challenger_answers(home: Home, use_case: UseCase) -> None:
    import asyncio

    from flywheel.serving.models.batching import Batcher
    from flywheel.serving.models.version_manager import Versions
    from flywheel.serving.prometheus import Metrics

    shelf = OpenModelSource({"1": WordCounter("1", use_case)}, named={CHALLENGER: "1"})
    versions = Versions(use_case, shelf, Metrics())
    batcher = Batcher(lambda: versions.serving, Metrics(), max_waiting=8, max_tokens=64)
    asyncio.run(versions.refresh(batcher))
    assert versions.serving is None
    assert shelf.loaded == []
