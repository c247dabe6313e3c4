"""A replay: what is made up, what is measured of it, and the lives themselves."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import replay as replay_figures
from flows.cli.replay import replay as replay_command
from flows.replay import life
from flywheel.config import Home
from flywheel.errors import ConfigError, DataError, NotEnoughData
from flywheel.records import Prediction, Reason
from flywheel.replay import mlflow_run, page, policies, reactions, results, sources
from flywheel.replay.policies import OURS, POLICIES
from flywheel.replay.reactions import Row
from flywheel.replay.results import Life
from flywheel.replay.settings import CHEAP, Settings
from flywheel.replay.targets import targets
from flywheel.replay.texts import Said
from flywheel.replay.traffic import Asked, traffic
from flywheel.replay.truth import Marks
from flywheel.replay.worlds import STEADY, WORLDS, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
SMALL = replace(STEADY, rows=30, seed_rows=150, holdout_rows=210, audits=3, customers=60)

TALKATIVE = replace(
    STEADY,
    **{"reacts_right": 1.0, "reacts_wrong": 1.0, "corrects": 1.0},
    **{"slips": 0.0, "late": 0.0, "revised": 0.0, "repeated": 0.0, "withdrawn": 0.0},
)
"""Everybody says at once, and once, what they mean."""


def _settings(world: World = SMALL, nights: int = 3) -> Settings:
    return Settings("statistical", nights, world, CHEAP)


def test_the_mix_of_every_night_is_a_whole() -> None:
    labels = {"a": 0.5, "b": 0.3, "c": 0.2}
    for world in WORLDS.values():
        for night in range(60):
            assert sum(world.mix(night, labels, 2).values()) == pytest.approx(1)


def test_the_second_domain_and_the_new_label_come_when_they_are_said_to() -> None:
    world, labels = WORLDS["new-label"], {"a": 0.5, "b": 0.5}
    assert {one[0] for one in world.mix(3, labels, 2)} == {0}
    assert {one[0] for one in world.mix(4, labels, 2)} == {0, 1}
    assert "added" not in {one[1] for one in world.mix(5, labels, 2)}
    assert "added" in {one[1] for one in world.mix(6, labels, 2)}


def test_the_same_seed_asks_the_same_and_no_hidden_text_is_asked() -> None:
    def drawn(seed: int) -> list[str]:
        settings = _settings(WORLDS["attacked"])
        source = settings.source(seed)
        rules = settings.use_case(source, 0).split
        found = traffic(settings.world, source, rules, nights=4, seed=seed)
        hidden = {one.text for one in source.hidden()}
        texts = [one.said.text for day in [found.seeds, found.gold, *found.days] for one in day]
        assert not hidden & set(texts)
        return texts

    assert drawn(1) == drawn(1) != drawn(2)


def test_attackers_give_their_share_of_the_reactions() -> None:
    settings = _settings(WORLDS["attacked"])
    source = settings.source(0)
    rules = settings.use_case(source, 0).split
    day = traffic(settings.world, source, rules, nights=4, seed=0).days[3]
    honest = settings.world.reacts_right * sum(one.goal is None for one in day)
    attackers = sum(one.goal is not None for one in day)
    assert attackers / (attackers + honest) == pytest.approx(0.2, abs=0.02)


def test_a_loss_counts_only_beyond_what_hidden_texts_can_tell() -> None:
    stratum = (0, "a")
    before = Marks({stratum: np.array([True] * 90 + [False] * 10)})
    a_little = Marks({stratum: np.array([True] * 89 + [False] * 11)})
    a_lot = Marks({stratum: np.array([True] * 70 + [False] * 30)})
    assert not a_little.worse_than(before, {stratum: 1.0})
    assert a_lot.worse_than(before, {stratum: 1.0})
    assert not before.worse_than(a_lot, {stratum: 1.0})
    assert not before.worse_than(before, {stratum: 1.0})


def test_a_policy_without_a_part_is_a_use_case_without_it() -> None:
    settings = _settings()
    case = settings.use_case(settings.source(0), 0)
    assert POLICIES[OURS].applied(case) == case
    assert POLICIES["no-curation"].applied(case).curation.suspect_weight == 1
    assert not POLICIES["no-split"].applied(case).split.by_customer
    with pytest.raises(ConfigError, match="needs --mode real"):
        policies.named(("no-old-rows",), real=False)
    with pytest.raises(ConfigError, match="There is no policy 'none'"):
        policies.named(("none",), real=False)


def test_a_file_needs_its_columns_two_labels_and_rows_enough(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("question,label\nhow,a\n")
    with pytest.raises(DataError, match="needs the columns text and label"):
        sources.rows(file)
    file.write_text("text,label\nhow,a\nwhy,a\n")
    with pytest.raises(DataError, match="at least 2 labels"):
        sources.rows(file)
    rows = "".join(f"text {n} words,{'ab'[n % 2]}\n" for n in range(600))
    file.write_text(f"text,label\n{rows}")
    settings = replace(_settings(), data=str(file))
    source = settings.source(0)
    rules = settings.use_case(source, 0).split
    with pytest.raises(NotEnoughData, match="too few rows of label"):
        traffic(SMALL, source, rules, nights=90, seed=0)


def test_the_command_names_every_world_and_policy() -> None:
    said = CliRunner().invoke(replay_command, ["--help"]).output
    words = " ".join(said.split()).replace("- ", "-")
    for name in [*WORLDS, *POLICIES]:
        assert name in words


def _asked(world: World, night: int) -> list[Asked]:
    settings = _settings(world)
    source = settings.source(0)
    rules = settings.use_case(source, 0).split
    return list(traffic(world, source, rules, nights=night + 1, seed=0).days[night])


def _prediction(name: str, label: str) -> Prediction:
    return Prediction(name, "a text", "group", "customer", label, {label: 1.0}, "1", "digest", NOW)


def _said_of(world: World, day: list[Asked], answer: str, labels: list[str]) -> list[Row]:
    given = [_prediction(f"p{n}", answer) for n in range(len(day))]
    chance = random.Random(0)
    found = reactions.reactions(world, day, given, labels, night=1, at=NOW, chance=chance)
    return [row for rows in found.values() for row in rows]


def test_near_copies_come_in_their_nights_only() -> None:
    world = replace(WORLDS["copies"], rows=50)
    plain, copied = _asked(world, 2), _asked(world, 3)
    assert len(plain) == len(copied) == 50
    assert sum(one.said.text.rpartition(" ")[2].isdigit() for one in plain) == 0
    assert sum(one.said.text.rpartition(" ")[2].isdigit() for one in copied) == 20


def test_customers_who_are_mistaken_take_one_label_for_the_other() -> None:
    world = replace(TALKATIVE, mistaken=1.0)
    day = [Asked(Said("a text", "a"), "customer-0")] * 50
    said = _said_of(world, day, "a", ["a", "b"])
    assert {row.get("value") for row in said if row["kind"] == "correct"} == {"b"}
    assert not any(row["kind"] == "accept" for row in said)


def test_a_loud_label_gets_more_reactions() -> None:
    world = WORLDS["loud-label"]
    counts = [
        len(_said_of(world, [Asked(Said("t", label), "customer-0")] * 500, label, ["a", "b"]))
        for label in "ab"
    ]
    assert counts[1] > 2 * counts[0]


def test_reactions_err_as_the_rater_of_a_file_did(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label,rated\nhow,a,b\nwhy,b,\n")
    how, why = sorted(sources.rows(file), key=lambda one: one.text)
    assert (how.rated, why.rated) == ("b", None)
    said = _said_of(TALKATIVE, [Asked(how, "customer-0")] * 20, "a", ["a", "b"])
    assert {row.get("value") for row in said if row["kind"] == "correct"} == {"b"}
    assert not any(row["kind"] == "accept" for row in said)


def test_targets_say_by_how_much_they_are_missed() -> None:
    lives = [Life("ours", 0, (0.7, 0.75, 0.75), ("promoted",) * 3, behind=0.004)]
    found = results.figures(lives, {0: Life("oracle", 0, (0.8, 0.8, 0.8))}, [1])
    by_name = {one.name: one for one in targets(found)}
    assert by_name["oracle"].missed_by == pytest.approx(0.04)
    assert by_name["gain"].missed_by == by_name["own-best"].missed_by == 0
    assert by_name["wrong-promotions-95"].missed_by is not None
    assert by_name["wrong-promotions-95"].missed_by > 0.5
    assert by_name["recovery-1"].measured == 2
    assert page.shown(by_name["recovery-1"])["measured"] == "at least 2"
    assert by_name["recovery-1"].missed_by is None
    assert page.shown(by_name["oracle"])["result"] == "missed by 4.0 points"
    assert page.shown(by_name["wrong-promotions"])["result"] == "met"
    nothing = results.figures([Life("ours", 0, (None, None))], {}, [])
    assert all(one.missed_by is None for one in targets(nothing) if one.name in ("oracle", "gain"))


def test_figures_have_the_names_that_others_read() -> None:
    assert {
        *("nights", "seeds", "accuracy_by_night", "oracle_accuracy", "wrong_promotion_rate"),
        *("nights_to_recover", "attack_success", "labels", "cpu_minutes"),
    } <= set(_report()["policies"][0])


def test_a_night_is_held_by_the_rule_that_refused_and_by_none_that_is_off() -> None:
    off, fine = Reason("off", None, "", on=False), Reason("fine", True, "")
    unsure, refused = Reason("unsure", None, ""), Reason("refused", False, "")

    def held(*reasons: Reason) -> list[str]:
        return results.held_by([asdict(one) for one in reasons])

    assert held(off, fine, unsure, refused) == ["refused"]
    assert held(off, fine, unsure) == ["unsure"]
    assert held(off, fine) == []


def test_a_life_that_is_kept_is_read_as_it_was(tmp_path: Path) -> None:
    one = Life("ours", 3, (None, 0.5), ("failed", "promoted"), wrong=(1,), labels=7)
    results.keep(tmp_path, one)
    assert results.kept(tmp_path, "ours", 3) == one
    assert results.kept(tmp_path, "ours", 4) is None


def test_figures_say_who_is_back_and_how_often_a_promotion_was_wrong() -> None:
    oracles = {seed: Life("oracle", seed, (0.9, 0.9, 0.9)) for seed in (0, 1)}
    lives = [
        Life("ours", 0, (0.7, 0.8, 0.89), ("promoted",) * 3, promotions=2),
        Life("ours", 1, (0.7, 0.7, 0.7), ("failed",) * 3, wrong=(2,), promotions=1),
    ]
    found = results.figures(lives, oracles, [1])
    assert found["accuracy_by_night"] == pytest.approx([0.7, 0.75, 0.795])
    assert found["wrong_promotion_rate"] == 0.5
    assert found["nights_to_recover"] == {"1": {"median": None, "never": 1, "lives": 2}}
    assert found["failed_nights"] == 3


def _report() -> dict[str, Any]:
    lives = [Life("ours", seed, (0.7, None, 0.8), ("promoted",) * 3) for seed in (0, 1)]
    other = [Life("newest", 0, (0.7, 0.6, 0.5), ("promoted",) * 3, 2, (1, 2), attack_success=0.3)]
    oracles = {0: Life("oracle", 0, (0.8, 0.85, 0.9))}
    found = [results.figures(one, oracles, [1]) for one in (lives, other)]
    return {"settings": asdict(_settings()), "policies": found}


def test_the_page_shows_every_policy_and_loads_nothing() -> None:
    html = unescape(page.page(_report()))
    for said in ("ours", "newest", "oracle", POLICIES["newest"].says, "Never back", "missed by"):
        assert said in html
    assert "http" not in html.replace("http-equiv", "")
    assert page.page({**_report(), "policies": []}).count("No life has ended yet") == 2


def test_the_page_of_figures_names_the_command_of_each_row(tmp_path: Path) -> None:
    drift, unknown = replace(WORLDS["drift"], rows=40), replace(STEADY, odd=0.5)
    for key, world in (("a", drift), ("b", unknown)):
        report = {**_report(), "settings": asdict(_settings(world))}
        (tmp_path / key).mkdir()
        (tmp_path / key / "report.json").write_text(json.dumps(report))
    found = replay_figures.reports(tmp_path)
    assert [name for name, _ in found] == ["drift"]
    page_of = replay_figures.page(found, cpu="a processor")
    wanted = "--world drift --nights 3 --seeds 2 --rows 40 --policy ours --policy newest"
    assert f"flywheel replay {wanted}" in page_of
    assert "| drift | 3 | 2 | last night's accuracy under the oracle's | 10.0" in page_of


def test_a_replay_is_one_run_in_mlflow(home: Home, tmp_path: Path) -> None:
    import mlflow

    shown = tmp_path / "report.html"
    shown.write_text("a page")
    for _ in range(2):
        mlflow_run.log_run(home, "abc", _report(), shown)
    (run,) = mlflow.search_runs(experiment_names=["replay"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "newest/accuracy")
    assert {(one.step, one.value) for one in history} == {(0, 0.7), (1, 0.6), (2, 0.5)}


def _command(folder: Path, *further: str) -> subprocess.Popen[str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    table = folder.parent / "rows.csv"
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "flows", "replay", "--nights", "2", "--seeds", "2", "--json"),
            *("--policy", "newest", "--world", "steady", "--rows", "20", "--data", str(table)),
            *further,
        ],
        env={**own, "FLYWHEEL_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_replay_that_is_killed_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    chance = random.Random(0)
    words = {"a": ["good", "great", "fine"], "b": ["bad", "poor", "awful"]}
    rows = []
    for number in range(1_600):
        label = "ab"[number % 2]
        letters = " ".join(chance.sample(string.ascii_letters, 5))
        rows.append(f"{chance.choice(words[label])} {letters} {number},{label}")
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    stopped = _command(tmp_path / "stopped")
    while not list((tmp_path / "stopped" / "replay").glob("*/newest-0.json")):
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.kill()
    stopped.communicate()
    (kept,) = (tmp_path / "stopped" / "replay").glob("*/newest-0.json")
    before = kept.stat().st_mtime_ns
    figures = []
    for folder in ("stopped", "whole"):
        out, _ = _command(tmp_path / folder).communicate(timeout=600)
        (one,) = json.loads(out)["policies"]
        figures.append({**one, "cpu_minutes": None, "cpu_s_by_night": None})
    assert figures[0] == figures[1]
    assert figures[0]["seeds"] == 2
    assert kept.stat().st_mtime_ns == before
    assert not list(kept.parent.glob("life-*"))


def test_nights_are_lived_by_the_flow_and_come_to_the_same_again(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived = []
    for folder in ("one", "two"):
        monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / folder))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / folder}/mlflow.db")
        there = Home(tmp_path / folder)
        told: list[int] = []
        lived.append(life.live(_settings(nights=2), POLICIES["newest"], 0, there, told.append))
        assert told == [1, 2]
    one, two = (replace(each, cpu_s=0.0, cpu_s_by_night=()) for each in lived)
    assert one == two
    assert one.outcomes == ("promoted", "promoted")
    assert all(score and score > 0.4 for score in one.accuracy)
    assert one.labels > SMALL.seed_rows + SMALL.holdout_rows
