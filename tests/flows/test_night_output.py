"""What a night prints: the verdict, what decides, the next command; errors as JSON, colors."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import click
import pytest

from flows.cli import colors
from flows.cli.main import main
from flywheel.errors import ConfigError, StoreBusy
from flywheel.reports.verdict import deciding, next_command, verdict_lines

REASONS = [
    {"rule": "min_accuracy", "passed": True, "on": True, "detail": "accuracy 0.7"},
    {"rule": "max_latency_ms", "passed": None, "on": False, "detail": "switched off"},
    {"rule": "leave_one_out", "passed": None, "on": True, "detail": "all rows are of one group"},
    {"rule": "better_than_champion", "passed": None, "on": True, "detail": "wealth 7.29e+15"},
]
NIGHT: dict[str, Any] = {
    "use_case": "support",
    "as_of": "2026-01-02T02:30:00+00:00",
    "outcome": "undecided",
    "headline": "No change tonight: version 2 is not proven better than version 1.",
    "holdout_examples": 518,
    "challenger_accuracy": 0.759,
    "champion_accuracy": 0.726,
    "baselines": {"majority": 0.508, "tfidf_logistic": 0.562},
    "version": "2",
    "reasons": REASONS,
}


def rules(night: dict[str, Any]) -> list[str]:
    return [one["rule"] for one in deciding(night)]


def test_a_night_says_the_verdict_what_decides_and_what_to_type_next() -> None:
    assert verdict_lines(NIGHT, page="/srv/reports/a.html") == [
        "support, night of 2026-01-02T02:30: undecided",
        "  No change tonight: version 2 is not proven better than version 1.",
        "  better_than_champion: no gain is proven yet",
        "  accuracy on 518 holdout rows: challenger 0.759, champion 0.726, "
        "best baseline (tfidf_logistic) 0.562",
        "  page: /srv/reports/a.html",
        "  next: flywheel queue -u support --csv todo.csv",
    ]


def test_what_failed_decides_and_open_rules_of_the_gate_do_not() -> None:
    failed = {"rule": "canary", "passed": False, "on": True, "detail": "p = 0.001"}
    sources = {"rule": "sources", "passed": None, "on": True, "detail": "support: no answer"}
    night = {**NIGHT, "outcome": "rejected", "reasons": [*REASONS, failed, sources]}
    assert rules(night) == ["canary", "sources"]


def test_where_a_gain_is_proven_what_it_rests_on_is_shown() -> None:
    proven = [*REASONS[:3], {**REASONS[3], "passed": True}]
    assert rules({**NIGHT, "reasons": proven}) == ["leave_one_out"]


def test_a_promoted_night_has_nothing_to_read_but_its_verdict() -> None:
    night = {**NIGHT, "outcome": "promoted", "reasons": REASONS[:2]}
    assert rules(night) == []
    assert next_command(night) == "flywheel serve -u support"
    waits = {**night, "outcome": "awaiting_approval"}
    assert next_command(waits) == "flywheel approve -u support 2"


def fails(error: Exception) -> Any:
    def run(**_: Any) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConfigError("no such key"), "ConfigError", 2),
        (StoreBusy("held"), "StoreBusy", 1),
        (OSError(28, "No space left on device", "/srv/x"), "OSError", 1),
        (click.UsageError("No such option"), "UsageError", 2),
    ],
)
def test_with_json_an_error_is_one_line_of_json(
    error: Exception,
    kind: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["flywheel", "status", "--json"])
    with pytest.raises(SystemExit) as ended:
        main(fails(error))
    said = capsys.readouterr()
    told = json.loads(said.err)["error"]
    assert (ended.value.code, said.out, told["type"]) == (code, "", kind)
    assert told["message"]


def test_wrong_usage_is_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flywheel", "night", "--nosuch", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--nosuch" in json.loads(capsys.readouterr().err)["error"]["message"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colors_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colors.wanted(Terminal())
    assert not colors.wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colors.wanted(Terminal())


@pytest.mark.parametrize(
    "line", ["ok    disk  9 GB free", "FAIL  data  none", "job, night of 2026: promoted"]
)
def test_a_colored_line_says_the_same(line: str) -> None:
    assert colors.paint(line) != line
    assert click.unstyle(colors.paint(line)) == line
    assert colors.paint("a word such as ok or fail within") == "a word such as ok or fail within"
