"""People are told what became of a night: by a webhook, by e-mail; and no night fails of it."""

from __future__ import annotations

import base64
import json
import logging
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError

from flywheel import reports
from flywheel.config import Home, NotifyConfig, UseCase
from flywheel.errors import DataError
from flywheel.records import NightRecord
from flywheel.reports.notification import notifications
from tasks.failure import failure_recorded
from tasks.notify import tell
from tests.nights import AS_OF, SECRET

PAGE = Path("/srv/reports/support/20260301T0230Z.html")
PASSWORD = "hunter2-of-the-mailbox"


def night(outcome: str = "promoted", **facts: Any) -> dict[str, Any]:
    """A night as `tasks.record` shows it; what customers wrote is in what is not to be told."""
    return {
        "use_case": "support",
        "as_of": AS_OF.isoformat(),
        "outcome": outcome,
        "version": "4",
        "champion_version": "3",
        "reasons": [{"rule": "golden", "passed": True, "detail": SECRET, "on": True}],
        "feedback_read": 12,
        "queue": [{"text": SECRET}],
        **facts,
    }


def before(*read: int, **facts: Any) -> list[NightRecord]:
    return [NightRecord(AS_OF, "skipped", [], {"feedback_read": one, **facts}) for one in read]


def told(shown: dict[str, Any], past: list[NightRecord], **wanted: Any) -> list[str]:
    somebody = NotifyConfig(name="ops", url_env="OPS_URL", **wanted)
    return [one.event for one in notifications(somebody, shown, past, page=PAGE)]


def case_with(use_case: UseCase, **settings: Any) -> UseCase:
    somebody = NotifyConfig(name="ops", url_env="OPS_URL", **settings)
    return use_case.model_copy(update={"notify": [somebody]})


# ---- Of what


def test_each_event_is_told_once() -> None:
    braked = [{"rule": "brake", "passed": False, "detail": "", "on": True}]

    assert told(night(), []) == ["promoted"]
    assert told(night("awaiting_approval"), []) == ["awaiting_approval"]
    assert told(night("failed"), []) == ["failed"]
    assert told(night("rejected"), []) == []
    assert told(night("skipped", reasons=braked), []) == ["brake"]
    assert told(night("promoted"), [], events=["failed"]) == []


def test_feedback_has_dried_up_after_as_many_nights_and_is_told_once() -> None:
    quiet = night("skipped", feedback_read=0)

    assert told(quiet, before(5, 0)) == []
    assert told(quiet, before(5, 0, 0)) == ["feedback_dried_up"]
    assert told(quiet, before(5, 0, 0, 0)) == [], "the night before told it"
    assert told(quiet, before(0, 0)) == [], "there was never any"
    assert told(quiet, before(5), quiet_nights=1) == ["feedback_dried_up"]
    # a night that failed read nothing, and says nothing of feedback
    failed = [*before(5), NightRecord(AS_OF, "failed", []), *before(0)]
    assert told(quiet, failed) == []


def test_a_worn_holdout_is_told_when_it_became_so() -> None:
    worn = night("rejected", holdout_worn=True)

    assert told(worn, before(3, holdout_worn=False)) == ["holdout_worn"]
    assert told(worn, before(3, holdout_worn=True)) == []


# ---- To whom


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that takes JSON documents, and those that came."""
    came: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, served(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", came


@contextmanager
def mailbox() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a mail server that lets one user in, and the mails that came."""
    came: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().strip():
                word = line.upper().partition(b" ")[0]
                if word == b"EHLO":
                    self.say("250-here", "250 AUTH PLAIN")
                elif word == b"AUTH":
                    known = base64.b64decode(line.split()[-1]) == f"\0flo\0{PASSWORD}".encode()
                    self.say("235 in" if known else "535 out")
                elif word == b"DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    came.append(b"".join(lines))
                    self.say("250 taken")
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def say(self, *lines: str) -> None:
            self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server, served(server):
        port = server.server_address[1]
        yield f"mailto://flo:{PASSWORD}@127.0.0.1:{port}?from=f@example.com&to=a@example.com", came


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def test_a_webhook_gets_a_document_without_a_customers_word(
    use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as (url, came):
        monkeypatch.setenv("OPS_URL", url)
        assert tell(case_with(use_case), night(), [], page=PAGE) == []

    (document,) = came
    assert document["title"] == "flywheel: support: promoted"
    assert document["message"].startswith("Version 4 replaces version 3")
    assert str(PAGE) in document["message"]
    assert SECRET not in json.dumps(document)


def test_a_mailbox_gets_a_mail(use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox() as (url, came):
        monkeypatch.setenv("OPS_URL", f"{url}&mode=insecure")
        assert tell(case_with(use_case), night("awaiting_approval"), [], page=PAGE) == []

    (mail,) = map(message_from_bytes, came)
    assert mail["Subject"] == "flywheel: support: awaiting approval"
    assert mail["To"] is not None
    assert "a@example.com" in mail["To"]
    text = b"".join(part.get_payload(decode=True) or b"" for part in mail.walk()).decode()
    assert "flywheel approve -u support" in text
    assert SECRET not in text


# ---- What cannot be told


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (None, "the variable OPS_URL is not set"),
        ("carrier-pigeon://coop", "no address that Apprise knows"),
        (f"json://me:{PASSWORD}@127.0.0.1:9/hook", "did not take it"),
        (f"mailto://flo:{PASSWORD}@127.0.0.1:9?from=f@example.com", "did not take it"),
    ],
)
def test_what_cannot_be_told_is_a_sentence_without_the_address(
    use_case: UseCase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    address: str | None,
    why: str,
) -> None:
    monkeypatch.setenv("OPS_URL", address or "")
    with caplog.at_level(logging.DEBUG):
        (said,) = tell(case_with(use_case), night(), [], page=PAGE)

    assert said.startswith("ops was not told of promoted: ")
    assert why in said
    assert PASSWORD not in said + caplog.text
    assert "pigeon" not in said


def test_a_server_that_answers_with_an_error_was_not_told(
    use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(500) as (url, _):
        monkeypatch.setenv("OPS_URL", url)
        (said,) = tell(case_with(use_case), night(), [], page=PAGE)
    assert "did not take it" in said


def test_the_page_says_who_was_not_told() -> None:
    page = reports.page(night(untold=["ops was not told of promoted: <nobody> is there"]))

    assert "ops was not told of promoted: &lt;nobody&gt; is there." in page
    assert "was not told" not in reports.page(night())


def test_a_night_that_fails_tells_and_fails_as_before(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_with(use_case)
    with webhook() as (url, came):
        monkeypatch.setenv("OPS_URL", url)
        with pytest.raises(DataError), failure_recorded(case, home, AS_OF):
            raise DataError("row 7 is damaged")
        monkeypatch.delenv("OPS_URL")
        with pytest.raises(DataError), failure_recorded(case, home, AS_OF):
            raise DataError("row 7 is damaged")

    (document,) = came
    assert document["title"] == f"flywheel: {case.name}: failed"
    (page,) = home.reports(case.name).glob("*Z.html")
    assert "ops was not told of failed: the variable OPS_URL is not set" in page.read_text()


# ---- The file


@pytest.mark.parametrize("given", ["https://hooks.example.com/secret", "ops_url", "OPS URL", ""])
def test_an_address_does_not_stand_in_the_use_case(given: str) -> None:
    with pytest.raises(ValidationError, match="url_env"):
        NotifyConfig(name="ops", url_env=given)


def test_two_entries_have_two_names(use_case: UseCase) -> None:
    entries = [{"name": "ops", "url_env": "A"}, {"name": "ops", "url_env": "B"}]
    with pytest.raises(ValidationError, match="a name of its own"):
        UseCase.model_validate({**use_case.model_dump(), "notify": entries})
