"""Answer a file with the champion, by a worker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow

from flywheel.config import Home, load_use_case
from flywheel.home.environment import open_home, prepare
from flywheel.store.waiting import NIGHT_WAIT_S, patient
from tasks.outputs.predict_file import predict_file


@flow(name="predict", flow_run_name="predict {use_case}", log_prints=False)
def predict(source: str, to: str, use_case: str = "product-reviews") -> dict[str, Any]:
    """Answers to the texts of ``source`` in ``to``, Parquet or JSON Lines, in order.

    Paths are the worker's. Stopped anywhere, the next run with the same paths goes on.
    """
    home = Home()
    prepare(home)
    open_home(home)
    case, at = load_use_case(use_case), datetime.now(UTC)
    with patient(NIGHT_WAIT_S):
        return predict_file(case, home, Path(source), Path(to), at=at)
