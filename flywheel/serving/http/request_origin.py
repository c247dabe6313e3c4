"""Whom a request comes from, told by its head alone, before any of its body is read.

Without keys whoever is on this machine is trusted. So nothing may be answered that comes from
elsewhere through something that runs here: a name that only points here (DNS rebinding), a proxy,
a page in a browser. With keys it is the key that tells; a browser sends it for nobody unasked, so
that a page elsewhere has no more rights than its reader gave it.

Our own in place of Starlette's ``TrustedHostMiddleware``, which looks at the Host header alone: a
proxy on this machine sends the right one, and so does a browser for a page of another port here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flywheel.serving.http.auth import VARIABLE, Keys

HERE = frozenset({"localhost", "127.0.0.1", "::1"})
"""What a client on this machine calls it."""
FORWARDED = re.compile(
    r"forwarded|via|cdn-loop|x-forwarded.*|.*-forwarded-for|(.*-)?(client|connecting|real)-?ip"
    r"|x-(original|envoy|azure|arr|proxy)(-.*|user-.*)|(cf|fly|fastly)-.*"
)
"""Headers that a proxy adds. What traces a request (``traceparent``) a program here sends, too."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Refused(Exception):
    """What a request is answered at once, whatever its body holds."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Strangers:
    """Refuses them. ``keyed`` are the paths that nobody asks without a key, where there are keys.

    ``limits`` are paths → the largest body in bytes that is read of somebody who needs no key.
    """

    keys: Keys
    keyed: frozenset[str]
    max_body_bytes: int
    limits: Mapping[str, int]

    def admit(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """How many bytes of a body may be read of this request; ``headers`` by lower-case name.

        Raises:
            Refused: nothing of it is read.
        """
        if not self.keys.callers:
            _require_here(method, headers)
        elif self.keys.caller(headers.get("authorization")) is None and path in self.keyed:
            raise Refused(401, "Send a key: Authorization: Bearer KEY", www_authenticate="Bearer")
        if method in _READING:
            return 0
        return self.max_body_bytes if path in self.keyed else self.limits.get(path, 0)


def _require_here(method: str, headers: Mapping[str, str]) -> None:
    """Let only those through who are on this machine themselves."""
    host = headers.get("host", "")
    if _name(host) not in HERE:
        raise Refused(421, "Without keys this machine alone is served, by its own name.")
    through = next((n for n in headers if FORWARDED.fullmatch(n)), None)
    if through is not None:
        raise Refused(
            403,
            f"A proxy sent this ({through}), and without keys this machine alone is served. Start "
            f"the service with keys in {VARIABLE}.",
        )
    if method in _READING:
        return
    origin = headers.get("origin")
    if origin is not None and _authority(origin) != host.lower():
        raise Refused(403, "A page of another origin sent this, and without keys none may.")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "A page of another site sent this, and without keys none may.")


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _authority(origin: str) -> str | None:
    """Host and port of an origin, as a Host header has them; None where it has none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
