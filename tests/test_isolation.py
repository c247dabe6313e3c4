"""No test sees what another one left behind, in whatever order they run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flywheel.config import Home


@pytest.mark.parametrize("turn", ["one", "the other"])
def test_a_home_has_its_own_registry_whatever_was_left_before(turn: str, tmp_path: Path) -> None:
    """Whichever of the two comes second finds what the first has left."""
    assert "FLYWHEEL_HOME" not in os.environ
    assert Home(tmp_path).mlflow_uri == f"sqlite:///{tmp_path}/mlflow.db"
    # as mlflow.set_tracking_uri leaves it in the shell's variables
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///elsewhere-{turn}.db"
    os.environ["FLYWHEEL_HOME"] = "elsewhere"
