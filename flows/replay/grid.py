"""All lives of a replay, each in a process of its own; what is done is not done again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel import progress, subprocesses
from flywheel.config import Home
from flywheel.errors import LifeFailed
from flywheel.replay import mlflow_run, page, results
from flywheel.replay.policies import Policy
from flywheel.replay.results import ORACLE, Life
from flywheel.replay.settings import Settings
from tasks.collect import write

LOOK_S = 1.0
"""How often progress is looked at."""
OWN = ("FLYWHEEL_HOME", "MLFLOW_TRACKING_URI", "PREFECT_HOME", "PREFECT_PROFILES_PATH")
"""Variables that name this process's home; a life has its own."""


@dataclass(frozen=True)
class Lives:
    """One grid: every policy with every seed, and the oracle of each seed."""

    settings: Settings
    home: Home
    policies: Sequence[Policy]
    seeds: int

    @property
    def folder(self) -> Path:
        return self.settings.folder(self.home)

    @property
    def wanted(self) -> list[tuple[str, int]]:
        """Seed by seed, so that a stopped replay has whole seeds to show."""
        names = [ORACLE, *(one.name for one in self.policies)]
        return [(name, seed) for seed in range(self.seeds) for name in names]

    def missing(self) -> list[tuple[str, int]]:
        return [one for one in self.wanted if results.kept(self.folder, *one) is None]

    def run(self, jobs: int) -> None:
        """Live what is missing, ``jobs`` lives at once.

        Raises:
            LifeFailed: one ended without a result.
        """
        missing = self.missing()
        if not missing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for stopped in self.folder.glob("life-*"):
            # lived anew, so that its numbers are those of a whole life
            shutil.rmtree(stopped, ignore_errors=True)
        write(self.folder / "settings.json", json.dumps(asdict(self.settings), indent=1))
        nights = self.settings.nights
        title = f"replay: {len(missing)} lives of {nights} nights, nights"
        with progress.bar(title) as step, ThreadPoolExecutor(jobs) as pool:
            futures: set[Future[None]] = {pool.submit(self._live, *one) for one in missing}
            for done in self._watched(futures):
                step(done, len(missing) * nights)

    def _watched(self, futures: set[Future[None]]) -> Iterator[int]:
        waiting, most = futures, 0
        while waiting:
            done, waiting = wait(waiting, LOOK_S, return_when=FIRST_COMPLETED)
            try:
                for one in done:
                    one.result()
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise
            ended = (len(futures) - len(waiting)) * self.settings.nights
            # a life's count goes before it has ended
            most = max(most, ended + sum(map(_nights, self.folder.glob("life-*/nights"))))
            yield most

    def _live(self, policy: str, seed: int) -> None:
        root = self.folder / f"life-{policy}-{seed}"
        root.mkdir(parents=True)
        job = {"settings": asdict(self.settings), "policy": policy, "seed": seed}
        path = root / "job.json"
        write(path, json.dumps({**job, "folder": str(self.folder)}))
        environ = {k: v for k, v in os.environ.items() if k not in OWN}
        environ |= {"FLYWHEEL_HOME": str(root), "OMP_NUM_THREADS": "1"}
        log = self.folder / f"{policy}-{seed}.log"
        with (
            log.open("wb") as errors,
            subprocesses.start(
                "flows.replay.life", str(path), environ=environ, stderr=errors
            ) as child,
        ):
            code = child.wait()
        if code or results.kept(self.folder, policy, seed) is None:
            raise LifeFailed(
                f"The life of policy {policy} with seed {seed} ended with exit code {code}; all "
                f"that ended before are kept. Its last words are in {log}.",
                path=str(log),
            )
        shutil.rmtree(root)
        log.unlink()

    def report(self) -> dict[str, Any]:
        """The figures of all lives so far, and their page; both are written.

        Raises:
            RegistryUnavailable: MLflow failed; the files are there all the same.
        """
        lives = [life for one in self.wanted if (life := results.kept(self.folder, *one))]
        oracles = {one.seed: one for one in lives if one.policy == ORACLE}
        shifts = self.settings.world.shifts()
        by_policy = [
            results.figures(found, oracles, shifts)
            for policy in self.policies
            if (found := _of(lives, policy.name))
        ]
        facts = {"settings": asdict(self.settings), "policies": by_policy}
        write(self.folder / "report.json", json.dumps(facts, indent=1))
        shown = self.folder / "report.html"
        write(shown, page.page(facts))
        mlflow_run.log_run(self.home, self.settings.key, facts, shown)
        return facts


def _of(lives: Sequence[Life], policy: str) -> list[Life]:
    return [one for one in lives if one.policy == policy]


def _nights(counted: Path) -> int:
    try:
        return int(counted.read_text())
    except (FileNotFoundError, ValueError):
        return 0
