"""An OpenAI-compatible endpoint on 127.0.0.1 that misbehaves as a test tells it to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flywheel.config import VendorConfig

Play = Callable[[str, int], "Act"]
"""(the text asked about, how often it was asked before) → what the endpoint does."""


@dataclass
class Act:
    """One reply. ``hang``: none at all, until the server is closed."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


@dataclass
class Served:
    """What the endpoint saw."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0


def says(content: str | None, *, tokens: tuple[int, int] | None = (100, 2), **choice: Any) -> Act:
    """A chat completion with this content; ``tokens`` None: without usage."""
    message = {"role": "assistant", "content": content}
    reply: dict[str, Any] = {
        "model": "bought-1",
        "choices": [{"message": message, "finish_reason": "stop", **choice}],
    }
    if tokens is not None:
        reply["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return Act(content=json.dumps(reply).encode())


def fails(status: int, code: str = "", **headers: str) -> Act:
    """An error as the interface words them; the message quotes what it must not."""
    error = {"message": "Incorrect API key sk-secret; the text was: secret words", "code": code}
    return Act(status, json.dumps({"error": error}).encode(), headers)


def text_of(body: dict[str, Any]) -> str:
    """The text that a request asks about."""
    (found,) = re.findall(r"<text>(.*?)</text>", body["messages"][-1]["content"], re.DOTALL)
    return str(found)


@contextmanager
def endpoint(play: Play) -> Iterator[Served]:
    """Serve ``play`` on a free port."""
    lock, closing = threading.Lock(), threading.Event()
    asked: dict[str, int] = {}
    now = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = text_of(body)
            with lock:
                before = asked.get(text, 0)
                asked[text] = before + 1
                served.bodies.append(body)
                served.headers.append({k.lower(): v for k, v in self.headers.items()})
                now[0] += 1
                served.most_at_once = max(served.most_at_once, now[0])
            try:
                self._do(play(text, before))
            finally:
                with lock:
                    now[0] -= 1

        def _do(self, act: Act) -> None:
            if act.hang:
                closing.wait()
                self.close_connection = True
                return
            self.send_response(act.status)
            for name, value in act.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(act.content)))
            self.end_headers()
            self.wfile.write(act.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def vendor(url: str, **fields: Any) -> VendorConfig:
    """A vendor at this url: a thousand tokens cost 1 sent and 2 received."""
    given = {
        "name": "acme",
        "url": url,
        "model": "bought",
        "input_price": 1.0,
        "output_price": 2.0,
        "spend_cap": 1_000.0,
        "backoff_s": 0.001,
        "timeout_s": 20.0,
    }
    return VendorConfig.model_validate({**given, **fields})
