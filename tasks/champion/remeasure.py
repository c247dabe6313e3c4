"""Measure a champion anew where a library changed, so that it can go on answering.

A version takes traffic only as what was measured, and the libraries that decide an answer are part
of that. After an upgrade the night scores the champion on its holdout again. Where it answers as
before, or still meets the floors that a first model must meet, the same weights are registered as a
new version with the libraries of today, which becomes champion; else nothing is moved.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.errors import ChampionMoved, DataError, DigestMismatch, ServedDiffers
from flywheel.gate import decision
from flywheel.libraries import DECISIVE_LIBRARIES, PICTURE_LIBRARIES
from flywheel.modeling import artifact, fingerprint
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.records import Contender, Reason, Snapshot
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking import measured_answers
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.version_tags import NO_CHAMPION, VersionTags
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder
from tasks.champion import trusted_versions
from tasks.champion.move import promote_over
from tasks.coordination.locks import moving_champion
from tasks.evaluate import describe_holdout, examine, holdout_texts
from tasks.opponent import as_asked
from tasks.verify import check_served

log = logging.getLogger(__name__)

RULE = "champion"
_SOFTWARE = (
    *DECISIVE_LIBRARIES,
    *PICTURE_LIBRARIES,
    "label_scores",
    "label_tokens",
    "generation_config",
)
"""Parts of a digest that an upgrade changes; the weights and what they are asked stay."""


@dataclass(frozen=True)
class _Stale:
    """A champion that was measured with other libraries: how it is asked, and what it is now."""

    version: Version
    use_case: UseCase
    found: Fingerprint

    @property
    def changed(self) -> str:
        return "; ".join(fingerprint.differences(self.version.measured, self.found))


@task(timeout_seconds=6 * 3_600)
def remeasure_champion(
    use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime
) -> Reason | None:
    """Register the champion anew where only libraries changed since it was measured, and say so.

    Returns None where nothing changed, or where there is no champion to ask. Whatever is wrong with
    the champion is said, and stops no night.

    Raises:
        RegistryUnavailable: the registry did not answer.
    """
    try:
        stale = _stale(use_case, home)
        return _remeasured(use_case, home, snapshot, stale, at=at) if stale else None
    except (ChampionMoved, DataError, DigestMismatch, ServedDiffers) as error:
        log.warning("%s: the champion was not measured anew: %s", use_case.name, error)
        return Reason(RULE, None, f"the champion could not be measured anew: {error}")


def _stale(use_case: UseCase, home: Home) -> _Stale | None:
    registry = Registry(home)
    if registry.champion(use_case.name) is None:
        return None
    champion = registry.by_alias(use_case.name, CHAMPION)
    if champion is None:
        return None
    own = as_asked(use_case, champion.served_use_case())
    base = artifact.base_folder(own, home, champion.adapter_dir)
    found = fingerprint.of(own, base, champion.adapter_dir)
    if not fingerprint.differences(champion.measured, found):
        return None
    names = {*champion.parts, *found.parts}
    differing = {n for n in names if champion.parts.get(n) != found.parts.get(n)}
    # without its parts nobody can tell a library from a weight
    only_libraries = bool(champion.parts) and differing and differing <= set(_SOFTWARE)
    return _Stale(champion, own, found) if only_libraries else None


def _remeasured(
    use_case: UseCase, home: Home, snapshot: Snapshot, stale: _Stale, *, at: datetime
) -> Reason:
    contender = examine(
        use_case,
        home,
        snapshot,
        stale.version.adapter_dir,
        name="the champion, with the libraries of today,",
        own=stale.use_case,
    )
    who = f"version {stale.version.version} was measured with other libraries ({stale.changed})"
    differs = _difference(stale, home, snapshot)
    score = contender.report.score if contender.report else float("nan")
    if differs:
        judged = decision.decide(
            challenger=contender,
            champion=None,
            first=True,
            rows=describe_holdout(use_case, home, snapshot),
            question=None,
            trial=None,
            limits=use_case.gate,
            golden=len(use_case.golden),
        )
        if judged.decision != "promote":
            return Reason(RULE, None, f"{who}; {differs} {_not_served(use_case, score, snapshot)}")
    version = _registered(home, snapshot, stale, contender, at=at)
    with moving_champion(home, use_case.name):
        promote_over(
            use_case,
            home,
            version,
            against=stale.version.version,
            at=at,
            action="remeasured",
            who="flywheel",
            why=f"the same weights as version {stale.version.version}: {stale.changed}",
        )
    how = differs or "it answers the holdout as it did before."
    return Reason(
        RULE,
        True,
        f"{who}; {how} Measured anew it scores {score:.3f} on {snapshot.holdout} holdout rows, and "
        f"is version {version.version} now, with the same weights",
    )


def _not_served(use_case: UseCase, score: float, snapshot: Snapshot) -> str:
    return (
        f"Measured anew it scores {score:.3f} on {snapshot.holdout} holdout rows and is below what "
        "a "
        "first model must reach. It takes no traffic where the service starts anew, until a night "
        "promotes another, or the libraries are put back: pip install -r requirements.lock"
    )


def _difference(stale: _Stale, home: Home, snapshot: Snapshot) -> str | None:
    """How its answers to tonight's holdout differ from those measured before; None where not."""
    name = stale.use_case.name
    holdout = holdout_texts(home, snapshot)
    with open_store(home.warehouse) as store:
        before = contender_scores.scores(store, name, stale.version.digest)
        now = contender_scores.scores(store, name, stale.found.digest)
    both = [row for row in holdout if row in before]
    if not both:
        return "what it answered before is not kept here."
    old, new = [before[row] for row in both], [now[row] for row in both]
    found = measured_answers.difference(stale.use_case, old, new)
    return f"it {found.found}." if found else None


def _registered(
    home: Home, snapshot: Snapshot, stale: _Stale, contender: Contender, *, at: datetime
) -> Version:
    """The champion's weights as a version of today's libraries, seen to answer as measured now."""
    registry, before = Registry(home), stale.version
    (listed,) = (v for v in registry.versions(before.name) if v.version == before.version)
    curve = before.adapter_dir / adapter_folder.CURVE
    report = contender.report
    with open_store(home.warehouse) as store:
        runtime = contender_scores.runtimes(store, before.name, stale.found.digest)
    version = registry.register(
        stale.use_case,
        adapter=before.adapter_dir,
        tags=replace(
            _kept(listed.record),
            digest=stale.found.digest,
            verdict="remeasured",
            as_of=at.isoformat(),
            remeasured_from=before.version,
            runtime=runtime,
        ),
        params=stale.use_case.training.model_dump(mode="json"),
        metrics={"holdout_accuracy": report.accuracy} if report else {},
        curve=adapter_folder.read_curve(before.adapter_dir) if curve.is_file() else (),
        run_name=f"measured anew {at:%Y-%m-%d %H:%M}",
        description=f"Version {before.version} with the libraries of today: {stale.changed}.",
    )
    trusted_versions.remember(home, version, verdict="remeasured", at=at)
    sample = _sample(home, snapshot, stale)
    check_served(stale.use_case, home, version, sample)
    measured_answers.write(home.measured, before.name, version.digest, sample)
    return version


def _kept(tags: VersionTags) -> VersionTags:
    """Tags that say what it learned from and on."""
    return VersionTags(
        snapshot_id=tags.snapshot_id,
        method=tags.method,
        base=tags.base,
        base_sha256=tags.base_sha256,
        parent=tags.parent,
        parent_version=tags.parent_version,
        champion_before=tags.champion_before or NO_CHAMPION,
    )


def _sample(home: Home, snapshot: Snapshot, stale: _Stale) -> dict[str, dict[str, float]]:
    texts = holdout_texts(home, snapshot)
    with open_store(home.warehouse) as store:
        answers = contender_scores.scores(store, stale.use_case.name, stale.found.digest)
    rows = islice(sorted(texts), stale.use_case.gate.verify_rows)
    return {texts[row]: answers[row] for row in rows}
