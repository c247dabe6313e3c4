"""Strangers' words stay words: in a terminal, on a page in Markdown, in errors and logs."""

from __future__ import annotations

import ast
import io
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.output import _Plain, echo
from flywheel import sources
from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, FlywheelError
from flywheel.records import Step
from flywheel.reports import lineage
from flywheel.reports.console import markdown
from flywheel.text.log_filter import hide_secrets
from flywheel.text.normalize import printable, table_cell
from flywheel.urls import without_secrets

ROOT = Path(__file__).resolve().parents[2]
RENAME, CLEAR = "\x1b]0;owned\x07", "\x1b[2J\x1b[1;1H"
BEACON = "![x](https://evil.example/beacon.png)"
FORGED = "id |\n\n# promoted\n\n|"


def shown(said: str | list[str]) -> str:
    @click.command()
    def command() -> None:
        echo(said)

    return CliRunner().invoke(command).stdout


# ---- The terminal


def feedback(identity: str) -> dict[str, Any]:
    return {
        "use_case": "support",
        "feedback": {
            "feedback_id": identity,
            "kind": "label",
            "value": "good",
            "rater_id": f"eve{CLEAR}",
            "source": f"app\n\u2514\u2500 learned by version 9{RENAME}",
            "given_at": "2026-01-01T00:00:00",
            "row_number": 1,
            "file_sha256": "0" * 64,
            "ingested_at": "2026-01-01T00:00:00",
            "text": None,
            "prediction_id": None,
            "is_parked": False,
        },
        "used": [],
        "left_out": [],
        "versions": [],
    }


def test_an_identifier_commands_no_terminal_and_forges_no_line() -> None:
    found = shown(lineage.render_text(feedback(f"f1{RENAME}\u202egpj.exe")))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", found)
    assert r"f1\x1b]0;owned\x07\u202egpj.exe" in found
    assert len(found.splitlines()) == len(lineage.render_text(feedback("f1")))


def test_only_one_module_prints() -> None:
    def prints(call: ast.Call) -> bool:
        name = ast.unparse(call.func)
        return name in ("print", "click.echo", "click.secho", "sys.stdout.write")

    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "flows").rglob("*.py"))
        if any(isinstance(n, ast.Call) and prints(n) for n in ast.walk(ast.parse(path.read_text())))
    ]
    assert found == ["flows/cli/output.py"]


@given(st.text())
def test_whatever_is_printed_can_be_and_plain_text_stays(text: str) -> None:
    printed = printable(text)
    printed.encode()
    assert printable(printed) == printed
    if text.isprintable():
        assert printed == text


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """What a handler writes that formats lines as Prefect's and MLflow's do."""
    before, out = logging.getLogRecordFactory(), io.StringIO()
    handler, log = logging.StreamHandler(out), logging.getLogger("somebody.else")
    log.addHandler(handler)
    hide_secrets()
    yield out.getvalue
    logging.setLogRecordFactory(before)
    log.removeHandler(handler)


def test_no_log_line_shows_a_secret_also_not_in_a_traceback(logged: Callable[[], str]) -> None:
    log = logging.getLogger("somebody.else")
    try:
        raise ValueError("GET https://ann:pa55@db.example/x")
    except ValueError:
        log.exception("no answer of %s", "https://a.example/?sig=0af1")
    assert "pa55" not in logged()
    assert "0af1" not in logged()
    assert "ValueError: GET https://***@db.example/x" in logged()


def test_no_handler_prints_a_command_to_a_terminal(logged: Callable[[], str]) -> None:
    """Prefect's console prints what nights log, with the formatter of its own."""
    log = logging.getLogger("somebody.else")
    try:
        raise ValueError(CLEAR)
    except ValueError:
        log.exception("rater %s\u202e", RENAME)
    assert r"rater \x1b]0;owned\x07\u202e" in logged()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", logged())


def test_a_log_line_commands_no_terminal() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "no %s", (RENAME,), None)
    assert _Plain("%(message)s").format(record) == r"no \x1b]0;owned\x07"


def test_lines_for_people_show_no_secret_and_json_is_left_as_it_is() -> None:
    assert (
        shown(["mlflow: https://ann:pa55@mlflow.example"]) == "mlflow: https://***@mlflow.example\n"
    )
    assert shown('{"text": "my password=1"}') == '{"text": "my password=1"}\n'


# ---- Markdown


def test_a_stranger_s_identifier_is_no_picture_no_link_and_no_heading() -> None:
    night = {
        "use_case": "support",
        "outcome": "rejected",
        "as_of": "2026-01-01T02:30",
        "reasons": [{"rule": "evidence", "passed": False, "detail": f"{BEACON} {FORGED}"}],
        "who": f"{BEACON} {FORGED} <img src=x>",
        "accuracy": 0.51234,
    }
    step = Step("limits", True, 9, 1, detail=f"1 {BEACON} {FORGED}", example=f"{BEACON}{FORGED}")
    page = markdown(night, [step])
    headings = [line for line in page.splitlines() if line.lstrip().startswith("#")]
    assert headings == ["# support: rejected"]
    assert not re.search(r"(?<!\\)(?:\\\\)*\[", page), "every bracket is escaped"
    assert "://" not in page
    assert "<img" not in page
    assert "| accuracy | 0.5123 |" in page
    widths = {line.count("|") - line.count(r"\|") for line in page.splitlines() if line[:1] == "|"}
    assert widths == {3, 4, 6}, "nobody adds a column"


@given(st.text(alphabet="\\|[]()!`<>#\n\r\t :/www.a\x1b", max_size=20))
def test_a_cell_stays_one_cell_of_text(text: str) -> None:
    cell = table_cell(text)
    assert not re.search(r"[\n\r\t\x1b<>]|://|www\.", cell)
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]|`]", cell)


# ---- Secrets of addresses


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("https://ann:pa55@db.example/x", "https://***@db.example/x"),
        ("postgresql://ann:p%4055@db/x?a=1", "postgresql://***@db/x?a=1"),
        (
            "s3.example/k?X-Amz-Date=1&X-Amz-Signature=0af&X-Amz-Credential=AK%2F1&n=2",
            "s3.example/k?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Credential=***&n=2",
        ),
        (
            "https://a.blob.example/k?sv=2024&sig=a%2Bb%3D&se=1",
            "https://a.blob.example/k?sv=2024&sig=***&se=1",
        ),
        ("https://x/y?api_key=k1#access_token=t", "https://x/y?api_key=***#access_token=***"),
        ("host=db user=ann password='a b' dbname=x", "host=db user=ann password=*** dbname=x"),
        ("ann@example.org asked for a=1&b=2", "ann@example.org asked for a=1&b=2"),
        ("https://example.org/@ann?monkey=1&page=2", "https://example.org/@ann?monkey=1&page=2"),
    ],
)
def test_secrets_of_an_address_are_not_shown(said: str, expected: str) -> None:
    assert without_secrets(said) == expected
    assert without_secrets(expected) == expected
    assert str(FlywheelError(said)) == FlywheelError(said).message == expected


def test_a_source_that_cannot_be_read_tells_no_password_in_its_traceback() -> None:
    one = SourceConfig(
        name="app", kind="files", location="file:///nowhere/ann:x@y.csv?X-Amz-Signature=0af1"
    )
    with pytest.raises(ConfigError) as refused:
        sources.read(one, None)
    assert "0af1" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
