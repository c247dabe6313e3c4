"""Addresses as they may be shown: without the passwords and signatures that stand in them."""

from __future__ import annotations

import re

HIDDEN = "***"

_USER = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/?#'\"<>@]{1,500}@", re.IGNORECASE)
# X-Amz-Signature, X-Goog-Credential, sig of Azure's SAS, AWSAccessKeyId, access_token, api_key, …
_GIVEN = re.compile(
    r"([?&;#](?:(?:[\w.-]{0,40}[_.-])?"
    r"(?:signature|credential|token|secret|password|passwd|pwd|key|apikey|auth|awsaccesskeyid)"
    r"|sig|code)=)[^\s&#;'\"<>]{1,4000}",
    re.IGNORECASE,
)
# as a connection string names it: host=db password='a b'
_NAMED = re.compile(
    r"(\b(?:password|passwd|pwd|secret)\s?=\s?)(?:'[^']{0,500}'|[^\s;&'\"]{1,500})", re.I
)


def without_secrets(text: str) -> str:
    """Hide user names and passwords, keys and signatures of every URL in a text; idempotent."""
    if "=" not in text and "@" not in text:
        return text
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    return _NAMED.sub(rf"\1{HIDDEN}", _GIVEN.sub(rf"\1{HIDDEN}", text))
