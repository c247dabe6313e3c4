"""An export answers as was measured, loaded by anybody; what cannot leave is refused, traceless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import Home
from tasks.export import export
from tests import champions, nights
from tests.nights import AS_OF, CASE
from tests.test_verify import TEXTS, measured, sit_exam

pytestmark = pytest.mark.model


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Versions 1, 2 and 3; the second sat an exam."""
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        sit_exam(home, "2", measured(home, "2"))
        yield home


def leave(home: Home, to: Path, **how: Any) -> dict[str, Any]:
    return export(
        home, CASE.name, **{"to": to, "form": "adapter", "at": AS_OF, "version": "2", **how}
    )


def test_an_adapter_answers_as_measured_loaded_by_anybody(home: Home, tmp_path: Path) -> None:
    done = leave(home, tmp_path / "out")

    assert done["scored"][0]["same"] == len(TEXTS)
    told = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "tiny"
    print(json.dumps(done, indent=1))
    print((tmp_path / "out/README.md").read_text())
