"""Whatever a label is called, MLflow takes its measures, and none is lost to another's name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from flywheel.tracking.metric_names import MOST_CHARS, nameable, shortened

ODD = (
    *("a//b", "refund/", "/refund", "..", ".", "../up", "a/../b", "a/./b", "x" * 240, "x" * 241),
    *("Refund: yes/no", "C++", "a, b", '50% "off"', "<b>VIP</b>", "🚚 late", "naïve façade"),
    *("line\nbreak", "{text}", "#hash", "- dash", " padded ", "n/a", "ملاحظة", "", " ", "null"),
    *("Billing", "billing", "billing ", "Café", "Cafe\u0301", "~", "yes", "*anchor", "a" + "\x00"),
)


def test_mlflow_keeps_the_measures_of_every_odd_label(tmp_path: Path) -> None:
    asked = {f"holdout_recall_{label}": number / 100 for number, label in enumerate(ODD)}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = client.create_run(client.create_experiment("names")).info.run_id
    named = nameable(asked)
    for name, value in named.items():
        client.log_metric(run_id, name, value)
    assert client.get_run(run_id).data.metrics == named
    assert sorted(named.values()) == sorted(asked.values()), "none is lost to another's name"


@given(st.sets(st.text(max_size=300) | st.sampled_from(ODD), max_size=8))
def test_any_names_become_as_many_that_mlflow_takes(names: set[str]) -> None:
    named = nameable({name: float(number) for number, name in enumerate(names)})
    assert len({name.casefold().rstrip() for name in named}) == len(names)
    for name in named:
        assert len(name) <= MOST_CHARS
        _validate_metric_name(name)


@pytest.mark.parametrize(
    "name", ["holdout_recall_ok", "holdout_recall_a/b", "holdout_f1_very good"]
)
def test_a_name_that_mlflow_takes_stays(name: str) -> None:
    assert nameable({name: 1.0, "holdout_recall_größe": 0.5}) == {
        name: 1.0,
        "holdout_recall_gr__e": 0.5,
    }


def test_a_label_keeps_its_name_when_labels_are_reordered() -> None:
    found = {name: math.nan for name in ("recall_a?", "recall_a!", "recall_b//c", "recall_d")}
    assert set(nameable(found)) == set(nameable(dict(reversed(found.items()))))


def test_a_long_text_says_that_it_goes_on() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"
