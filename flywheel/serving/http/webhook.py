"""MLflow's word that the registry changed: signed, recent, and heard once.

What it says is not believed. It wakes those who follow the registry, and they read it themselves.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel.errors import ConfigError, DataError, TransientError

VARIABLE = "FLYWHEEL_WEBHOOK_SECRET"
PATH = "/hooks/mlflow"
MIN_SECRET_CHARS = 16
MAX_BODY_BYTES = 65_536
WINDOW_S = 300
"""How far the time of a delivery may be from now, either way."""
REMEMBERED = 10_000
"""Deliveries within that time; more are refused, for a repeated one could not be told."""

_SIGNATURE, _TIMESTAMP, _DELIVERY = (
    "x-mlflow-signature",
    "x-mlflow-timestamp",
    "x-mlflow-delivery-id",
)
_MAX_DELIVERY_CHARS, _MAX_TIMESTAMP_CHARS = 128, 12


class Unsigned(DataError):
    """Not signed with our secret, or not now."""


class Replayed(DataError):
    """This delivery was heard before."""


class TooLarge(DataError):
    """No delivery of MLflow's is so large."""


class TooMany(TransientError):
    """More deliveries than can be told apart."""


def verify(headers: Mapping[str, str], body: bytes, secret: str, *, now: float) -> str:
    """The id of a delivery that was signed with ``secret`` within `WINDOW_S` of ``now``.

    Args:
        headers: By name in lower case.
        now: Seconds since 1970.

    Raises:
        TooLarge: the body has more than `MAX_BODY_BYTES`; it was not looked at.
        Unsigned: a header is missing or malformed, the signature is another, or it is too old.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"A delivery may have at most {MAX_BODY_BYTES} bytes.")
    signature, timestamp, delivery = (
        headers.get(name, "") for name in (_SIGNATURE, _TIMESTAMP, _DELIVERY)
    )
    signed = f"{delivery}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    mac = base64.b64encode(hmac.digest(secret.encode(), signed, "sha256"))
    if not hmac.compare_digest(b"v1," + mac, signature.encode("utf-8", "surrogateescape")):
        raise Unsigned("The signature is not of this delivery and secret.")
    is_time = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < _MAX_TIMESTAMP_CHARS
    if not is_time or abs(now - int(timestamp)) > WINDOW_S:
        raise Unsigned(f"The delivery was not signed within {WINDOW_S} s of now.")
    if not 0 < len(delivery) <= _MAX_DELIVERY_CHARS:
        raise Unsigned("The delivery has no id.")
    return delivery


@dataclass(frozen=True)
class Hook:
    """Hears deliveries that are signed with ``secret``, each once."""

    secret: str = field(repr=False)
    _heard: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)
    """Delivery id → when it was heard; the oldest first."""

    @classmethod
    def parse(cls, secret: str) -> Hook | None:
        """With the secret of the environment; None when there is none.

        Raises:
            ConfigError: it is too short.
        """
        if not secret:
            return None
        if len(secret) < MIN_SECRET_CHARS:
            raise ConfigError(
                f"{VARIABLE} must have at least {MIN_SECRET_CHARS} characters; "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        return cls(secret)

    def receive(self, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
        """Return when this is a delivery to act on.

        Raises:
            TooLarge, Unsigned: as `verify`.
            Replayed: it was heard before.
            TooMany: later.
        """
        delivery = verify(headers, body, self.secret, now=now)
        # one signed ahead of our clock can come again for twice the window
        while self._heard and now - next(iter(self._heard.values())) > 2 * WINDOW_S:
            self._heard.popitem(last=False)
        if delivery in self._heard:
            raise Replayed("This delivery was heard before.")
        if len(self._heard) >= REMEMBERED:
            raise TooMany("Too many deliveries. Send it again later.")
        self._heard[delivery] = now
