"""Exceptions of storage clients, and retries of transient failures.

Clients of object stores raise exceptions of their own, some of which are no `OSError`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from emofuse.io.addresses import SHOWN, is_remote

Result = TypeVar("Result")


LONGEST_WAIT = 8.0
"""Seconds between two attempts, at most."""


PATIENCE = 60.0
"""Seconds after which no further attempt is begun."""


CLIENT_ATTEMPTS = 2
"""Attempts that an S3 client makes by itself, at each of its three layers."""


LASTING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, FileExistsError)
"""Faults that another attempt would meet again."""


_CLIENTS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp.client_exceptions": ("ClientError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
}
"""Modules of storage clients, and what they raise beside `OSError`; named, so that none need be installed."""


def storage_exceptions(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What the file systems in use raise where storage fails, and `more`."""
    found: list[type[Exception]] = [OSError, *more]
    for module, names in _CLIENTS.items():
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


def reason(error: BaseException) -> str:
    """A fault in a few words on one line."""
    words = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return " ".join(str(words).split())[:SHOWN]


def retry(action: Callable[[], Result], address: str, retries: int, wait: float = 0.25) -> Result:
    """The result of `action`, attempted again while a remote address fails for the moment.

    Args:
        action: reads or writes; may be called more than once.
        address: what it reads or writes; local files are never tried again.
        retries: further attempts, as long as patience lasts.
        wait: seconds before the second attempt, doubled for each one after it.

    Raises:
        OSError: or another of `storage_exceptions()`, the last one met.
    """
    begun = time.monotonic()
    for attempt in range(retries if is_remote(address) else 0):
        try:
            return action()
        except LASTING:
            raise
        except storage_exceptions():  # asked for now: the attempt itself may have imported the client
            if time.monotonic() - begun > PATIENCE:
                raise
            time.sleep(min(wait * 2.0**attempt, LONGEST_WAIT))
    return action()


def bound_client(address: str) -> None:
    """Keep the client of an address from retrying by itself for longer than a job should wait.

    s3fs tries 5 times within each of 5 tries, and botocore 5 times within each of those: a server that
    takes a connection and then never answers would hold an image for half an hour.
    """
    if not address.startswith(("s3://", "s3a://")):
        return
    import fsspec.config

    retries = {"retries": {"mode": "standard", "total_max_attempts": CLIENT_ATTEMPTS}}
    fsspec.config.conf.setdefault("s3", {}).setdefault("config_kwargs", retries)
    with suppress(ImportError):
        import s3fs

        s3fs.S3FileSystem.retries = min(s3fs.S3FileSystem.retries, CLIENT_ATTEMPTS)
