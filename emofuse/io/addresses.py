"""Addresses: which are remote, and how messages show them without secrets or control characters."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SHOWN = 300
"""Characters of an address or a reason in a message, at most."""
SECRETS = ("key", "sig", "auth", "pass", "pwd")
"""Words in the name of an entry or of an address's parameter that may hold a secret."""
SECRET_PARTS = ("token", "secret", "passw", "credential", "signature", "apikey", "accesskey", "accountkey")
"""The same wherever they stand in it."""


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


def display_uri(address: str) -> str:
    """An address as messages show it: on one line, bounded, no control characters, no secrets."""
    plain = printable(redact_address(address[: 2 * SHOWN]) if is_remote(address) else address[: 2 * SHOWN])
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"


def printable(text: str) -> str:
    """`text` with control characters and line breaks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
