"""The files of a data set, where their file system fails."""

from __future__ import annotations

import aiohttp
import fsspec
import pytest

from emofuse.datasets.root import Root
from emofuse.errors import DataError


def test_a_storage_client_that_cannot_reach_its_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's errors, which http:// and gs:// raise, are no OSErrors."""
    refused = aiohttp.ClientPayloadError("cut short")
    assert not isinstance(refused, OSError)
    system = fsspec.filesystem("memory")
    monkeypatch.setattr(type(system), "isdir", lambda *_: (_ for _ in ()).throw(refused))
    with pytest.raises(DataError, match="cannot list memory://faces: ClientPayloadError: cut short"):
        Root.open("memory://faces")
