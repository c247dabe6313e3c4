"""Can this machine run a night, and what can be learned and proven with the data that is there?

The door: it reads the store and the newest snapshot. What can be proven is `flywheel.gate.power`,
what more rows would bring `flywheel.evaluation.learning_curve`, what to do
`flywheel.diagnostics.recommendation`; the words are in `flywheel.diagnostics.findings`.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import psutil

from flywheel import catalog
from flywheel.catalog import base_models
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.dataset.images import Images
from flywheel.diagnostics import findings
from flywheel.diagnostics.recommendation import before_the_first_night, recommend
from flywheel.errors import ConfigError, DataError, DoesNotFit
from flywheel.evaluation import learning_curve
from flywheel.evaluation.learning_curve import Curve, Gain
from flywheel.files import permissions
from flywheel.gate.cold_start import NO_MODEL
from flywheel.gate.power import Standing, assumed_disagreement, sights, within
from flywheel.home.environment import usable_cores
from flywheel.ingestion.inbox import Inbox
from flywheel.modeling import context_length, durations
from flywheel.onboarding import first_snapshot
from flywheel.onboarding.first_snapshot import FirstSnapshot
from flywheel.records import Example, Feedback, NightRecord
from flywheel.records.findings import Finding
from flywheel.store import Store, erasure, open_store
from flywheel.store.feedback import feedback_counts
from flywheel.store.nights import live_acceptance as live_store
from flywheel.store.nights import night_runs, reaction_fates, trials

NEEDED_MEMORY_GB = 4.0
NEEDED_DISK_GB = 2.0
WIDTH = 100
_MOST_TO_SEAT = 20_000
"""Waiting reactions that the doctor seats; of more only a night says what becomes of them."""
LIBRARIES = ("prefect", "mlflow", "duckdb", "torch", "transformers", "peft", "bitsandbytes")


def examine(use_case: UseCase, home: Home, *, now: datetime | None = None) -> list[Finding]:
    """``now`` is what the machine's clock says, None where nothing is to be said of it."""
    return [
        _libraries(),
        _memory(use_case, home),
        _disk(home),
        *_privacy(home),
        *_pins(use_case, home),
        *_speed(use_case, home),
        *_context(use_case, home),
        *_clock(use_case, home, now),
        *_data(use_case, home),
    ]


def render_text(found: Sequence[Finding]) -> list[str]:
    """Findings as an aligned table, wrapped at `WIDTH` characters."""
    widest = max(len(finding.name) for finding in found)
    result = []
    for finding in found:
        start = f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<{widest}}  "
        result += textwrap.wrap(
            finding.detail,
            width=WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return result


# ---- The machine


def _libraries() -> Finding:
    missing = [name for name in LIBRARIES if not _installed(name)]
    detail = f"missing {', '.join(missing)}; run make install" if missing else "all installed"
    return Finding("libraries", not missing, detail)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _memory(use_case: UseCase, home: Home) -> Finding:
    """What training will take, counted from the base's shapes once it is here."""
    named = next((one.base for one in use_case.training.entries() if one.base), None)
    base = home.models / (named or "none")
    if use_case.training.where == "pool" or not (base / "config.json").is_file():
        free = psutil.virtual_memory().available / 1e9
        detail = f"{free:.1f} GB free, a night needs {NEEDED_MEMORY_GB:.0f} GB"
        return Finding("memory", free >= NEEDED_MEMORY_GB, detail)
    from flywheel.modeling import model_loading
    from flywheel.training import runner

    try:
        plan = runner.plan_memory(use_case, base)
    except DoesNotFit as error:
        return Finding("memory", False, error.message)
    where = "of the GPU " if model_loading.device().type == "cuda" else ""
    detail = f"{model_loading.available_memory_mb() / 1e3:.1f} GB {where}free, training needs "
    told = "an amount not estimated" if plan.need is None else f"{plan.need.total / 1e3:.1f} GB"
    return Finding("memory", True, f"{detail}about {told} in {plan.in_words}")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.root).free / 1e9
    detail = f"{free:.1f} GB free, a first night needs {NEEDED_DISK_GB:.0f} GB"
    return Finding("disk", free >= NEEDED_DISK_GB, detail)


def _privacy(home: Home) -> list[Finding]:
    """Something only where others may read what is the home's."""
    detail = permissions.open_door(home.root) if home.root.is_dir() else None
    return [Finding("privacy", False, detail)] if detail else []


def _pins(use_case: UseCase, home: Home) -> list[Finding]:
    """Whether bases from a hub, whose content no catalog knows, are what the use case pins."""
    found = []
    for name in {one.base: None for one in use_case.training.entries() if one.base}:
        folder = home.models / name
        if not (folder / base_models.MANIFEST).is_file() or not base_models.is_taken_on_trust(name):
            continue
        pinned, sha256 = use_case.base_sha256.get(name), base_models.base_sha256(folder)
        said = "is what base_sha256 pins"
        if pinned is None:
            said = f"is trusted as it came; pin it by: {base_models.pin_line(name, sha256)}"
        elif pinned != sha256:
            said = f"has the content {sha256}, and base_sha256 pins {pinned}; delete {folder}"
        ok = pinned in (None, sha256)
        found.append(Finding("base", ok, f"{name} {said}"))
    return found


def _speed(use_case: UseCase, home: Home) -> list[Finding]:
    """The numeric type that bases compute in here, and how long that makes a night."""
    entries = [one for one in use_case.training.entries() if one.base]
    if use_case.training.where == "pool" or not entries:
        return []
    from flywheel.catalog import numeric_types

    chosen = numeric_types.here()
    speeds = numeric_types.speeds(tuple(dict.fromkeys((chosen.name, "float32", "bfloat16"))))
    with open_store(home.warehouse) as store:
        nights, waiting = night_runs.nights(store, use_case.name), store.waiting(use_case.name)
    return [
        findings.numeric_type(chosen, speeds, load=os.getloadavg()[0], cores=usable_cores()),
        *_runtime(use_case),
        Finding("a night", True, _night(use_case, nights, waiting, speeds[chosen.name])),
    ]


def _runtime(use_case: UseCase) -> list[Finding]:
    """What computes labels here; written answers are torch's everywhere."""
    if use_case.is_generation:
        return []
    from flywheel.modeling.compiled import runtime

    try:
        chosen = runtime.choose(use_case.serving.runtime)
    except ConfigError as error:
        return [Finding("runtime", False, str(error))]
    return [Finding("runtime", True, f"{chosen.name} computes answers: {chosen.why}")]


def _night(use_case: UseCase, nights: Sequence[NightRecord], waiting: int, gflops: float) -> str:
    last = durations.last_training(nights)
    if last is not None:
        seconds, examples = last
        return (
            f"the last training took {durations.in_words(seconds)} for {examples} examples; "
            "a night is that and the holdout's answers"
        )
    rows = max(waiting, use_case.training.min_examples)
    holdout = use_case.gate.min_holdout_examples
    operations = 0.0
    for one in use_case.training.entries():
        known = catalog.models().get(one.base or "")
        if known is None or known.family.body == "vision":
            continue
        shape = Shape.from_config(known.config, decodes=one.recipe.words)
        operations += durations.of_training(shape, one, rows)
        # the challenger's answers, and the base's own
        operations += 2 * durations.of_scoring(shape, one, holdout)
    if not operations:
        return "not estimated: what it trains is not of texts, or its base is not in the catalog"
    return (
        f"at most about {durations.in_words(durations.seconds(operations, gflops))} with {rows} "
        f"examples of {use_case.training.max_length_tokens} tokens and {holdout} holdout rows, by "
        f"the speed measured now; training reaches about {durations.SHARE:.0%} of it"
    )


def _context(use_case: UseCase, home: Home) -> list[Finding]:
    """Whether every base can read as many tokens as texts may have."""
    found = []
    for one in use_case.training.entries():
        most = context_length.room(use_case, one, home)
        if one.base is None or most is None:
            continue
        wanted, _ = context_length.needed(use_case, one)
        try:
            context_length.require_room(use_case, one, one.base, most)
            detail = f"{one.base} reads {most:,} tokens, texts and answers have {wanted:,} at most"
            found.append(Finding("context", True, detail))
        except ConfigError as error:
            found.append(Finding("context", False, error.message))
    return found


def _lengths(use_case: UseCase, home: Home, texts: Sequence[str]) -> list[Finding]:
    """How many texts a base reads in part."""
    found = context_length.read_in_part(use_case, home, texts)
    return [] if found is None else [Finding("text lengths", True, context_length.in_words(found))]


# ---- The data


def _clock(use_case: UseCase, home: Home, now: datetime | None) -> list[Finding]:
    """A night on record that is later than now, after which no scheduled night is in order."""
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
    return findings.clock(use_case.name, nights, now) if now else []


def _data(use_case: UseCase, home: Home) -> list[Finding]:
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
        doubt = feedback_counts.doubt(store, name, taken)
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
    sighted = sights(standing, holdout.total(), use_case.gate, disagreement=disagreement)
    accuracy = _champion_accuracy(use_case, nights)
    headroom = None if accuracy is None else 1 - accuracy
    incoming = round(waiting * doubt.rows / doubt.reactions) if doubt.reactions else 0
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
        findings.raters(use_case, raters, doubt),
        *([findings.noise(doubt)] if labels else []),
        *findings.holdout(use_case, holdout),
        *findings.few_groups(use_case, examples),
        *_lengths(use_case, home, [e.text for e in examples]),
        *seen,
        findings.fresh(use_case, standing),
        *(
            [findings.reactions(use_case, spoken, standing, disagreement=disagreement)]
            if spoken
            else []
        ),
        *beside,
        findings.in_service(lived[-1] if lived else None, accuracy),
        findings.disagreement(compared, differing, assumed=assumed),
        *(findings.visible(use_case, sight, headroom=headroom) for sight in sighted),
        *([findings.learning(curve, nights)] if labels else []),
        findings.expected_gain(curve, expected, standing, train.total(), incoming),
        findings.advised(advice),
    ]


def _trial(store: Store, use_case: UseCase, nights: Sequence[NightRecord]) -> list[Finding]:
    """The trial that is under way, and for how long its number has gone without evidence."""
    every = trials.trials(store, use_case.name, kind="challenge")
    for one in every:
        if one.ended_as_of is None:
            began = min(other.started_as_of for other in every if other.number == one.number)
            trial = trials.as_trial(store, use_case.name, one)
            since = sum(n.as_of > began and not n.failed for n in nights)
            return [findings.on_trial(use_case, trial, examples=one.train_examples, nights=since)]
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

    It puts pictures here first, and more rows than `_MOST_TO_SEAT` take it minutes to look at.
    """
    rules = use_case.curation
    waiting = store.waiting(use_case.name) + inbox.rows()
    if (use_case.is_image and inbox.ready) or waiting > min(_MOST_TO_SEAT, rules.newest):
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
        findings.advised(advice),
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
