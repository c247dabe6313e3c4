"""Whose a reaction is, where it and the request that it is about can each name a customer.

Who reacts speaks, not who asked: an agent, or another customer, may react to an answer that
somebody else was given. Where the reaction names nobody, it is of whom the answer was for. With a
customer's key both are that customer (`flywheel.serving.feedback`). All that counts, bounds or
weighs customers asks here, so that none of it takes the same row for another one's.
"""

from __future__ import annotations

REQUEST = """
LEFT JOIN predictions AS p
    ON
        p.use_case = f.use_case
        AND p.prediction_key = md5_number_lower(f.prediction_id)
        AND p.prediction_id = f.prediction_id
"""
"""Joins to feedback ``f`` the request ``p`` that it is about, where there is one."""


def customer(reaction: str = "f", request: str = "p") -> str:
    """SQL for the customer of a reaction; the arguments are the aliases of the two tables."""
    return f"coalesce({reaction}.customer_id, {request}.customer_id)"
