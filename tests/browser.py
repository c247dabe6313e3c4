"""Debian's chromium, driven over its DevTools protocol: what a person at the page would do."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
WAIT_S = 30


class Page:
    """An open page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.messages: list[dict[str, Any]] = []
        """What the browser said by itself: requests, errors."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            said = json.loads(self._socket.recv(timeout=WAIT_S))
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])
            self.messages.append(said)

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def until(self, script: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not self.value(script):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text,
            )  # fmt: skip

    def tab_to(self, element: str) -> None:
        """Press the tab key until the element with this id has the focus."""
        for _ in range(30):
            if self.value("document.activeElement.id") == element:
                return
            self.press("Tab", 9)
        raise AssertionError(f"the tab key does not lead to {element}")

    def picture(self, path: Path) -> None:
        content = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(content))


@contextmanager
def open_page(url: str, profile: Path, *, width: int = 390, height: int = 844) -> Iterator[Page]:
    """The page at ``url``, in a window as wide as a phone."""
    browser = subprocess.Popen(
        [
            CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--remote-debugging-port=0", "--no-proxy-server", f"--user-data-dir={profile}",
            f"--window-size={width},{height}", "about:blank",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        noted = profile / "DevToolsActivePort"
        deadline = time.monotonic() + WAIT_S
        while not noted.exists() or len(noted.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        port = noted.read_text().splitlines()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/list") as listed:
            (target,) = [one for one in json.load(listed) if one["type"] == "page"]
        with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.call(f"{domain}.enable")
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
            )  # fmt: skip
            page.call("Page.navigate", url=url)
            page.until("document.readyState === 'complete'")
            yield page
    finally:
        browser.kill()
        browser.wait()
