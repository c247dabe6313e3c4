"""Whom tonight's challenger stands against: the champion as it is served, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prefect import task

from flywheel.config import Home, UseCase, changes
from flywheel.errors import DataError, DigestMismatch
from flywheel.gate.power import NOTHING_NEW
from flywheel.modeling import artifact, fingerprint
from flywheel.records import Reason
from flywheel.tracking.champion_history import predecessors
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from tasks import retry_if_transient
from tasks.champion import trusted_versions
from tasks.champion.move import champions


@dataclass(frozen=True)
class Opponent:
    """A registered version, and the use case that it is served with.

    Without a version, ``gone`` says why one that was champion cannot be compared with; None states
    that there never was a champion.
    """

    version: Version | None = None
    use_case: UseCase | None = None
    gone: str | None = None
    note: Reason | None = None
    """What is different tonight from when it was measured; None where nothing is."""


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def find_opponent(use_case: UseCase, home: Home, digest: str) -> Opponent:
    """Whom the challenger stands against; none and nothing gone only where there never was one.

    A champion is asked as it is served: by its own prompt, labels and lengths, whatever the use
    case says by now.

    Raises:
        RegistryUnavailable: the registry did not answer.
    """
    registry = Registry(home)
    try:
        version = registry.opponent_of(use_case.name, digest)
        if version is None:
            return Opponent(gone=_lost(use_case, home, digest))
        trusted_versions.require_measured(
            home, version, so="It is not what a challenger stands against."
        )
        served = version.served_use_case()
        note = _note(use_case, home, version, served)
    except (DataError, DigestMismatch) as error:
        return Opponent(gone=f"{error} {_way_out(use_case, home)}")
    return Opponent(version, as_asked(use_case, served), note=note)


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def champion_again(use_case: UseCase, home: Home, digest: str, *, at: datetime) -> Reason | None:
    """The reason to judge nobody where tonight's training came to the champion itself.

    So it does where what came is in the holdout, or changes no row that trains. The night in which
    the champion was judged may be lived again, and is not meant.

    Raises:
        RegistryUnavailable: the registry did not answer.
    """
    listed = Registry(home).versions(use_case.name)
    champion = next((one for one in listed if CHAMPION in one.aliases), None)
    if champion is None or champion.record.digest != digest:
        return None
    if champion.record.as_of == at.isoformat():
        return None
    return Reason(
        NOTHING_NEW,
        None,
        f"tonight's training came to version {champion.version}, the champion, again: what came "
        "since is in the holdout, or changes no row that trains. Reactions to answers, or labels "
        f"(flywheel queue -u {use_case.name}), end this",
    )


def as_asked(use_case: UseCase, served: UseCase) -> UseCase:
    """The use case that a version is served with, to be asked where and by what tonight's is."""
    where = served.training.model_copy(update={"where": use_case.training.where})
    return served.model_copy(update={"training": where}).on_runtime_of(use_case.serving)


def _lost(use_case: UseCase, home: Home, digest: str) -> str | None:
    """Why there is no champion where the log of promotions names one; None where it does not."""
    known = champions(home, use_case.name)
    # a night that is lived again finds its own challenger there
    if all(step.digest == digest for step in known):
        return None
    last = next(step for step in reversed(known) if step.digest != digest)
    return (
        f"{use_case.name} version {last.version}, the champion, is not in MLflow any more. "
        f"{_way_out(use_case, home)}"
    )


def _way_out(use_case: UseCase, home: Home) -> str:
    """The one command that gives a use case a champion again."""
    registry, known = Registry(home), champions(home, use_case.name)
    there = {one.record.digest for one in registry.versions(use_case.name)}
    champion = registry.champion(use_case.name)
    digests = {step.version: step.digest for step in known}
    before = predecessors(known, champion) if champion else []
    which = "" if any(digests.get(v) in there for v in before) else " --to challenger"
    return (
        "Nothing is promoted over a champion that cannot be compared with. To go on: "
        f"flywheel rollback -u {use_case.name}{which} --yes"
    )


def _note(use_case: UseCase, home: Home, version: Version, served: UseCase) -> Reason | None:
    """What is different from when the version was measured, for the night's page."""
    told = changes.in_words(served, use_case)
    base = artifact.base_folder(served, home, version.adapter_dir)
    found = fingerprint.of(served, base, version.adapter_dir)
    differing = fingerprint.differences(version.measured, found)
    if differing:
        told.append(
            f"it is not what was measured ({'; '.join(differing)}), takes no traffic where the "
            "service starts anew, and is compared as it answers now"
        )
    return (
        Reason("champion", True, f"version {version.version}: {'; '.join(told)}") if told else None
    )
