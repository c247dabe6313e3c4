"""One company's road: its folder, its commands and its service, all from outside."""

from __future__ import annotations

import contextlib
import csv
import html
import http.client
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.journeys import commands
from tests.journeys.day import SILENT_NIGHTS, Day
from tests.journeys.people import Habits, Said, reaction

ROOT = Path(__file__).resolve().parents[2]
COMMAND_S, START_S, SWAP_S = 2_700, 120, 120
OUTCOMES = ("promoted", "awaiting_approval", "rejected", "undecided", "skipped", "failed")
DAY = timedelta(days=1)
EARLY_NIGHTS = 2
# nothing listens there
NOWHERE = "http://127.0.0.1:9/api"


class CommandFailed(AssertionError):
    """A command ended otherwise than it should."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    command: tuple[str, ...]
    rc: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """What it said, for a message."""
        said = f"{self.out[-2_000:]}\n{self.err[-4_000:]}"
        return f"flywheel {' '.join(self.command)}: rc {self.rc}\n{said}"


@dataclass
class Road:
    """A company's folder with ``usecases/`` and ``data/`` in it, and all that was asked so far."""

    folder: Path
    api_url: str
    name: str
    first_night: datetime
    seed: int = 0
    service: Service | None = None
    days: list[Day] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    reacted: list[str] = field(default_factory=list)
    labeled: int = 0
    """Rows of queues that were labeled and brought back."""
    upgraded: Path | None = None
    """Where libraries of other versions lie, once there are any."""
    careful: bool = False
    """Whether doctor is asked every morning."""
    beside: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """What runs beside the next night."""
    shift: timedelta = timedelta(0)
    """By what the nights' UTC time moved when the clocks were changed."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.chance = random.Random(f"{self.name} {self.seed}")

    # ---- Commands

    @property
    def home(self) -> Path:
        return self.folder / "data"

    @property
    def use_case(self) -> Path:
        return self.folder / "usecases" / f"{self.name}.yaml"

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FLYWHEEL_", "MLFLOW_", "PREFECT_"))
        }
        return {
            **clean,
            "FLYWHEEL_HOME": str(self.home),
            "PREFECT_API_URL": self.api_url,
            "PYTHONPATH": os.pathsep.join(map(str, filter(None, (self.upgraded, ROOT)))),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """A command that runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *command],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *command: str, may_fail: bool = False, fresh: bool = False, **environment: str
    ) -> Done:
        """Run a command to its end; ``fresh``: in a process that has imported nothing.

        Raises:
            CommandFailed: it did not end with 0, and ``may_fail`` is not given.
        """
        done = self._fresh(command, environment) if fresh else self._forked(command, environment)
        if done.rc and not may_fail:
            raise CommandFailed(done.told)
        return done

    def _fresh(self, command: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        process = self.start(*command, **environment)
        try:
            out, err = process.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return Done(command, process.returncode, out, err)

    def _forked(self, command: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        out, err = self.folder / "out", self.folder / "err"
        code = commands.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            out=out,
            err=err,
            limit_s=COMMAND_S,
        )
        return Done(command, code, out.read_text("utf-8"), err.read_text("utf-8"))

    def ask_for(self, *command: str) -> Any:
        """What a command says as JSON, whether it is content or not."""
        done = self.run(*command, "--json", may_fail=True)
        try:
            return json.loads(done.out)
        except ValueError:
            raise CommandFailed(done.told) from None

    def init(self, data: Path, *flags: str) -> dict[str, Any]:
        """Propose a use case from a file."""
        found: dict[str, Any] = self.ask_for("init", self.name, "--data", str(data), *flags)
        return found

    def edit(self, **sections: Any) -> None:
        """Change the use case as a person would; a mapping is merged, anything else is set."""
        content = yaml.safe_load(self.use_case.read_text(encoding="utf-8"))
        for section, value in sections.items():
            merged = isinstance(value, dict) and section != "labels"
            content[section] = {**content.get(section, {}), **value} if merged else value
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        self.use_case.write_text(text, encoding="utf-8")

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.use_case.read_text(encoding="utf-8"))
        return found

    # ---- Nights

    @property
    def as_of(self) -> datetime:
        """When the next night is."""
        return self.first_night + len(self.days) * DAY + self.shift

    def night(self, *, right: float | None = None, fresh: bool = False, **environment: str) -> Day:
        """Live the next night, whatever its end, and read all that tells of it."""
        at = self.as_of
        done = self.run(
            "night", "-u", self.name, "--json", "--as-of", f"{at:%Y-%m-%dT%H:%M:%S}",
            may_fail=True, fresh=fresh, **environment,
        )  # fmt: skip
        while self.beside:
            if (code := self.beside.pop().wait(COMMAND_S)) != 0:
                raise CommandFailed(f"what ran beside the night ended with {code}\n{done.told}")
        status = self.ask_for("status", "-u", self.name)
        recorded = [
            one for one in status["nights"] if one["as_of"].startswith(f"{at:%Y-%m-%dT%H:%M}")
        ]
        try:
            night = json.loads(done.out)
        except ValueError:
            night = recorded[0] if recorded else {"outcome": "no record", "reasons": []}
        day = Day(
            number=len(self.days),
            as_of=at,
            night=night,
            page=self._page(at),
            status=status,
            doctor=None,
            told=done.told,
            right=right,
        )
        if self.asks_doctor(day):
            day = replace(day, doctor=self.ask_for("doctor", "-u", self.name))
        self.days.append(day)
        print(day, flush=True)
        return day

    def asks_doctor(self, day: Day) -> bool:
        """As people do: in the first days, and when nothing has moved for `SILENT_NIGHTS`."""
        alike = len(list(itertools.takewhile(lambda one: one.state == day.state, self.days[::-1])))
        stuck = alike > 0 and alike % SILENT_NIGHTS == 0
        return self.careful or day.number < EARLY_NIGHTS or stuck

    def _page(self, at: datetime) -> str:
        """The words of a night's page, without its markup; empty where there is none."""
        path = self.home / "reports" / self.name / f"{at:%Y%m%dT%H%MZ}.html"
        if not path.is_file():
            return ""
        body = re.sub(r"<(style|svg|title)\b.*?</\1>", " ", path.read_text("utf-8"), flags=re.S)
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))).strip()

    # ---- The service

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """A service for as long as the block; it need not be ready."""
        try:
            self._open()
            yield
        finally:
            self._close()

    def restart(self) -> None:
        """Serve anew, as people do after they have changed the use case."""
        self._close()
        self._open()

    def _open(self) -> None:
        log = self.folder / "serve.log"
        with log.open("a") as err:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "flows", "serve", "--json"),
                    *("--port", "0", "-u", self.name),
                ],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.service = Service(process, 0, log)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CommandFailed(f"flywheel serve ended: {self.service.tail}")
        self.service.port = int(json.loads(line)["url"].rpartition(":")[2])
        self.service.wait()

    def _close(self) -> None:
        if self.service is None:
            return
        process, self.service = self.service.process, None
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def use(self, said: Sequence[Said], habits: Habits | None = None) -> float:
        """Let customers ask and react, as of the day before the next night; share of right answers.

        Raises:
            CommandFailed: something was not answered, or a reaction not taken.
        """
        assert self.service is not None, "nothing serves"
        labels = list(self.settings.get("labels") or ())
        right = 0
        for number, one in enumerate(said):
            asked = {"text": one.text, "group_id": one.customer, "customer_id": one.customer}
            answer = self.service.send("/predict", asked, expected=200)
            self.answered.append(answer["prediction_id"])
            right += answer["label"] == one.label
            says = reaction(one, answer["label"], labels, habits or Habits(), self.chance)
            if says is None:
                continue
            at = self.as_of - DAY / 2 + timedelta(seconds=number)
            given = {
                **says,
                "prediction_id": answer["prediction_id"],
                "rater_id": one.customer,
                "given_at": at.isoformat(),
            }
            receipt = self.service.send("/feedback", given, expected=202)
            self.reacted.append(receipt["feedback_id"])
        return right / len(said)

    def give(self, said: Sequence[Said], *, source: str) -> None:
        """Bring in rows that somebody labeled rightly, as a file of feedback."""
        path = self.folder / f"labeled-{len(self.reacted)}.jsonl"
        names = [f"labeled-{len(self.reacted) + number}" for number in range(len(said))]
        with path.open("w", encoding="utf-8") as file:
            for name, one in zip(names, said, strict=True):
                row = {
                    "feedback_id": name,
                    "kind": "label",
                    "text": one.text,
                    "value": one.label,
                    "group_id": one.customer,
                    "customer_id": one.customer,
                    "rater_id": "ann",
                    "source": source,
                    "given_at": (self.as_of - DAY / 2).isoformat(),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.run("ingest", "-u", self.name, str(path))
        self.reacted += names

    def label_the_queue(self, right: Mapping[str, str], number: int) -> None:
        """Draw requests without bias, label each as it is right, and bring the labels back."""
        path = self.folder / "todo.csv"
        drawn = ("--n", str(number), "--audit-share", "1", "--csv", str(path))
        self.run("queue", "-u", self.name, *drawn)
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{**row, "label": right[row["text"]]} for row in csv.DictReader(file)]
        if len(rows) != number:
            raise CommandFailed(f"the queue has {len(rows)} rows, {number} were asked for")
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
        self.run("queue", "-u", self.name, "--import", str(path), "--rater", "ann")
        self.labeled += number

    def wait_until_ready(self) -> dict[str, Any]:
        """What ``/readyz`` says once somebody answers.

        Raises:
            CommandFailed: nobody does.
        """
        assert self.service is not None, "nothing serves"
        deadline = time.monotonic() + SWAP_S
        while True:
            status, ready = self.service.ask("/readyz")
            if status == 200:
                return dict(ready)
            if time.monotonic() > deadline:
                raise CommandFailed(f"/readyz says {status} {ready}\n{self.service.tail}")
            time.sleep(0.2)

    def wait_for_the_inbox(self) -> None:
        """Until nothing that was answered or said is still being written.

        Raises:
            CommandFailed: a file stays open.
        """
        deadline = time.monotonic() + SWAP_S
        while found := list((self.home / "inbox" / self.name).glob("*.open")):
            if time.monotonic() > deadline:
                raise CommandFailed(f"still being written: {[path.name for path in found]}")
            time.sleep(0.1)

    def follow(self) -> str | None:
        """Wait until the champion of the registry is who answers; the version that does.

        Raises:
            CommandFailed: somebody else answers, or nobody.
        """
        assert self.service is not None, "nothing serves"
        wanted = self.days[-1].champion
        deadline = time.monotonic() + SWAP_S
        while True:
            status, ready = self.service.ask("/readyz")
            if wanted is None or (status == 200 and ready["model_version"] == wanted):
                return ready["model_version"]
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"the champion is version {wanted}, but /readyz says {status} {ready}\n"
                    f"{self.service.log.read_text()[-3_000:]}"
                )
            time.sleep(0.2)


@dataclass
class Service:
    """A running ``flywheel serve``."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and content of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        try:
            content = None if body is None else json.dumps(body)
            method = "GET" if body is None else "POST"
            connection.request(method, path, content, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait(self) -> None:
        """Until it answers, be it that nothing serves yet."""
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                self.ask("/healthz")
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"flywheel serve does not answer; its log ends:\n{self.tail}")
            time.sleep(0.1)

    def send(self, path: str, body: Mapping[str, Any], *, expected: int) -> Any:
        """The content of the answer.

        Raises:
            CommandFailed: its status is another.
        """
        status, content = self.ask(path, body)
        if status != expected:
            raise CommandFailed(f"{path} says {status}: {content}; the log ends:\n{self.tail}")
        return content

    @property
    def tail(self) -> str:
        return self.log.read_text()[-3_000:]


def first_night() -> datetime:
    """02:30 UTC of tomorrow: what is answered meanwhile lies before it."""
    return datetime.now(UTC).replace(hour=2, minute=30, second=0, microsecond=0) + DAY
