"""What two contenders answered when it counted, beside what they answer when asked again.

A fresh row that both answered in serving, one shown and the other in its shadow, is judged by those
answers: what is measured is what was served. It is asked again all the same, so that a difference
is found. There are honest ones: texts beside it in a batch move probabilities a little, and
personal data is taken out of a text before it is kept as an example. They stay few.

Whose answer people had seen matters: who reacts to an answer leans towards it. Where it was the
champion's, a challenger is proven better in spite of that. Where it was the challenger's, the row
is its canary's, which can only refuse it (`flywheel.gate.rules.canary`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.records import Contestant, Served
from flywheel.records.answers import top

TIE = 0.15
"""How far a text's probabilities may move with the texts beside it, as in
`flywheel.tracking.measured_answers`."""

Answers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class JudgedAnswers:
    """What a fresh row is judged by: ``answers`` is digest → label → probability.

    ``shown``, ``recorded`` and ``differs`` as in `flywheel.records.FreshRow`.
    """

    answers: Answers = field(repr=False)
    shown: Contestant | None
    recorded: bool
    differs: bool | None


def resolve_answers(
    served: Sequence[Served], measured: Answers, *, challenger: str
) -> JudgedAnswers:
    """Decide which answers judge a row; the order of ``served`` does not matter.

    ``measured`` holds both contenders' answers by digest; ``served`` are recorded answers to the
    requests that the row's feedback was given on, those of other digests without effect. Of several
    requests the first by id counts. A row that anybody labeled with the challenger's answer in
    sight is its canary's, judged by that answer, whether or not the champion's was recorded too.
    """
    known = [one for one in served if one.digest in measured]
    seen = {one.digest for one in known if one.shown}
    shown: Contestant | None = None
    if seen:
        shown = "challenger" if challenger in seen else "champion"
    requests: dict[str, dict[str, Mapping[str, float]]] = {}
    for one in sorted(known, key=lambda one: (one.prediction_id, one.digest, one.shown)):
        if shown == "challenger" and not _of_canary(one.prediction_id, known, challenger):
            continue
        requests.setdefault(one.prediction_id, {})[one.digest] = one.probabilities
    whole = [found for found in requests.values() if shown == "challenger" or len(found) == 2]
    judging = whole[0] if whole else {}
    return JudgedAnswers(
        answers={**measured, **judging},
        shown=shown,
        recorded=bool(judging),
        differs=any(_differs(one.probabilities, measured[one.digest]) for one in known)
        if known
        else None,
    )


def _of_canary(prediction_id: str, known: Sequence[Served], challenger: str) -> bool:
    return any(
        one.shown and one.digest == challenger and one.prediction_id == prediction_id
        for one in known
    )


def _differs(served: Mapping[str, float], measured: Mapping[str, float]) -> bool:
    """Whether the likeliest labels differ, and by more than a tie."""
    label, best = top(served), top(measured)
    return label != best and not measured[best] - measured.get(label, 0.0) <= TIE
