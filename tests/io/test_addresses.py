from __future__ import annotations

import pytest

from emofuse.io import addresses
from emofuse.io import retry as retrying
from emofuse.io.addresses import display_uri, is_remote, printable, redact_address
from emofuse.io.retry import retry, storage_exceptions


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("s3://bucket/a", True),
        ("https://host/a", True),
        ("simplecache::s3://bucket/a", True),
        ("/data/a", False),
        ("file:///data/a", False),
        ("FILE:///data/a", False),
        ("C:/data/a", False),
        ("photo:1.jpg", False),
        ("a b://c", False),
        ("", False),
    ],
)
def test_which_addresses_are_elsewhere(address: str, elsewhere: bool) -> None:
    assert is_remote(address) is elsewhere


class Flaky:
    """Fails so often before it gives 7."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.calls = times, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.left:
            raise self.error
        return 7


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", waits.append)
    return waits


def test_a_passing_fault_is_outlasted_with_growing_waits(slept: list[float]) -> None:
    assert retry(Flaky(7, OSError("busy")), "s3://b/k", 7) == 7
    assert slept == [0.25, 0.5, 1, 2, 4, 8, 8]


def test_a_lasting_fault_ends_after_the_retries(slept: list[float]) -> None:
    action = Flaky(99, OSError("busy"))
    with pytest.raises(OSError, match="busy"):
        retry(action, "s3://b/k", 3)
    assert action.calls == 4


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x"), KeyError("a defect of ours")])
def test_what_another_attempt_would_meet_again_is_told_at_once(error: Exception) -> None:
    action = Flaky(1, error)
    with pytest.raises(type(error)):
        retry(action, "s3://b/k", 5)
    assert action.calls == 1


def test_local_files_are_never_tried_again() -> None:
    action = Flaky(1, OSError("no space"))
    with pytest.raises(OSError, match="no space"):
        retry(action, "/data/a", 5)
    assert action.calls == 1


def test_no_attempt_is_begun_when_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 50))
    monkeypatch.setattr(retrying.time, "monotonic", lambda: float(next(clock)))
    action = Flaky(99, OSError("stuck"))
    with pytest.raises(OSError, match="stuck"):
        retry(action, "s3://b/k", 50)
    assert action.calls == 2


def test_a_clients_own_exceptions_are_faults_once_it_is_loaded() -> None:
    from botocore.exceptions import EndpointConnectionError

    assert not issubclass(EndpointConnectionError, OSError)
    assert issubclass(EndpointConnectionError, storage_exceptions())
    assert KeyError not in storage_exceptions()
    assert KeyError in storage_exceptions(KeyError)


def test_messages_show_addresses_bounded_on_one_line_and_without_secrets() -> None:
    assert display_uri("ftp://me:hunter2@host/a?token=abc&region=eu") == "ftp://host/a?token=%E2%80%A6&region=eu"
    assert display_uri("/data/" + "x" * 10_000).endswith("x…")
    assert len(display_uri("/data/" + "x" * 10_000)) == addresses.SHOWN + 1
    assert display_uri("a\n\x1b[2J\udcff‮") == "a\\n\\x1b[2J\\udcff\\u202e"
    assert printable("é 漢 😀") == "é 漢 😀"
    assert redact_address("http://[half") == "(an address that cannot be taken apart)"


@pytest.mark.parametrize(
    "address",
    [
        "simplecache::s3://AKIA:SECRET@bucket/x",
        "zip://a.zip::https://u:SECRET@h/a.zip",
        *(f"https://h/x?{name}=SECRET" for name in ("apikey", "sessionToken", "accessKey", "AccountKey")),
        *(f"https://h/x?a=1&{name}=SECRET" for name in ("passwd", "X-Amz-Signature", "sig", "api_key", "auth", "pwd")),
        "https://h/x#access_token=SECRET",
    ],
)
def test_no_secret_of_an_address_is_shown(address: str) -> None:
    assert "SECRET" not in display_uri(address)
    assert "SECRET" not in redact_address(address)


@pytest.mark.parametrize("address", ["https://h/w.pth#sha256=abc", "s3://bucket/a%20b.png", "https://h/x?q=a&b=%20c"])
def test_the_rest_of_an_address_stays_as_it_is(address: str) -> None:
    assert redact_address(address) == address
