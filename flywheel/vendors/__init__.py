"""Bought answers: any OpenAI-compatible endpoint as a contender on the same rows and prompts.

    messages   what is sent                 replies   how the answer is read
    client     one endpoint over HTTP       budget    what may still be spent
    answers    what was answered, kept      bill      what ours and theirs cost
    report     the build-or-buy report

`ask` is the one way in. An endpoint is sent customers' texts: nothing calls it unless a person
asked for it by command.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flywheel.config import Home, UseCase, VendorConfig
from flywheel.errors import ConfigError, FlywheelError, VendorUnavailable
from flywheel.text.normalize import text_id
from flywheel.vendors import chat_requests, jsonl, replies
from flywheel.vendors import reply_cache as answers
from flywheel.vendors.budget import Budget
from flywheel.vendors.chat_requests import Shown
from flywheel.vendors.client import Endpoint, connect
from flywheel.vendors.reply_cache import Answer, Answers

__all__ = ["Answer", "Asked", "Outlook", "Shown", "ask", "examples", "outlook", "recorded"]

GIVE_UP_AFTER = 5
"""Texts in a row without any answer, after which an endpoint is down."""


@dataclass(frozen=True)
class Asked:
    """What an endpoint made of some texts.

    ``answers`` are in the texts' order; None where it gave no answer after all tries, which is not
    an abstention. ``asked`` were sent now, in ``wall_seconds``; the others were recorded before.
    ``failures`` is why → texts.
    """

    answers: tuple[Answer | None, ...]
    asked: int
    wall_seconds: float
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Outlook:
    """What asking would come to: texts recorded and not, and the most that the latter can cost."""

    recorded: int
    missing: int
    most: float
    spent: float


def ask(
    use_case: UseCase,
    vendor: VendorConfig,
    texts: Sequence[str],
    home: Home,
    *,
    shown: Sequence[Shown] = (),
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Asked:
    """Ask an endpoint each text once; what it answered before is not asked again.

    Each answer is on the disk before the next text is taken, so that whatever ends this loses only
    what was under way. ``shown`` are examples put before each text. ``offline`` answers from the
    record alone. ``progress`` is called with (texts done, texts to ask). Not to be called inside an
    event loop.

    Raises:
        ConfigError: the key's variable is not set or holds no key.
        StoreBusy: another process asks vendors of this use case.
        DataError: the record was changed by another hand.
        SpendCapReached: the next request could pass the cap; what was answered is kept.
        VendorRefused: the endpoint refuses the key, the model or the request.
        VendorUnavailable: it did not answer `GIVE_UP_AFTER` texts in a row.
    """
    keys = _keys(use_case, vendor, texts, shown)
    with jsonl.only_writer(home.vendors(use_case.name)):
        known = _answers(use_case, vendor, home)
        missing = {key: text for text, key in keys.items() if known.get(key) is None}
        failures: dict[str, int] = {}
        started = time.perf_counter()
        if missing and not offline:
            bodies = {
                key: chat_requests.body(use_case, vendor, text, shown)
                for key, text in missing.items()
            }
            run = _Run(use_case, vendor, known, missing, bodies, progress)
            asyncio.run(run.ask(_budget(use_case, vendor, home), _secret(vendor)))
            failures = run.failures
        seconds = time.perf_counter() - started
    return Asked(
        answers=tuple(known.get(keys[text]) for text in texts),
        asked=0 if offline else len(missing),
        wall_seconds=seconds,
        failures=failures,
    )


def outlook(
    use_case: UseCase,
    vendor: VendorConfig,
    texts: Sequence[str],
    home: Home,
    *,
    shown: Sequence[Shown] = (),
) -> Outlook:
    """What `ask` would send and could spend at most, every try answered at once; sends nothing."""
    known = {answer.key for answer in recorded(use_case, vendor, home)}
    keys = _keys(use_case, vendor, texts, shown)
    missing = {key: text for text, key in keys.items() if key not in known}
    bodies = (chat_requests.body(use_case, vendor, text, shown) for text in missing.values())
    return Outlook(
        recorded=len(set(keys.values()) & known),
        missing=len(missing),
        most=sum(
            chat_requests.price(vendor, *chat_requests.most_tokens(b, vendor)) for b in bodies
        ),
        spent=_budget(use_case, vendor, home).spent,
    )


def recorded(use_case: UseCase, vendor: VendorConfig, home: Home) -> list[Answer]:
    """Everything that a vendor ever answered here, in the order of recording."""
    return _answers(use_case, vendor, home).all()


def examples(train: Sequence[Shown], labels: Sequence[str], count: int) -> list[Shown]:
    """``count`` training pairs to show, the labels as level as they can be; always the same ones.

    Within a label they come in the order of a hash of the text. Fewer where ``train`` has fewer.
    """

    def drawn(pair: Shown) -> str:
        return hashlib.sha256(pair[0].encode("utf-8", "replace")).hexdigest()

    piles = [sorted((p for p in train if p[1] == label), key=drawn) for label in labels]
    deepest = max(map(len, piles), default=0)
    dealt = [pile[level] for level in range(deepest) for pile in piles if level < len(pile)]
    return dealt[:count]


class _Run:
    """The texts that are under way, and what became of them."""

    def __init__(
        self,
        use_case: UseCase,
        vendor: VendorConfig,
        known: Answers,
        texts: Mapping[str, str],
        bodies: Mapping[str, dict[str, Any]],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.use_case, self.vendor = use_case, vendor
        self.known, self.texts, self.bodies = known, texts, bodies
        self.progress = progress
        self.failures: dict[str, int] = {}
        self._waiting = list(bodies)[::-1]
        self._done = 0
        self._silent = 0
        self._halted: list[FlywheelError] = []

    async def ask(self, budget: Budget, secret: str | None) -> None:
        """Ask all; whatever halts it is raised when what was under way has ended."""
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(connect(self.vendor, secret))
            endpoint = Endpoint(self.vendor, http, budget, self.use_case.label_names)
            workers = min(self.vendor.concurrency, len(self._waiting))
            await asyncio.gather(*(self._work(endpoint) for _ in range(workers)))
        if self._halted:
            raise self._halted[0]

    async def _work(self, endpoint: Endpoint) -> None:
        while self._waiting and not self._halted:
            key = self._waiting.pop()
            try:
                got = await endpoint.answer(self.bodies[key])
            except FlywheelError as error:
                self._halted.append(error)
                return
            if isinstance(got, str):
                self._note(got)
            else:
                self._silent = 0
                self.known.add(self._answer(key, *got))
            self._done += 1
            if self.progress is not None:
                self.progress(self._done, len(self.bodies))

    def _note(self, why: str) -> None:
        self.failures[why] = self.failures.get(why, 0) + 1
        self._silent += 1
        if self._silent >= GIVE_UP_AFTER:
            self._halted.append(
                VendorUnavailable(
                    f"{self.vendor.name} did not answer {self._silent} texts in a row, each asked "
                    f"{self.vendor.tries} times; last: {why}. What it answered is kept; run "
                    "again later, and only the rest is asked."
                )
            )

    def _answer(self, key: str, reply: replies.Reply, seconds: float) -> Answer:
        labels = self.use_case.label_names
        probabilities = reply.probabilities
        if probabilities is None and reply.label is not None:
            probabilities = {label: float(label == reply.label) for label in labels}
        sent, received = reply.tokens or chat_requests.most_tokens(self.bodies[key], self.vendor)
        return Answer(
            key=key,
            text_id=text_id(self.texts[key]),
            label=reply.label,
            probabilities=probabilities,
            reason=reply.reason,
            graded=reply.probabilities is not None,
            seconds=seconds,
            input_tokens=sent,
            output_tokens=received,
            price=chat_requests.price(self.vendor, sent, received),
            metered=reply.tokens is not None,
            served_model=reply.served_model,
            asked_at=datetime.now(UTC).isoformat(),
        )


def _keys(
    use_case: UseCase, vendor: VendorConfig, texts: Sequence[str], shown: Sequence[Shown]
) -> dict[str, str]:
    """Text → key of its request; texts that differ in their spaces alone share one."""
    return {
        text: chat_requests.key(vendor, chat_requests.body(use_case, vendor, text, shown))
        for text in dict.fromkeys(texts)
    }


def _answers(use_case: UseCase, vendor: VendorConfig, home: Home) -> Answers:
    return Answers(answers.path(home.vendors(use_case.name), vendor.name))


def _budget(use_case: UseCase, vendor: VendorConfig, home: Home) -> Budget:
    path = answers.spent_path(home.vendors(use_case.name), vendor.name)
    return Budget(path, cap=vendor.spend_cap)


def _secret(vendor: VendorConfig) -> str | None:
    if vendor.key_env is None:
        return None
    secret = os.environ.get(vendor.key_env, "").strip()
    if not secret:
        raise ConfigError(
            f"The variable {vendor.key_env} is not set, and {vendor.name} needs the key in it "
            f"(key_env). Nothing was asked; export {vendor.key_env}, or replay what is recorded."
        )
    if not (secret.isascii() and secret.isprintable()):
        raise ConfigError(
            f"The variable {vendor.key_env} holds what cannot be a key. Nothing was asked."
        )
    return secret
