"""Progress on standard error, for people; silent where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

PLAIN_SECONDS = 5.0


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield ``step(done, total)``: a bar on a terminal, else a line every five seconds."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def step(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            print(f"  {title}: {done} of {total}", file=sys.stderr, flush=True)

    yield step
