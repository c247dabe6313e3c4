"""Every error that flywheel raises on purpose.

    FlywheelError
    ├── TransientError        trying again can help (a lock, an unreachable registry)
    │   ├── StoreBusy
    │   ├── RegistryUnavailable
    │   ├── OrchestratorUnavailable
    │   └── VendorUnavailable
    └── TerminalError         trying again cannot help; a person or new data must
        ├── ConfigError       a use case that cannot be used as written
        ├── HomeUnusable      the folder of all state cannot be written to
        ├── DataError         a file or row that cannot be used as given
        │   ├── TooManyQuotes a forgetting that would take many rows of other people along
        │   └── VersionGone   a registered version, or its files, were deleted
        ├── NightOutOfOrder   a night older than what is on record; nothing of it is written down
        ├── UnusualFeedback   it would change too much of what was learned; a person must look
        ├── NotEnoughData     too little to learn from or to decide on
        ├── DigestMismatch    an artifact is not the one that was measured
        ├── ServedDiffers     the registered version answers otherwise than the one measured
        ├── ExportRefused     a version that cannot leave in that form, or answers otherwise there
        ├── ChampionMoved     the champion is not the one that the challenger was compared with
        ├── DoesNotFit        there is too little memory; found before anything was started
        ├── TrainingFailed    the training process ended without a model
        ├── ScoringFailed     a contender's rows were not scored on the GPU pool
        ├── PoolUnusable      no worker of a work pool takes runs, or a deployment is missing
        ├── VendorRefused     an endpoint refuses the key, the model or the request
        └── SpendCapReached   the next request could cost more than may be spent

A message says what was expected, what was found, what state things are in, and what to do next.
The first paragraph of a class says what happened, the second what to do: the reference shows both.
"""

from __future__ import annotations

from typing import Any

from flywheel.urls import without_secrets


class FlywheelError(Exception):
    """Base of all errors raised on purpose; survives pickling with its facts.

    Its message is shown, logged and kept: no secret of a URL gets into it.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        message = without_secrets(message)
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.facts))


def _rebuild(kind: type[FlywheelError], message: str, facts: dict[str, Any]) -> FlywheelError:
    return kind(message, **facts)


class TransientError(FlywheelError):
    """Trying again later can help."""


class TerminalError(FlywheelError):
    """Trying again without a change cannot help."""


class StoreBusy(TransientError):
    """Another process holds the warehouse.

    Wait until the other command, night or service has ended, or name it with ``ps`` and stop it.
    """


class RegistryUnavailable(TransientError):
    """MLflow could not be reached or did not answer.

    Start ``make mlflow``, or correct ``MLFLOW_TRACKING_URI``. Nothing was promoted meanwhile.
    """


class OrchestratorUnavailable(TransientError):
    """Prefect's server could not be reached or did not answer.

    Start ``make server``, or correct ``PREFECT_API_URL``. The next night finishes what was begun.
    """


class VendorUnavailable(TransientError):
    """An endpoint did not answer, however often it was asked.

    Run ``flywheel vendor`` again later: only the rows without an answer are asked.
    """


class ConfigError(TerminalError):
    """A use case file cannot be used as written.

    Edit the file where the message says; each fault is named with its setting.
    """


class HomeUnusable(TerminalError):
    """The folder of all state is none, or cannot be written to.

    Give the folder to the user who runs flywheel, or name another one in ``FLYWHEEL_HOME``.
    """


class DataError(TerminalError):
    """A file or a row cannot be used as given.

    Correct the file or row that is named, and give it again: known rows are not taken twice.
    """


class TooManyQuotes(DataError):
    """Forgetting a customer would take many rows of other people along; nothing was changed.

    Look at the rows with ``flywheel forget CUSTOMER --json``, then add ``--quotes keep`` or
    ``--quotes delete``.
    """


class VersionGone(DataError):
    """A registered version was deleted in MLflow, or its files were.

    Restore the home from a backup, or make another version champion with ``flywheel rollback
    --to``.
    """


class NightOutOfOrder(TerminalError):
    """A night is older than one on record, or than all feedback; it was not begun.

    Run the night with a later ``--as-of``, or without it for now.
    """


class UnusualFeedback(TerminalError):
    """Feedback would change more of what was learned from before than one night may.

    Look at who sent it with ``flywheel doctor``. Then ``flywheel forget`` them, or let the night
    learn from it with ``flywheel night --looked``.

    The fact ``brake`` is what the night's brake found (`flywheel.records.Reason`), where it did.
    """


class NotEnoughData(TerminalError):
    """There are too few examples to learn from or to decide on.

    Label more rows: ``flywheel doctor`` says how many, ``flywheel queue`` which ones.
    """


class DigestMismatch(TerminalError):
    """An artifact differs from the one that was measured.

    Put back what the message says differs: base, adapter, prompt, labels or a library.
    """


class NotMeasured(DigestMismatch):
    """No night of this home measured a version, or its record is not written yet.

    Run a night, which measures and registers a version. One registered by hand is never served.
    """


class ServedDiffers(TerminalError):
    """The registered version, loaded as it is served, answers otherwise than on the holdout.

    Look at the differing answers on the night's page; after a library update run a night.
    """


class ExportRefused(TerminalError):
    """A version cannot be exported in that form, or its export answers otherwise than measured.

    Choose another form or version; the message says what this one cannot hold.
    """


class ChampionMoved(TerminalError):
    """The champion changed since the comparison that a promotion rests on.

    Nothing: the next night compares with the new champion.
    """


class DoesNotFit(TerminalError):
    """There is too little memory for what was asked; nothing was started.

    Set what the message proposes, free memory, or choose a smaller base.
    """


class TrainingFailed(TerminalError):
    """The training process ended without a complete adapter.

    Read its last words in the message, then run the night again: it goes on from the checkpoint.
    """


class LifeFailed(TerminalError):
    """A life of a replay ended without a result; those that ended before it are kept.

    Its last words are in the log that the message names. Run the replay again: it goes on.
    """


class ScoringFailed(TerminalError):
    """The GPU pool did not score a contender's rows.

    Read the runs' logs in Prefect. Both workers need the same home, base and libraries.
    """


class PoolUnusable(TerminalError):
    """A work pool takes no runs.

    Start a worker (``make worker``), resume the pool in Prefect, or run ``make deploy``.
    """


class VendorRefused(TerminalError):
    """An endpoint refused the key, the model or the request; asking again gives the same.

    Correct the key, the model or the url of the vendor in the use case.
    """


class SpendCapReached(TerminalError):
    """The next request to a vendor could cost more than its cap leaves.

    Raise ``spend_cap`` of the vendor, or stop here: what was answered is kept.
    """
