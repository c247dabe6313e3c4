"""Whose word a feedback is: who holds the key speaks, whatever names it gives below itself."""

from __future__ import annotations

from flywheel.records import Reaction


def speaker(reaction: Reaction) -> str:
    """Who said it, to be counted once.

    The service puts a customer's own name before every name that comes with their key
    (`flywheel.serving.feedback`), so all of those are that customer. Elsewhere it is the rater.
    Of a feed and of the service nobody is the same: a feed's rows have its own source.
    """
    customer = reaction.customer_id
    if customer is None or not reaction.feedback_id.startswith(f"{customer}/"):
        return reaction.rater_id
    if reaction.rater_id != customer and not reaction.rater_id.startswith(f"{customer}/"):
        return reaction.rater_id
    return f"{reaction.source}\x1f{customer}"
