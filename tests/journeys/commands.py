"""Commands of ``flywheel`` in forked children of a process that has the libraries imported.

    python -m tests.journeys.commands

reads one JSON object a line (``argv``, ``cwd``, ``env``, ``out``, ``err``: the files to write to),
runs ``flywheel ARGV`` in a child, and prints its exit code. To the command it is a process of its
own; what is saved is the ten seconds of imports that each would begin with.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_ONCE = (
    "flows.retrain",
    "flows.reconcile",
    "flywheel.diagnostics.doctor",
    "flywheel.modeling.model_loading",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "peft",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
)


def run(
    argv: tuple[str, ...],
    *,
    cwd: Path,
    env: Mapping[str, str],
    out: Path,
    err: Path,
    limit_s: float,
) -> int:
    """The exit code of ``flywheel ARGV``, which has written to ``out`` and ``err``.

    Raises:
        TimeoutError: it did not end within ``limit_s``, and was killed.
    """
    server = _server()
    asked = {
        "argv": argv, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err),
        "limit_s": limit_s,
    }  # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    code = int(server.stdout.readline())
    if code == -signal.SIGALRM:
        raise TimeoutError(f"flywheel {' '.join(argv)} ran longer than {limit_s:.0f} s")
    return code


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, started once for all roads of a test run."""
    # no test framework's settings: every command brings its own
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.commands"],
        cwd=ROOT,
        env={**env, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", "the process that runs commands did not start"
    return process


# ---- In the process that forks


def _serve() -> None:
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    # which package brings which module: MLflow asks once a process, and it takes seconds
    sys.modules["mlflow.utils.requirements_utils"]._init_modules_to_packages_map()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_child(asked))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _child(asked: Mapping[str, object]) -> int:
    for number, key in ((1, "out"), (2, "err")):
        file = os.open(str(asked[key]), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(float(str(asked["limit_s"]))))
    os.chdir(str(asked["cwd"]))
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[arg-type,call-overload]
    for place in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if place and place not in sys.path:
            sys.path.insert(0, place)
    sys.argv = ["flywheel", *asked["argv"]]  # type: ignore[misc]
    code: object = 0
    try:
        from flows.cli.main import main
        from flywheel.config import Home
        from flywheel.home.environment import prepare

        prepare(Home())
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    _serve()
