"""Drawings that keep their letters readable at any width: places in percent, sizes in pixels.

Nothing is scaled, so that there is no ``viewBox``; the padding of a ``plot`` (in the style sheet)
is where its axes stand. Numbers only are written into attributes, never anybody's words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Scale:
    """Places ``low`` to ``high`` at 0 to 100 percent; ``flip`` puts ``low`` at 100."""

    low: float
    high: float
    flip: bool = False

    def __call__(self, value: float) -> float:
        """The percentage of a value; one outside stays at the edge."""
        width = self.high - self.low
        share = min(1.0, max(0.0, (value - self.low) / width)) if width else 0.5
        return 100 * (1 - share if self.flip else share)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``, evenly spaced."""
    width = high - low
    # a step of a width smaller than that would be no float, or 0
    if not (width > 1e-300 and math.isfinite(width)):
        return [low]
    rough = 10 ** math.floor(math.log10(width / most))
    for factor in (1, 2, 5, 10, 20, 50, 100):
        step = rough * factor
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [n * step for n in range(first, last + 1)]
    return [low, high]


def around(values: Iterable[float], *, share: float = 0.08, least: float = 0.02) -> Scale:
    """A scale that holds all values with some room on both sides."""
    held = list(values)
    room = max(share * (max(held) - min(held)), least)
    return Scale(min(held) - room, max(held) + room)


def plot(title: str, body: Sequence[Markup], *, name: str, height: int) -> Markup:
    """A drawing that says what it shows; ``name`` is unique on the page."""
    return Markup(
        '<svg class="plot {name}" role="img" aria-labelledby="{name}-title" width="100%" '
        'height="{height}"><title id="{name}-title">{title}</title>{body}</svg>'
    ).format(name=name, height=height, title=title, body=Markup("").join(body))


def cell(body: Sequence[Markup], *, height: int = 18) -> Markup:
    """A drawing in a table whose numbers stand beside it, hence not read aloud."""
    return Markup(
        '<svg class="cell" aria-hidden="true" width="100%" height="{height}">{body}</svg>'
    ).format(height=height, body=Markup("").join(body))


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line between places in percent."""
    return Markup(
        f'<line class="{kind}" x1="{x1:.2f}%" y1="{y1:.2f}%" x2="{x2:.2f}%" y2="{y2:.2f}%"/>'
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> list[Markup]:
    """Lines from each point to the next."""
    return [line(*one, *two, kind) for one, two in pairwise(points)]


def dot(x: float, y: float, kind: str, *, radius: float = 4.5) -> Markup:
    """A round mark."""
    return Markup(f'<circle class="{kind}" cx="{x:.2f}%" cy="{y:.2f}%" r="{radius:.1f}"/>')


def square(x: float, y: float, kind: str, *, side: float = 8) -> Markup:
    """A square mark, for what colour alone must not tell apart from a round one."""
    return Markup(
        f'<svg class="mark" x="{x:.2f}%" y="{y:.2f}%"><rect class="{kind}" x="{-side / 2:.1f}" '
        f'y="{-side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"/></svg>'
    )


def bar(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A filled rectangle, all in percent."""
    return Markup(
        f'<rect class="{kind}" x="{x:.2f}%" y="{y:.2f}%" width="{max(0.0, width):.2f}%" '
        f'height="{height:.2f}%"/>'
    )


def label(
    text: str,
    x: float,
    y: float,
    *,
    right: float = 0,
    down: float = 0,
    anchor: str = "start",
    kind: str = "axis",
) -> Markup:
    """Words at a place in percent, moved by pixels."""
    return Markup(
        f'<text class="{kind}" x="{x:.2f}%" y="{y:.2f}%" dx="{right:g}" dy="{down:g}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
