"""What the doctor found in the data, in words, with its numbers, and whether it is ok."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from flywheel import catalog
from flywheel.catalog.numeric_types import LEAST_GAIN, SETTING, Choice, Speeds, in_words
from flywheel.config import UseCase
from flywheel.errors import ConfigError
from flywheel.gate import cold_start
from flywheel.gate.power import (
    LabelUncertainty,
)
from flywheel.onboarding.first_snapshot import FirstSnapshot
from flywheel.records import Example, NightRecord
from flywheel.records.findings import Finding
from flywheel.stats.paired_tests import wilson_interval

SHOWN_LABELS = 8


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


def raters(use_case: UseCase, people: Mapping[str, int], uncertainty: LabelUncertainty) -> Finding:
    if not uncertainty.rows:
        return Finding("raters", True, "unknown: the snapshot's feedback is not in the warehouse")
    share = uncertainty.single / uncertainty.rows
    if use_case.is_generation:
        detail = ""
    elif any(people.values()):
        detail = f"people per class: {per_label(use_case, people)}; "
    else:
        detail = "no row says who labeled (rater_id), so that people are not counted; "
    return Finding("raters", True, f"{detail}{share:.0%} of the examples rest on one reaction")


def noise(uncertainty: LabelUncertainty) -> Finding:
    if uncertainty.texts:
        low, high = wilson_interval(round(uncertainty.disagreeing), uncertainty.texts)
        detail = (
            "two raters of one text disagree in "
            f"{uncertainty.disagreeing / uncertainty.texts:.0%} of pairs "
            f"({low:.0%} to {high:.0%}, {uncertainty.texts} texts)"
        )
    elif uncertainty.rows:
        detail = "no text has two raters that name a label, so that noise was not seen"
    else:
        return Finding("label noise", True, "unknown")
    return Finding(
        "label noise", True, f"{detail}; curation believes {uncertainty.unsure:.0%} to be wrong"
    )


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
