"""One champion by torch and by OpenVINO, from outside: over HTTP, in batch, through MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest

from flywheel.config import Home
from flywheel.config.serving import RuntimeSetting
from flywheel.modeling.compiled import runtime
from flywheel.tracking import measured_answers
from flywheel.tracking.registry import CHAMPION, Registry
from tasks.outputs.predict import predict
from tests import champions, nights
from tests.modeling.test_compiled import NEEDED
from tests.nights import AS_OF, CASE
from tests.services import configured, listening
from tests.serving.test_served_adapters import TEXTS, call, serves

pytestmark = [pytest.mark.model, NEEDED]

AT = datetime(2026, 3, 2, tzinfo=UTC)
WITHIN = 0.02
"""Of a probability: the texts beside it in a pass move it a little."""


@pytest.fixture(autouse=True)
def by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.SETTING, raising=False)
    monkeypatch.setenv("FLYWHEEL_NUMERIC_TYPE", "float32")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = champions.copy(tmp_path / "home")
    with nights.living_in(made):
        yield made


def served(home: Home, setting: RuntimeSetting) -> list[dict[str, float]]:
    """What the service answers over HTTP, each text in a request."""
    with listening(home, configured(CASE, runtime=setting, cached_answers=0)) as url:
        serves(url)
        assert call(f"{url}/readyz")["runtime"] == setting
        return [call(f"{url}/predict", {"text": text})["probabilities"] for text in TEXTS]


def test_every_way_to_ask_gives_torchs_answers(home: Home) -> None:
    expected = served(home, "torch")
    assert not home.compiled(CASE.name).exists()
    version = champions.version(home, "1")
    sample = dict(zip(TEXTS, expected, strict=True))
    measured_answers.write(home.measured, CASE.name, version.digest, sample)

    compiled = configured(CASE, runtime="openvino")
    batch = predict.fn(compiled, home, [("customer-1", text) for text in TEXTS], at=AT)
    through_mlflow = mlflow.pyfunc.load_model(f"models:/{CASE.name}@{CHAMPION}").predict(TEXTS)
    ways = {
        "HTTP": served(home, "openvino"),
        "predict": [dict(one.probabilities) for one in batch],
        # by what it was registered with, auto
        "MLflow": [one["probabilities"] for one in through_mlflow],
    }
    for way, found in ways.items():
        for one, other in zip(found, expected, strict=True):
            assert list(one) == list(other), way
            assert one == pytest.approx(other, abs=WITHIN), way
    # each converted nothing anew
    assert len(list(home.compiled(CASE.name).iterdir())) == 1


@pytest.mark.slow
@pytest.mark.prefect
def test_what_sat_the_holdout_is_what_is_served(tmp_path: Path) -> None:
    from flows.retrain import flywheel

    home, case = nights.make_home(tmp_path / "home"), configured(CASE, runtime="openvino")
    nights.prefect_server()
    with nights.living_in(home), nights.training_here():
        nights.drop(home, "day-000.jsonl", nights.first_rows())
        night = flywheel(case, AS_OF)
        assert night["outcome"] == "promoted"
        (version,) = Registry(home).versions(CASE.name)
        assert version.record.runtime == "openvino"
        rows = measured_answers.read(home.measured, CASE.name, version.record.digest)
        with listening(home, configured(case, cached_answers=0)) as url:
            serves(url)
            assert call(f"{url}/readyz")["runtime"] == "openvino"
            for text, measured in rows.items():
                found = call(f"{url}/predict", {"text": text})["probabilities"]
                assert found == pytest.approx(measured, abs=WITHIN)
        assert len(rows) == case.gate.verify_rows
