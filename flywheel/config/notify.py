"""Who is told what became of a night."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flywheel.config.base import NAME_PATTERN, Section

Event = Literal[
    "promoted", "awaiting_approval", "failed", "brake", "feedback_dried_up", "holdout_worn"
]


class NotifyConfig(Section):
    """One place that is told of nights: a webhook, a mailbox, a channel of Slack or Teams."""

    name: str = Field(pattern=NAME_PATTERN)
    """What the night's page calls it where it could not be told."""
    url_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    """The variable that holds the address, which is a secret and is never written anywhere.

    The address is one of `Apprise <https://appriseit.com/services/>`_: ``https://`` for a webhook,
    a Slack or a Teams webhook as these show it, ``mailtos://user:password@smtp.example.com`` for
    e-mail.
    """
    events: list[Event] = Field(
        default=[
            "promoted",
            "awaiting_approval",
            "failed",
            "brake",
            "feedback_dried_up",
            "holdout_worn",
        ],
        min_length=1,
    )
    """What it is told of; unnamed: everything."""
    quiet_nights: int = Field(default=3, ge=1)
    """Nights in a row without feedback after which it has dried up; told once."""
