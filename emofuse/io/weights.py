"""Named weights: where they are published, under which licence, and how they are fetched.

`pooch` downloads a file beside its place and renames it once it is whole and has the right hash, so that a broken
download is never taken for weights. `emofuse.io.checkpoints` reads them, without ever running what they hold.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pooch

from emofuse.errors import CheckpointError
from emofuse.io.addresses import display_uri

_TIMEOUT = 60.0


@dataclass(frozen=True)
class Weights:
    """A published weights file.

    Attributes:
        file: its name in the cache.
        address: what is downloaded; None where the licence leaves fetching it to the user.
        licence: as its publisher names it.
        page: where it is published.
        sha256: its hash in hexadecimal, or as much of its beginning as is published; None where unknown.
        cache: whose cache it stands in, emofuse's or torch's.
        option: that names a file of one's own instead; None where there is none.
    """

    file: str
    address: str | None
    licence: str
    page: str
    sha256: str | None = None
    cache: Literal["emofuse", "torch"] = "emofuse"
    option: str | None = None


_BULAT = "https://www.adrianbulat.com/downloads/python-fan/"
_FACE_ALIGNMENT = "https://github.com/1adrianb/face-alignment"
_BLAZE = "https://github.com/hollance/BlazeFace-PyTorch"
_YUNET = "https://github.com/opencv/opencv_zoo"
_EMONET = "https://github.com/face-analysis/emonet"

KNOWN = {
    "emonet_5": Weights("emonet_5.pth", None, "CC BY-NC-ND 4.0", _EMONET),
    "emonet_8": Weights("emonet_8.pth", None, "CC BY-NC-ND 4.0", _EMONET),
    "yunet": Weights(
        "face_detection_yunet_2023mar.onnx",
        f"{_YUNET}/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
        "MIT",
        _YUNET,
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        option="--face.detector-weights",
    ),
    "sfd": Weights(
        "s3fd-619a316812.pth", f"{_BULAT}s3fd-619a316812.pth", "BSD-3-Clause", _FACE_ALIGNMENT, "619a316812", "torch"
    ),
    "fan": Weights(
        "2DFAN4-11f355bf06.pth.tar",
        f"{_BULAT}2DFAN4-11f355bf06.pth.tar",
        "BSD-3-Clause",
        _FACE_ALIGNMENT,
        "11f355bf06",
        "torch",
    ),
    "retinaface": Weights(
        "retinaface_mobilenet0.25.pth",
        f"{_BULAT}retinaface_mobilenet0.25.pth",
        "MIT",
        "https://github.com/biubug6/Pytorch_Retinaface",
        cache="torch",
    ),
    "blazeface": Weights("blazeface.pth", f"{_BLAZE}/raw/master/blazeface.pth", "Apache-2.0", _BLAZE, cache="torch"),
    "blazeface_anchors": Weights(
        "anchors.npy", f"{_BLAZE}/raw/master/anchors.npy", "Apache-2.0", _BLAZE, cache="torch"
    ),
    "scrfd": Weights(
        "scrfd_2.5g_bnkps.onnx",
        "https://github.com/yakhyo/facial-analysis/releases/download/v0.0.1/det_2.5g.onnx",
        "MIT",
        "https://github.com/yakhyo/facial-analysis",
        cache="torch",
    ),
}
"""Every weights file that is known by name."""


def cache_folder(whose: str = "emofuse") -> Path:
    """The folder downloads go to: $EMOFUSE_CACHE or ~/.cache/emofuse, for torch's own files its hub's folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if whose == "torch":
        return Path(os.environ.get("TORCH_HOME") or home / "torch").expanduser() / "hub" / "checkpoints"
    return Path(os.environ.get("EMOFUSE_CACHE") or home / "emofuse").expanduser()


def locate(name: str, given: str | None = None) -> Path:
    """The local file of the weights `name`, downloaded where it is not yet in the cache.

    Args:
        name: a key of `KNOWN`.
        given: a path or address of the user's own; may end in `#sha256=HEX`, which is then what it must have.

    Raises:
        CheckpointError: if it is missing, cannot be fetched, or has another hash.
    """
    known = KNOWN[name]
    if given is not None:
        return resolve(given, known)
    path = cache_folder(known.cache) / known.file
    if path.is_file():
        # What stands in torch's cache was put there by torch or by hand; torch does not check it again either.
        return path if known.cache == "torch" else check_hash(path, known.sha256, known)
    if known.address is None:
        raise CheckpointError(f"no {known.file} at {path}; it is published at {known.page} under {known.licence}")
    return download(known.address, path, known.sha256, known)


def resolve(address: str, known: Weights | None = None) -> Path:
    """A path, `file://` or `http(s)://` address as a local file, checked against its `#sha256=` or the known hash.

    Raises:
        CheckpointError: as `locate`.
    """
    bare, _, wanted = address.partition("#sha256=")
    sha256 = wanted or (known.sha256 if known else None)
    parts = urllib.parse.urlsplit(bare)
    if parts.scheme in ("http", "https"):
        folder = hashlib.sha256(bare.encode()).hexdigest()[:12]
        path = cache_folder() / folder / (Path(parts.path).name or "weights")
        return check_hash(path, sha256, known) if path.is_file() else download(bare, path, sha256, known)
    path = Path(urllib.request.url2pathname(parts.path) if parts.scheme == "file" else bare).expanduser()
    if not path.is_file():
        where = f"; {known.file} is published at {known.page} under {known.licence}" if known else ""
        raise CheckpointError(f"no weights at {path}{where}")
    if wanted or not known:
        return check_hash(path, sha256)
    return check_hash(path, sha256, known, hint="; if this file is meant, add #sha256= and its hash to its name")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return pooch.file_hash(str(path), alg="sha256")


def check_hash(
    path: Path, sha256: str | None, known: Weights | None = None, *, hint: str = "", name: Path | None = None
) -> Path:
    """`path`, if its SHA-256 begins with `sha256`, or if that is None; `name` is what a message calls it.

    Raises:
        CheckpointError: with what was expected and what was found.
    """
    found = sha256_of(path) if sha256 else ""
    if sha256 and not found.startswith(sha256.lower()):
        where = f"; the published file is at {known.address or known.page}" if known else ""
        raise CheckpointError(f"{name or path} has another hash: expected sha256 {sha256}, found {found}{where}{hint}")
    return path


def offline() -> bool:
    """Whether $EMOFUSE_OFFLINE forbids downloads."""
    return os.environ.get("EMOFUSE_OFFLINE", "").strip().lower() not in ("", "0", "no", "false")


def download(address: str, target: Path, sha256: str | None = None, known: Weights | None = None) -> Path:
    """Fetch `address` into `target`, whole and verified or not at all, with a progress bar on a terminal.

    Raises:
        CheckpointError: if downloads are forbidden, it fails, or it has another hash.
    """
    licence = f" ({known.licence}, {known.page})" if known else ""
    own = f", or name a file with {known.option}" if known and known.option else ""
    if offline():
        raise CheckpointError(
            f"{target.name} is not in the cache and EMOFUSE_OFFLINE forbids downloads; "
            f"put {display_uri(address)}{licence} at {target}{own}"
        )
    import requests

    pooch.get_logger().setLevel("WARNING")  # it would log addresses whole, with what they may hold of secrets
    fetch = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=_TIMEOUT, headers={"User-Agent": "emofuse"}
    )

    def checked(url: str, part: Any, _: Any) -> None:
        # Beside the target still. Some hashes are known by their beginning only, which pooch cannot compare.
        fetch(url, part, None)
        check_hash(Path(part), sha256, known, name=target)
        os.chmod(part, 0o644)  # a cache may be shared; temporary files are their owner's alone

    try:
        return Path(pooch.retrieve(address, None, fname=target.name, path=target.parent, downloader=checked))
    except (requests.RequestException, OSError, ValueError) as error:
        raise CheckpointError(
            f"could not fetch {display_uri(address)}{licence}: {_cause(error)}; put it at {target}{own}"
        ) from None


def _cause(error: BaseException) -> str:
    """What a failed request came of, without the address, which the layers of requests repeat with its secrets."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason}"
    innermost: Any = error
    while inner := (innermost.__cause__ or innermost.__context__):
        innermost = inner
    return str(getattr(innermost, "strerror", None) or f"{type(innermost).__name__}: {innermost}")[:160]
