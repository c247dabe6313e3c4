"""Answer a file with the champion, by a worker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow

from flywheel.config import Home, load_use_case
from flywheel.home.environment import open_home, prepare
from tasks.outputs.predict_file import predict_file


@flow(name="predict", log_prints=False)
def predict(source: str, to: str, use_case: str = "product-reviews") -> dict[str, Any]:
    """Answers to the texts of ``source`` in ``to``, Parquet or JSON Lines, in order.

    Paths are the worker's. Stopped anywhere, the next run with the same paths goes on.
    """
    home = Home()
    prepare(home)
    open_home(home)
    return predict_file(load_use_case(use_case), home, Path(source), Path(to), at=datetime.now(UTC))
