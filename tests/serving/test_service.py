"""The service over HTTP: its contract, its keys, its page, its logs."""

from __future__ import annotations

import logging
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import flywheel
from flows.cli.main import cli
from flywheel.config import Home, UseCase
from flywheel.errors import ConfigError
from flywheel.serving.http.auth import Allowance, Caller, Keys, Marks
from flywheel.serving.http.server import run
from flywheel.store import open_store
from flywheel.text.normalize import text_id
from tasks.ingest import ingest_inbox
from tests.engines import OpenModelSource, WordCounter
from tests.services import AT, Disk, rows, serving

SECRET = "xylophone"
ANN, BACKEND = "ann-key-0123456789", "backend-key-0123456789"
KEYS = f"ann:{ANN}, bob:bob-key-0123456789, {BACKEND}"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# ---- Answers and feedback


def test_an_answer_names_its_version_and_is_in_the_inbox_when_it_arrives(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case) as client:
        asked = {"text": "it works", "group_id": "review-1", "customer_id": "ann"}
        answer = client.post("/predict", json=asked).json()
        (row,) = rows(home, use_case, "predictions")
    assert answer.pop("recorded") is True
    assert answer.pop("unproven") is False
    assert answer.pop("abstained") is False
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert (answer["model_version"], answer["digest"]) == ("1", "digest-1")
    assert {**row, **asked} == row
    answer.pop("confidence")
    assert {**row, **answer} == row


@pytest.mark.parametrize(
    ("names", "group"),
    [
        ({"customer_id": "ann"}, "ann"),
        ({"customer_id": "ann", "group_id": "review-1"}, "review-1"),
        ({}, text_id("it works")),
    ],
)
def test_a_text_without_a_group_is_its_customers(
    home: Home, use_case: UseCase, names: dict[str, str], group: str
) -> None:
    with serving(home, use_case) as client:
        client.post("/predict", json={"text": "it works"} | names)
        (row,) = rows(home, use_case, "predictions")
    assert row["group_id"] == group


def test_customers_that_are_no_groups_are_none_in_the_service(
    home: Home, use_case: UseCase
) -> None:
    split = use_case.split.model_copy(update={"by_customer": False})
    with serving(home, use_case.model_copy(update={"split": split})) as client:
        client.post("/predict", json={"text": "it works", "customer_id": "ann"})
        (row,) = rows(home, use_case, "predictions")
    assert (row["group_id"], row["customer_id"]) == (text_id("it works"), "ann")


def test_many_are_answered_in_order(home: Home, use_case: UseCase) -> None:
    texts = ["a " * n for n in (5, 1, 9, 3)]
    with serving(home, use_case) as client:
        inputs = [{"text": text} for text in texts]
        many = client.post("/predict", json={"inputs": inputs}).json()["answers"]
        alone = [client.post("/predict", json=one).json() for one in inputs]
    assert [a["probabilities"] for a in many] == [a["probabilities"] for a in alone]
    assert len({a["prediction_id"] for a in (*many, *alone)}) == 8


def test_the_unsure_abstain(home: Home, use_case: UseCase) -> None:
    case = use_case.model_copy(
        update={"gate": use_case.gate.model_copy(update={"abstain_below": 0.49})}
    )
    with serving(home, case) as client:
        found = [client.post("/predict", json={"text": "x" * n}).json() for n in (5, 500)]
    assert [one["abstained"] for one in found] == [True, False]


def test_known_texts_are_answered_without_the_model(home: Home, use_case: UseCase) -> None:
    version = WordCounter("1", use_case)
    with serving(home, use_case, shelf=OpenModelSource({"1": version})) as client:
        for _ in range(3):
            client.post("/predict", json={"text": "again"})
        assert sum(batch == ["again"] for batch in version.batches) == 1
        assert len({row["prediction_id"] for row in rows(home, use_case, "predictions")}) == 3


def test_without_a_cache_the_model_is_asked_every_time(home: Home, use_case: UseCase) -> None:
    version = WordCounter("1", use_case)
    shelf = OpenModelSource({"1": version})
    with serving(home, use_case, shelf=shelf, cached_answers=0) as client:
        for _ in range(3):
            client.post("/predict", json={"text": "again"})
    assert sum(batch == ["again"] for batch in version.batches) == 3


def test_feedback_sent_twice_is_one_and_a_revision_replaces_it(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case) as client:
        answer = client.post("/predict", json={"text": "it broke"}).json()
        about = {"prediction_id": answer["prediction_id"], "rater_id": "ann"}
        first = {**about, "kind": "accept", "feedback_id": "f1"}
        said = [client.post("/feedback", json=first) for _ in range(2)]
        assert [one.status_code for one in said] == [202, 202]
        assert [one.json()["status"] for one in said] == ["accepted", "known"]
        other = client.post("/feedback", json={**first, "kind": "reject"})
        assert other.status_code == 409
        revised = {**about, "kind": "correct", "value": "negative"}
        assert client.post("/feedback", json=revised).status_code == 202
        assert len(rows(home, use_case, "feedback")) == 2
    assert ingest_inbox(use_case, home, at=AT).ingested == 2
    with open_store(home.warehouse, read_only=True) as store:
        reactions = store.reactions(use_case.name)
    assert {(r.kind, r.text, r.source) for r in reactions} == {
        ("accept", "it broke", "app"),
        ("correct", "it broke", "app"),
    }


@pytest.mark.parametrize("ingested", [False, True])
def test_a_feedback_id_stands_for_one_feedback_after_a_restart_too(
    home: Home, use_case: UseCase, ingested: bool
) -> None:
    """Ingest knows them all: what it would pass over must not be acknowledged as new."""
    about = {"text": "it broke", "rater_id": "ann", "kind": "label", "feedback_id": "f1"}
    timed = {"feedback_id": "f2", "given_at": "2026-01-01T00:00:00Z", "value": "neutral"}
    with serving(home, use_case) as client:
        for said in ({"value": "negative"}, timed):
            assert client.post("/feedback", json={**about, **said}).json()["status"] == "accepted"
    if ingested:
        assert ingest_inbox(use_case, home, at=AT).ingested == 2
    later = {**timed, "given_at": "2026-01-02T00:00:00Z"}
    with serving(home, use_case) as client:
        told = [
            client.post("/feedback", json={**about, **said})
            for said in ({"value": "negative"}, {"value": "positive"}, timed, later)
        ]
    assert [one.status_code for one in told] == [202, 409, 202, 409]
    assert [told[i].json()["status"] for i in (0, 2)] == ["known", "known"]
    counts = ingest_inbox(use_case, home, at=AT)
    assert (counts.ingested, counts.duplicate) == (0 if ingested else 2, 0)


def test_a_label_spelled_as_an_app_does_is_known_after_a_restart(
    home: Home, use_case: UseCase
) -> None:
    """It lies in the inbox as it was sent, and is compared as the label that it means."""
    said = {"text": "it broke", "rater_id": "ann", "kind": "label", "feedback_id": "f1"}
    said["value"] = "Negative "
    for status in ("accepted", "known"):
        with serving(home, use_case) as client:
            told = client.post("/feedback", json=said)
        assert (told.status_code, told.json().get("status")) == (202, status)


def test_of_two_that_come_at_once_with_one_id_one_is_taken(home: Home, use_case: UseCase) -> None:
    about = {"text": "it broke", "rater_id": "ann", "kind": "label", "feedback_id": "f1"}
    with serving(home, use_case) as client, ThreadPoolExecutor(8) as crowd:
        values = ["negative", "positive", "neutral"] * 4
        told = list(
            crowd.map(
                lambda value: client.post("/feedback", json={**about, "value": value}), values
            )
        )
    taken = [v for v, one in zip(values, told, strict=True) if one.status_code == 202]
    assert len(set(taken)) == 1, "the same again is known, another is refused"
    assert [one.json()["status"] for one in told if one.status_code == 202].count("accepted") == 1
    assert ingest_inbox(use_case, home, at=AT).ingested == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/predict", {}, ""),
        ("/predict", {"text": "a", "inputs": [{"text": "b"}]}, ""),
        ("/predict", {"text": "a", "temperature": 0}, "temperature"),
        ("/predict", {"text": 7}, "text"),
        ("/predict", {"inputs": []}, "inputs"),
        ("/predict", {"inputs": [{"txt": "a"}]}, "inputs.text"),
        ("/feedback", {"kind": "accept", "prediction_id": "p", "source": "x"}, "source"),
    ],
)
def test_what_breaks_the_schema_is_refused_by_field(
    home: Home, use_case: UseCase, path: str, body: dict[str, Any], field: str
) -> None:
    with serving(home, use_case) as client:
        refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["field"] == field


def test_a_field_that_is_misspelt_is_answered_with_where_the_right_ones_stand(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case) as client:
        refused = client.post("/predict", json={"tekst": "a"}).json()["detail"]
    assert refused == [{"field": "tekst", "rule": "No such field; /openapi.json names all"}]


@pytest.mark.parametrize(
    ("path", "body", "rule"),
    [
        ("/predict", {"text": "  "}, "text is blank or holds a NUL byte"),
        ("/predict", {"text": "a\0b"}, "text is blank or holds a NUL byte"),
        ("/predict", {"text": "a" * 101}, "text has 101 characters, at most 100 are allowed"),
        ("/predict", {"inputs": [{"text": "a"}] * 5}, "5 texts, at most 4 are allowed"),
        ("/feedback", {"prediction_id": "p", "rater_id": "a"}, "kind is missing or empty"),
        ("/feedback", {"kind": "nosuch", "prediction_id": "p", "rater_id": "a"}, "kind is unknown"),
        ("/feedback", {"kind": "accept", "rater_id": "a"}, "prediction_id or text is required"),
        ("/feedback", {"kind": "accept", "prediction_id": "p"}, "rater_id is missing"),
        (
            "/feedback",
            {"kind": "correct", "prediction_id": "p", "rater_id": "a", "value": "nosuch"},
            "value of correct must be one of positive, neutral, negative",
        ),
        (
            "/feedback",
            {"kind": "accept", "prediction_id": "p", "rater_id": "a", "given_at": "2026-01-01"},
            "given_at has no time zone",
        ),
    ],
)
def test_what_ingest_would_refuse_is_refused_here(
    home: Home, use_case: UseCase, path: str, body: dict[str, Any], rule: str
) -> None:
    with serving(home, use_case, max_text_chars=100, max_texts=4) as client:
        refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(rule)
    assert rows(home, use_case, "*") == []


def test_a_label_added_to_the_use_case_is_taken_without_a_restart(
    home: Home, use_case: UseCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "case.yaml"

    def save(case: UseCase, **changes: Any) -> None:
        content = yaml.safe_dump(case.model_dump(mode="json") | changes)
        file.with_suffix(".new").write_text(content)
        file.with_suffix(".new").replace(file)

    save(use_case)
    grown = [*use_case.labels.items(), ("sarcastic", "says the opposite")]
    with serving(home, use_case, file=file) as client:

        def correct(label: str) -> int:
            asked = {"kind": "correct", "text": "oh great", "rater_id": "ann", "value": label}
            return client.post("/feedback", json=asked).status_code

        answer = client.post("/predict", json={"text": "it works"}).json()
        assert correct("sarcastic") == 422
        save(use_case, labels=grown)
        assert correct("sarcastic") == 202
        assert client.get("/readyz").json()["labels"] == [*use_case.label_names, "sarcastic"]
        known = client.post("/predict", json={"text": "it works"}).json()
        assert known["probabilities"] == answer["probabilities"], "what answers stays what it was"
        for spoil in (
            lambda: file.write_text("golden: [xylophone"),
            lambda: save(use_case, name="another"),
            file.unlink,
        ):
            spoil()
            assert correct("sarcastic") == 202
        save(use_case)
        assert correct("sarcastic") == 422
    told = [one.getMessage() for one in caplog.records if one.name == "flywheel.serving.labels"]
    assert [message.partition(";")[2] for message in told if "stay" in message] == [
        " labels stay"
    ] * 2
    assert not any(SECRET in message for message in told)
    added = use_case.model_copy(update={"labels": dict(grown)})
    assert ingest_inbox(added, home, at=AT).ingested == 4


# ---- Keys


def test_without_a_key_nobody_gets_an_answer(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=KEYS) as client:
        for headers in ({}, bearer("wrong-key-0123456789"), {"Authorization": f"Basic {ANN}"}):
            refused = client.post("/predict", json={"text": "a"}, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        for key in (ANN, BACKEND):
            given = client.post("/predict", json={"text": "a"}, headers=bearer(key))
            assert given.status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer(ANN)).status_code == 403
        assert client.get("/metrics", headers=bearer(BACKEND)).status_code == 200
        home.night_metrics(use_case.name).parent.mkdir()
        home.night_metrics(use_case.name).write_text("flywheel_night_waiting_rows 3\n")
        page = client.get("/metrics", headers=bearer(BACKEND)).text
        assert "# TYPE flywheel_answers_total counter" in page
        assert page.endswith("\nflywheel_night_waiting_rows 3\n")
        assert client.get("/healthz").json() == {"alive": True}


def test_a_customer_speaks_only_for_themselves(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=KEYS) as client:
        asked = {"text": "it broke", "customer_id": "bob"}
        answer = client.post("/predict", json=asked, headers=bearer(ANN)).json()
        about = {
            "kind": "accept",
            "prediction_id": answer["prediction_id"],
            "customer_id": "bob",
            "rater_id": "eve",
            "feedback_id": "f1",
        }
        bob = client.post("/feedback", json=about, headers=bearer("bob-key-0123456789"))
        ann = client.post("/feedback", json=about, headers=bearer(ANN))
        (served,), (kept,) = rows(home, use_case, "predictions"), rows(home, use_case, "feedback")
    assert (bob.status_code, ann.status_code) == (403, 202)
    assert served["customer_id"] == served["group_id"] == "ann"
    assert (kept["customer_id"], kept["rater_id"]) == ("ann", "ann/eve")
    assert kept["feedback_id"] == ann.json()["feedback_id"] == "ann/f1"


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("short", "at least 16"),
        (f"{ANN},{ANN}", "twice"),
        (f"ann:{ANN},bob:{ANN}", "twice"),
        (f"a b:{ANN}", "names a customer"),
        ("kéy-0123456789-0123", "ASCII"),
    ],
)
def test_keys_that_are_none_are_refused_without_being_shown(given: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as refused:
        Keys.parse(given)
    assert ANN not in str(refused.value)


def test_others_are_not_served_without_keys(home: Home, use_case: UseCase) -> None:
    with pytest.raises(ConfigError, match="FLYWHEEL_SERVE_KEYS holds no keys"):
        run(use_case, home, host="0.0.0.0", port=0, listening=print)


def test_a_prediction_id_tells_whose_it_is(tmp_path: Path) -> None:
    marks = Marks.of(tmp_path)
    mine = marks.new_id("ann")
    assert len(mine) == 32
    assert Marks.of(tmp_path).belongs(mine, "ann"), "the secret is the home's"
    assert not marks.belongs(mine, "bob")
    assert not marks.belongs(marks.new_id(None), "ann")
    assert not Marks.of(tmp_path / "other").belongs(mine, "ann")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_an_allowance_fills_again() -> None:
    allowance = Allowance(2)
    assert allowance.wait_s(Caller("ann"), 20, now=0) == 0
    assert allowance.wait_s(Caller("ann"), 4, now=0) == 2
    assert allowance.wait_s(Caller("bob"), 4, now=0) == 0
    assert allowance.wait_s(Caller("ann"), 4, now=2) == 0
    assert allowance.wait_s(Caller("ann"), 1_000, now=1_000) == 0, (
        "a full bucket lets a large one through"
    )
    assert allowance.wait_s(Caller("ann"), 1, now=1_001) > 400


# ---- The page, and what others may see


def test_the_page_loads_nothing_from_elsewhere(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=KEYS) as client:
        pages = {path: client.get(path) for path in ("/", "/page.css", "/page.js")}
        paths = set(client.get("/openapi.json").json()["paths"])
    assert all(page.status_code == 200 for page in pages.values())
    assert not any("//" in page.text.replace("// asks", "") for page in pages.values())
    assert "default-src 'none'" in pages["/"].headers["content-security-policy"]
    assert paths == {"/predict", "/feedback", "/healthz", "/readyz", "/metrics"}


def test_the_schema_has_the_version_of_the_sources(home: Home, use_case: UseCase) -> None:
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    named = project["tool"]["setuptools"]["dynamic"]["version"]
    assert named == {"attr": "flywheel.__version__"}
    newest = re.search(r"^## ([\d.]+) - ", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    with serving(home, use_case) as client:
        said = client.get("/openapi.json").json()["info"]["version"]
    assert said == flywheel.__version__ == newest[1]
    assert CliRunner().invoke(cli, ["--version"]).stdout.strip() == said


def test_no_log_line_holds_a_text(
    home: Home, use_case: UseCase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    disk = Disk()
    with serving(home, use_case, write=disk.write) as client:
        for full in (False, True):
            disk.full = full
            client.post("/predict", json={"text": SECRET})
            client.post("/predict", json={"text": f"{SECRET}\0"})
            client.post("/predict", content=SECRET)
            said = {"kind": "comment", "prediction_id": "p", "rater_id": "a", "value": SECRET}
            client.post("/feedback", json=said)
    assert "could not write" in caplog.text
    assert SECRET not in caplog.text
