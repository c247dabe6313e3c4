"""With tracing on, MLflow shows answers and feedback; nobody waits for it, and no text is in it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Expectation, Trace
from mlflow.tracing.client import TracingClient
from mlflow.utils import providers

from flywheel.config import Home, ServingConfig, SourceConfig, UseCase
from flywheel.errors import RegistryUnavailable
from flywheel.privacy.erasure_plan import TraceRows
from flywheel.serving import tracing
from flywheel.serving.http.auth import Marks
from flywheel.store import open_store
from flywheel.tracking.traces import Traced, Traces
from tasks.erasure.erase import certificate_path, forget, plan
from tasks.ingest import ingest_inbox
from tasks.pull import pull
from tests.engines import OpenModelSource, WordCounter
from tests.services import AT, Disk, mlflow_serving, rows, serving, until

TEXT, COMMENT = "the xylophone broke", "so much for the xylophone"
ANN_KEY = "ann-key-0123456789"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database, with nothing in it: it takes seconds to make."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def at_once(home: Home, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told waits for no company, and the registry is there; nothing looks outside."""
    shutil.copy(registry, home.root / "mlflow.db")
    monkeypatch.setattr(tracing, "LINGER_S", 0.0)

    def outside(*given: object) -> None:
        raise AssertionError("MLflow asked the internet for prices")

    monkeypatch.setattr(providers, "_fetch_http_provider", outside)


def traces(home: Home, use_case: UseCase) -> dict[str, Trace]:
    """Prediction id → trace, as MLflow has them."""
    client = MlflowClient(home.mlflow_uri)
    experiment = client.get_experiment_by_name(use_case.name)
    if experiment is None:
        return {}
    found = client.search_traces(locations=[experiment.experiment_id], max_results=500)
    return {trace.info.trace_id.removeprefix("tr-"): trace for trace in found}


def said(trace: Trace) -> dict[str, Any]:
    """Name → value of the assessments that are valid."""
    return {one.name: _value(one) for one in trace.info.assessments if one.valid is not False}


def _value(assessment: Any) -> Any:
    return (assessment.expectation or assessment.feedback).value


def ask(client: TestClient, text: str = TEXT, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.post("/predict", json={"text": text, **more}).json()
    return answer


def react(client: TestClient, answer: dict[str, Any], kind: str, **more: Any) -> None:
    body = {"kind": kind, "prediction_id": answer["prediction_id"], "rater_id": "ann", **more}
    assert client.post("/feedback", json=body).status_code == 202


def counted(client: TestClient, kind: str, result: str) -> float:
    name = f'flywheel_traces_total{{kind="{kind}",result="{result}"}} '
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


# ---- What is shown


def test_an_answer_is_a_trace_under_its_own_id(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client, customer_id="ann", group_id="review-1")
        cached = ask(client, customer_id="ann")
        until(lambda: counted(client, "answer", "written") == 2)
    found = traces(home, use_case)
    assert set(found) == {answer["prediction_id"], cached["prediction_id"]}
    trace = found[answer["prediction_id"]]
    (span,) = trace.data.spans
    assert trace.info.state.value == "OK"
    assert trace.info.execution_duration is not None
    shown = span.attributes
    assert span.outputs == {"label": answer["label"], "confidence": answer["confidence"]}
    assert shown["gen_ai.operation.name"] == "classify"
    assert shown["gen_ai.request.model"] == use_case.name
    assert shown["gen_ai.response.model"] == f"{use_case.name}/1"
    assert shown["gen_ai.response.id"] == answer["prediction_id"]
    assert shown["gen_ai.usage.input_tokens"] == len(TEXT.split())
    assert shown["flywheel.digest"] == answer["digest"]
    again = found[cached["prediction_id"]].data.spans[0].attributes
    assert (again["flywheel.cached"], "gen_ai.usage.input_tokens" in again) == (True, False)


def test_feedback_is_an_assessment_that_is_revised_and_withdrawn(
    home: Home, use_case: UseCase
) -> None:
    labels = use_case.label_names
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client)
        done = 0

        def shown(kind: str, **more: Any) -> dict[str, Any]:
            nonlocal done
            react(client, answer, kind, **more)
            done += 1
            until(lambda: counted(client, "feedback", "written") == done)
            return said(traces(home, use_case)[answer["prediction_id"]])

        assert shown("accept") == {"accepted": True}
        assert shown("correct", value=labels[1]) == {"accepted": False, "label": labels[1]}
        assert shown("correct", value=labels[2]) == {"accepted": False, "label": labels[2]}
        assert shown("accept") == {"accepted": True}
        assert shown("rate", value="4") == {"accepted": True, "rating": 4.0}
        bob = shown("reject", rater_id="bob")
        assert bob == {"accepted": False, "rating": 4.0}, "bob's stands beside ann's"
        assert len(traces(home, use_case)[answer["prediction_id"]].info.assessments) == 6
        assert shown("withdraw") == {"accepted": False}
        assert len(traces(home, use_case)[answer["prediction_id"]].info.assessments) == 1


def test_feedback_that_is_sent_again_is_shown_once(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client)
    for _ in range(2):
        # the second service finds no file to remember from what the first one heard
        shutil.rmtree(home.inbox(use_case.name), ignore_errors=True)
        with serving(home, use_case, tracing="mlflow") as client:
            for _ in range(2):
                react(client, answer, "accept", feedback_id="f-1")
            until(lambda: counted(client, "feedback", "written") == 1)
    assert len(traces(home, use_case)[answer["prediction_id"]].info.assessments) == 1


def test_no_text_and_no_name_reaches_mlflow(home: Home, use_case: UseCase) -> None:
    keys = f"annabel:{ANN_KEY}"
    with serving(home, use_case, tracing="mlflow", keys=keys) as client:
        client.headers["Authorization"] = f"Bearer {ANN_KEY}"
        answer = ask(client, group_id="conversation-of-annabel")
        react(client, answer, "comment", value=COMMENT, rater_id="annabel-junior")
        react(client, answer, "correct", value=use_case.label_names[0], feedback_id="annabel-1")
    (trace,) = traces(home, use_case).values()
    assert said(trace) == {"commented": True, "accepted": False, "label": use_case.label_names[0]}
    content = Path(home.root / "mlflow.db").read_bytes()
    assert answer["prediction_id"].encode() in content
    for name in ("xylophone", "annabel"):
        assert name.encode() not in content


def test_a_written_answer_and_its_edit_are_texts(home: Home, use_case: UseCase) -> None:
    traced = use_case.model_copy(update={"kind": "text-generation", "labels": {}})
    assert traced.is_generation

    class Writer(WordCounter):
        def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return [{f"about {text}": 1.0} for text in texts]

    shelf = OpenModelSource({"1": Writer("1", traced)})
    with serving(home, traced, shelf=shelf, tracing="mlflow") as client:
        answer = ask(client)
        assert "xylophone" in answer["label"]
        react(client, answer, "correct", value="about the xylophone")
    (trace,) = traces(home, traced).values()
    assert trace.data.spans[0].attributes["gen_ai.operation.name"] == "text_completion"
    assert said(trace) == {"accepted": False, "corrected": True}
    assert b"xylophone" not in Path(home.root / "mlflow.db").read_bytes()


def test_it_is_off_unless_asked_for(home: Home, use_case: UseCase) -> None:
    assert use_case.serving.tracing == "off"
    assert ServingConfig.model_validate({"tracing": False}).tracing == "off", "YAML's off"
    with serving(home, use_case) as client:
        react(client, ask(client), "accept")
        assert "flywheel_traces_total{" not in client.get("/metrics").text
    assert traces(home, use_case) == {}


# ---- Nobody waits, and nothing goes silently


def test_a_dead_mlflow_costs_no_answer_and_is_counted(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client)
        react(client, answer, "accept")
        until(lambda: counted(client, "answer", "failed") == 1)
        until(lambda: counted(client, "feedback", "failed") == 1)
        assert ask(client)["recorded"] is True
        assert client.get("/readyz").status_code == 200
    assert len(rows(home, use_case, "predictions")) == 2


def test_a_hanging_mlflow_holds_nobody_up_and_what_is_too_much_is_dropped(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def hangs(self: Traces, answers: Sequence[Traced]) -> None:
        asked.set()
        go_on.wait()

    monkeypatch.setattr(Traces, "add", hangs)
    monkeypatch.setattr(tracing, "MAX_QUEUED", 3)
    monkeypatch.setattr(tracing, "LAST_S", 0.1)
    try:
        with serving(home, use_case, tracing="mlflow") as client:
            ask(client)
            until(asked.is_set)
            for _ in range(5):
                assert ask(client)["recorded"] is True
            assert counted(client, "answer", "dropped") == 2
            metrics = client.app.state.service.metrics  # type: ignore[attr-defined]
        sample = {"kind": "answer", "result": "dropped"}
        assert metrics.registry.get_sample_value("flywheel_traces_total", sample) == 5
    finally:
        go_on.set()


def test_what_waits_is_told_when_the_service_ends(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "LINGER_S", 3_600.0)
    with serving(home, use_case, tracing="mlflow") as client:
        answers = [ask(client, "a " * n) for n in range(1, 6)]
        react(client, answers[0], "accept")
        assert traces(home, use_case) == {}
    found = traces(home, use_case)
    assert set(found) == {one["prediction_id"] for one in answers}
    assert said(found[answers[0]["prediction_id"]]) == {"accepted": True}


def test_feedback_on_what_has_no_trace_of_ours_is_counted_as_missing(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case) as client:
        before = ask(client)
    other = use_case.model_copy(update={"name": "another"})
    with serving(home, other, tracing="mlflow") as client:
        anothers = ask(client)
    with serving(home, use_case, tracing="mlflow") as client:
        for unknown in (before, anothers, {"prediction_id": "never/given"}):
            react(client, unknown, "accept")
        until(lambda: counted(client, "feedback", "missing") == 3)
        react(client, {"prediction_id": None}, "label", text="a", value=use_case.label_names[0])
    assert said(traces(home, other)[anothers["prediction_id"]]) == {}


def test_what_the_disk_did_not_take_is_no_assessment(home: Home, use_case: UseCase) -> None:
    disk = Disk()
    with serving(home, use_case, write=disk.write, tracing="mlflow") as client:
        answer = ask(client)
        disk.full = True
        body = {"kind": "accept", "prediction_id": answer["prediction_id"], "rater_id": "ann"}
        assert client.post("/feedback", json=body).status_code == 503
        assert ask(client, "b")["recorded"] is False
        disk.full = False
    found = traces(home, use_case)
    assert said(found[answer["prediction_id"]]) == {}
    recorded = {trace.data.spans[0].attributes["flywheel.recorded"] for trace in found.values()}
    assert recorded == {True, False}


def test_mlflow_unreachable_is_an_error_of_ours(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable):
        Traces(home, use_case.name).of(["0" * 16], [])


# ---- Coming back as feedback


def test_what_the_service_showed_does_not_come_back_as_feedback(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = use_case.label_names
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client)
        react(client, answer, "reject")
        react(client, answer, "correct", value=labels[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri)
    own = SourceConfig(name="own", kind="mlflow", location=use_case.name)
    case = use_case.model_copy(update={"sources": [own]})

    def learned() -> list[tuple[str, str | None, str, str]]:
        assert sum(pull.fn(case, home, at=AT).values()) == by_hand
        ingest_inbox(case, home, at=AT)
        with open_store(home.warehouse, read_only=True) as store:
            found = store.reactions(use_case.name)
        return sorted((one.kind, one.value, one.rater_id, one.text) for one in found)

    by_hand = 0
    told = [("correct", labels[0], "ann", TEXT), ("reject", None, "ann", TEXT)]
    assert learned() == told

    # what a person says in MLflow's UI is new, and about the answer that the inbox brought
    trace = f"tr-{answer['prediction_id']}"
    eve = AssessmentSource("HUMAN", "eve")
    TracingClient(home.mlflow_uri).log_assessment(
        trace, Expectation(name="label", value=labels[1], source=eve)
    )
    by_hand = 1
    assert learned() == sorted([*told, ("correct", labels[1], "eve", TEXT)])
    with open_store(home.warehouse, read_only=True) as store:
        kept = store.rows("SELECT prediction_id, digest FROM predictions", {})
    assert kept == [(answer["prediction_id"], answer["digest"])]


# ---- Forgetting


def test_forgetting_deletes_the_traces_of_the_forgotten_and_the_certificate_says_so(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case, tracing="mlflow") as client:
        theirs = [
            ask(client, "a", customer_id="ann"),
            ask(client, "b", group_id="ann"),
            ask(client, "c", customer_id="ann", durable=False),
        ]
        others = [ask(client, text, customer_id="bob") for text in "dex"]
        react(client, theirs[0], "accept", rater_id="bob")
        react(client, others[0], "accept", rater_id="ann")
        react(client, others[0], "reject", rater_id="bob")
        react(client, others[1], "reject", rater_id="bob", customer_id="ann")
        react(client, others[2], "accept", rater_id="ann")
        react(client, others[2], "withdraw", rater_id="ann")
    # some of it was taken in, some waits
    ingest_inbox(use_case, home, at=AT)
    with serving(home, use_case, tracing="mlflow") as client:
        theirs.append(ask(client, "f", customer_id="ann"))
    before = traces(home, use_case)
    assert len(before) == 7
    assert plan(home, "ann").traces == (TraceRows(use_case.name, 4, 2),)
    assert set(traces(home, use_case)) == set(before), "a plan changes nothing"

    done = forget(home, "ann", at=AT)
    assert done["complete"] is True
    assert done["traces_deleted"] == [{"use_case": use_case.name, "traces": 4, "assessments": 2}]
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert f"{use_case.name}: 4 traces, 2 assessments on others'" in page
    left = traces(home, use_case)
    assert set(left) == {one["prediction_id"] for one in others}
    assert said(left[others[0]["prediction_id"]]) == {"accepted": False}
    assert said(left[others[1]["prediction_id"]]) == {}
    ann = Marks.of(home.serving).pseudonym("ann")
    assert not [tag for trace in left.values() for tag in trace.info.tags if ann in tag]
    assert plan(home, "ann").is_empty


def test_an_answer_that_the_warehouse_has_is_found_without_its_pseudonym(
    home: Home, use_case: UseCase
) -> None:
    with serving(home, use_case, tracing="mlflow") as client:
        answer = ask(client, customer_id="ann")
    ingest_inbox(use_case, home, at=AT)
    # another secret makes other pseudonyms
    Marks.path(home.serving).unlink()
    Marks.of(home.serving)
    assert forget(home, "ann", at=AT)["traces_deleted"][0]["traces"] == 1
    assert answer["prediction_id"] not in traces(home, use_case)


def test_nothing_is_called_forgotten_while_mlflow_does_not_answer(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(home, use_case, tracing="mlflow") as client:
        ask(client, customer_id="ann")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable):
        forget(home, "ann", at=AT)
    assert not list(home.forget.glob("*.md"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert forget(home, "ann", at=AT)["traces_deleted"][0]["traces"] == 1


# ---- A real server


@pytest.mark.slow
def test_a_real_server_shows_the_same_and_forgets_the_same(
    home: Home, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_serving(home, tmp_path / "log") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with serving(home, use_case, tracing="mlflow") as client:
            theirs = ask(client, customer_id="ann", group_id="review-1")
            others = ask(client, customer_id="bob")
            react(client, theirs, "accept")
            react(client, others, "correct", value=use_case.label_names[0])
            react(client, others, "reject", rater_id="bob")
            until(lambda: counted(client, "feedback", "written") == 3)
        found = traces(home, use_case)
        span = found[theirs["prediction_id"]].data.spans[0]
        assert span.outputs == {"label": theirs["label"], "confidence": theirs["confidence"]}
        assert span.attributes["gen_ai.usage.input_tokens"] == len(TEXT.split())
        assert found[theirs["prediction_id"]].info.token_usage["input_tokens"] == len(TEXT.split())
        assert said(found[theirs["prediction_id"]]) == {"accepted": True}
        label = {"label": use_case.label_names[0]}
        assert said(found[others["prediction_id"]]) == {"accepted": False, **label}
        done = forget(home, "ann", at=AT)
        assert done["traces_deleted"] == [
            {"use_case": use_case.name, "traces": 1, "assessments": 2}
        ]
        left = traces(home, use_case)
        assert {name: said(one) for name, one in left.items()} == {
            others["prediction_id"]: {"accepted": False}
        }
