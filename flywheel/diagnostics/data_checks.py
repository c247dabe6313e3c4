"""What can be learned and proven with the data that is there: the store and the newest snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.dataset.images import Images
from flywheel.diagnostics import findings, gain_findings
from flywheel.diagnostics.recommendation import before_the_first_night, recommend
from flywheel.errors import DataError
from flywheel.evaluation import learning_curve
from flywheel.evaluation.learning_curve import Curve, Gain
from flywheel.gate.cold_start import NO_MODEL
from flywheel.gate.power import Standing, assumed_disagreement, detectable_effects, within
from flywheel.ingestion.inbox import Inbox
from flywheel.modeling import context_length
from flywheel.onboarding import first_snapshot
from flywheel.onboarding.first_snapshot import FirstSnapshot
from flywheel.records import Example, Feedback, NightRecord
from flywheel.records.findings import Finding
from flywheel.store import Store, erasure, open_store
from flywheel.store.feedback import feedback_counts
from flywheel.store.nights import live_acceptance as live_store
from flywheel.store.nights import night_runs, reaction_fates, trials

_MOST_LOOKED_AT = 20_000
"""Waiting reactions that are split as a night would; of more only a night says what they become."""


def clock(use_case: UseCase, home: Home, now: datetime | None) -> list[Finding]:
    """A night on record that is later than now, after which no scheduled night is in order."""
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
    return findings.clock(use_case.name, nights, now) if now else []


def data(use_case: UseCase, home: Home) -> list[Finding]:
    name = use_case.name
    inbox = Inbox.look(home.inbox(name))
    rows = inbox.rows()
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, name)
        stored = store.waiting(name)
        waiting = stored + rows
        came = feedback_counts.sources(store, name)
        seen = [
            findings.bases(use_case),
            findings.sources(use_case, came),
            findings.waiting(stored, len(inbox.ready), rows, parked=store.parked(name)),
        ]
        taken = next((n.snapshot_id for n in reversed(nights) if n.snapshot_id), None)
        # somebody may have been taken out of it since
        taken = erasure.rewrites(store, name).get(taken or "", taken)
        if taken is None:
            first = _first_snapshot(use_case, home, store, inbox)
            before = _before_the_first_night(use_case, waiting, first, emptied=bool(nights))
            return [*seen, *before]
        standing = feedback_counts.standing(store, use_case, taken)
        raters = feedback_counts.raters(store, name, taken)
        uncertainty = feedback_counts.label_uncertainty(store, name, taken)
        over = feedback_counts.over_limit(store, name, taken)
        tie = use_case.gate.tie_within if use_case.is_generation else None
        compared, differing = feedback_counts.differing(store, name, taken, written_tie=tie)
        beside = [*_trial(store, use_case, nights), *_first_model(nights, standing)]
        lived = live_store.by_night(store, name, until=nights[-1].as_of)
        spoken = reaction_fates.coverage(store, use_case, until=nights[-1].as_of)
    try:
        examples = snapshots.read(home.snapshots, taken)
    except DataError as error:
        how = f"flywheel night -u {name} makes a new one from the warehouse"
        return [*seen, Finding("snapshot", False, f"{error} {how}")]
    examples, former = _of_todays_labels(use_case, examples)
    # the snapshot's own rows are what a night trains on; the store's are an index of them
    train = Counter(e.label for e in examples if e.split == "train" and e.label)
    standing = replace(standing, classes=train)
    holdout = Counter(e.label for e in examples if e.split == "holdout" and e.label)
    assumed = assumed_disagreement(use_case.gate)
    disagreement = differing / compared if differing else assumed
    sighted = detectable_effects(
        standing, holdout.total(), use_case.gate, disagreement=disagreement
    )
    accuracy = _champion_accuracy(use_case, nights)
    headroom = None if accuracy is None else 1 - accuracy
    incoming = (
        round(waiting * uncertainty.rows / uncertainty.reactions) if uncertainty.reactions else 0
    )
    # the cheap learner that stands in for the model knows labels of texts only
    labels = () if use_case.is_image else use_case.label_names
    curve = learning_curve.measure(examples, labels) if labels else None
    expected = _expected(curve, standing, train.total() + incoming)
    advice = recommend(
        use_case,
        standing,
        holdout_rows=holdout.total(),
        waiting=waiting,
        incoming=incoming,
        expected=expected,
        seen=[within(sight, headroom) for sight in sighted],
        disagreement=disagreement,
    )
    return [
        *findings.champion(nights),
        findings.training_data(use_case, train, over=over),
        *([findings.former_labels(former)] if former else []),
        findings.raters(use_case, raters, uncertainty),
        *([findings.noise(uncertainty)] if labels else []),
        *findings.holdout(use_case, holdout),
        *findings.few_groups(use_case, examples),
        *_lengths(use_case, home, [e.text for e in examples]),
        *seen,
        gain_findings.fresh(use_case, standing),
        *(
            [gain_findings.reactions(use_case, spoken, standing, disagreement=disagreement)]
            if spoken
            else []
        ),
        *beside,
        gain_findings.in_service(lived[-1] if lived else None, accuracy),
        gain_findings.disagreement(compared, differing, assumed=assumed),
        *(gain_findings.visible(use_case, sight, headroom=headroom) for sight in sighted),
        *([gain_findings.learning(curve, nights)] if labels else []),
        gain_findings.expected_gain(curve, expected, standing, train.total(), incoming),
        gain_findings.advised(advice),
    ]


def _trial(store: Store, use_case: UseCase, nights: Sequence[NightRecord]) -> list[Finding]:
    """The trial that is under way, and for how long its number has gone without evidence."""
    every = trials.trials(store, use_case.name, kind="challenge")
    for one in every:
        if one.ended_as_of is None:
            began = min(other.started_as_of for other in every if other.number == one.number)
            trial = trials.as_trial(store, use_case.name, one)
            since = sum(n.as_of > began and not n.failed for n in nights)
            return [
                gain_findings.on_trial(use_case, trial, examples=one.train_examples, nights=since)
            ]
    return []


def _first_model(nights: Sequence[NightRecord], standing: Standing) -> list[Finding]:
    """What would end the wait for a first model, as the last night said it."""
    if standing.champion:
        return []
    last = (r for night in reversed(nights) for r in night.reasons if r.rule == NO_MODEL)
    found = next(last, None)
    return [Finding("first model", False, found.detail)] if found else []


def _champion_accuracy(use_case: UseCase, nights: Sequence[NightRecord]) -> float | None:
    """The champion's accuracy on the holdout as last measured; None of written answers."""
    if use_case.is_generation:
        return None
    for night in reversed(nights):
        name = "challenger" if night.outcome == "promoted" else "champion"
        known = night.facts.get(f"{name}_accuracy")
        if known is not None:
            return float(known)
    return None


def _first_snapshot(
    use_case: UseCase, home: Home, store: Store, inbox: Inbox
) -> FirstSnapshot | None:
    """What the first snapshot will hold; None where only a night says.

    It puts pictures here first, and more rows than `_MOST_LOOKED_AT` take it minutes to look at.
    """
    rules = use_case.curation
    waiting = store.waiting(use_case.name) + inbox.rows()
    if (use_case.is_image and inbox.ready) or waiting > min(_MOST_LOOKED_AT, rules.newest):
        return None
    stored = store.reactions(
        use_case.name,
        gold_sources=rules.gold_sources,
        newest=rules.newest,
        replay=store.learned_from(use_case.name),
    )
    rows = list(inbox.feedback(use_case.label_names, by_customer=use_case.split.by_customer))
    groups = {one.group_id for one in stored}
    groups |= {one.group_id for one in rows if isinstance(one, Feedback) and one.group_id}
    known = store.splits(use_case.name, groups)
    images = Images(home.images) if use_case.is_image else None
    return first_snapshot.expected(use_case, stored, rows, known=known, images=images)


def _before_the_first_night(
    use_case: UseCase, waiting: int, first: FirstSnapshot | None, *, emptied: bool
) -> list[Finding]:
    why = (
        "the newest snapshot held nobody but people who were forgotten since"
        if emptied
        else "no snapshot yet"
    )
    seats = None if first is None else (first.train.total(), first.holdout.total())
    classes = None if first is None else first.train
    advice = before_the_first_night(use_case, waiting, seats, classes)
    return [
        findings.first_data(use_case, why, waiting, first),
        *([] if first is None else findings.holdout(use_case, first.holdout)),
        gain_findings.advised(advice),
    ]


def _of_todays_labels(
    use_case: UseCase, examples: Sequence[Example]
) -> tuple[tuple[Example, ...], Counter[str]]:
    """The examples that the next night keeps, and how many rows have a label no longer named."""
    if use_case.is_generation:
        return tuple(examples), Counter()
    known = {None, *use_case.label_names}
    former = Counter(e.label for e in examples if e.label and e.label not in known)
    return tuple(e for e in examples if e.label in known), former


def _expected(curve: Curve | None, standing: Standing, rows: int) -> Gain | None:
    """What training on ``rows`` examples brings over what the champion learned from."""
    if curve is None or standing.champion_rows is None:
        return None
    return curve.gain(standing.champion_rows, rows)


def _lengths(use_case: UseCase, home: Home, texts: Sequence[str]) -> list[Finding]:
    """How many texts a base reads in part."""
    found = context_length.read_in_part(use_case, home, texts)
    return [] if found is None else [Finding("text lengths", True, context_length.in_words(found))]
