"""Use cases share the warehouse: a night waits for what another one writes, a command does not."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flows.retrain import flywheel
from flywheel.config import Home, UseCase
from flywheel.errors import StoreBusy
from flywheel.store import instance, open_store, waiting
from tests.nights import CASE


def test_a_night_waits_for_what_another_use_case_writes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a command would have given up, a night waits, and says for whom."""
    tries = iter([f"Conflicting lock is held in python3 (PID {pid})" for pid in (7, 7, 7)])
    told: list[str] = []

    def held(path: Path, *, read_only: bool) -> instance.Opened:
        for refused in tries:
            raise duckdb.IOException(refused)
        return opened(path, read_only=read_only)

    opened = instance.connect
    monkeypatch.setattr(instance, "connect", held)
    monkeypatch.setattr(waiting, "_RETRY_S", 0)
    monkeypatch.setattr(waiting, "_TOLD_S", 0)
    monkeypatch.setattr(waiting.log, "info", lambda *said: told.append(said[0] % said[1:]))

    with waiting.patient(60), open_store(home.warehouse) as store:
        assert store.parked(CASE.name) == 0
    assert "another process (PID 7) holds" in told[0]
    assert waiting.patience_s() == waiting.LOCK_WAIT_S
    assert waiting.NIGHT_WAIT_S > 60 * waiting.LOCK_WAIT_S


def test_the_flow_of_a_night_is_patient(
    home: Home, monkeypatch: pytest.MonkeyPatch, use_case: UseCase
) -> None:
    """Without the server: the flow's function, stopped at the first thing that it does."""
    seen: list[float] = []

    def stop(*_: object) -> None:
        seen.append(waiting.patience_s())
        raise StoreBusy("as far as this test goes")

    monkeypatch.setattr("flows.retrain._recorded", stop)
    with pytest.raises(StoreBusy):
        flywheel.fn(use_case)
    assert seen == [waiting.NIGHT_WAIT_S]
