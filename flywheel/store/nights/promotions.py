"""Every change of the champion: who, when, why, and what it was before.

The registry's alias says who is champion; this log says how that came about. A step that is
repeated after a kill stands here once.
"""

from __future__ import annotations

from typing import get_args

from flywheel.errors import DataError
from flywheel.records import Action, Promotion
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_PROMOTIONS = """
SELECT
    epoch_us("at"),
    action,
    version,
    digest,
    before,
    who,
    why
FROM promotions
WHERE use_case = ?
ORDER BY number
"""
# the newest row is the only one that a repeated step can be a repetition of, except for a night
# that is lived again after somebody else moved the champion
_ADD = """
INSERT INTO promotions
SELECT
    $use_case,
    (SELECT coalesce(max(number), 0) + 1 FROM promotions WHERE use_case = $use_case),
    $at::TIMESTAMPTZ,
    $action,
    $version,
    $digest,
    $before,
    $who,
    $why
WHERE NOT EXISTS (
    SELECT 1
    FROM promotions
    WHERE
        use_case = $use_case
        AND action = $action
        AND version = $version
        AND before IS NOT DISTINCT FROM $before
        AND "at" = $at::TIMESTAMPTZ
)
"""


def add_promotion(store: Store, use_case: str, promotion: Promotion) -> None:
    """Write one change down; the same action, version, predecessor and time are kept once.

    Raises:
        DataError: the action is none that is known.
    """
    if promotion.action not in get_args(Action):
        raise DataError(f"{promotion.action!r} is no change of a champion: {get_args(Action)}.")
    with transaction(store.con):
        store.con.execute(
            _ADD,
            {
                "use_case": use_case,
                "at": promotion.at,
                "action": promotion.action,
                "version": promotion.version,
                "digest": promotion.digest,
                "before": promotion.before,
                "who": promotion.who,
                "why": promotion.why,
            },
        )


def promotions(store: Store, use_case: str) -> list[Promotion]:
    """Every change of the champion, the oldest first."""
    return [
        Promotion(store.moment(at_us), *rest)
        for at_us, *rest in store.rows(_PROMOTIONS, [use_case])
    ]


def last_champion(store: Store, use_case: str) -> str | None:
    """The version that the log last names as champion; None when it names none."""
    known = promotions(store, use_case)
    return known[-1].version if known else None
