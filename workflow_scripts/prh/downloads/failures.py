"""Failures of downloads: temporary ones are tried again, all others become an error of one sentence."""

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
"""Number of attempts in a row that may bring nothing."""
WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt, which double before each further one, and their maximum."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes of a server that may not come again on another attempt."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class FetchError(OSError):
    """Something could not be downloaded; the message says what, why, and what to do."""


class WrongBytes(FetchError):
    """A download does not have the expected size or hash."""


def persistently(action: Callable[[], T], attempts: int = ATTEMPTS, growing: Callable[[], int] = lambda: 0) -> T:
    """The result of ``action``, tried again after temporary failures with growing waits.

    An attempt counts as failed only if ``growing``, such as the size of a file, is no larger after it. Raises the
    error of the last attempt, or any error that is not temporary.
    """
    failed = 0
    while True:
        before = growing()
        try:
            return action()
        except (httpx.RequestError, HfHubHTTPError) as error:
            failed = 1 if growing() > before else failed + 1
            if failed >= attempts or not _is_temporary(error):
                raise
            wait = min(WAIT * 2 ** (failed - 1), LONGEST_WAIT)
            log.warning("%s; attempt %d of %d in %g s", _short(error), failed + 1, attempts, wait)
            time.sleep(wait)


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TEMPORARY
    return not isinstance(error, (httpx.UnsupportedProtocol, httpx.TooManyRedirects))


def _short(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"{redacted(str(error.response.request.url))} answers {error.response.status_code}"
    return redacted_text(f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def in_one_sentence(source: str, kind: str = "", revision: str | None = None) -> Iterator[None]:
    """Turn the errors of a download into a FetchError of one sentence; ``kind`` is model, dataset or empty."""
    what = "data set" if kind == "dataset" else kind
    try:
        yield
    except FetchError:
        raise
    except GatedRepoError as error:
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{source}"
        token = "your token has no access" if get_token() else "no token is set"
        status = error.response.status_code
        raise FetchError(
            f"{source} is gated and {token} ({status}): ask for access at {page}, then set a token of that account "
            "with `hf auth login` or in HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise FetchError(f"the {what} {source} has no revision {revision}; correct 'revision' of its entry.") from None
    except RepositoryNotFoundError:
        raise FetchError(
            f"the hub has no {what} {source}, or it is private: correct 'id', or set a token with `hf auth login` or "
            "in HF_TOKEN."
        ) from None
    except HFValidationError as error:
        raise FetchError(f"{source!r} cannot be a {what} of the hub: {' '.join(str(error).split())}") from None
    except OfflineModeIsEnabled:
        raise FetchError(
            f"{source} cannot be fetched while HF_HUB_OFFLINE is set; unset it for the jobs that download."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in TEMPORARY:
            todo = "try again later; what is here already is kept and continued"
        elif status == 401 and kind:
            todo = "the token is not valid: log in again with `hf auth login`, or correct HF_TOKEN"
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
            f"{source} cannot be fetched: {_short(error)}; run downloads on a machine with network access, such as "
            "a login node, and repeat them if the network failed: what is here already is kept and continued."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(
            f"the disk is full: {source} could not be written; make room and run again to continue the download."
        ) from None
