"""What can go wrong with a download: what passes is tried again, anything else is told in one sentence."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from prh.io.addresses import redacted, redacted_text

ATTEMPTS = 6
"""How often in a row something is tried that brings nothing."""
WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt, doubled before each further one, and the most."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server that another attempt may not have."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class FetchError(OSError):
    """Something could not be fetched; the message says what, why, and what to do."""


class WrongBytes(FetchError):
    """A download has another size or hash than it should."""


def persistently(action: Callable[[], T], attempts: int = ATTEMPTS, growing: Callable[[], int] = lambda: 0) -> T:
    """The result of ``action``, tried again after passing troubles, each time later.

    An attempt after which there is more than before (``growing``) does not count.
    """
    failed = 0
    while True:
        before = growing()
        try:
            return action()
        except (httpx.RequestError, HfHubHTTPError) as error:
            failed = 1 if growing() > before else failed + 1
            if failed >= attempts or not _passes(error):
                raise
            wait = min(WAIT * 2 ** (failed - 1), LONGEST_WAIT)
            log.warning("%s; attempt %d of %d in %g s", _short(error), failed + 1, attempts, wait)
            time.sleep(wait)


def _passes(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TEMPORARY
    return not isinstance(error, (httpx.UnsupportedProtocol, httpx.TooManyRedirects))


def _short(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"{redacted(str(error.response.request.url))} answers {error.response.status_code}"
    return redacted_text(f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def in_one_sentence(source: str, kind: str = "", revision: str | None = None) -> Iterator[None]:
    """Turn what can go wrong with a download into a FetchError with one sentence. ``kind``: model, dataset or none."""
    what = "data set" if kind == "dataset" else kind
    try:
        yield
    except FetchError:
        raise
    except GatedRepoError as error:
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{source}"
        token = "the token given has no access" if get_token() else "no token is given"
        status = error.response.status_code
        raise FetchError(
            f"{source} is gated and {token} ({status}): ask for access at {page}, then give a token of that account "
            "with `hf auth login` or in HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise FetchError(f"the {what} {source} has no revision {revision}; correct 'revision' of its entry.") from None
    except RepositoryNotFoundError:
        raise FetchError(
            f"the hub has no {what} {source}, or it is private: correct 'id', or give a token with `hf auth login` or "
            "in HF_TOKEN."
        ) from None
    except HFValidationError as error:
        raise FetchError(f"{source!r} cannot be a {what} of the hub: {' '.join(str(error).split())}") from None
    except OfflineModeIsEnabled:
        raise FetchError(
            f"{source} cannot be fetched while HF_HUB_OFFLINE is set; unset it where downloads run."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in TEMPORARY:
            todo = "try again later; what is here already is kept and continued"
        elif status == 401 and kind:
            todo = "the token is not valid: log in anew with `hf auth login`, or mend HF_TOKEN"
        else:
            todo = "correct its address" if status in (404, 410) else "see whether the address asks for a login"
        raise FetchError(f"{source} cannot be fetched: {_short(error)}; {todo}.") from None
    except httpx.UnsupportedProtocol:
        raise FetchError(f"{source} cannot be fetched: an address must begin with https:// or http://.") from None
    except httpx.TooManyRedirects:
        raise FetchError(
            f"{source} cannot be fetched: its address leads in circles; correct it, or see whether it asks for a login."
        ) from None
    except httpx.RequestError as error:
        raise FetchError(
            f"{source} cannot be fetched: {_short(error)}; run downloads where there is a network, such as a login "
            "node, and run them again if it failed them: what is here already is kept and continued."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(
            f"the disk is full: {source} could not be written; make room and run again, it goes on from there."
        ) from None
