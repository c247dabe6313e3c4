"""What of a use case was changed since a version was measured, in words."""

from __future__ import annotations

from flywheel.config import UseCase


def in_words(measured: UseCase, now: UseCase) -> list[str]:
    """Every change that touches what is answered; none where there is none.

    A version keeps its own prompt, labels and lengths, and is asked by them.
    """
    found = []
    if measured.prompt != now.prompt:
        found.append("the prompt was edited; it answers by its own, tonight's model by the new one")
    for name in ("max_length_tokens", "max_new_tokens"):
        before, after = (getattr(case.training, name) for case in (measured, now))
        if before != after:
            found.append(f"training.{name} is {after} now, it answers by {before}")
    return found + _labels(measured.label_names, now.label_names)


def _labels(measured: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    added = [name for name in now if name not in measured]
    gone = [name for name in measured if name not in now]
    if not added and not gone:
        return [] if measured == now else ["the labels stand in another order now"]
    found = []
    if added:
        found.append(f"it does not know {_list(added)}, and is wrong where that is right")
    if gone:
        found.append(
            f"it still answers {_list(gone)}, which the use case has no more; reactions that name "
            "a label that is gone are left out as unknown_label"
        )
    if added and gone:
        found.append(
            "a renamed label is another label: rows under the old name count again once they are "
            "given under the new one"
        )
    return found


def _list(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
