"""Addresses beyond this machine: which are, what their file systems raise, and how often a fault is borne.

What a fault is does not follow from Python's own exceptions: clients of object stores
raise their own, and some of those are no `OSError`.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

Result = TypeVar("Result")

SHOWN = 300
"""Characters of an address or a reason in a message, at most."""
SECRETS = ("key", "sig", "auth", "pass", "pwd")
"""Words in the name of an entry or of an address's parameter that may hold a secret."""
SECRET_PARTS = ("token", "secret", "passw", "credential", "signature", "apikey", "accesskey", "accountkey")
"""The same wherever they stand in it."""
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


def is_remote(uri: str) -> bool:
    """Whether an address names a file system other than the local one."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)(://|::)", uri)
    return scheme is not None and scheme[1].lower() != "file"


def names_secret(name: str) -> bool:
    """Whether an entry of this name may hold a secret."""
    words = re.sub("([a-z])([A-Z])", r"\1 \2", name)
    words = re.sub("[^a-z0-9]+", " ", words.lower())
    return any(word in SECRETS for word in words.split()) or any(p in words.replace(" ", "") for p in SECRET_PARTS)


def redact_address(address: str) -> str:
    """An address without user, password, and parameters that are named like a secret; of a chain, of each link."""
    return "::".join(_redact(link) for link in address.split("::"))


def _redact(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "(an address that cannot be taken apart)"
    host = parts.netloc.rpartition("@")[2]
    query, fragment = _without_secrets(parts.query), _without_secrets(parts.fragment)
    return urlunsplit((parts.scheme, host, parts.path, query, fragment))


def _without_secrets(parameters: str) -> str:
    if not any(names_secret(name) for name, _ in parse_qsl(parameters, keep_blank_values=True)):
        return parameters
    return urlencode([(name, "…" if names_secret(name) else value) for name, value in parse_qsl(parameters)])


def shown(address: str) -> str:
    """An address as messages show it: on one line, bounded, no control characters, no secrets."""
    plain = printable(redact_address(address[: 2 * SHOWN]) if is_remote(address) else address[: 2 * SHOWN])
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal would obey rather than show, line breaks included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def faults(*more: type[Exception]) -> tuple[type[Exception], ...]:
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


def persist(action: Callable[[], Result], address: str, retries: int, wait: float = 0.25) -> Result:
    """The result of `action`, attempted again while a remote address fails for the moment.

    Args:
        action: reads or writes; may be called more than once.
        address: what it reads or writes; local files are never tried again.
        retries: further attempts, as long as patience lasts.
        wait: seconds before the second attempt, doubled for each one after it.

    Raises:
        OSError: or another of `faults()`, the last one met.
    """
    begun = time.monotonic()
    for attempt in range(retries if is_remote(address) else 0):
        try:
            return action()
        except LASTING:
            raise
        except faults():  # asked for now: the attempt itself may have imported the client
            if time.monotonic() - begun > PATIENCE:
                raise
            time.sleep(min(wait * 2.0**attempt, LONGEST_WAIT))
    return action()


def bound_client(address: str) -> None:
    """Keep the client of an address from retrying by itself for longer than a job should wait.

    s3fs tries 5 times within each of 5 tries, and botocore 5 times within each of those: a server that
    takes a connection and then says nothing would hold a picture for half an hour.
    """
    if not address.startswith(("s3://", "s3a://")):
        return
    import fsspec.config

    retries = {"retries": {"mode": "standard", "total_max_attempts": CLIENT_ATTEMPTS}}
    fsspec.config.conf.setdefault("s3", {}).setdefault("config_kwargs", retries)
    with suppress(ImportError):
        import s3fs

        s3fs.S3FileSystem.retries = min(s3fs.S3FileSystem.retries, CLIENT_ATTEMPTS)
