"""What is expected to go wrong ends in one sentence: no traceback, nothing left behind."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import httpx
import psutil
import pytest
from click.testing import CliRunner
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli.exits import _RUNS, Commands, refused, with_prefect
from flows.cli.main import NO_HOME, cli, main
from flows.retrain import flywheel
from flows.servers import prefect_server
from flywheel.config import Home, UseCase
from flywheel.errors import HomeUnusable, OrchestratorUnavailable, StoreBusy
from tasks.coordination.run_page import show_page
from tasks.failure import failure_recorded
from tests import nights
from tests.home.test_upgrades import HOMES, unpack
from tests.nights import CASE, ROOT
from tests.tasks.test_fail import AT, crown

UNREACHABLE = "http://127.0.0.1:9/api"


@pytest.fixture(autouse=True)
def as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in the project's folder; signals and log filters are put back."""
    monkeypatch.chdir(ROOT)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)
    for name in _RUNS:
        logging.getLogger(name).filters.clear()


# ---- The home


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_help_makes_no_home(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "none"))
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", sorted(set(cli.commands) - set(NO_HOME)))
def test_a_home_that_cannot_be_written_to_is_named(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "file" / "home"))
    words = {
        "init": ["new", "--data", str(tmp_path / "file")],
        "predict": [str(tmp_path / "file")],
        "forget": ["ann"],
        "remove": ["new"],
        "schedule": ["--at", "02:30"],
        "lineage": ["1"],
        "export": ["--form", "adapter", "--to", str(tmp_path / "to")],
        "backup": [str(tmp_path / "b.tar")],
    }.get(command, [])

    done = CliRunner().invoke(cli, [command, *words])

    assert isinstance(done.exception, HomeUnusable), done.output
    assert f"The home {tmp_path}/file/home cannot be written to" in str(done.exception)
    assert "FLYWHEEL_HOME" in str(done.exception)


def test_a_full_disk_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "/srv/data/x")

    with pytest.raises(SystemExit) as ended:
        main(full)

    assert ended.value.code == 1
    assert "The disk refused /srv/data/x: No space left on device." in capsys.readouterr().err
    assert refused(TimeoutError()) is None


def test_the_servers_come_by_the_same_door(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["prefect_server"])

    with pytest.raises(SystemExit) as ended:
        main(prefect_server.run)

    assert ended.value.code == 2
    assert "Name the command" in capsys.readouterr().err


# ---- The use case


def test_the_folder_that_was_looked_in_is_named_and_no_home_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["flywheel", "status", "-u", "support"])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"There is no use case {tmp_path}/usecases/support.yaml" in said
    assert "flywheel list" in said
    assert not (tmp_path / "data").exists()


def project(folder: Path, *names: str) -> None:
    (folder / "usecases").mkdir()
    text = (ROOT / "usecases/product-reviews.yaml").read_text()
    for name in names:
        (folder / f"usecases/{name}.yaml").write_text(
            text.replace("name: product-reviews", f"name: {name}")
        )


def test_the_only_use_case_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, "support")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, ["ingest", "--json"]).exit_code == 0
    listed = CliRunner().invoke(cli, ["list"]).stdout
    assert "support: text-classification, no champion yet" in listed


def test_of_several_one_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, "support", "sales")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["status"])
    assert "Name one with -u" in str(done.exception)
    assert "sales, support" in str(done.exception)


def test_the_list_names_what_only_the_home_knows(home: Home, tmp_path: Path) -> None:
    home.inbox("forgotten-file").mkdir(parents=True)
    done = CliRunner().invoke(cli, ["list"])
    assert "in the home, without a file here: forgotten-file" in done.stdout
    assert "product-reviews: text-classification, no champion yet, no night" in done.stdout


def test_the_list_says_what_is_not_there_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "dta"))
    listed = CliRunner().invoke(cli, ["list"]).stdout
    assert (
        f"0 in {tmp_path}/usecases (not there yet), home {tmp_path}/dta (not there yet)" in listed
    )
    project(tmp_path, "support")
    (tmp_path / "dta").mkdir()
    listed = CliRunner().invoke(cli, ["list"]).stdout
    assert listed.splitlines()[0] == f"1 in {tmp_path}/usecases, home {tmp_path}/dta"
    (tmp_path / "dta").rmdir()


# ---- Being stopped


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("night", "Stopped. Nothing was promoted; run it again to continue."),
        ("turn", "Stopped. Nothing was promoted; run it again to continue."),
        ("status", "Stopped; run it again to continue."),
    ],
)
def test_a_stopped_command_says_so(command: str, said: str) -> None:
    @click.command(command)
    def stopped() -> None:
        raise KeyboardInterrupt

    done = CliRunner().invoke(Commands("flywheel", commands={command: stopped}), [command])

    assert done.exit_code == 130
    assert done.stderr == f"flywheel: {said}\n"


def test_a_night_that_was_stopped_after_it_promoted_says_that(
    home: Home, use_case: UseCase
) -> None:
    @click.command("night")
    def stopped() -> None:
        with failure_recorded(use_case, home, AT):
            crown(use_case, home, "5", AT)
            raise KeyboardInterrupt

    done = CliRunner().invoke(Commands("flywheel", commands={"night": stopped}), ["night"])

    assert "Stopped. Version 5 had become champion; run it again to continue." in done.stderr


# ---- Prefect


@pytest.mark.prefect
@pytest.mark.model
def test_another_night_that_runs_is_a_sentence(
    home: Home, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    nights.prefect_server()
    _, use_case = unpack(HOMES / "0.1.0.tar.xz", tmp_path / "made")
    with (home.root / "night-deliveries.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = CliRunner().invoke(cli, ["night", "-u", str(use_case)])

    assert isinstance(done.exception, StoreBusy)
    assert "Another night of deliveries is running" in str(done.exception)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_server_that_is_away_is_a_sentence() -> None:
    with (
        temporary_settings({PREFECT_API_URL: UNREACHABLE}),
        pytest.raises(OrchestratorUnavailable, match="Nothing was started") as error,
        with_prefect(),
    ):
        pytest.fail("the flow began")
    assert UNREACHABLE in str(error.value)
    assert "PREFECT_API_URL" in str(error.value)


@pytest.mark.prefect
@pytest.mark.model
def test_a_server_that_goes_away_meanwhile_is_a_sentence() -> None:
    nights.prefect_server()
    with pytest.raises(OrchestratorUnavailable, match="stopped answering"), with_prefect():
        raise httpx.ConnectError("All connection attempts failed")


@pytest.mark.prefect
@pytest.mark.model
def test_a_page_that_prefect_does_not_take_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    nights.prefect_server()

    @flow
    def show() -> str:
        show_page("# verdict", key="No Key Of Prefect's")
        return "went on"

    assert show() == "went on"
    assert "Prefect did not take the artifact No Key Of Prefect's" in caplog.text


def test_prefect_is_told_a_use_cases_name_and_nothing_else_of_it() -> None:
    golden = [{"text": "my card was stolen", "label": "negative"}]
    case = UseCase.model_validate({**CASE.model_dump(), "golden": golden})
    told = flywheel.serialize_parameters({"use_case": case, "as_of": None})
    assert told == {"use_case": CASE.name, "as_of": None}


@pytest.mark.prefect
@pytest.mark.model
def test_ctrl_c_that_ends_prefects_server_as_well_is_a_stop() -> None:
    nights.prefect_server()

    def crash() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise httpx.ConnectError("All connection attempts failed")  # noqa: B904

    with pytest.raises(KeyboardInterrupt), with_prefect():
        crash()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda night: night.send_signal(signal.SIGTERM), 128 + signal.SIGTERM),
        (lambda night: os.killpg(night.pid, signal.SIGINT), 128 + signal.SIGINT),
    ],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_nothing_stays_behind_a_night_that_is_ended(
    tmp_path: Path, end: Callable[[subprocess.Popen[str]], None], code: int
) -> None:
    """In a process of its own, for it is about processes: half a minute of imports each."""
    home, use_case = unpack(HOMES / "0.1.0.tar.xz", tmp_path)
    night = subprocess.Popen(
        [sys.executable, "-m", "flows", "night", "-u", str(use_case)],
        cwd=ROOT,
        env={**os.environ, "FLYWHEEL_HOME": str(home.root)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    servers = _servers_of(night)
    # within the flow, while it trains: a child of it is there, too
    children = _servers_of(night, "flywheel.training.child")
    end(night)
    _, said = night.communicate(timeout=120)

    assert said.splitlines()[-1].startswith("flywheel: Stopped. Nothing was promoted; run it again")
    assert "Traceback" not in said
    assert night.returncode == code
    psutil.wait_procs([*servers, *children], timeout=30)
    assert not [one for one in (*servers, *children) if one.is_running()]


def _servers_of(night: subprocess.Popen[str], what: str = "uvicorn") -> list[psutil.Process]:
    """Processes of a night that run ``what``, once there are any."""
    while night.poll() is None:
        below = psutil.Process(night.pid).children(recursive=True)
        found = [one for one in below if what in one.cmdline()]
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"the night ended before {what} began: {night.communicate()[1]}")
