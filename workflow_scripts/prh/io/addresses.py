"""Web addresses and the secrets in them: passwords, tokens and signatures, which must never be written to disk or a
log.

An experiment may name ``https://me:password@host/file`` or an address that is signed for a day. Everything printed or
written uses the `redacted` form. The full address travels from the experiment to the download job in an environment
variable, because command lines and job parameters are visible to others.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN = "***"
"""Replacement for a secret."""
ADDRESSES = "PRH_ADDRESSES"
"""Environment variable that maps redacted addresses to full ones, as JSON."""

_SECRET = re.compile(
    r"token|signature|secret|passw|passphrase|credential|authori[sz]ation|bearer|verif|ticket|session|private|nonce|"
    r"key|policy|accessid|"
    r"(^|[-_])(sid|tok|sig|se|sp|st|sr|sv|pw|pwd|pass|auth|access|jwt|hmac|md5|code|hash|expires|security)([-_]|$)|"
    r"^x-(amz|goog|oss|cos|ms)-",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`|\\^\x00-\x1f]+")


def redacted(url: str) -> str:
    """``url`` with *** in place of its user and password and of every query value that may be a secret.

    Text that is not an address is returned unchanged.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # not a valid address, such as https://[x or https://me:password: any part of it may be secret
        return f"{scheme}://{HIDDEN}"
    # split at the last @ before the path, because a password may contain one
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host}" if at and user else parts.netloc
    if "@" in parts.path.split("/")[0] or re.match(r"[^?#/]*:(?!\d*/)[^?#/]*/[^?#]*@", rest):
        netloc, path = HIDDEN, ""  # a password with a slash: host and path cannot be told apart
        return urlunsplit((parts.scheme, netloc, path, "", ""))
    path = "/".join(_parameters(step) for step in parts.path.split("/"))
    clean = urlunsplit((parts.scheme, netloc, path, _query(parts.query), _query(parts.fragment)))
    return url if _same(clean, url) else clean


def is_complete(url: str) -> bool:
    """Whether ``url`` has a host and, if any, a numeric port; otherwise it may be a password without its @."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def redacted_text(text: str) -> str:
    """``text`` with every address in it redacted."""
    return _ADDRESS.sub(lambda match: redacted(match.group()), text)


def kept(urls: Iterable[str]) -> str:
    """The value of ADDRESSES for the downloads of ``urls``: those with a secret, by their redacted form."""
    return json.dumps({short: url for url in urls if (short := redacted(url)) != url}, sort_keys=True)


def revealed(url: str) -> str:
    """The full address of ``url``, which may be redacted.

    Raises ValueError if it is redacted and its secret is not in the environment of this process.
    """
    if HIDDEN not in url:
        return url
    try:
        known = json.loads(os.environ.get(ADDRESSES) or "{}")
    except ValueError:
        known = {}
    if url in known:
        return str(known[url])
    raise ValueError(
        f"the secret of {url} is not stored on disk; run its download with snakemake, which reads the secret from the "
        "experiment."
    )


def _query(query: str) -> str:
    """A query with *** for the values of secret keys; a long piece without a key counts as a secret itself."""
    pieces = re.split("([&;])", query)
    return "".join(_piece(piece) for piece in pieces)


def _parameters(step: str) -> str:
    """A path segment with *** for the secrets in its parameters: ``file;token=x``."""
    name, separator, parameters = step.partition(";")
    return name + separator + _query(parameters) if separator and "=" in parameters else step


def _piece(piece: str) -> str:
    key, equals, value = piece.partition("=")
    if not equals:
        return HIDDEN if len(piece) >= 20 or "=" in unquote(piece) else piece
    inside = unquote(value)  # may be another address that has a query itself
    is_secret = _SECRET.search(unquote(key)) or len(value) >= 40 or ("=" in inside and _SECRET.search(inside))
    return f"{key}={HIDDEN}" if value and is_secret else piece


def _same(clean: str, url: str) -> bool:
    """Whether nothing was hidden, even if urlunsplit has written the address differently."""
    return HIDDEN not in clean or (HIDDEN in url and clean == url)


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash, which identifies the content exactly."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None
