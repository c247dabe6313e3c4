"""A night in a few lines: the verdict, the reason that decides, and the next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BETTER = "better_than_champion"
_FOLLOWS = frozenset({"leave_one_out"})
"""Rules that stay open until a gain is proven: they decide nothing before."""
_FAILED = {
    "min_accuracy": "its accuracy is below the floor",
    "min_macro_f1": "its macro-F1 is below the floor",
    "min_rouge_l": "its ROUGE-L is below the floor",
    "max_calibration_error": "its calibration error is above the limit",
    "max_abstention": "it abstains more often than the limit allows",
    "max_latency_ms": "it answers slower than the limit allows",
    "max_memory_mb": "it needs more memory than the limit allows",
    "max_adapter_mb": "its adapter is larger than the limit allows",
    "max_cost_per_thousand": "its answers cost more than the limit allows",
    "max_disagreement": "it answers more requests otherwise than the limit allows",
    "golden": "it fails golden rows",
    "slices": "it is worse on a slice of the holdout",
    "leave_one_out": "its gain comes from one group, source or customer alone",
    "served_as_measured": "its served answers differ from the measured ones",
    "canary": "customers who were shown its answers fared worse",
    "new_model": "it is the champion itself",
}
_OPEN = {
    "holdout_size": "the holdout has too few rows",
    BETTER: "no gain is proven yet",
    "slices": "the slices of the holdout are not known",
    "golden": "the answers to golden rows are missing",
    "served_as_measured": "served answers differ from the measured ones on some rows",
    "canary": "too few customers were shown its answers",
    "reports": "answers are missing",
    "usable_numbers": "the measured numbers cannot be used",
    "same_rows": "the contenders answered different rows",
}


def why(rule: str) -> str:
    """What it means that a rule failed, in words without statistics."""
    return _FAILED.get(rule, f"the rule {rule} failed")


def deciding(night: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The findings that a person must read: what failed or is open, and what a promotion rests on.

    A rule that passed, is off, or only follows another decides nothing. Of a rejected night what
    is open in the gate decides nothing either.
    """
    reasons: Sequence[Mapping[str, Any]] = night["reasons"]
    on = [one for one in reasons if one.get("on", True)]
    proven = any(one["rule"] == BETTER and one["passed"] for one in on)
    rejected = night["outcome"] == "rejected"
    follows = frozenset() if proven else _FOLLOWS
    beside = {*follows, *_OPEN, *_FAILED} if rejected else {*follows}
    return [
        one
        for one in on
        if one["passed"] is False or (one["passed"] is None and one["rule"] not in beside)
    ]


def verdict_lines(night: Mapping[str, Any], *, page: str | None = None) -> list[str]:
    """The verdict, what decides, the score, the page, and the next command.

    ``page`` is where the night's page lies.
    """
    lines = [f"{night['use_case']}, night of {night['as_of'][:16]}: {night['outcome']}"]
    if night.get("headline"):
        lines.append(f"  {night['headline']}")
    lines += [f"  {one['rule']}: {_said(one)}" for one in deciding(night)]
    if scores := _scores(night):
        lines.append(f"  {scores}")
    if night.get("recorded_at"):
        lines.append(f"  recorded on {night['recorded_at'][:16]} UTC, not run again")
    if page is not None:
        lines.append(f"  page: {page}")
    return [*lines, f"  next: {next_command(night)}"]


def next_command(night: Mapping[str, Any]) -> str:
    """The command that takes the use case a step further after such a night."""
    name, version = night["use_case"], night.get("version")
    return {
        "promoted": f"flywheel serve -u {name}",
        "awaiting_approval": f"flywheel approve -u {name} {version}",
        "undecided": f"flywheel queue -u {name} --csv todo.csv",
        "rejected": f"flywheel queue -u {name} --csv todo.csv",
    }.get(night["outcome"], f"flywheel doctor -u {name}")


def _said(reason: Mapping[str, Any]) -> str:
    """A finding without its statistics, where its rule has words of its own."""
    words = _FAILED if reason["passed"] is False else _OPEN
    return words.get(reason["rule"], str(reason["detail"]))


def _scores(night: Mapping[str, Any]) -> str:
    name = "rouge_l" if night.get("challenger_rouge_l") is not None else "accuracy"
    ours, theirs = night.get(f"challenger_{name}"), night.get(f"champion_{name}")
    if ours is None:
        return ""
    shown = {"challenger": ours, "champion": theirs}
    if baselines := night.get("baselines"):
        best = max(baselines, key=baselines.__getitem__)
        shown[f"best baseline ({best})"] = baselines[best]
    told = ", ".join(f"{who} {value:.3f}" for who, value in shown.items() if value is not None)
    measure = "ROUGE-L" if name == "rouge_l" else "accuracy"
    return f"{measure} on {night['holdout_examples']} holdout rows: {told}"
