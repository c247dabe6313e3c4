"""The facts of invented nights, for the report; every sentence here is made up."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

LABELS = ["negative", "neutral", "positive"]
_NIGHTS = [
    ("2026-01-08T02:30:00+00:00", 64, 61, 9, 4, 0.076, 0.076, 0.42),
    ("2026-01-09T02:30:00+00:00", 71, 66, 11, 5, 0.082, 0.079, 1.19),
    ("2026-01-10T02:30:00+00:00", 58, 57, 6, 5, 0.018, 0.021, 1.06),
    ("2026-01-11T02:30:00+00:00", 80, 74, 13, 4, 0.114, 0.109, 2.61),
    ("2026-01-12T02:30:00+00:00", 77, 71, 12, 4, 0.105, 0.1, 3.94),
]


def contender(accuracy: float, low: float, high: float, **changes: Any) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "macro_f1": accuracy - 0.031,
        "log_loss": 0.4182,
        "calibration_error": 0.0371,
        "latency_ms": 11.84,
        "memory_mb": 1243.0,
        "adapter_mb": 9.4,
        "cost_per_thousand": None,
        "weighted_accuracy": accuracy - 0.008,
        **changes,
    }


def promoted() -> dict[str, Any]:
    """Version 7 replaces version 6 on the evidence of five nights; every section is there."""
    return {
        "use_case": "product-reviews",
        "description": "Three-class sentiment of sentences from product reviews.",
        "items": "reviews",
        "as_of": "2026-01-12T02:30:00+00:00",
        "outcome": "promoted",
        "version": "7",
        "digest": "5f1c0e7ab3d94c26a9d1f0b7c2e8a6d3",
        "snapshot_id": "c07d19e2b54f4a8893b1de20fa66b8a1",
        "champion_version": "6",
        "reasons": [
            _reason("holdout_size", True, "912 holdout rows (needs ≥ 200)"),
            _reason("min_accuracy", True, "accuracy 0.8465, 95 % interval 0.822 to 0.868"),
            _reason("better_than_champion", True, "wealth 51.4 of 32.9 needed, trial 3"),
            _reason("slices", True, "on none of 11 slices significantly worse"),
            _reason("golden", True, "12 of 12 golden examples"),
            _reason("max_memory_mb", None, "no limit is set", on=False),
            _reason("max_cost_per_thousand", None, "no limit is set", on=False),
        ],
        "holdout": {
            "rows": 912,
            "challenger": contender(0.8465, 0.8217, 0.8684),
            "champion": contender(0.7917, 0.7642, 0.8168, log_loss=0.5127, calibration_error=0.061),
            "baselines": {"majority": 0.4123, "tfidf_logistic": 0.7171, "zero_shot": 0.5252},
        },
        "labels": LABELS,
        "confusion": {
            "challenger": [[243, 31, 12], [29, 204, 27], [9, 32, 325]],
            "champion": [[221, 44, 21], [38, 181, 41], [12, 34, 320]],
        },
        "reliability": {
            "challenger": [
                {"confidence": 0.41, "accuracy": 0.44, "rows": 32},
                {"confidence": 0.55, "accuracy": 0.52, "rows": 77},
                {"confidence": 0.66, "accuracy": 0.69, "rows": 104},
                {"confidence": 0.77, "accuracy": 0.75, "rows": 151},
                {"confidence": 0.87, "accuracy": 0.88, "rows": 227},
                {"confidence": 0.96, "accuracy": 0.95, "rows": 321},
            ],
            "champion": [
                {"confidence": 0.42, "accuracy": 0.37, "rows": 41},
                {"confidence": 0.56, "accuracy": 0.49, "rows": 90},
                {"confidence": 0.67, "accuracy": 0.6, "rows": 131},
                {"confidence": 0.78, "accuracy": 0.71, "rows": 170},
                {"confidence": 0.88, "accuracy": 0.84, "rows": 209},
                {"confidence": 0.95, "accuracy": 0.93, "rows": 271},
            ],
        },
        "slices": [
            _slice("label", "negative", 286, 0.0769, 0.0221, 0.1317, 0.003),
            _slice("label", "neutral", 260, 0.0885, 0.0233, 0.1536, 0.004),
            _slice("label", "positive", 366, 0.0137, -0.0181, 0.0455, 0.47),
            _slice("length", "under 8 words", 214, 0.0234, -0.0302, 0.0769, 0.44),
            _slice("length", "8 to 20 words", 431, 0.0603, 0.0251, 0.0955, 0.0007),
            _slice("length", "over 20 words", 267, 0.0712, 0.0187, 0.1237, 0.008),
            _slice("source", "gold", 640, 0.0531, 0.0236, 0.0826, 0.0005),
            _slice("source", "help desk of the northern region", 272, 0.0588, 0.0085, 0.1091, 0.02),
            _slice("month", "2025-11", 44, -0.0227, -0.1404, 0.095, 0.72),
            _slice("month", "2025-12", 499, 0.0581, 0.0239, 0.0923, 0.001),
            _slice("month", "2026-01", 369, 0.0596, 0.0191, 0.1001, 0.004),
        ],
        "evidence": {
            "number": 3,
            "alpha": 0.0304,
            "threshold": math.log(1 / 0.0304),
            "log_wealth": 3.94,
            "low": 0.0295,
            "high": 0.1304,
            "groups_to_decide": 0,
            "nights": [_night(*night) for night in _NIGHTS],
        },
        "ledger": {
            "alpha": 0.05,
            "questions": 2,
            "verdicts_so_far": 3,
            "next_alpha": 0.000116,
            "rows": 912,
            "visible_gain": 0.0632,
            "disagreement": 0.1623,
            "advice": "The next question sees gains of 6.3 points or more. About 900 further "
            "holdout rows would halve what it cannot see.",
            "history": [
                _asked("2025-12-18T02:30:00+00:00", 1, 0.0125, "promote", 0.0411),
                _asked("2026-01-05T02:30:00+00:00", 2, 0.00069, "undecided", 0.0578),
            ],
        },
        "changed": {
            "where": "fresh rows",
            "won": [
                _row(
                    "The kettle boils fast, but its lid came off on day two.",
                    "negative",
                    "neutral",
                    0,
                ),
                _row("Not bad at all for a lamp of this size.", "positive", "negative", 2),
                _row("It is a chair. It has four legs & a seat.", "neutral", "positive", 1),
            ],
            "lost": [_row("I expected less, honestly.", "positive", "positive", 0)],
            "won_count": 51,
            "lost_count": 22,
        },
        "data": {
            "read": 1204,
            "ingested": 1120,
            "duplicate": 61,
            "quarantined": 9,
            "parked": 14,
            "steps": [
                _step("limits", 6410, 12, 0, "3 to 2,000 characters"),
                _step("revisions", 6398, 204, 0, "a later reaction of the same rater counts"),
                _step("personal_data", 6194, 0, 31, "22 e-mail addresses, 9 phone numbers"),
                _step("near_duplicates", 6194, 118, 40, "at 0.7 Jaccard similarity", "fb-20391"),
                {**_step("poison", 0, 0, 0, ""), "on": False},
                _step("label_noise", 4811, 0, 173, "suspects count 0.75"),
            ],
            "train_examples": 4811,
            "per_class": {"negative": 1580, "neutral": 1211, "positive": 2020},
            "sources": {"app": 5230, "help desk of the northern region": 871, "gold": 309},
        },
        "cost": {
            "train_seconds": 1284.4,
            "peak_memory_mb": 2215.0,
            "tokens_per_second": 1730.2,
            "evaluate_seconds": 47.3,
            "machine_cost": None,
        },
        "queue": [
            _wanted("contenders_disagree", 0.981, "The box was smaller than the picture."),
            _wanted("unsure", 0.942, "Well, it does what a spoon does, I suppose, if one asks it "
                    "kindly and does not expect soup to be involved on the same afternoon."),
            _wanted("audit", 0.1, "Arrived on Tuesday."),
        ],
        "history": [
            _past("2025-12-18T02:30:00+00:00", "promoted", 0.7412, None),
            _past("2025-12-19T02:30:00+00:00", "skipped", None, 0.7412),
            _past("2025-12-27T02:30:00+00:00", "promoted", 0.7917, 0.7412),
            _past("2026-01-05T02:30:00+00:00", "rejected", 0.7701, 0.7917),
            _past("2026-01-08T02:30:00+00:00", "undecided", 0.8465, 0.7917),
            _past("2026-01-10T02:30:00+00:00", "failed", None, 0.7917),
            _past("2026-01-12T02:30:00+00:00", "promoted", 0.8465, 0.7917),
        ],
    }  # fmt: skip


def first_model() -> dict[str, Any]:
    facts = {
        **promoted(),
        "version": "1",
        "champion_version": None,
        "evidence": None,
        "slices": None,
        "changed": None,
        "history": [],
    }
    facts["holdout"] = {**facts["holdout"], "champion": None}
    facts["confusion"] = {**facts["confusion"], "champion": None}
    facts["reliability"] = {**facts["reliability"], "champion": None}
    return facts


def on_trial() -> dict[str, Any]:
    facts = {**promoted(), "outcome": "undecided", "version": "8", "champion_version": "7"}
    evidence = facts["evidence"]
    facts["evidence"] = {
        **evidence,
        "nights": evidence["nights"][:3],
        "log_wealth": 1.06,
        "low": -0.021,
        "high": 0.142,
        "groups_to_decide": 158,
    }
    facts["reasons"] = [
        *facts["reasons"][:2],
        _reason("better_than_champion", None, "wealth 2.9 of 32.9 needed, trial 3"),
        _reason("calibration", False, "calibration error 0.0371 (needs ≤ 0.03)"),
    ]
    worse = _slice("language", "Portuguese of Brazil", 62, -0.1613, -0.2705, -0.0521, 0.002, True)
    facts["slices"] = [worse, *facts["slices"]]
    return facts


def skipped() -> dict[str, Any]:
    kept = ("use_case", "description", "as_of", "champion_version", "data", "ledger", "history")
    facts = {name: value for name, value in promoted().items() if name in kept}
    facts["reasons"] = [_reason("enough_examples", False, "41 training examples (needs ≥ 100)")]
    return {**facts, "outcome": "skipped", "version": None}


def failed() -> dict[str, Any]:
    return {
        "use_case": "product-reviews",
        "as_of": "2026-01-12T02:30:00+00:00",
        "outcome": "failed",
        "champion_version": "6",
        "reasons": [_reason("training", None, "training ran out of memory")],
    }


def variants() -> dict[str, dict[str, Any]]:
    """Every kind of night, each a copy of its own."""
    made = {
        "promoted": promoted(),
        "first_model": first_model(),
        "on_trial": on_trial(),
        "skipped": skipped(),
        "failed": failed(),
        "nothing_known": {},
    }
    return deepcopy(made)


def _reason(rule: str, passed: bool | None, detail: str, on: bool = True) -> dict[str, Any]:
    return {"rule": rule, "passed": passed, "detail": detail, "on": on}


def _slice(
    kind: str, name: str, rows: int, gain: float, low: float, high: float, p: float,
    worse: bool = False,
) -> dict[str, Any]:  # fmt: skip
    ends = {"gain": gain, "low": low, "high": high, "p_value": p, "worse": worse}
    return {"kind": kind, "name": name, "rows": rows, **ends}


def _night(as_of: str, *numbers: float) -> dict[str, Any]:
    names = ("rows", "groups", "won", "lost", "gain", "weighted_gain", "log_wealth")
    return {"as_of": as_of, **dict(zip(names, numbers, strict=True))}


def _asked(as_of: str, number: int, alpha: float, decision: str, gain: float) -> dict[str, Any]:
    asked = {"as_of": as_of, "number": number, "alpha": alpha}
    return {**asked, "decision": decision, "visible_gain": gain}


def _row(text: str, label: str, champion: str, challenger: int) -> dict[str, Any]:
    ours = LABELS[challenger]
    return {"text": text, "label": label, "champion": champion, "challenger": ours}


def _step(
    rule: str, seen: int, dropped: int, changed: int, detail: str, example: str | None = None
) -> dict[str, Any]:
    counts = {"seen": seen, "dropped": dropped, "changed": changed}
    return {"rule": rule, "on": True, **counts, "detail": detail, "example": example}


def _wanted(reason: str, score: float, text: str) -> dict[str, Any]:
    return {"reason": reason, "score": score, "text": text}


def _past(as_of: str, outcome: str, ours: float | None, theirs: float | None) -> dict[str, Any]:
    accuracies = {"challenger_accuracy": ours, "champion_accuracy": theirs}
    return {"as_of": as_of, "outcome": outcome, **accuracies}
