"""YAML that a stranger may have written, read without an end of the process.

The fast reader is C without a bound on how deep it calls itself: brackets in brackets end the
process, and no `except` holds that. And a few lines in which names stand for lists of names are
more values than any memory holds. Both are seen in the events, which are read one after the other.
"""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 64
MOST_VALUES = 1_000_000
"""Names counted as often as they are named."""
# libyaml reads the settings of a version in a tenth of the time, where the wheel has it
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(content: bytes) -> Any:
    """What a YAML document says.

    Raises:
        ValueError: it is deeper, or of more values, than anything that is written here.
        yaml.YAMLError: it is no YAML.
    """
    _require_bounded(content)
    return yaml.load(content, _LOADER)


def _require_bounded(content: bytes) -> None:
    sizes: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(content, _LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                sizes[event.anchor] = 1
            values += 1
        elif isinstance(event, yaml.AliasEvent):
            # of what is still open, or of nothing: it would never end
            values += sizes.get(str(event.anchor), MOST_VALUES + 1)
        if len(open_ones) > DEEPEST or values > MOST_VALUES:
            raise ValueError("deeper or of more values than any that is written here")
