"""Numbers and dates in words; what is missing, or is no finite number, is said to be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

NOT_MEASURED = "not measured"
_MINUS = "\N{MINUS SIGN}"
_NARROW = "\N{NARROW NO-BREAK SPACE}"
_HARD = "\N{NO-BREAK SPACE}"
TIMES = f"{_HARD}\N{MULTIPLICATION SIGN}"


def known(value: object) -> float | None:
    """The number, or None where there is none: missing, text, infinite or not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def at(facts: object, *path: str) -> Any:
    """What lies at a path of keys, or None where the path ends early."""
    for name in path:
        if not isinstance(facts, Mapping):
            return None
        facts = facts.get(name)
    return facts


def score_name(holdout: object) -> str:
    """Under which name a holdout's contenders have their score: accuracy, or that of written texts.

    The ends of its interval stand beside it, see `score_ends`.
    """
    written = any(
        known(at(holdout, who, "rouge_l")) is not None for who in ("challenger", "champion")
    )
    return "rouge_l" if written else "accuracy"


def score_ends(holdout: object, who: str) -> tuple[float | None, float | None]:
    """The 95 % interval of a contender's score, as (low, high); None where it was not measured."""
    before = "rouge_l_" if score_name(holdout) == "rouge_l" else ""
    low, high = (known(at(holdout, who, f"{before}{end}")) for end in ("low", "high"))
    return low, high


def number(value: object, digits: int = 0) -> str:
    """``1,234.5`` with this many digits after the point."""
    found = known(value)
    if found is None:
        return NOT_MEASURED
    return _signless(f"{found:,.{digits}f}")


def percent(value: object, digits: int = 1) -> str:
    """A share in [0, 1] as ``84.3 %``."""
    found = known(value)
    return NOT_MEASURED if found is None else f"{number(100 * found, digits)}{_NARROW}%"


def signed(value: object, digits: int = 1) -> str:
    """A difference of shares, in [-1, 1], as points of a hundred: ``+4.1``."""
    found = known(value)
    if found is None:
        return NOT_MEASURED
    said = f"{100 * found:+.{digits}f}"
    return _signless(said) if float(said) else said[1:]


def span(low: object, high: object) -> str:
    """An interval of differences of shares, in points: ``-1.2 to +9.3``."""
    if known(low) is None or known(high) is None:
        return NOT_MEASURED
    return f"{signed(low)} to {signed(high)}"


def share_span(low: object, high: object) -> str:
    """An interval of shares: ``81.2 to 87.0 %``."""
    first, last = known(low), known(high)
    if first is None or last is None:
        return NOT_MEASURED
    return f"{number(100 * first, 1)} to {percent(last)}"


def seconds(value: object) -> str:
    """A duration as ``41 s``, ``12 min 5 s`` or ``1 h 3 min``."""
    found = known(value)
    if found is None:
        return NOT_MEASURED
    if found < 10:
        return f"{found:.1f}{_HARD}s"
    whole = round(found)
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours:,}{_HARD}h {minutes}{_HARD}min"
    return f"{minutes}{_HARD}min {left}{_HARD}s" if minutes else f"{left}{_HARD}s"


def measure(value: object, unit: str, digits: int = 0) -> str:
    """A number with its unit."""
    found = known(value)
    return NOT_MEASURED if found is None else f"{number(found, digits)}{_HARD}{unit}"


def alpha(value: object) -> str:
    """A small chance, short: ``0.05``, ``0.00031``."""
    found = known(value)
    return NOT_MEASURED if found is None else f"{found:.2g}"


def wealth(log_wealth: object) -> str:
    """A natural logarithm of a wealth as the times of its stake that it is: ``12.3 times``."""
    found = known(log_wealth)
    if found is None:
        return NOT_MEASURED
    if found > 20:
        return f"over 100 million{TIMES}"
    if found < -7:
        return f"under 0.001{TIMES}"
    times = math.exp(found)
    return f"{times:,.0f}{TIMES}" if times >= 100 else f"{times:.3g}{TIMES}"


def moment(as_of: object) -> datetime | None:
    """The time in UTC; None where it is none."""
    if not isinstance(as_of, str):
        return None
    try:
        found = datetime.fromisoformat(as_of)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def day(as_of: object) -> str:
    """``2 January 2026, 02:30 UTC``."""
    found = moment(as_of)
    if found is None:
        return as_of if isinstance(as_of, str) else "a date not recorded"
    return f"{found.day}{_HARD}{found:%B}{_HARD}{found:%Y}, {found:%H:%M}{_HARD}UTC"


def short_day(as_of: object) -> str:
    """``2 Jan``, for axes and tables."""
    found = moment(as_of)
    return "?" if found is None else f"{found.day}{_HARD}{found:%b}"


def per_hundred(value: float) -> str:
    """A share of a hundred in whole numbers; one digit more where it would read as none."""
    hundredth = 100 * value
    whole = f"{hundredth:.0f}" if abs(hundredth) >= 1 else f"{hundredth:.1f}"
    return _signless(whole) if float(whole) else "0"


def count(value: object, one: str, many: str | None = None) -> str:
    """``1 row``, ``1,204 rows``."""
    found = known(value)
    if found is None:
        return f"{many or one + 's'}: {NOT_MEASURED}"
    return f"{number(found)} {one if found == 1 else many or one + 's'}"


def wrappable(text: object) -> Markup:
    """A name, escaped, that a narrow column may break after an underscore."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _signless(said: str) -> str:
    return said.replace("-", _MINUS)
