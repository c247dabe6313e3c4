"""How commands end that do not end well: in a sentence, and with nothing left behind."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from types import FrameType
from typing import Any

import click

from flows.cli.output import fail
from flywheel import subprocesses
from flywheel.errors import FlywheelError, OrchestratorUnavailable

STOPPED = "Stopped; run it again to continue."
NIGHT_STOPPED = "Stopped. Nothing was promoted; run it again to continue."
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
# what the disk refuses, and no fault of ours
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
}
_signals: list[int] = []
"""Those that this process was stopped by."""


class Commands(click.Group):
    """A group whose commands may be stopped at any time, and then say so."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            nightly = ctx.invoked_subcommand in ("night", "turn")
            said = _noted(stopped) or (NIGHT_STOPPED if nightly else STOPPED)
            fail("Stopped", said)
            ctx.exit(128 + (_signals[-1] if _signals else signal.SIGINT))


def _noted(error: BaseException | None) -> str | None:
    """What `tasks.failure` noted on the error that a stopped night ended with."""
    while error is not None:
        for note in getattr(error, "__notes__", ()):
            return str(note)
        error = error.__context__
    return None


def stop_on_signals() -> None:
    """Let a polite kill, or a closed terminal, end this process as Ctrl-C does.

    Left to the default those would end it at once, and Prefect's temporary server would stay
    behind.
    """
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    _signals.append(number)
    raise KeyboardInterrupt


@contextmanager
def with_prefect() -> Iterator[None]:
    """Run a flow in this process: what is expected to go wrong is said once, without a traceback.

    Raises:
        OrchestratorUnavailable: Prefect's server does not answer, before the flow or at its end.
    """
    import httpx
    from prefect.exceptions import PrefectException

    stop_on_signals()
    for name in _RUNS:
        logging.getLogger(name).addFilter(_is_unexpected)
    _require_prefect()
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        if _was_stopped(error):
            # whoever stopped this process may have ended the server, too, which is not told then
            raise KeyboardInterrupt from error
        raise OrchestratorUnavailable(
            f"Prefect's server stopped answering ({type(error).__name__}). What the night had "
            "finished is kept: flywheel status says how it ended, and the same command goes on "
            "from there."
        ) from error


def _was_stopped(error: BaseException) -> bool:
    """Whether an error came of what Prefect did when this process was stopped."""
    before = error.__context__
    return bool(_signals) or (
        before is not None and (isinstance(before, KeyboardInterrupt) or _was_stopped(before))
    )


def _require_prefect() -> None:
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    with subprocesses.kept_apart(os.environ):
        trouble = _deaf_to_ctrl_c(_trouble_with_prefect)
    if trouble is None:
        return
    if _is_refusal(trouble):
        raise OrchestratorUnavailable(
            f"Prefect's server at {url} refuses the credentials of this process. Nothing was "
            "started. Set PREFECT_API_AUTH_STRING to that server's string, or restart the server "
            "for this home (make server)."
        ) from trouble
    where, next_step = (
        (f"Prefect's server at {url}", "Start it (make server), or unset PREFECT_API_URL to run")
        if url
        else (
            "Prefect's temporary server",
            "Start one (make server) and name it in PREFECT_API_URL",
        )
    )
    raise OrchestratorUnavailable(
        f"{where} does not answer ({type(trouble).__name__}). Nothing was started. {next_step}"
        f"{' without one.' if url else '.'}"
    ) from trouble


def _trouble_with_prefect() -> Exception | None:
    """Why Prefect's server cannot be used; a temporary one is started where none is named."""
    import httpx
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            trouble = client.api_healthcheck()
            if trouble is None:
                # whether it is healthy a server tells everybody; what its version is, clients
                client.api_version()
            return trouble
    except (RuntimeError, ValueError, OSError, httpx.HTTPError) as error:
        return error


def _is_refusal(error: Exception) -> bool:
    """Whether a server is there and does not take this process for one of its clients."""
    import httpx

    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403)


def _deaf_to_ctrl_c(start: Callable[[], Exception | None]) -> Exception | None:
    """Call ``start`` so that the processes it starts never hear Ctrl-C; this one does.

    A terminal sends it to every process of the command. A server that ended by it could not be
    told that the night was stopped, and the night would go on asking it. Signals that a thread
    blocks stay blocked in what it starts.
    """
    done: Future[Exception | None] = Future()
    context = copy_context()

    def called() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            done.set_result(context.run(start))
        except BaseException as error:
            done.set_exception(error)

    # nobody waits for its end where this process is stopped meanwhile
    threading.Thread(target=called, daemon=True).start()
    return done.result()


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Whether a line about a run is no end that the command itself will tell of."""
    error = record.exc_info[1] if record.exc_info else None
    stopped = bool(_signals) or "Crash detected" in str(record.msg)
    return not (isinstance(error, FlywheelError | KeyboardInterrupt) or stopped)


def refused(error: OSError) -> str | None:
    """What the disk refused, as a sentence; None where it is no refusal."""
    if error.errno not in _REFUSED:
        return None
    where = f" {error.filename}" if error.filename else ""
    return (
        f"The disk refused{where}: {error.strerror}. What was finished before is kept; see to the "
        "rights and the space there, and run it again."
    )
