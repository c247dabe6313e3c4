"""One endpoint over HTTP: paced, tried again where that can help, stopped where it cannot.

What an endpoint writes about an error may hold the key or a customer's text, so of an error only
its status and its code, a short word, are ever told.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from flywheel.config import VendorConfig
from flywheel.errors import DataError, VendorRefused, VendorUnavailable
from flywheel.vendors import chat_requests, replies
from flywheel.vendors.budget import Budget

LONGEST_WAIT_S = 120.0
"""An endpoint that asks for a longer pause is not waited for."""
MAX_REPLY_BYTES = 4_000_000
_AGAIN = frozenset({408, 409, 425, 429})
_HOPELESS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_ABSTAINED = {
    "content_filter": "filtered",
    "content_policy_violation": "filtered",
    "context_length_exceeded": "too long",
}
_CODE = re.compile(r"[a-z][a-z_]{2,40}")


class _TryAgain(Exception):
    """This try brought nothing; ``wait_s`` is what the endpoint asks for, None if nothing."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Endpoint:
    """A vendor's endpoint, for one run inside one event loop."""

    def __init__(
        self, vendor: VendorConfig, http: httpx.AsyncClient, budget: Budget, labels: tuple[str, ...]
    ) -> None:
        self.vendor = vendor
        self.labels = labels
        self._http = http
        self._budget = budget
        self._next = 0.0
        self._jitter = random.Random()

    async def answer(self, asked: dict[str, Any]) -> tuple[replies.Reply, float] | str:
        """The reply to a request and the seconds it took, or why there is none after all tries.

        Raises:
            SpendCapReached: the request was not sent, because it could cost too much.
            VendorRefused: the endpoint refuses the key, the model or such requests.
            VendorUnavailable: it asks for a longer pause than `LONGEST_WAIT_S`.
        """
        why = ""
        for number in range(self.vendor.tries):
            if number:
                await asyncio.sleep(self._backoff(number))
            await self._turn()
            try:
                return await self._try(asked)
            except _TryAgain as error:
                why = str(error)
                self._pause(error.wait_s)
        return why

    async def _try(self, asked: dict[str, Any]) -> tuple[replies.Reply, float]:
        sent, received = chat_requests.most_tokens(asked, self.vendor)
        async with self._budget.hold(chat_requests.price(self.vendor, sent, received)) as hold:
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self.vendor.timeout_s):
                    status, headers, content = await self._post(asked)
            except TimeoutError as error:
                raise _TryAgain(f"no reply within {self.vendor.timeout_s:g} s") from error
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                hold.price = 0.0
                raise _TryAgain("no connection") from error
            except httpx.HTTPError as error:
                raise _TryAgain(f"the connection broke ({type(error).__name__})") from error
            seconds = time.perf_counter() - started
            if status != 200:
                # what is refused is not billed
                hold.price = 0.0
                return self._refused(status, headers, content), seconds
            try:
                reply = replies.read(_json(content), self.labels)
            except DataError as error:
                raise _TryAgain("the reply is no chat completion") from error
            if reply.tokens is not None:
                hold.price = chat_requests.price(self.vendor, *reply.tokens)
            return reply, seconds

    async def _post(self, asked: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        content = bytearray()
        async with self._http.stream("POST", "chat/completions", json=asked) as response:
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_REPLY_BYTES:
                    raise _TryAgain(f"the reply has more than {MAX_REPLY_BYTES} bytes")
        return response.status_code, response.headers, bytes(content)

    def _refused(self, status: int, headers: httpx.Headers, content: bytes) -> replies.Reply:
        """An abstention, where the endpoint refused this one text; whatever else raises."""
        code = _code(content)
        told = f"HTTP {status}" + (f" ({code})" if code else "")
        if code in _ABSTAINED:
            return replies.Reply(None, _ABSTAINED[code], None, (0, 0), "")
        if code not in _HOPELESS and (status in _AGAIN or status >= 500):
            wait_s = _retry_after(headers)
            if wait_s is not None and wait_s > LONGEST_WAIT_S:
                raise VendorUnavailable(
                    f"{self.vendor.name} asks to be left alone for {wait_s:.0f} s ({told}). What "
                    "it answered is kept; run again then, and only the rest is asked.",
                    status=status,
                )
            raise _TryAgain(told, wait_s)
        raise VendorRefused(
            f"{self.vendor.name} refuses with {told}: {self._what_to_do(status)} What it answered "
            "before is kept, and nothing of ours depends on it.",
            status=status,
        )

    def _what_to_do(self, status: int) -> str:
        if status in {401, 403}:
            held = self.vendor.key_env or "key_env, which is not set"
            return f"see whether the key in {held} is right."
        if status in {404, 410}:
            return (
                f"see whether the url is right, and whether {self.vendor.model!r} is still sold "
                "there; a retired model needs another entry in vendors."
            )
        if 300 <= status < 400:
            return "it has moved; put the new url into vendors."
        return "see that temperature, token_limit, logprobs and extra are what it takes."

    async def _turn(self) -> None:
        """Wait until a request may go out: one at a time, as far apart as the rate allows."""
        gap = 60 / self.vendor.requests_per_minute if self.vendor.requests_per_minute else 0.0
        while (now := time.monotonic()) < self._next:
            await asyncio.sleep(self._next - now)
        self._next = now + gap

    def _pause(self, seconds: float | None) -> None:
        """Nobody asks before that."""
        if seconds is not None:
            self._next = max(self._next, time.monotonic() + seconds)

    def _backoff(self, number: int) -> float:
        """Seconds before a further try: half of it by chance, so that the tries do not meet."""
        longest = min(LONGEST_WAIT_S, self.vendor.backoff_s * 2.0 ** (number - 1))
        return longest * (0.5 + 0.5 * self._jitter.random())


def connect(vendor: VendorConfig, secret: str | None) -> httpx.AsyncClient:
    """A connection to a vendor's endpoint; redirects, which could lead a text away, are refused."""
    url = httpx.URL(vendor.url + "/")
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {secret}"} if secret else {},
        # the whole of a try is timed where it is made
        timeout=httpx.Timeout(None, connect=vendor.timeout_s / 2),
        limits=httpx.Limits(max_connections=vendor.concurrency),
        # this machine is not asked by way of a proxy
        trust_env=url.scheme == "https",
    )


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError("The reply is not JSON.") from error
    if not isinstance(found, dict):
        raise DataError("The reply is not an object.")
    return found


def _code(content: bytes) -> str | None:
    """The short word with which an endpoint names an error, None where it gives none."""
    try:
        error = _json(content).get("error")
    except DataError:
        return None
    found = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
    words = [word for word in found if isinstance(word, str) and _CODE.fullmatch(word)]
    return next(iter(words), None)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds from now that a Retry-After asks for, as a number or as a date; None without one."""
    asked = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked)) if asked else None
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
