"""Connections that are opened and kept waiting keep nobody else from being answered."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import resource
import socket
import urllib.request
from urllib.parse import urlsplit

import pytest

from flywheel.config import Home, UseCase
from flywheel.serving.http import connections, server
from tests.engines import OpenModelSource, WordCounter
from tests.services import listening, until

MOST = 8
BEGINNINGS = (b"", b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-never-ends: ")


def opened(url: str, sent: bytes) -> socket.socket:
    at = urlsplit(url)
    made = socket.create_connection((at.hostname, at.port), timeout=10)
    made.sendall(sent)
    return made


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", BEGINNINGS)
def test_half_open_requests_stop_nobody(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    shelf = OpenModelSource({"1": WordCounter("1", use_case)})
    with (
        listening(home, use_case, shelf, connections=MOST) as url,
        contextlib.ExitStack() as stack,
    ):
        half = [stack.enter_context(opened(url, sent)) for _ in range(5 * MOST)]
        for _ in range(2 * MOST):
            with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
                assert answer.status == 200
        assert all(is_closed(one) for one in half[: 4 * MOST])


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"])
def test_a_head_that_never_ends_is_closed(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    shelf = OpenModelSource({"1": WordCounter("1", use_case)})
    with listening(home, use_case, shelf) as url, opened(url, first) as one:
        # also where a whole request came before it
        answered = one.recv(65_536) if first else b"HTTP/1.1 200"
        assert answered.startswith(b"HTTP/1.1 200")
        one.sendall(BEGINNINGS[1])
        while one.recv(65_536):
            pass


def test_there_are_fewer_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    for soft, hard, most, asked in (
        (1_024, 1_024, 512, (1_024, 1_024)),
        (1_024, 4_096, 2_048, (2_560, 4_096)),
        (256, resource.RLIM_INFINITY, 2_048, (2_560, resource.RLIM_INFINITY)),
        (100_000, 100_000, 2_048, None),
    ):
        raised.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=(soft, hard): now)
        assert connections.limit() == most
        assert raised == ([asked] if asked else [])
    assert 4 * connections.BACKLOG < connections.RESERVED_FILES


@pytest.mark.parametrize("name", server.LOGGERS)
def test_a_line_that_repeats_itself_is_written_once(name: str) -> None:
    loggers = [logging.getLogger(one) for one in server.LOGGERS]
    own, written = logging.getLogger(name), logging.handlers.BufferingHandler(10_000)
    own.addHandler(written)
    server.quieten()
    try:
        for n in range(600):
            own.error("could not write %d rows", n)
            own.error("another line")
    finally:
        own.removeHandler(written)
        for logger in loggers:
            logger.filters.clear()
    told = [line.getMessage() for line in written.buffer]
    assert told == ["could not write 0 rows", "another line"]


def test_a_dropped_connection_frees_its_place(home: Home, use_case: UseCase) -> None:
    shelf = OpenModelSource({"1": WordCounter("1", use_case)})
    with listening(home, use_case, shelf, connections=1) as url:
        for _ in range(20):
            with opened(url, b""):
                pass
        until(lambda: urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200)
