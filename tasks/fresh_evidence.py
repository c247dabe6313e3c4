"""Which examples of a night are fresh evidence: labeled since, and like nothing that was learned.

What a contender learned from speaks for it, and so does what is almost alike to that. What was bet
on before in the same trial, or tonight already, says nothing new: of texts almost alike one counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.records import Example, Snapshot
from flywheel.store import open_store
from flywheel.store.nights import fresh_labels, fresh_rows, trials
from flywheel.store.nights.trials import Standing
from flywheel.text.label_spelling import match
from flywheel.text.normalize import text_id
from flywheel.text.pii import redact
from flywheel.training import adapter_folder
from tasks import learned_rows

AUDIT = "audit"


def fresh_examples(
    use_case: UseCase,
    home: Home,
    tonight: Snapshot | Sequence[Example],
    one: Standing,
    at: datetime | None = None,
) -> list[Example]:
    """Examples of tonight whose labels all came after the trial began, from sources that count.

    ``tonight`` is the night's snapshot, or its examples where none was taken; ``at`` is when it
    is, and what it has bet on already is asked again.

    Where the company's own people labeled a text (gold, trusted sources, audits), their label
    counts, whoever else reacted to it and whenever: else audits of what customers react to would be
    missing, which are not the same as others. Two labels of theirs that differ are none.

    What training has no place for (`curation.max_examples`, copies) is evidence all the same. So
    are labels of the company's own people that a customer's reaction contradicts.

    Of written answers only those that were written without one in sight: who edits an answer stays
    near it, and would speak for the model that gave it. What others did with an answer to the same
    text takes nothing from what one of the company's own people wrote without it.
    Nothing equal or almost alike was in what either contender learned from; where that is not known
    any more, nothing is fresh.
    """
    learned = _learned(use_case, home, one)
    if learned is None:
        return []
    examples = (
        snapshots.read(home.snapshots, tonight.snapshot_id)
        if isinstance(tonight, Snapshot)
        else tonight
    )
    found, sources = _labeled_since(use_case, home, examples, one)
    if isinstance(tonight, Snapshot) and not (use_case.is_generation or use_case.is_image):
        beyond = _beyond(use_case, home, tonight, one, sources)
        there = {example.example_id for example in examples}
        found += [example for example in beyond if example.example_id not in there]
    with open_store(home.warehouse) as store:
        rows = trials.bet_before(store, use_case.name, one)
    bet_on = {row.example_id for row in rows if row.as_of != at}
    known = [*learned, *(e for e in examples if e.example_id in bet_on)]
    alike = learned_rows.almost_alike(use_case, found, known, examples)
    new = [e for e in found if e.example_id not in alike and e.example_id not in bet_on]
    return learned_rows.one_of_each(use_case, new, sources)


def _learned(use_case: UseCase, home: Home, one: Standing) -> tuple[Example, ...] | None:
    """What either contender or an ancestor learned from; None where that is not known any more."""
    names = {one.snapshot_id}
    names |= learned_rows.snapshots_of(use_case, home, (one.digest, one.champion_digest))
    folder = home.adapters / one.adapter
    if one.adapter and adapter_folder.is_whole(use_case, folder):
        names.update(adapter_folder.read_trained(folder).ancestors)
    return learned_rows.read_learned(use_case, home, names)


def _labeled_since(
    use_case: UseCase, home: Home, examples: Sequence[Example], one: Standing
) -> tuple[list[Example], dict[str, str]]:
    """Those whose labels that count came after the trial began; and feedback id → source."""
    rules = use_case.curation
    own = {*rules.gold_sources, *rules.trusted_sources, AUDIT}
    counted = {*own, *use_case.gate.evidence_sources}
    everything = [name for example in examples for name in example.feedback_ids]
    with open_store(home.warehouse) as store:
        seen = fresh_rows.seen_before(store, use_case.name, everything, started=one.fresh_since)
        origins = fresh_rows.origins(store, use_case.name, everything)
        labels = fresh_labels.own_labels(store, use_case.name, everything, sources=own)
        answered = fresh_rows.about_answers(store, use_case.name, everything)
    sources = {name: source for name, (source, _) in origins.items()}
    if use_case.is_generation:
        seen |= answered
        labels = {name: label for name, label in labels.items() if name not in answered}
    found = []
    for example in examples:
        ours = tuple(name for name in example.feedback_ids if name in labels)
        if ours:
            # a reference stands on those who wrote the same, so that they cannot differ
            said = (
                {example.label}
                if use_case.is_generation
                else {match(labels[name], use_case.label_names) for name in ours}
            )
            label = said.pop() if len(said) == 1 else None
            if label is not None and not seen.intersection(ours):
                found.append(replace(example, label=label, feedback_ids=ours))
        elif (
            example.label is not None
            and not seen.intersection(example.feedback_ids)
            and all(sources.get(name) in counted for name in example.feedback_ids)
        ):
            found.append(example)
    return found, sources


def _beyond(
    use_case: UseCase, home: Home, snapshot: Snapshot, one: Standing, sources: dict[str, str]
) -> list[Example]:
    """Examples of what ``snapshot`` left out of training; their ``sources`` are added."""
    rules = use_case.curation
    own = {*rules.gold_sources, *rules.trusted_sources, AUDIT}
    with open_store(home.warehouse) as store:
        rows = fresh_labels.left_out(
            store, use_case.name, snapshot=snapshot.snapshot_id, started=one.fresh_since
        )
    texts = defaultdict[str, list[fresh_labels.LeftOut]](list)
    for row in rows:
        text = redact(row.text).text if rules.personal_data else row.text
        texts[text].append(replace(row, text=text))
    found = []
    for text, said in texts.items():
        ours = [row for row in said if row.source in own]
        others = all(row.source in use_case.gate.evidence_sources for row in said)
        undecided = any(row.reason == "disagreement" for row in said)
        heard = ours or (said if others and not undecided else [])
        labels = {match(row.label, use_case.label_names) for row in heard if row.label}
        label = labels.pop() if len(labels) == 1 else None
        if label is None:
            continue
        names = tuple(sorted(row.feedback_id for row in heard))
        sources.update((row.feedback_id, row.source) for row in heard)
        group = min(row.group_id for row in heard)
        found.append(Example(text_id(text), text, label, 1.0, group, "train", names))
    return found
