"""Use cases with the same rows and recipe train once, also where their nights begin together."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import UseCase
from flywheel.training import runner


def test_the_same_training_at_the_same_time_is_done_once(
    use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to end deleted the folder in which the other was at work, whose night failed."""
    done: list[str] = []
    inside = threading.Event()

    def train(*_: Any, **__: Any) -> str:
        inside.set()
        # until the others wait
        time.sleep(0.3)
        done.append("trained")
        return done[0]

    monkeypatch.setattr(runner, "finished", lambda *_: done[0] if done else None)
    monkeypatch.setattr(runner, "_train", train)
    results: list[Any] = []

    def night() -> None:
        results.append(
            runner.train(
                use_case,
                base=None,
                snapshots_dir=tmp_path,
                snapshot_id="s",
                folder=tmp_path / "adapters" / "key",
            )
        )

    nights = [threading.Thread(target=night) for _ in range(4)]
    nights[0].start()
    assert inside.wait(30)
    for one in nights[1:]:
        one.start()
    for one in nights:
        one.join(30)

    assert results == ["trained"] * 4
    assert done == ["trained"]
    assert list((tmp_path / "adapters").iterdir()) == []


def test_a_training_that_fails_lets_the_next_one_train(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="odd"), runner._only_one(tmp_path / "key"):
        raise ValueError("odd")
    with runner._only_one(tmp_path / "other"), runner._only_one(tmp_path / "key"):
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
