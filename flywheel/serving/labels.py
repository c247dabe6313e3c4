"""The labels that feedback may name: those of the use case's file as it stands now.

A person adds, renames or takes away a label in the YAML file, and the next night goes by it. So
does the service, without a restart; what answers stays what was registered.
"""

from __future__ import annotations

import logging
from pathlib import Path

from flywheel.config import UseCase, load_use_case
from flywheel.errors import ConfigError

log = logging.getLogger(__name__)

_Mark = tuple[int, int, int]


class Labels:
    """Of a use case, and of its ``file``, where there is one; the file is looked at when asked."""

    def __init__(self, use_case: UseCase, file: Path | None = None) -> None:
        self._use_case, self._names = use_case, use_case.label_names
        self._file = None if file is None else file.absolute()
        self._read = self._mark()

    @property
    def names(self) -> tuple[str, ...]:
        """The labels in their order; those read last while the file is no use case of this name."""
        mark = self._mark()
        if self._file is not None and mark is not None and mark != self._read:
            self._read = mark
            self._take(self._file)
        return self._names

    def _take(self, file: Path) -> None:
        who, kind = self._use_case.name, self._use_case.kind
        try:
            now = load_use_case(str(file))
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            # not the message: it may quote golden texts
            log.warning(
                "%s changed and cannot be used (%s); labels stay", file, type(error).__name__
            )
            return
        if (now.name, now.kind) != (who, kind):
            log.warning("%s is no longer the %s named %s; labels stay", file, kind, who)
        elif now.label_names != self._names:
            self._names = now.label_names
            log.info("feedback may name these labels of %s now: %s", who, ", ".join(self._names))

    def _mark(self) -> _Mark | None:
        """What is another one after each change; None where the file cannot be looked at."""
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_size, found.st_mtime_ns)
