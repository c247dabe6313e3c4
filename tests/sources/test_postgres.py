"""A real Postgres as a ``sql`` source, through a week of what tables do in the world.

Skipped where there is no Postgres (``apt-get install postgresql``).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from flywheel.config import Home, SourceConfig, UseCase
from flywheel.errors import FlywheelError
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tasks.pull import pull

MONDAY = datetime(2026, 1, 5, 3, tzinfo=UTC)
DAY = timedelta(days=1)
TABLE = """
CREATE TABLE tickets (
    id BIGINT PRIMARY KEY, body TEXT NOT NULL, sort TEXT, agent TEXT NOT NULL,
    closed_at TIMESTAMPTZ NOT NULL
)
"""
QUERY = "SELECT * FROM db.public.tickets WHERE closed_at > $watermark ORDER BY closed_at"


def binaries() -> Path | None:
    """Where all of Postgres' programs are; Debian keeps the server's out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).resolve().parent)
    programs = ("initdb", "pg_ctl", "psql")
    return next((p for p in places if all((p / name).is_file() for name in programs)), None)


BIN = binaries()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BIN is None,
        reason="no Postgres: initdb, pg_ctl, psql are neither in PATH nor in /usr/lib/postgresql",
    ),
    pytest.mark.skipif(
        find_spec("duckdb_extension_postgres_scanner") is None,
        reason="no DuckDB extension for Postgres: pip install -e '.[sql]'",
    ),
]


@dataclass
class Server:
    """A server that only this test knows."""

    folder: Path
    port: int
    user: str

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"

    def run(self, *statements: str, zone: str = "UTC") -> None:
        """Run statements, each committed by itself."""
        words = [word for sql in statements for word in ("-c", sql)]
        self._do("psql", "-q", "-v", "ON_ERROR_STOP=1", self.url, *words, PGTZ=zone)

    @contextmanager
    def held(self, sql: str) -> Iterator[None]:
        """A statement that runs before the block, and is committed after it."""
        assert BIN is not None
        session = subprocess.Popen(
            [str(BIN / "psql"), "-q", "-v", "ON_ERROR_STOP=1", self.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(f"BEGIN; {sql}; \\echo done\n")
        session.stdin.flush()
        assert session.stdout.readline() == "done\n"
        try:
            yield
        finally:
            session.communicate("COMMIT;\n")
        assert session.returncode == 0

    def _do(self, program: str, *words: str, **environ: str) -> None:
        assert BIN is not None
        subprocess.run(
            [*as_user(self.user), str(BIN / program), *words],
            check=True, capture_output=True, env={**os.environ, **environ},
        )  # fmt: skip


def as_user(name: str) -> list[str]:
    """Postgres refuses to be root; root asks it of Debian's own user."""
    return ["runuser", "-u", name, "--"] if os.geteuid() == 0 else []


@pytest.fixture
def server() -> Iterator[Server]:
    assert BIN is not None
    user = "postgres" if os.geteuid() == 0 else os.environ.get("USER", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="flywheel-postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        data = folder / "data"
        call = [*as_user(user), str(BIN / "initdb"), "-D", str(data), "-U", user, "-A", "trust"]
        subprocess.run(call, check=True, capture_output=True)
        control = [*as_user(user), str(BIN / "pg_ctl"), "-D", str(data), "-w"]
        said = f"-p {port} -h 127.0.0.1 -k {folder}"
        log = ["-l", str(folder / "log"), "-o", said, "start"]
        subprocess.run([*control, *log], check=True, stdout=subprocess.DEVNULL)
        try:
            yield Server(folder, port, user)
        finally:
            subprocess.run([*control, "-m", "fast", "stop"], check=True, capture_output=True)
    finally:
        shutil.rmtree(folder)


def ticket(number: int, closed_at: str, sort: str = "positive") -> str:
    told = f"{number}, 'the text of ticket {number}', '{sort}', 'ann', '{closed_at}'"
    return f"INSERT INTO tickets VALUES ({told})"


@pytest.fixture
def case(server: Server, use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    monkeypatch.setenv("TICKETS_DB", server.url)
    source = SourceConfig.model_validate(
        {
            "name": "tickets",
            "kind": "sql",
            "location": "TICKETS_DB",
            "query": QUERY,
            "watermark": "closed_at",
            "fields": {
                "feedback_id": "id",
                "text": "body",
                "value": "sort",
                "rater_id": "agent",
                "given_at": "closed_at",
            },
            "constants": {"kind": "label"},
        }
    )
    return use_case.model_copy(update={"sources": [source]})


def night(case: UseCase, home: Home, at: datetime) -> int:
    """How many rows a night's pull brings; all of them are taken in."""
    pulled = pull.fn(case, home, at=at)["tickets"]
    counts = ingest_inbox(case, home, at=at)
    assert (counts.read, counts.quarantined, counts.duplicate) == (pulled, 0, 0)
    return pulled


def taken(case: UseCase, home: Home) -> dict[str, list[str]]:
    """Text → what was said of it, in order."""
    found: dict[str, list[str]] = {}
    with open_store(home.warehouse) as store:
        rows = store.rows(
            "SELECT text, value FROM feedback WHERE use_case = ? ORDER BY seq", [case.name]
        )
    for text, value in rows:
        found.setdefault(text.removeprefix("the text of ticket "), []).append(value)
    return found


def test_a_week_of_late_commits_ties_zones_and_a_new_schema_loses_and_doubles_nothing(
    server: Server, case: UseCase, home: Home
) -> None:
    server.run(TABLE, ticket(1, "2026-01-04 10:00+00"), ticket(2, "2026-01-04 10:00+00"))
    assert night(case, home, MONDAY) == 2

    # begun before the newest row, committed after the night has read that one
    with server.held(ticket(3, "2026-01-05 09:00+00")):
        server.run(ticket(4, "2026-01-05 21:00+00"))
        assert night(case, home, MONDAY + DAY) == 1
    assert night(case, home, MONDAY + 2 * DAY) == 1
    assert night(case, home, MONDAY + 2 * DAY) == 0

    # ties with the watermark, to the microsecond
    server.run(ticket(5, "2026-01-05 21:00+00"), ticket(6, "2026-01-05 21:00:00.000001+00"))
    assert night(case, home, MONDAY + 3 * DAY) == 2

    # the same instants, written by sessions in other zones; one without a zone of its own
    server.run(ticket(7, "2026-01-08 00:30"), zone="Asia/Kolkata")
    server.run(ticket(8, "2026-01-07 20:00"), zone="America/New_York")
    assert night(case, home, MONDAY + 4 * DAY) == 2
    with open_store(home.warehouse) as store:
        at = store.rows(
            "SELECT epoch_us(given_at) FROM feedback WHERE text LIKE '%ticket 7' "
            "OR text LIKE '%ticket 8' ORDER BY text",
            [],
        )
    zones = (datetime(2026, 1, 7, 19, tzinfo=UTC), datetime(2026, 1, 8, 1, tzinfo=UTC))
    assert [us for (us,) in at] == [int(zone.timestamp()) * 1_000_000 for zone in zones]

    # sorted anew, with a new time: another word on the same ticket, and no second ticket
    server.run(
        "UPDATE tickets SET sort = 'negative', closed_at = '2026-01-09 08:00+00' WHERE id = 1"
    )
    assert night(case, home, MONDAY + 5 * DAY) == 1

    # a column more, one wider, and a type changed; then one is renamed
    server.run(
        "ALTER TABLE tickets ADD COLUMN priority INTEGER DEFAULT 3",
        "ALTER TABLE tickets ALTER COLUMN sort TYPE VARCHAR(40)",
        "ALTER TABLE tickets ALTER COLUMN id TYPE NUMERIC(20)",
        "INSERT INTO tickets VALUES (9, 'the text of ticket 9', 'neutral', 'bob', "
        "'2026-01-10 08:00+00', 1)",
    )
    assert night(case, home, MONDAY + 6 * DAY) == 1
    server.run("ALTER TABLE tickets RENAME COLUMN sort TO category")
    server.run(ticket(10, "2026-01-11 08:00+00").replace(")", ", 2)"))
    with pytest.raises(FlywheelError, match="maps value from column 'sort', which is not there"):
        pull.fn(case, home, at=MONDAY + 7 * DAY)
    fields = {**case.sources[0].fields, "value": "category"}
    mended = case.model_copy(
        update={"sources": [case.sources[0].model_copy(update={"fields": fields})]}
    )
    assert night(mended, home, MONDAY + 8 * DAY) == 1

    once = {str(n): ["positive"] for n in (2, 3, 4, 5, 6, 7, 8, 10)}
    assert taken(mended, home) == {**once, "1": ["positive", "negative"], "9": ["neutral"]}


def test_a_server_that_is_away_says_so_without_its_password(
    server: Server, case: UseCase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run(TABLE, ticket(1, "2026-01-04 10:00+00"))
    with monkeypatch.context() as away:
        away.setenv("TICKETS_DB", "postgresql://ann:xylophone@127.0.0.1:9/postgres")
        with pytest.raises(FlywheelError) as refused:
            pull.fn(case, home, at=MONDAY)
    assert "xylophone" not in str(refused.value)
    assert night(case, home, MONDAY + DAY) == 1
