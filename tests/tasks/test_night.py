"""A life of four nights, in process: what is promoted, what is not, and what is written down."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, StateType

from flows.retrain import flywheel
from flywheel.config import Home, SourceConfig
from flywheel.errors import RegistryUnavailable
from flywheel.records import NightRecord
from flywheel.reports.console import night_lines
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from tests import nights
from tests.nights import AS_OF, CASE, DAY

pytestmark = [pytest.mark.prefect, pytest.mark.model]

# nobody listens there
UNREACHABLE = "http://127.0.0.1:9"
FIRST, QUIET, CUT_OFF = AS_OF, AS_OF + DAY, AS_OF + 2 * DAY


class Logged(logging.Handler):
    """Every line that anybody logs, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class Life:
    """A home and what was seen while it lived."""

    home: Home
    log: Logged
    first: dict[str, Any] = field(default_factory=dict)
    first_again: dict[str, Any] = field(default_factory=dict)
    pages: list[str] = field(default_factory=list)
    quiet: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    while_cut_off: dict[str, Any] = field(default_factory=dict)
    mended: dict[str, Any] = field(default_factory=dict)
    adapters: list[dict[str, int]] = field(default_factory=list)
    versions: list[list[str]] = field(default_factory=list)

    def look(self) -> None:
        """Note which adapter files there are, when they were written, and which versions."""
        files = self.home.adapters.rglob("*")
        self.adapters.append({str(f): f.stat().st_mtime_ns for f in files if f.is_file()})
        self.versions.append(versions(self.home))


def versions(home: Home) -> list[str]:
    found = Registry(home).client.search_model_versions(f"name = '{CASE.name}'")
    return sorted(str(version.version) for version in found)


def champion_of(home: Home) -> str | None:
    champion = Registry(home).by_alias(CASE.name, CHAMPION)
    return champion and champion.version


def recorded(home: Home) -> dict[datetime, NightRecord]:
    with open_store(home.warehouse) as store:
        return {night.as_of: night for night in night_runs.nights(store, CASE.name)}


def page() -> str:
    """The newest verdict in Prefect."""
    artifact = Artifact.get(f"verdict-{CASE.name}")
    assert artifact is not None
    return str(artifact.data)


def reasons_of(night: dict[str, Any]) -> dict[str, bool | None]:
    return {reason["rule"]: reason["passed"] for reason in night["reasons"]}


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> None:
    nights.prefect_server()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    home = nights.make_home(tmp_path_factory.mktemp("life") / "home")
    root, log = logging.getLogger(), Logged()
    loggers = [logging.getLogger(name) for name in ("flywheel", "tasks", "flows")]
    root.addHandler(log)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    with (
        nights.living_in(home),
        nights.training_here(),
        pytest.MonkeyPatch.context() as patch,
    ):
        life = Life(home, log)
        nights.drop(home, "day-000.jsonl", nights.first_rows())
        life.first = flywheel(CASE, FIRST)
        life.look()
        life.pages.append(page())
        life.first_again = flywheel(CASE, FIRST)
        life.quiet = flywheel(CASE, QUIET)
        life.look()

        nights.drop(home, "day-001.jsonl", nights.seed_rows(topic=1))
        with patch.context() as cut:
            cut.setenv("MLFLOW_TRACKING_URI", UNREACHABLE)
            cut.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            try:
                flywheel(CASE, CUT_OFF)
            except RegistryUnavailable as error:
                life.error = error
        failed_page = home.reports(CASE.name) / f"{CUT_OFF:%Y%m%dT%H%MZ}.html"
        life.while_cut_off = {
            "page": failed_page.read_text(),
            "champion": champion_of(home),
            "night": recorded(home).get(CUT_OFF),
            "reactions": len(reactions(home)),
        }
        life.look()
        life.mended = flywheel(CASE, CUT_OFF)
        life.look()
        life.pages.append(page())
        # other tests live nights of their own, in any order
        root.removeHandler(log)
        yield life
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def reactions(home: Home) -> list[Any]:
    with open_store(home.warehouse) as store:
        return store.reactions(CASE.name)


def test_the_first_night_promotes_against_the_floors(life: Life) -> None:
    assert life.first["outcome"] == "promoted"
    assert reasons_of(life.first)["first_model"] is True
    assert life.first["champion_accuracy"] is None
    assert life.first["train_examples"] == len(nights.seed_rows(topic=0))
    assert life.first["holdout_examples"] == len(nights.gold_rows())


def test_the_base_and_the_cheap_rivals_sat_the_same_holdout(life: Life) -> None:
    assert set(life.first["baselines"]) == {"majority", "tfidf_logistic", "zero_shot"}
    assert life.first["challenger_accuracy"] > life.first["baselines"]["zero_shot"]


def test_prometheus_is_told_of_every_night(life: Life) -> None:
    text = life.home.night_metrics(CASE.name).read_text()
    counts = dict(re.findall(r'^flywheel_nights{outcome="(\w+)",.*} (\d)', text, re.MULTILINE))

    assert sum(map(int, counts.values())) == len(recorded(life.home))
    assert counts["skipped"] == "1"
    assert nights.SECRET not in text


def test_the_same_night_again_trains_nothing_and_says_the_same(life: Life) -> None:
    again = dict(life.first_again)
    recorded = again.pop("recorded_at")
    assert f"recorded on {recorded[:16]} UTC, not run again" in "\n".join(
        night_lines(life.first_again)
    )
    assert again == json.loads(json.dumps(life.first))
    assert life.adapters[0], "there is an adapter to look at"
    assert life.adapters[1] == life.adapters[0]
    assert life.versions[:2] == [["1"], ["1"]]


def test_a_night_without_new_feedback_is_skipped(life: Life) -> None:
    assert life.quiet["outcome"] == "skipped"
    assert reasons_of(life.quiet) == {"something_new": None}
    assert life.quiet["snapshot_id"] == life.first["snapshot_id"]


def test_an_unreachable_registry_promotes_nothing_and_loses_no_feedback(life: Life) -> None:
    assert isinstance(life.error, RegistryUnavailable)
    assert life.while_cut_off["champion"] == "1"
    assert life.while_cut_off["night"].outcome == "failed"
    assert life.versions[2] == ["1"]
    given = nights.first_rows() + nights.seed_rows(topic=1)
    assert life.while_cut_off["reactions"] == len(given)


def test_a_failed_night_leaves_a_page_that_says_why_and_what_to_do_next(life: Life) -> None:
    shown = life.while_cut_off["page"]
    assert "The night failed before it could decide; version 1 stays." in shown
    assert "RegistryUnavailable: " in shown
    assert "version 1 is champion, as before" in shown
    again = f"flywheel night -u {CASE.name} --as-of {CUT_OFF:%Y-%m-%dT%H:%M:%S}"
    assert f"Trying again can help. {again}" in shown
    assert nights.SECRET not in shown


def test_a_failed_night_runs_again_without_training_again(life: Life) -> None:
    assert life.mended["outcome"] == "promoted"
    assert recorded(life.home)[CUT_OFF].outcome == "promoted"
    assert life.adapters[3] == life.adapters[2] != life.adapters[1]
    assert life.mended["train_examples"] == len(
        nights.seed_rows(topic=0) + nights.seed_rows(topic=1)
    )


def test_a_challenger_is_compared_with_the_champion_on_the_same_rows(life: Life) -> None:
    assert life.mended["champion_accuracy"] == life.first["challenger_accuracy"]
    assert life.mended["challenger_accuracy"] > life.mended["champion_accuracy"]
    assert life.mended["holdout_examples"] == life.first["holdout_examples"]
    (versus,) = (r for r in life.mended["reasons"] if r["rule"] == "better_than_champion")
    assert versus["passed"] is True
    assert f"of {life.mended['holdout_examples']}, gain" in versus["detail"]


def test_the_champion_is_not_asked_what_it_has_answered(life: Life) -> None:
    rows = len(nights.gold_rows())
    asked = [line for line in life.log.lines if "scored the " in line]
    champion = [line for line in asked if f"the champion on {rows} rows" in line]
    assert champion == [f"tasks.evaluate scored the champion on {rows} rows (0 asked now)"]
    assert asked.count(
        f"tasks.evaluate scored the challenger on {rows} rows ({rows} asked now)"
    ) == len(life.versions[-1]), "each challenger is asked once"


def test_both_aliases_stand_on_the_promoted_version(life: Life) -> None:
    registry = Registry(life.home)
    for alias in (CHAMPION, CHALLENGER):
        version = registry.by_alias(CASE.name, alias)
        assert version is not None
        assert version.version == life.mended["version"] == "2"
        assert version.snapshot_id == life.mended["snapshot_id"]


def test_every_night_is_on_record_with_facts_and_reasons(life: Life) -> None:
    found = recorded(life.home)
    assert list(found) == [FIRST, QUIET, CUT_OFF]
    for at, ended in ((FIRST, life.first), (QUIET, life.quiet), (CUT_OFF, life.mended)):
        night = found[at]
        assert night.outcome == ended["outcome"]
        assert [asdict(reason) for reason in night.reasons] == ended["reasons"]
        assert night.snapshot_id == ended["snapshot_id"]
        assert night.facts.items() <= json.loads(json.dumps(ended)).items()
    assert found[FIRST].digest != found[CUT_OFF].digest
    assert found[QUIET].digest is None


def test_the_pages_lead_to_each_other_and_to_an_index_of_all(life: Life) -> None:
    folder = life.home.reports(CASE.name)
    names = [f"{at:%Y%m%dT%H%MZ}.html" for at in (FIRST, QUIET, CUT_OFF)]
    links = re.compile(r'<a (?:rel="(?:prev|next)" )?href="([^"#]*html)"')
    beside = [links.findall((folder / name).read_text()) for name in names]
    first, quiet, cut_off = names
    assert beside == [["index.html", quiet], [first, "index.html", cut_off], [quiet, "index.html"]]
    index = (folder / "index.html").read_text()
    assert links.findall(index) == [cut_off, quiet, first]
    for night in recorded(life.home).values():
        assert str(escape(night.facts["headline"])) in index


def test_the_verdict_is_a_page_in_prefect(life: Life) -> None:
    for shown, night, rule in (
        (life.pages[0], life.first, "first_model"),
        (life.pages[1], life.mended, "better_than_champion"),
    ):
        assert shown.startswith(f"# {CASE.name}: promoted")
        assert f"| {rule} | pass |" in shown
        assert f"| snapshot_id | {night['snapshot_id']} |" in shown


def test_no_customer_text_is_logged_or_shown(life: Life) -> None:
    assert nights.SECRET in reactions(life.home)[0].text
    assert any("ingested" in line for line in life.log.lines)
    assert not [line for line in life.log.lines if nights.SECRET in line]
    shown = [*life.pages, str(life.error), json.dumps([life.first, life.quiet, life.mended])]
    assert not [text for text in shown if nights.SECRET in text]


def test_below_its_floors_a_first_model_is_registered_but_not_promoted(
    life: Life, tmp_path: Path
) -> None:
    home = nights.make_home(tmp_path / "home")
    nights.drop(home, "day-000.jsonl", nights.first_rows())
    shutil.copytree(life.home.adapters, home.adapters)
    strict = CASE.gate.model_copy(update={"max_calibration_error": 0.0})
    with nights.living_in(home):
        night = flywheel(CASE.model_copy(update={"gate": strict}), AS_OF)
        challenger = Registry(home).by_alias(CASE.name, CHALLENGER)
        assert night["outcome"] == "rejected"
        assert reasons_of(night)["max_calibration_error"] is False
        assert champion_of(home) is None
        assert challenger is not None
        assert challenger.version == "1"
    assert recorded(home)[AS_OF].outcome == "rejected"


def test_too_few_examples_skip_the_night_and_a_source_that_fails_does_not_fail_it(
    tmp_path: Path,
) -> None:
    home = nights.make_home(tmp_path / "home")
    few = nights.gold_rows() + nights.seed_rows(topic=0)[: CASE.training.min_examples - 1]
    nights.drop(home, "day-000.jsonl", few)
    with nights.living_in(home):
        absent = SourceConfig(name="tickets", kind="files", location=f"{tmp_path}/no/*.csv")
        night = flywheel(CASE.model_copy(update={"sources": [absent]}), AS_OF)
        assert champion_of(home) is None
    assert night["outcome"] == "skipped"
    reason, unread = night["reasons"]
    assert "'tickets'" in unread["detail"]
    assert "no file matches" in unread["detail"]
    assert reason["rule"] == "enough_examples"
    assert f"{CASE.training.min_examples - 1} training examples" in reason["detail"]
    assert not home.adapters.exists()


# ---- The operator's view


def runs_named(at: datetime) -> list[FlowRun]:
    """The runs of a night; other tests' nights of the same time are among them."""
    name = FlowRunFilterName(any_=[f"{CASE.name} {at:%Y-%m-%d %H:%M}"])
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(name=name), limit=200)


def test_a_run_says_whose_night_it_is_and_how_it_ended(life: Life) -> None:
    first, quiet = runs_named(FIRST), runs_named(QUIET)

    assert all(CASE.name in run.tags for run in [*first, *quiet])
    ends = {run.state.name: run.state.type for run in first if run.state}
    assert ends["Promoted"] == StateType.COMPLETED
    ends = {run.state.name: run.state.type for run in quiet if run.state}
    assert ends["Skipped"] == StateType.COMPLETED
    assert "Failed" in {run.state.name for run in runs_named(CUT_OFF) if run.state}


def test_the_steps_of_a_run_have_the_names_of_the_loop(life: Life) -> None:
    promoted = [run for run in runs_named(FIRST) if run.state and run.state.name == "Promoted"]
    tasks_of = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in promoted]))
    with get_client(sync_client=True) as client:
        steps = {run.name for run in client.read_task_runs(flow_run_filter=tasks_of, limit=200)}

    assert steps >= {
        "curate",
        "train",
        "evaluate the challenger",
        "evaluate the base",
        "evaluate the baselines",
        "gate",
        "register",
        "promote",
    }


def test_the_page_of_a_run_leads_to_report_and_version(life: Life) -> None:
    report = life.home.reports(CASE.name) / f"{FIRST:%Y%m%dT%H%MZ}.html"

    assert f"]({report.as_uri()})" in life.pages[0]
    assert f"](http://127.0.0.1:5000/#/models/{CASE.name}/versions/1)" in life.pages[0]
