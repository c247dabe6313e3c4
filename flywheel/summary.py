"""What happened, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.store import open_store

_NIGHT_FACTS = ("train_examples", "train_seconds", "peak_memory_mb", "champion_accuracy")


def status(use_case: UseCase, home: Home) -> dict[str, Any]:
    """Champion, nights (oldest first) and feedback counts of a use case."""
    from flywheel.registry import CHAMPION, Registry

    with open_store(home.warehouse) as store:
        nights = store.nights(use_case.name)
        feedback = store.counts(use_case.name)
    champion = Registry(home).by_alias(use_case.name, CHAMPION)
    return {
        "use_case": use_case.name,
        "champion": champion
        and {
            "version": champion.version,
            "digest": champion.digest,
            "snapshot_id": champion.snapshot_id,
            "exam": _exam_of(champion.digest, nights),
            "forgotten_in": champion.forgotten_in,
        },
        "nights": [
            {
                "as_of": night["as_of"].isoformat(),
                "outcome": night["outcome"],
                "reasons": night["reasons"],
                **{fact: night["facts"].get(fact) for fact in _NIGHT_FACTS},
                "challenger_accuracy": night["facts"].get("challenger_accuracy"),
                "baselines": night["facts"].get("baselines", {}),
            }
            for night in nights
        ],
        "feedback": feedback,
    }


def _exam_of(digest: str, nights: list[dict[str, Any]]) -> dict[str, Any] | None:
    for night in nights:
        if night["digest"] == digest and "challenger_accuracy" in night["facts"]:
            return {
                "n": night["facts"]["exam_examples"],
                "accuracy": night["facts"]["challenger_accuracy"],
                "macro_f1": night["facts"]["challenger_macro_f1"],
            }
    return None


def mark(reason: Mapping[str, Any]) -> str:
    """A rule's finding in one word: pass, fail, open, or off for one that is switched off."""
    if not reason.get("on", True):
        return "off"
    return {True: "pass", False: "fail", None: "open"}[reason["passed"]]


def night_lines(night: Mapping[str, Any]) -> list[str]:
    """A night as a few lines of text."""
    lines = [f"{night['use_case']}, night of {night['as_of'][:16]}: {night['outcome']}"]
    if night.get("train_seconds"):
        lines.append(
            f"  trained on {night['train_examples']} examples in {night['train_seconds']:.0f} s, "
            f"peak {night['peak_memory_mb']:.0f} MB, {night['tokens_per_second']:.0f} tokens/s"
        )
    if night.get("challenger_accuracy") is not None:
        lines.append(f"  accuracy on {night['exam_examples']} exam rows that no model saw:")
        scores = {"challenger": night["challenger_accuracy"]}
        if night["champion_accuracy"] is not None:
            scores["champion"] = night["champion_accuracy"]
        for name, value in {**scores, **night["baselines"]}.items():
            lines.append(f"    {name:<15} {value:.3f}  {'█' * round(40 * value)}")
    lines += [f"  {mark(r):<4}  {r['rule']}: {r['detail']}" for r in night["reasons"]]
    return lines


def status_lines(facts: Mapping[str, Any]) -> list[str]:
    """A status as a few lines of text."""
    champion = facts["champion"]
    if champion is None:
        lines = [f"{facts['use_case']}: no champion yet"]
    else:
        exam = champion["exam"]
        score = f", {exam['accuracy']:.3f} on {exam['n']} exam rows" if exam else ""
        lines = [f"{facts['use_case']}: champion is version {champion['version']}{score}"]
        if champion.get("forgotten_in"):
            lines.append(
                "  it learned from a person who was forgotten since (certificate "
                f"{champion['forgotten_in']}); it answers until a version trained without is "
                "promoted"
            )
    for night in facts["nights"][-7:]:
        lines.append(f"  night {night['as_of'][:16]}  {night['outcome']}")
    feedback = facts["feedback"]
    lines.append("  feedback: " + ", ".join(f"{n} {name}" for name, n in feedback.items()))
    return lines
