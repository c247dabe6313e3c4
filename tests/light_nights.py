"""Nights of a light use case (TF-IDF, no base) in processes that run beside each other, or die.

    python -m tests.light_nights

reads ``HOME NAME AS_OF`` lines, starts a night for each in a forked child and prints its process
id; ``wait PID`` prints its exit code, -9 when killed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from flywheel.config import Home, UseCase
from tests import nights

IMPORTED_ONCE = (
    "flows.retrain",
    "flywheel.modeling.methods.tfidf",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "cleanlab.filter",
    "pandas",
)


def light_case(name: str) -> UseCase:
    """A use case that trains in a second."""
    given = nights.CASE.model_dump(exclude={"training"})
    return UseCase.model_validate(
        {**given, "name": name, "training": {"method": "tfidf", "min_examples": 20}}
    )


def log_of(home: Home, name: str) -> str:
    """What the nights of a use case printed."""
    return (home.root / f"{name}.log").read_text()


def _live(home: str, name: str, at: str) -> None:
    out = os.open(f"{home}/{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["FLYWHEEL_HOME"] = home
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from flows.retrain import flywheel
    from tasks.plain_calls import called_plainly

    as_of, flow = datetime.fromisoformat(at), cast(Any, flywheel)
    if os.environ.get("PREFECT_API_URL"):
        night = flow(light_case(name), as_of)
    else:
        with called_plainly({}):
            night = flow.fn(light_case(name), as_of).data
    Path(home, f"{name}.json").write_text(json.dumps(night, default=str))


def _serve() -> None:
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(int(words[1]), 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _live(*words)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)


class LightNights:
    """Starts nights that run beside each other: by a server of Prefect, or without any.

    Without one no task is tried again, so that whatever fails once is seen.
    """

    def __init__(self, api_url: str | None = None) -> None:
        environ = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
        if api_url is not None:
            environ["PREFECT_API_URL"] = api_url
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.light_nights"],
            cwd=nights.ROOT,
            env={**environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._line() == "ready"

    def start(self, home: Home, name: str, at: datetime) -> int:
        """The process of a night that was begun."""
        return int(self._ask(f"{home.root} {name} {at.isoformat()}"))

    def wait(self, pid: int) -> int:
        """Its exit code: -9 when it was killed."""
        return int(self._ask(f"wait {pid}"))

    def close(self) -> None:
        """Kill whatever still runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


if __name__ == "__main__":
    _serve()
