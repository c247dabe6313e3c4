"""The gate, as a step of a night that stands on the run's page."""

from __future__ import annotations

from prefect import task

from flywheel.gate import decision

judge = task(name="gate", task_run_name="gate")(decision.decide)
