"""A share for each key of what all of them have together: the queue, the inbox, kept pictures.

A key may hold at most `TIMES` what is left free after it. So one alone gets three quarters, of two
that want everything each gets three sevenths, and however many they are, whoever comes anew finds
some of it free. As long as only one key was ever seen, it may have all.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from flywheel.ingestion.journal import OPEN

TIMES = 3
_LOOK_S = 1.0


class Known:
    """Whether more than one caller was seen; a name is kept of two at most."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def are_several(self, name: str) -> bool:
        """Note a caller, and say whether there was ever another one."""
        if len(self._names) < 2:
            self._names.add(name)
        return len(self._names) > 1


def may_have(mine: float, together: float, most: float) -> bool:
    """Whether a caller may hold ``mine`` where all hold ``together``, both with what it asks for.

    ``most`` is what there is, in the same unit.
    """
    return together <= most and mine <= TIMES * (most - together)


class InboxShares:
    """What each key has waiting in an inbox, in bytes of one kind of file.

    What was written before this process began is nobody's.
    """

    def __init__(self, folder: Path, kind: str, most: float) -> None:
        self._folder, self._kind, self._most = folder, kind, most
        self._known = Known()
        self._of: dict[str, Counter[str]] = defaultdict(Counter)
        """File, as it is named once it is sealed → caller → bytes."""
        self._waiting = 0
        self._looked = -_LOOK_S

    def require(self, who: str, size: int, *, now: float | None = None) -> None:
        """Refuse bytes of a caller who has more than a share.

        Raises:
            OSError: EDQUOT; nothing was written.
        """
        if not self._known.are_several(who):
            return
        self._look(time.monotonic() if now is None else now)
        mine = sum(counts[who] for counts in self._of.values())
        if not may_have(mine + size, self._waiting + size, self._most):
            raise OSError(
                errno.EDQUOT,
                f"a key has {mine / 1e6:.0f} MB of {self._kind} waiting for a night, which is its "
                f"share of {self._most / 1e6:.0f} MB (serving.inbox_mb)",
                str(self._folder),
            )

    def wrote(self, name: str, sizes: Mapping[str, int]) -> None:
        """Note what lies in a file now, by caller."""
        self._of[name.removesuffix(OPEN)].update(sizes)
        self._waiting += sum(sizes.values())

    def _look(self, now: float) -> None:
        """Forget what a night has taken; the folder is looked at once a second."""
        if now - self._looked < _LOOK_S:
            return
        self._looked, found = now, {}
        for path in self._folder.glob(f"*.{self._kind}.jsonl*"):
            try:
                found[path.name.removesuffix(OPEN)] = path.stat().st_size
            except FileNotFoundError:
                # a night took it in this moment
                continue
        self._waiting = sum(found.values())
        for name in [name for name in self._of if name not in found]:
            del self._of[name]


class PictureShares:
    """What pictures may take in a home, in bytes, and what each key has added since the start."""

    def __init__(self, folder: Path, most: float, refusal: Callable[[str], Exception]) -> None:
        self._folder, self._most, self._refusal = folder, most, refusal
        self._known = Known()
        self._added: Counter[str] = Counter()
        self._one = threading.Lock()
        self._kept: int | None = None

    def take(self, who: str, size: int) -> None:
        """Let a caller add a picture of ``size`` bytes.

        Raises:
            Exception: as ``refusal`` makes it; there is no room, or the caller has had its share.
        """
        with self._one:
            self._take(who, size)

    def _take(self, who: str, size: int) -> None:
        if self._kept is None:
            self._kept = sum(p.stat().st_size for p in self._folder.glob("*/*.png"))
        several = self._known.are_several(who)
        mine, together = self._added[who] + size, self._kept + size
        if together > self._most or (several and not may_have(mine, together, self._most)):
            raise self._refusal(
                f"{together / 1e6:.0f} MB of pictures would be kept, and at most "
                f"{self._most / 1e6:.0f} MB may, a share of it for each key (serving.pictures_mb)"
            )
        self._added[who], self._kept = mine, together
