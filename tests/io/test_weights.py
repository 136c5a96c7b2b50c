from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emofuse.errors import CheckpointError
from emofuse.io.weights import KNOWN, cache_folder, check_hash, download, locate, offline, resolve, sha256_of

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Publisher(BaseHTTPRequestHandler):
    """Serves /whole, /short (fewer bytes than it announces) and 404 for the rest; counts what it was asked."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        found = self.path.startswith(("/whole", "/short"))
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(CONTENT if self.path.startswith("/whole") else CONTENT[:100])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher() -> Iterator[str]:
    Publisher.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EMOFUSE_OFFLINE", raising=False)
    return tmp_path / "cache"


def test_every_known_file_says_licence_and_place() -> None:
    for name, known in KNOWN.items():
        assert known.licence, name
        assert known.page.startswith("https://"), name
        assert known.address is None or known.address.startswith("https://"), name
        assert known.sha256 is None or re.fullmatch(r"[0-9a-f]{10,64}", known.sha256), name
    assert KNOWN["yunet"].sha256 == "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
    assert KNOWN["emonet_8"].licence == "CC BY-NC-ND 4.0"


def test_a_download_is_whole_verified_and_done_once(publisher: str, own_cache: Path) -> None:
    address = f"{publisher}/whole.bin#sha256={DIGEST}"
    path = resolve(address)
    assert path.read_bytes() == CONTENT
    assert own_cache in path.parents
    assert [p.name for p in path.parent.iterdir()] == ["whole.bin"]
    assert path.stat().st_mode & 0o044, "a cache may be shared"
    assert resolve(address) == path
    assert Publisher.asked == ["/whole.bin"]


@pytest.mark.parametrize(
    ("page", "sha256", "said"),
    [
        ("/short.bin", None, "ended|IncompleteRead|bytes"),
        ("/whole.bin", "0" * 64, f"another hash: expected sha256 {'0' * 64}, found {DIGEST}"),
        ("/absent.bin", None, "could not fetch .*absent.bin.*Not Found"),
    ],
    ids=["cut short", "wrong hash", "not there"],
)
def test_a_failed_download_leaves_nothing(
    publisher: str, tmp_path: Path, page: str, sha256: str | None, said: str
) -> None:
    target = tmp_path / "folder" / "file.bin"
    with pytest.raises(CheckpointError, match=said) as caught:
        download(publisher + page, target, sha256)
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_an_unreachable_publisher_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"could not fetch http://127.0.0.1:9/x: .*refused.*put it at"):
        download("http://127.0.0.1:9/x", tmp_path / "x")


def test_a_failed_download_shows_no_secret_of_its_address(publisher: str, capfd: pytest.CaptureFixture[str]) -> None:
    for address in (
        f"{publisher}/absent?token=hush",
        "http://127.0.0.1:9/x?token=hush",
        f"{publisher}/short?token=hush",
    ):
        with pytest.raises(CheckpointError, match="could not fetch") as caught:
            resolve(address)
        assert "hush" not in str(caught.value)
    assert "hush" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_offline_mode_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("EMOFUSE_OFFLINE", value)
    assert offline() is expected


def test_offline_nothing_is_asked_for(publisher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOFUSE_OFFLINE", "1")
    said = (
        "EMOFUSE_OFFLINE forbids downloads; put https://github.com/opencv.*MIT.*, or name a file with --face.detector"
    )
    with pytest.raises(CheckpointError, match=said):
        locate("yunet")
    with pytest.raises(CheckpointError, match="EMOFUSE_OFFLINE"):
        resolve(f"{publisher}/whole.bin")
    assert Publisher.asked == []


def test_what_is_cached_is_verified(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOFUSE_OFFLINE", "1")
    own_cache.mkdir()
    (own_cache / KNOWN["yunet"].file).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="another hash: expected sha256 8f2383e4"):
        locate("yunet")


def test_files_are_named_by_path_or_address(tmp_path: Path) -> None:
    file = tmp_path / "with space.bin"
    file.write_bytes(CONTENT)
    assert resolve(str(file)) == file
    assert resolve(file.as_uri()) == file
    assert resolve(f"{file.as_uri()}#sha256={DIGEST}") == file
    with pytest.raises(CheckpointError, match="another hash"):
        resolve(f"{file}#sha256={'1' * 64}")
    with pytest.raises(CheckpointError, match=f"no weights at {tmp_path / 'absent'}"):
        resolve(str(tmp_path / "absent"))


def test_a_known_file_may_be_replaced_on_purpose_only(tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match=r"if this file is meant, add #sha256="):
        locate("yunet", str(file))
    assert locate("yunet", f"{file}#sha256={DIGEST}") == file


def test_the_published_yunet_is_accepted(shared_data: Path) -> None:
    file = shared_data / "weights" / KNOWN["yunet"].file
    assert locate("yunet", str(file)) == file


def test_weights_left_to_the_user_are_not_fetched() -> None:
    with pytest.raises(CheckpointError, match=r"no emonet_8.pth at .*github.com/face-analysis/emonet.*CC BY-NC-ND 4.0"):
        locate("emonet_8")


def test_hashes_may_be_given_by_their_beginning(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    assert sha256_of(file) == DIGEST
    assert check_hash(file, DIGEST[:10].upper()) == file
    assert check_hash(file, None) == file


def test_cache_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert cache_folder("torch") == tmp_path / "hub" / "checkpoints"
    monkeypatch.delenv("EMOFUSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "emofuse"
