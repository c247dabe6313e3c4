"""Where all state lives."""

from __future__ import annotations

import os
from pathlib import Path

COMPILED = "compiled"


class Home:
    """Where all state lives: ``FLYWHEEL_HOME``, by default ``data/``."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root or os.environ.get("FLYWHEEL_HOME", "data")).resolve()

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def scoring(self) -> Path:
        """Texts that are on their way to another worker; emptied when it has answered."""
        return self.root / "scoring"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def prefect_auth(self) -> Path:
        """The string that clients of Prefect's server send; only this user may read it."""
        return self.prefect / "auth"

    @property
    def prefect_profile(self) -> Path:
        """Settings for ``prefect`` typed by hand, which `pyproject.toml` names."""
        return self.prefect / "server-profile.toml"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow-artifacts"

    @property
    def mlflow_uri(self) -> str:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        return given or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def forget(self) -> Path:
        return self.root / "forget"

    def reports(self, use_case: str) -> Path:
        """The pages of a use case's nights."""
        return self.root / "reports" / use_case

    def night_metrics(self, use_case: str) -> Path:
        """What Prometheus is told of a use case's nights, for a textfile collector, too."""
        return self.root / "metrics" / f"{use_case}.prom"

    def vendors(self, use_case: str) -> Path:
        """What vendors answered, and what was spent on them."""
        return self.root / "vendors" / use_case

    def night_lock(self, use_case: str) -> Path:
        """Held while a night of the use case runs; which process holds it stands in it."""
        return self.root / f"night-{use_case}.lock"

    @property
    def serving(self) -> Path:
        return self.root / "serving"

    @property
    def measured(self) -> Path:
        """What versions were measured to answer on a few holdout rows. The service compares."""
        return self.serving / "measured"

    def compiled(self, use_case: str) -> Path:
        """Models converted for OpenVINO; they may be deleted, and are made anew."""
        return self.root / COMPILED / use_case

    def bench(self, grid: str) -> Path:
        """The results of a benchmark's cells, and its page."""
        return self.root / "bench" / grid

    def inbox(self, use_case: str) -> Path:
        return self.root / "inbox" / use_case
