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
        ├── DigestMismatch    an artefact is not the one that was measured
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
    """Another process holds the warehouse."""


class RegistryUnavailable(TransientError):
    """MLflow could not be reached or did not answer."""


class OrchestratorUnavailable(TransientError):
    """Prefect's server could not be reached or did not answer."""


class VendorUnavailable(TransientError):
    """An endpoint did not answer, however often it was asked."""


class ConfigError(TerminalError):
    """A use case file cannot be used as written."""


class HomeUnusable(TerminalError):
    """The folder of all state is none, or cannot be written to."""


class DataError(TerminalError):
    """A file or a row cannot be used as given."""


class TooManyQuotes(DataError):
    """A forgetting that would take many rows of other people along; nothing was changed."""


class VersionGone(DataError):
    """A registered version was deleted in MLflow, or its files were."""


class NightOutOfOrder(TerminalError):
    """A night is older than one on record, or than all feedback; it was not begun."""


class UnusualFeedback(TerminalError):
    """Feedback would change more of what was learned from before than one night may.

    The fact ``brake`` is what the night's brake found (`flywheel.records.Reason`), where it did.
    """


class NotEnoughData(TerminalError):
    """There are too few examples to learn from or to decide on."""


class DigestMismatch(TerminalError):
    """An artefact differs from the one that was measured."""


class NotMeasured(DigestMismatch):
    """No night of this home measured a version, or its record is not written yet."""


class ServedDiffers(TerminalError):
    """The registered version, loaded as it is served, answers otherwise than in the exam."""


class ExportRefused(TerminalError):
    """A version cannot be exported in that form, or its export answers otherwise than measured."""


class ChampionMoved(TerminalError):
    """The champion changed since the comparison that a promotion rests on."""


class DoesNotFit(TerminalError):
    """There is too little memory for what was asked; nothing was started."""


class TrainingFailed(TerminalError):
    """The training process ended without a complete adapter."""


class ScoringFailed(TerminalError):
    """The GPU pool did not score a contender's rows."""


class PoolUnusable(TerminalError):
    """A work pool takes no runs: a person must start a worker, resume the pool or deploy."""


class VendorRefused(TerminalError):
    """An endpoint refused the key, the model or the request; asking again gives the same."""


class SpendCapReached(TerminalError):
    """The next request to a vendor could cost more than its cap leaves."""
