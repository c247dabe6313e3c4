"""What the doctor found in the data, in words, with its numbers, and whether it is ok."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from flywheel import catalog
from flywheel.catalog.numeric_types import LEAST_GAIN, SETTING, Choice, Speeds, in_words
from flywheel.config import UseCase
from flywheel.diagnostics.recommendation import Advice
from flywheel.errors import ConfigError
from flywheel.evaluation import learning_curve, live_acceptance
from flywheel.evaluation.learning_curve import Curve, Gain
from flywheel.evaluation.live_acceptance import Live
from flywheel.gate import cold_start, comparison, coverage, trial_length
from flywheel.gate.coverage import Coverage
from flywheel.gate.power import (
    POWER,
    DetectableEffect,
    LabelUncertainty,
    Standing,
    groups_to_show,
    next_trial_alpha,
)
from flywheel.influence import quorum
from flywheel.influence.quorum import Quorum
from flywheel.onboarding.first_snapshot import FirstSnapshot
from flywheel.records import Example, NightRecord, Trial
from flywheel.records.findings import Finding
from flywheel.stats.paired_tests import wilson_interval

SHOWN_LABELS = 8
_SHOWN_GAIN = 0.05
"""What audits by themselves should show."""


def numeric_type(chosen: Choice, speeds: Speeds, *, load: float, cores: int) -> Finding:
    """Which type causal bases compute in here, why, and what was measured now.

    ``load`` is how many processes wanted a core meanwhile.
    """
    fastest = max(speeds, key=speeds.__getitem__)
    slower = speeds[fastest] / speeds[chosen.name]
    hint = (
        f"; {fastest} is {slower:.1f} times as fast here: unset {SETTING}"
        if chosen.set_by_hand and slower >= LEAST_GAIN
        else f"; {SETTING} overrides it"
    )
    busy = "" if load <= cores else f" beside other work (load {load:.0f} on {cores} cores)"
    return Finding(
        "numeric type",
        True,
        f"{chosen.name}: {chosen.why}; measured now{busy}: {in_words(speeds)}{hint}",
    )


def per_label(use_case: UseCase, counts: Mapping[str, int]) -> str:
    """Counts by label in the use case's order; of many labels only the fewest."""
    pairs = [(label, counts.get(label, 0)) for label in use_case.label_names]
    if len(pairs) <= SHOWN_LABELS:
        return ", ".join(f"{count} {label}" for label, count in pairs)
    fewest = sorted(pairs, key=lambda pair: pair[1])[:SHOWN_LABELS]
    shown = ", ".join(f"{count} {label}" for label, count in fewest)
    return f"the fewest {shown}; {len(pairs) - SHOWN_LABELS} labels have more"


def clock(use_case: str, nights: Sequence[NightRecord], now: datetime) -> list[Finding]:
    """That the newest night is of a time to come, and what goes on; most often nothing."""
    newest = max((night.as_of for night in nights), default=now)
    if newest <= now:
        return []
    detail = (
        f"the night of {newest:%Y-%m-%d %H:%M:%S} UTC is on record, and the machine's clock says "
        f"{now:%Y-%m-%d %H:%M:%S} UTC: scheduled nights are refused until then. If the clock was "
        "wrong in that night, flywheel restore brings a backup of before back; else flywheel night "
        f"-u {use_case} takes an --as-of after it"
    )
    return [Finding("clock", False, detail)]


def champion(nights: Sequence[NightRecord]) -> list[Finding]:
    """What the last night could not compare with, and the command that goes on; often nothing."""
    reasons = nights[-1].reasons if nights else []
    return [
        Finding("champion", False, one.detail)
        for one in reasons
        if one.rule == "champion" and one.passed is None
    ]


def training_data(use_case: UseCase, train: Counter[str], *, over: int) -> Finding:
    """What a night trains on; ``over`` reactions were left out by the cap on rows."""
    recipe = use_case.training
    least = f"{recipe.min_per_class} of " if recipe.min_per_class > 1 else ""
    enough = all(train[label] >= recipe.min_per_class for label in use_case.label_names)
    every = f" and {least}every class" if recipe.min_per_class else ""
    shown = "" if use_case.is_generation else f" ({per_label(use_case, train)})"
    every = "" if use_case.is_generation else every
    detail = f"{train.total()} examples{shown}; a night needs {recipe.min_examples}{every}"
    if over:
        detail += (
            f"; {over} further reactions are left out by curation.max_examples: "
            f"{use_case.curation.max_examples}, and are no evidence either"
        )
    return Finding(
        "training data",
        train.total() >= recipe.min_examples and enough,
        detail,
    )


def first_data(use_case: UseCase, why: str, waiting: int, first: FirstSnapshot | None) -> Finding:
    """What waits before there is a snapshot, and what of it will train; ``why`` there is none.

    ``first`` None: what becomes of the rows is not known before a night.
    """
    least, detail = use_case.training.min_examples, f"{why}, {waiting} reactions wait"
    if first is None:
        ok = waiting >= least
        detail += "; only a night says how many train, are for validation and are held out"
    else:
        train = first.train.total()
        few = _short_classes(use_case, first.train)
        ok = train >= least and not few
        detail += (
            f": about {train} texts will train, {first.validation.total()} are for validation and "
            f"{first.holdout.total()} are held out"
        )
        if first.answers:
            detail += f"; {first.answers} more are about answers, whose texts only a night looks up"
        if first.refused:
            detail += f"; {first.refused} rows cannot be used (a night puts them into quarantine)"
        detail += f"; training needs {least} texts{few}"
    return Finding("data", ok, f"{detail}; run flywheel night -u {use_case.name}")


def _short_classes(use_case: UseCase, train: Counter[str]) -> str:
    """Which labels have too few texts to train on; empty where all have enough."""
    least = use_case.training.min_per_class
    short = Counter({name: train[name] for name in use_case.label_names if train[name] < least})
    if use_case.is_generation or not short:
        return ""
    names = sorted(short)[:SHOWN_LABELS]
    more = f" and {len(short) - len(names)} more" if len(short) > len(names) else ""
    shown = ", ".join(f"{short[name]} {name}" for name in names)
    return f" and {least} of every class (training.min_per_class), and there are {shown}{more}"


def holdout(use_case: UseCase, holdout: Counter[str]) -> list[Finding]:
    """How large the holdout is; of classes also which of them it can judge by themselves."""
    least = use_case.gate.min_holdout_examples
    missing = least - holdout.total()
    detail = f"{holdout.total()} rows; the gate needs {least}"
    if missing > 0:
        number = cold_start.to_seat(missing, use_case.split.holdout)
        detail += f": label about {number} more texts, so that {missing} of them are held out"
    size = Finding("holdout", missing <= 0, detail)
    if use_case.is_generation:
        return [size]
    few = cold_start.not_judged(
        holdout,
        use_case.label_names,
        share=use_case.split.holdout,
        how=cold_start.by_file(use_case),
    )
    by_class = per_label(use_case, holdout)
    return [size, Finding("holdout by class", True, f"{by_class}; {few}" if few else by_class)]


def few_groups(use_case: UseCase, examples: Sequence[Example]) -> list[Finding]:
    """Whether the snapshot's groups are too few to split; nothing where they are enough."""
    said = cold_start.few_groups(use_case, examples)
    return [] if said is None else [Finding("groups", False, said)]


def former_labels(former: Counter[str]) -> Finding:
    """Rows of the snapshot whose labels the use case no longer names."""
    return Finding(
        "labels",
        True,
        f"the use case no longer names {', '.join(sorted(former))}; a night leaves their "
        f"{former.total()} rows out (unknown_label). Where a label was renamed, give it its former "
        "name again and put the new one in its description; where it was taken out, nothing is to "
        "be done",
    )


def raters(use_case: UseCase, people: Mapping[str, int], doubt: LabelUncertainty) -> Finding:
    if not doubt.rows:
        return Finding("raters", True, "unknown: the snapshot's feedback is not in the warehouse")
    share = doubt.single / doubt.rows
    if use_case.is_generation:
        detail = ""
    elif any(people.values()):
        detail = f"people per class: {per_label(use_case, people)}; "
    else:
        detail = "no row says who labeled (rater_id), so that people are not counted; "
    return Finding("raters", True, f"{detail}{share:.0%} of the examples rest on one reaction")


def noise(doubt: LabelUncertainty) -> Finding:
    if doubt.texts:
        low, high = wilson_interval(round(doubt.disagreeing), doubt.texts)
        detail = (
            f"two raters of one text disagree in {doubt.disagreeing / doubt.texts:.0%} of pairs "
            f"({low:.0%} to {high:.0%}, {doubt.texts} texts)"
        )
    elif doubt.rows:
        detail = "no text has two raters that name a label, so that noise was not seen"
    else:
        return Finding("label noise", True, "unknown")
    return Finding(
        "label noise", True, f"{detail}; curation believes {doubt.unsure:.0%} to be wrong"
    )


def fresh(use_case: UseCase, standing: Standing) -> Finding:
    rate = standing.fresh_per_night
    if rate is None:
        return Finding("fresh evidence", True, "unknown before a second night")
    detail = f"{rate:.1f} {use_case.gate.unit}s a night in the last {standing.nights} nights"
    if not rate:
        detail += (
            "; gold, trusted and audit labels are evidence, flywheel queue draws audits, and "
            "gate.evidence_sources names more"
        )
    return Finding("fresh evidence", True, detail + standing.short_of(use_case.gate))


def reactions(
    use_case: UseCase, known: Coverage, standing: Standing, *, disagreement: float
) -> Finding:
    """Which answers get a reaction, what that costs, and how many audits would do instead."""
    detail, won = coverage.told(known), known.least_won
    if won >= coverage.FAIR:
        return Finding("reactions", True, detail)
    nights = use_case.gate.max_trial_nights
    alone = groups_to_show(
        _SHOWN_GAIN, next_trial_alpha(standing, use_case.gate), disagreement=disagreement
    )
    needs = []
    number = coverage.audits_for(known.all, won=coverage.FAIR) if not known.cells else None
    if number:
        needs.append(f"about {number:,} audits of answers that nobody spoke of would end this")
    if alone:
        needs.append(
            f"about {math.ceil(alone / nights):,} audits a night show {100 * _SHOWN_GAIN:.0f} "
            f"points within {nights} nights by themselves"
        )
    how = f"(flywheel queue -u {use_case.name} --audit-share 1)"
    return Finding("reactions", True, "; ".join([detail, *needs]) + (f" {how}" if needs else ""))


def disagreement(compared: int, differing: int, *, assumed: float) -> Finding:
    if differing:
        detail = (
            f"{differing / compared:.1%} of {compared} holdout rows were right in only one of the "
            "last two models compared"
        )
    else:
        why = (
            f"the last two models compared were right on the same of {compared} holdout rows"
            if compared
            else "no two models were compared on this holdout"
        )
        detail = f"{assumed:.0%} assumed: {why}"
    return Finding("disagreement", True, detail)


def waiting(stored: int, files: int, rows: int, *, parked: int = 0) -> Finding:
    """What the next night will see, and what is parked: no night sees it yet."""
    detail = f"{stored} reactions wait"
    if files:
        detail += f", and {rows} rows in {files} files of the inbox, which the next night reads"
    if parked:
        detail += f"; {parked} are parked: about an answer that has not arrived yet"
    return Finding("new feedback", True, detail)


def bases(use_case: UseCase) -> Finding:
    """Whether the catalog has every base that the use case names."""
    names = [one.base for one in use_case.training.entries() if one.base is not None]
    for name in names:
        try:
            catalog.model(name)
        except ConfigError as error:
            return Finding("base", False, f"{error} (training.base)")
    return Finding("base", True, ", ".join(dict.fromkeys(names)) or "none is needed")


def sources(use_case: UseCase, came: Mapping[str, int]) -> Finding:
    """From where feedback came, and which sources a setting names and nothing came from."""
    named = {
        "curation.gold_sources": use_case.curation.gold_sources,
        "curation.trusted_sources": use_case.curation.trusted_sources,
        "gate.evidence_sources": use_case.gate.evidence_sources,
    }
    silent = [
        f"{setting} names {name!r}, from which nothing was taken in yet{_near(name, came)}"
        for setting, names in named.items()
        for name in names
        # audits come once somebody labels some
        if came and name not in came and name != "audit"
    ]
    shown = ", ".join(f"{count} from {name}" for name, count in came.items()) or "nothing yet"
    return Finding("sources", True, "; ".join([shown, *silent, *_of_everybody(use_case)]))


def _of_everybody(use_case: UseCase) -> list[str]:
    """What is said where the service's feedback is trusted like the company's own labels."""
    source, rules = use_case.serving.source, use_case.curation
    if source not in {*rules.gold_sources, *rules.trusted_sources, "audit", "queue"}:
        return []
    return [
        f"serving.source is {source!r}, which is trusted: whoever may give the service feedback is "
        "believed like your own people. Name it otherwise unless those are all"
    ]


def _near(name: str, came: Mapping[str, int]) -> str:
    close = difflib.get_close_matches(name, came, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def on_trial(use_case: UseCase, trial: Trial, *, examples: int, nights: int) -> Finding:
    """How the one on trial stands after so many ``nights``, and what ends the trial."""
    limits = use_case.gate
    stands = comparison.progress(
        trial, margin=limits.margin, by_row=limits.unit == "row", quorum=Quorum.of(limits)
    )
    detail = (
        f"trial {trial.number}: a challenger that learned from {examples} examples, {stands.rows} "
        f"fresh rows in {nights} nights"
    )
    if not stands.rows:
        return Finding("trial", True, f"{detail}; {trial_length.no_evidence(limits)}")
    if assumed := quorum.told(trial, Quorum.of(limits), alpha=limits.alpha):
        detail += f"; {assumed}"
    if stands.earlier:
        detail += f"; what {stands.earlier} earlier challengers showed counts with it"
    ends = f"after {limits.max_trial_nights} nights with fresh rows (gate.max_trial_nights)"
    ends = f"it ends when a newer challenger waits, or {ends}"
    if stands.further_groups is None:
        return Finding("trial", True, f"{detail}; they show no gain so far; {ends}")
    more = f"about {stands.further_groups:,} further {limits.unit}s would prove it at its pace"
    return Finding("trial", True, f"{detail}; {more}; {ends}")


def in_service(found: Live | None, holdout_accuracy: float | None) -> Finding:
    if found is None:
        return Finding(
            "in service", True, "no answers were served and reacted to in the last nights"
        )
    detail = f"until the night of {found.as_of:%Y-%m-%d %H:%M} UTC {live_acceptance.line(found)}"
    known = live_acceptance.shares(found)
    share = known.get("audited_right") or known.get("accepted")
    if share and holdout_accuracy is not None and share[2] < holdout_accuracy:
        detail += (
            f"; the holdout says {holdout_accuracy:.1%}: what customers ask now differs from it. "
            "flywheel queue --audit-share 1 draws rows that bring it up to date"
        )
    return Finding("in service", True, detail)


def visible(use_case: UseCase, sight: DetectableEffect, *, headroom: float | None) -> Finding:
    """What gain can be shown; ``headroom`` is the most that the champion leaves to gain."""
    name = "visible tonight" if sight.night == 1 else f"visible in {sight.night} nights"
    on = f"{sight.rows} " + (
        "holdout rows" if sight.where == "holdout" else f"fresh {use_case.gate.unit}s"
    )
    if sight.gain is None:
        who = " that can speak for one" if sight.where == "fresh" else ""
        return Finding(name, True, f"no gain, however large: {on}{who} are too few")
    if headroom is not None and sight.gain > headroom:
        return Finding(
            name,
            True,
            f"no possible gain: {on} show {100 * sight.gain:.1f} points or more, and the champion "
            f"leaves {100 * headroom:.1f} to gain",
        )
    return Finding(
        name, True, f"{100 * sight.gain:5.1f} points or more on {on} (chance {POWER:.0%})"
    )


def learning(curve: Curve | None, nights: Sequence[NightRecord]) -> Finding:
    judged = [night.facts for night in nights if night.digest]
    past = [
        f"{one['challenger_accuracy']:.3f} at {one['train_examples']}"
        for one in judged[-4:]
        if one.get("challenger_accuracy") is not None and one.get("train_examples")
    ]
    seen = f"; past nights on the holdout: {', '.join(past)} examples" if past else ""
    if curve is None:
        least = learning_curve.FEWEST_ROWS
        return Finding(
            "learning curve", True, f"is drawn from texts, and {least} examples at least{seen}"
        )
    points = ", ".join(f"{accuracy:.3f} at {rows}" for rows, accuracy in curve.points)
    return Finding(
        "learning curve", True, f"TF-IDF on {curve.held_out} rows held out: {points} examples{seen}"
    )


def expected_gain(
    curve: Curve | None, expected: Gain | None, standing: Standing, rows: int, incoming: int
) -> Finding:
    soon = f"about {rows + incoming} examples tonight ({rows}, and {incoming} of what waits)"
    if curve is None:
        detail = f"not known without a learning curve; {soon}"
    elif not standing.champion:
        detail = f"there is no champion yet to gain on; {soon}"
    elif standing.champion_rows == rows + incoming:
        detail = f"none: the champion learned from as many; {soon}"
    elif not standing.champion_rows:
        detail = f"not known: what the champion learned from is not on record; {soon}"
    elif expected is None:
        detail = (
            f"not known: the champion learned from {standing.champion_rows} examples, and the "
            f"curve tells up to twice as many; {soon}"
        )
    else:
        steep = rows > learning_curve.MOST_ROWS
        most = ", at most: the curve was drawn lower down, where it is steeper" if steep else ""
        detail = (
            f"{100 * expected.mean:+.1f} points ({100 * expected.low:+.1f} to "
            f"{100 * expected.high:+.1f}){most}, from the champion's {standing.champion_rows} "
            f"examples to {soon}"
        )
    return Finding("expected gain", True, detail)


def advised(advice: Advice) -> Finding:
    return Finding("recommendation", True, f"{advice.action}: {advice.why}")
