"""Addresses of the web and the secrets in them: passwords, tokens and signatures that are written down nowhere.

An experiment may name ``https://me:password@host/file`` or an address that is signed for a day. Whatever is printed or
written has the `redacted` form. The true one travels from the experiment to the download in an environment variable,
as neither a command line nor a parameter of a job would keep it to itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN = "***"
"""What stands in the place of a secret."""
ADDRESSES = "PRH_ADDRESSES"
"""The environment variable with the true addresses, by their redacted form, as JSON."""

_SECRET = re.compile(
    r"token|signature|secret|passw|passphrase|credential|authori[sz]ation|bearer|verif|ticket|session|private|nonce|"
    r"key|policy|accessid|"
    r"(^|[-_])(sid|tok|sig|se|sp|st|sr|sv|pw|pwd|pass|auth|access|jwt|hmac|md5|code|hash|expires|security)([-_]|$)|"
    r"^x-(amz|goog|oss|cos|ms)-",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`|\\^\x00-\x1f]+")


def redacted(url: str) -> str:
    """``url`` with *** for its user and password and for every value of its query that may be a secret.

    Any other text than an address comes back as it is.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # no address, such as https://[x or https://me:password: nobody can say what of it is secret
        return f"{scheme}://{HIDDEN}"
    # the last @ before the path: a password may hold one
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host}" if at and user else parts.netloc
    if "@" in parts.path.split("/")[0] or re.match(r"[^?#/]*:(?!\d*/)[^?#/]*/[^?#]*@", rest):
        netloc, path = HIDDEN, ""  # a password with a slash in it: what is host and what is path cannot be told
        return urlunsplit((parts.scheme, netloc, path, "", ""))
    path = "/".join(_parameters(step) for step in parts.path.split("/"))
    clean = urlunsplit((parts.scheme, netloc, path, _query(parts.query), _query(parts.fragment)))
    return url if _same(clean, url) else clean


def is_complete(url: str) -> bool:
    """Whether ``url`` has a host, and nothing but a number for its port: else it may be a password without its @."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def redacted_text(text: str) -> str:
    """A text with every address in it redacted."""
    return _ADDRESS.sub(lambda match: redacted(match.group()), text)


def kept(urls: Iterable[str]) -> str:
    """The value of ADDRESSES for the downloads of ``urls``: those with a secret, by their redacted form."""
    return json.dumps({short: url for url in urls if (short := redacted(url)) != url}, sort_keys=True)


def revealed(url: str) -> str:
    """The address that ``url``, which may be redacted, stands for.

    Raises ValueError where its secret is left out and not known here.
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
        f"the secret of {url} is not kept in what was written down; run its download with snakemake, which reads it in "
        "the experiment."
    )


def _query(query: str) -> str:
    """A query with *** for the values of secret keys; a piece without a key is one itself where it is long."""
    pieces = re.split("([&;])", query)
    return "".join(_piece(piece) for piece in pieces)


def _parameters(step: str) -> str:
    """A step of a path with *** for the secrets in its parameters: ``file;token=x``."""
    name, separator, parameters = step.partition(";")
    return name + separator + _query(parameters) if separator and "=" in parameters else step


def _piece(piece: str) -> str:
    key, equals, value = piece.partition("=")
    if not equals:
        return HIDDEN if len(piece) >= 20 or "=" in unquote(piece) else piece
    inside = unquote(value)  # another address, say, with a query of its own
    is_secret = _SECRET.search(unquote(key)) or len(value) >= 40 or ("=" in inside and _SECRET.search(inside))
    return f"{key}={HIDDEN}" if value and is_secret else piece


def _same(clean: str, url: str) -> bool:
    """Whether nothing was hidden: urlunsplit alone may write an address in another way."""
    return HIDDEN not in clean or (HIDDEN in url and clean == url)


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit, which names the very bytes that it means."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None
