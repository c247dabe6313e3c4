"""One loaded base beneath many adapters: what is frozen lies in memory once.

Within `Bases.shared`, a base that nobody writes to is loaded once. Whoever asks for it gets modules
of its own, which may be wrapped and replaced, around the same weights. So an adapter is put on by
the code that puts it on alone, and answers the same; when it goes, nothing of it stays behind.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from flywheel.catalog.base_models import base_sha256


class Bases:
    """The bases that are in memory, for as long as something stands on them."""

    def __init__(self) -> None:
        self._whole: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let what is loaded here stand on these bases; one thread at a time."""
        with self._lock:
            token = _current.set(self)
            try:
                yield
            finally:
                _current.reset(token)

    def holds(self, folder: Path) -> bool:
        """Whether the base that ``folder`` says it holds is in memory, in whatever form."""
        return any(sha == base_sha256(folder) for sha, _ in list(self._whole))

    def skeleton(self, folder: Path, form: str, load: Callable[[], Any]) -> Any:
        """As `frozen`, standing on these bases."""
        key = base_sha256(folder), form
        whole = self._whole.get(key)
        if whole is None:
            whole = self._whole[key] = load()
        found = copy.deepcopy(whole, {id(part): part for part in _weights(whole)})
        # past torch, which would take it for a layer: the base lives as long as who stands on it
        found.__dict__["stands_on"] = whole
        return found


_current: ContextVar[Bases | None] = ContextVar("bases", default=None)


@contextmanager
def apart() -> Iterator[None]:
    """Load what is loaded here for itself alone, so that its weights may be changed."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def frozen(folder: Path, form: str, load: Callable[[], Any]) -> Any:
    """The base in ``folder``, whose weights the caller promises to leave as they are.

    Args:
        folder: Where it lies; its recorded hash is its name.
        form: How ``load`` lays it in memory; another form is another base.
        load: Loads it. Only called when it is not in memory, or outside of `Bases.shared`.
    """
    bases = _current.get()
    return load() if bases is None else bases.skeleton(folder, form, load)


def _weights(model: Any) -> Iterator[Any]:
    """Everything large of a torch module: parameters, buffers, and what 4 bits are unpacked by."""
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        if (state := getattr(module, "quant_state", None)) is not None:
            yield state
