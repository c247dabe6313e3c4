"""Who may ask: keys from the environment, and how much each may ask for.

The token bucket is our own: with the library `limits` a request larger than the limit never
passes, and its moving window keeps an entry for each text. Here there is one for each key.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.config import ServingConfig
from flywheel.errors import ConfigError
from flywheel.files import private_files

VARIABLE = "FLYWHEEL_SERVE_KEYS"
MIN_KEY_CHARS = 16
_CUSTOMER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID_BYTES, _MARK_CHARS = 12, 8


@dataclass(frozen=True)
class Caller:
    """Who asks. ``customer_id`` None is a backend that is trusted to say for whom it asks."""

    name: str
    customer_id: str | None = None

    def named(self, name: str | None) -> str | None:
        """A name that this caller gave to somebody or something: a customer's is below theirs.

        So nobody names another one's group or rater. The customer's own name stays as it is.
        """
        if name is None or self.customer_id in (None, name):
            return name
        return f"{self.customer_id}/{name}"


ANYBODY = Caller("anybody")
"""Who asks where there are no keys."""


@dataclass(frozen=True)
class Keys:
    """The keys that are accepted, by hash; without any, everybody on this machine is trusted."""

    callers: tuple[tuple[bytes, Caller], ...] = field(repr=False)

    @classmethod
    def parse(cls, given: str) -> Keys:
        """Read ``KEY,customer:KEY,...``; nobody's key is also another's.

        Raises:
            ConfigError: a key is too short or given twice, or a customer cannot be named so.
        """
        callers: dict[bytes, Caller] = {}
        for number, entry in enumerate(filter(None, map(str.strip, given.split(","))), start=1):
            customer, colon, key = entry.rpartition(":")
            if colon and not _CUSTOMER.fullmatch(customer):
                raise ConfigError(
                    f"Entry {number} of {VARIABLE} names a customer with other characters than "
                    "letters, digits, dots, dashes and underscores."
                )
            if len(key) < MIN_KEY_CHARS or not key.isascii():
                raise ConfigError(
                    f"The key in entry {number} of {VARIABLE} must have at least {MIN_KEY_CHARS} "
                    "ASCII characters; python -c 'import secrets; print(secrets.token_urlsafe())'"
                )
            if _hashed(key) in callers:
                raise ConfigError(f"The key in entry {number} of {VARIABLE} is there twice.")
            callers[_hashed(key)] = Caller(customer or f"key-{number}", customer or None)
        return cls(tuple(callers.items()))

    def caller(self, authorization: str | None) -> Caller | None:
        """Who sends this ``Authorization`` header; None when nobody that is known.

        It takes as long for a wrong key as for a right one.
        """
        if not self.callers:
            return ANYBODY
        scheme, _, key = (authorization or "").partition(" ")
        hashed = _hashed(key.strip())
        found = None
        for known, caller in self.callers:
            if hmac.compare_digest(known, hashed):
                found = caller
        return found if scheme.lower() == "bearer" else None


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


# ---- Whose answer it was


class Marks:
    """Prediction ids that can tell whom the answer was given to, without a list of them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of(cls, folder: Path) -> Marks:
        """With the secret of this home, made when there is none."""
        path = cls.path(folder)
        if not path.exists():
            private_files.make_once(path, secrets.token_bytes(32))
        return cls(path.read_bytes())

    @staticmethod
    def path(folder: Path) -> Path:
        """Where the secret lies."""
        return folder / "key"

    def new_id(self, customer_id: str | None) -> str:
        """32 hex digits: chance, and a mark that only this home can make."""
        chance = secrets.token_hex(_ID_BYTES)
        return chance + self._mark(chance, customer_id)

    def belongs(self, prediction_id: str, customer_id: str) -> bool:
        """Whether the answer with this id was given to this customer."""
        chance, mark = prediction_id[: 2 * _ID_BYTES], prediction_id[2 * _ID_BYTES :]
        return hmac.compare_digest(self._mark(chance, customer_id).encode(), mark.encode())

    def pseudonym(self, name: str) -> str:
        """16 hex digits that stand for a name where names do not belong; only this home's."""
        return hmac.digest(self._secret, f"pseudonym\x1f{name}".encode(), "sha256").hex()[:16]

    def _mark(self, chance: str, customer_id: str | None) -> str:
        said = f"{chance}\x1f{customer_id or ''}".encode()
        return hmac.digest(self._secret, said, "sha256").hex()[:_MARK_CHARS]


# ---- How much


TEXTS_PER_S = 200.0
"""What a key may ask for where the use case does not say: far more than any one app does."""


class Allowance:
    """A token bucket for each caller: ``per_s`` texts a second, a burst of ten seconds' worth.

    Whoever asks without a key has none where ``anybody`` is false.
    """

    def __init__(self, per_s: float | None, *, anybody: bool = True) -> None:
        self._per_s, self._anybody = per_s, anybody
        self._left: dict[str, tuple[float, float]] = {}

    @classmethod
    def of(cls, config: ServingConfig) -> Allowance:
        """As a use case has it: 0 is no limit, and unnamed `TEXTS_PER_S` for each key."""
        if config.texts_per_s is None:
            return cls(TEXTS_PER_S, anybody=False)
        return cls(config.texts_per_s or None)

    def wait_s(self, caller: Caller, texts: int, *, now: float) -> int:
        """Take ``texts`` out of the bucket; seconds to wait when there are not enough, else 0."""
        if self._per_s is None or (caller == ANYBODY and not self._anybody):
            return 0
        name = caller.name
        burst = max(10 * self._per_s, 1)
        left, then = self._left.get(name, (burst, now))
        left = min(burst, left + (now - then) * self._per_s)
        # a request larger than the burst is let through by a full bucket, which then owes
        if left < min(texts, burst):
            self._left[name] = (left, now)
            return math.ceil((min(texts, burst) - left) / self._per_s)
        self._left[name] = (left - texts, now)
        return 0
