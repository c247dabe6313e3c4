"""What happened, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.diagnostics import backlog, waits
from flywheel.evaluation import live_acceptance
from flywheel.exports import export_tags
from flywheel.gate.cold_start import NO_MODEL
from flywheel.ingestion.inbox import Inbox
from flywheel.records import NightRecord, Step
from flywheel.store import open_store
from flywheel.store.feedback import audits
from flywheel.store.nights import live_acceptance as live_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import promotions
from flywheel.text.normalize import printable, table_cell
from flywheel.tracking.champion_history import told_by_nights
from flywheel.training.warm_start import FROM_BASE

_SHOWN_REASONS = 5
"""Reasons for which rows are in quarantine that a status shows, the commonest first."""
_SHOWN_FILES = 5
"""Files that no night reads, named; the others are counted."""
_WORDS = {
    "promoted": "promoted",
    "approved": "approved",
    "moved_by_hand": "made champion by hand",
    "rolled_back": "rolled back to",
    "braked": "gone back to by the brake",
    "restored": "restored",
    "remeasured": "measured anew",
}
_NIGHT_FACTS = ("train_examples", "train_seconds", "peak_memory_mb", "champion_accuracy")


def status(use_case: UseCase, home: Home) -> dict[str, Any]:
    """Champion, nights and promotions (oldest first), what waits, feedback and the inbox."""
    from flywheel.tracking.registry import CHAMPION, Registry

    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
        feedback = store.counts(use_case.name)
        labeled = audits.queue_labels(store, use_case.name)
        reasons = store.quarantine_reasons(use_case.name)
        moves = promotions(store, use_case.name) or told_by_nights(nights)
        until = max((night.as_of for night in nights), default=None)
        lived = live_store.by_night(store, use_case.name, until=until) if until else []
    inbox = Inbox.look(home.inbox(use_case.name))
    registry = Registry(home)
    champion = registry.by_alias(use_case.name, CHAMPION)
    versions = registry.versions(use_case.name)
    waiting = [v for v in versions if v.record.awaiting_approval]
    return {
        "use_case": use_case.name,
        "champion": champion
        and {
            "version": champion.version,
            "digest": champion.digest,
            "snapshot_id": champion.snapshot_id,
            "holdout": _holdout_of(champion.digest, nights),
            "forgotten_in": champion.forgotten_in,
        },
        "awaiting_approval": [
            {
                "version": one.version,
                "judged_against": one.record.judged_against,
                "holdout": _holdout_of(one.record.digest, nights),
            }
            for one in waiting
        ],
        "exports": {
            v.version: list(places) for v in versions if (places := export_tags.places(v.tags))
        },
        "promotions": [{**asdict(move), "at": move.at.isoformat()} for move in moves],
        "nights": [
            {
                "as_of": night.as_of.isoformat(),
                "outcome": night.outcome,
                "reasons": [asdict(reason) for reason in night.reasons],
                **{fact: night.facts.get(fact) for fact in _NIGHT_FACTS},
                "challenger_accuracy": night.facts.get("challenger_accuracy"),
                "baselines": night.facts.get("baselines", {}),
            }
            for night in nights
        ],
        "live": [live_acceptance.facts(one) | {"line": live_acceptance.line(one)} for one in lived],
        "feedback": feedback,
        "queue_labels": asdict(labeled) | {"line": audits.line(labeled)},
        "quarantine": reasons,
        "backlog": [asdict(one) for one in backlog.finding(use_case, home)],
        "running": waits.render_text(waits.nights_and_waits(home), of=use_case.name),
        "inbox": {
            "files": len(inbox.ready),
            "rows": inbox.rows(),
            "being_written": len(inbox.being_written),
            "unread": {printable(path.name): why for path, why in inbox.unread.items()},
        },
    }


def holdout_of_version(use_case: UseCase, home: Home, version: str) -> dict[str, Any] | None:
    """How a version did in the holdout of the night that judged it; None when that is not known."""
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
    for night in reversed(nights):
        if night.facts.get("version") == version:
            return _holdout_of(night.digest, nights)
    return None


def _holdout_of(digest: str | None, nights: Sequence[NightRecord]) -> dict[str, Any] | None:
    for night in nights:
        if night.digest == digest and "challenger_accuracy" in night.facts:
            return {
                "n": night.facts["holdout_examples"],
                "accuracy": night.facts["challenger_accuracy"],
                "macro_f1": night.facts["challenger_macro_f1"],
                **_rouge(night.facts),
            }
    return None


def _rouge(facts: Mapping[str, Any]) -> dict[str, float]:
    found = facts.get("challenger_rouge_l")
    return {} if found is None else {"rouge_l": found}


def _score(holdout: Mapping[str, Any]) -> str:
    """A holdout's result in words."""
    if "rouge_l" in holdout:
        return f"ROUGE-L {holdout['rouge_l']:.3f} on {holdout['n']} holdout rows"
    return f"{holdout['accuracy']:.3f} on {holdout['n']} holdout rows"


def mark(reason: Mapping[str, Any]) -> str:
    """A rule's finding in one word: pass, fail, open, or off for one that is switched off."""
    if not reason.get("on", True):
        return "off"
    return {True: "pass", False: "fail", None: "open"}[reason["passed"]]


def night_lines(night: Mapping[str, Any]) -> list[str]:
    """A night with its statistics and every rule, those that passed or are off included."""
    lines = [f"{night['use_case']}, night of {night['as_of'][:16]}: {night['outcome']}"]
    if night.get("recorded_at"):
        lines.append(f"  recorded on {night['recorded_at'][:16]} UTC, not run again")
    learned = night.get("trained_examples") or night.get("train_examples")
    if night.get("learned_from") not in (None, night.get("snapshot_id")):
        lines.append(f"  on trial since an earlier night, trained on {learned} examples then")
    elif night.get("train_seconds"):
        lines.append(
            f"  trained on {learned} examples in {night['train_seconds']:.0f} s, "
            f"peak {night['peak_memory_mb']:.0f} MB, {night['tokens_per_second']:.0f} tokens/s"
        )
    if night.get("started_from") not in (None, "", FROM_BASE.why):
        lines.append(f"  started from {night['started_from']}")
    if night.get("challenger_rouge_l") is not None:
        lines += _written_lines(night)
    elif night.get("challenger_accuracy") is not None:
        lines.append(f"  accuracy on {night['holdout_examples']} holdout rows that no model saw:")
        scores = {"challenger": night["challenger_accuracy"]}
        if night["champion_accuracy"] is not None:
            scores["champion"] = night["champion_accuracy"]
        for name, value in {**scores, **night["baselines"]}.items():
            lines.append(f"    {name:<15} {value:.3f}  {'█' * round(40 * value)}")
    lines += [f"  {mark(r):<4}  {r['rule']}: {r['detail']}" for r in night["reasons"]]
    return lines


def _written_lines(night: Mapping[str, Any]) -> list[str]:
    scores = {"challenger": night["challenger_rouge_l"]}
    if night.get("champion_rouge_l") is not None:
        scores["champion"] = night["champion_rouge_l"]
    return [
        f"  ROUGE-L on {night['holdout_examples']} holdout rows that no model saw:",
        *(
            f"    {name:<15} {value:.3f}  {'█' * round(40 * value)}"
            for name, value in {**scores, **night["baselines"]}.items()
        ),
    ]


def status_lines(facts: Mapping[str, Any]) -> list[str]:
    """A status as a few lines of text."""
    champion = facts["champion"]
    if champion is None:
        lines = [f"{facts['use_case']}: {_no_champion(facts)}"]
    else:
        holdout = champion["holdout"]
        score = f", {_score(holdout)}" if holdout else ""
        lines = [f"{facts['use_case']}: champion is version {champion['version']}{score}"]
        if champion.get("forgotten_in"):
            lines.append(
                "  it learned from a person who was forgotten since (certificate "
                f"{champion['forgotten_in']}); it answers until a version trained without is "
                "promoted"
            )
    for one in facts["awaiting_approval"]:
        holdout = one["holdout"]
        score = f", {_score(holdout)}" if holdout else ""
        lines.append(
            f"  version {one['version']} awaits approval{score}: "
            f"flywheel approve -u {facts['use_case']} {one['version']}"
        )
    for version, places in facts["exports"].items():
        lines.append(f"  version {version} was exported: {', '.join(places)}")
    for move in facts["promotions"][-3:]:
        before = f" after version {move['before']}" if move["before"] else ""
        lines.append(
            f"  {move['at'][:16]}  version {move['version']} {_WORDS[move['action']]}{before}, "
            f"by {move['who']}: {move['why']}"
        )
    for night in facts["nights"][-7:]:
        lines.append(f"  night {night['as_of'][:16]}  {night['outcome']}")
    last = facts["nights"][-1].get("reasons", []) if facts["nights"] else []
    lines += [
        f"  {reason['rule'].replace('_', ' ')}: {reason['detail']}"
        for reason in last
        if reason["rule"] in (NO_MODEL, "trial", "reactions")
        or (champion is None and _ends_a_skip(facts["nights"][-1], reason))
    ]
    for one in facts.get("live", [])[-1:]:
        lines.append(f"  in service until the night of {one['as_of'][:16]}: {one['line']}")
    lines += [f"  {one}" for one in facts.get("running", [])]
    feedback = facts["feedback"]
    counts = ", ".join(f"{n} {name}" for name, n in feedback.items())
    lines.append(f"  feedback: {counts}")
    if facts.get("queue_labels", {}).get("line"):
        lines.append(f"    {facts['queue_labels']['line']}")
    quarantine = list(facts.get("quarantine", {}).items())
    lines += [f"  {one['name']}: {one['detail']}" for one in facts.get("backlog", [])]
    lines += [f"    quarantined: {n} rows: {why}" for why, n in quarantine[:_SHOWN_REASONS]]
    inbox = facts["inbox"]
    if any(inbox.values()):
        lines.append(
            f"  inbox: {inbox['files']} files ({inbox['rows']} rows) for the next night, "
            f"{inbox['being_written']} still being written"
        )
    unread = list(inbox.get("unread", {}).items())
    lines += [f"    not read: {name}: {why}" for name, why in unread[:_SHOWN_FILES]]
    if len(unread) > _SHOWN_FILES:
        lines.append(f"    not read: {len(unread) - _SHOWN_FILES} more")
    return lines


def _ends_a_skip(night: Mapping[str, Any], reason: Mapping[str, Any]) -> bool:
    """Whether it is why a night trained nothing, which says what would end that."""
    counts = reason.get("on", True) and reason["passed"] is None
    return bool(night["outcome"] == "skipped" and counts)


def _no_champion(facts: Mapping[str, Any]) -> str:
    if not facts["promotions"]:
        return "no champion yet"
    return (
        f"no champion: version {facts['promotions'][-1]['version']} is not in MLflow any more. "
        "The next settling puts an earlier one back; where none is left, flywheel rollback "
        f"-u {facts['use_case']} --to challenger --yes makes the newest challenger champion"
    )


def rollback_lines(facts: Mapping[str, Any]) -> list[str]:
    """A rollback, planned or done, as a few lines of text."""
    shown = {
        version: f"version {version}" + (f" ({_score(holdout)})" if holdout else "")
        for version, holdout in facts["holdout"].items()
    }
    champion, target = shown[facts["champion"]], shown[facts["target"]]
    passed = [f"  passed over version {v}: {fault}" for v, fault in facts["refused"].items()]
    if facts["done"]:
        return [f"{facts['use_case']}: champion is {target}, before {champion}", *passed]
    return [
        f"{facts['use_case']}: champion is {champion}",
        f"  would become {target}",
        *passed,
        "  nothing was changed; --yes does it",
    ]


def markdown(night: Mapping[str, Any], steps: Sequence[Step] = ()) -> str:
    """The night as one page of Markdown, with what each curation rule did."""
    numbers = {
        k: v
        for k, v in night.items()
        if k not in {"reasons", "outcome", "use_case", "as_of", "headline"}
    }
    measure = "accuracy" if numbers.get("challenger_rouge_l") is None else "rouge_l"
    for name, score in numbers.pop("baselines", {}).items():
        numbers[f"{name}_{measure}"] = score
    facts = "\n".join(
        f"| {name} | {table_cell(f'{value:.4g}' if isinstance(value, float) else str(value))} |"
        for name, value in numbers.items()
    )
    said = table_cell(night.get("headline") or "")
    return (
        f"# {night['use_case']}: {night['outcome']}\n\n{said}\n\n"
        f"Night of {night['as_of']}.\n\n"
        f"{rules_table(night['reasons'])}\n"
        f"| fact | value |\n|---|---|\n{facts}\n{_steps_table(steps)}"
    )


def _steps_table(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    rows = [
        f"| {s.rule} | {s.dropped if s.on else 'off'} | {s.changed if s.on else 'off'} "
        f"| {table_cell(s.detail)} | {table_cell(s.example or '')} |\n"
        for s in steps
    ]
    return (
        "\n| curation rule | dropped | changed | what | an example |\n|---|---|---|---|---|\n"
        f"{''.join(rows)}\nflywheel lineage EXAMPLE says more about one.\n"
    )


def rules_table(reasons: Iterable[Mapping[str, Any]]) -> str:
    """The rules' findings as a table in Markdown."""
    rows = [f"| {r['rule']} | {mark(r)} | {table_cell(r['detail'])} |\n" for r in reasons]
    return "| rule | result | numbers |\n|---|---|---|\n" + "".join(rows)
