"""Hostile addresses in manifests."""

from __future__ import annotations

from pathlib import Path

from attacks.common import attack, refused
from emofuse.config import MediaConfig
from emofuse.io.images import read_bytes, read_image, resolve


@attack("a manifest address of 10 MB")
def long_address(folder: Path) -> str:
    return refused(lambda: read_image("x" * 10_000_000), kind="no address")


@attack("a NUL character in an address, plain and encoded, with and without a root")
def nul(folder: Path) -> str:
    for uri in ("a\0b.jpg", "file:///a%00b.jpg"):
        for root in (None, str(folder), "s3://bucket/root"):
            line = refused(lambda uri=uri, root=root: read_bytes(uri, MediaConfig(root=root)))
    return line


@attack("an address with line breaks and terminal commands in it")
def terminal_address(folder: Path) -> str:
    line = refused(lambda: read_bytes("\x1b]0;owned\x07\x1b[2J\nerror: all is well.jpg"), kind="missing")
    assert "\\x1b" in line
    return line


@attack("an address that is no Unicode (a lone surrogate)")
def surrogate(folder: Path) -> str:
    return refused(lambda: read_bytes("file-\udcff.jpg"))


@attack("../ out of the root, in five spellings")
def climbing(folder: Path) -> str:
    (folder / "root").mkdir()
    (folder / "secret.jpg").write_bytes(b"x")
    spellings = ("../secret.jpg", "a/../../secret.jpg", "./../secret.jpg", "file:../secret.jpg", "..//secret.jpg")
    for uri in spellings:
        line = refused(lambda uri=uri: read_bytes(uri, MediaConfig(root=str(folder / "root"))), kind="outside root")
    return line


@attack("an absolute path, where a root is given")
def absolute(folder: Path) -> str:
    for uri in ("/etc/passwd", "file:///etc/passwd", "file://localhost/etc/passwd"):
        line = refused(lambda uri=uri: read_bytes(uri, MediaConfig(root=str(folder))), kind="outside root")
    return line


@attack("a link in the root to a file outside, and one to a folder")
def linked(folder: Path) -> str:
    (folder / "root").mkdir()
    (folder / "secret.jpg").write_bytes(b"x")
    (folder / "root" / "a.jpg").symlink_to(folder / "secret.jpg")
    (folder / "root" / "b").symlink_to(folder)
    refused(lambda: read_bytes("b/secret.jpg", MediaConfig(root=str(folder / "root"))), kind="outside root")
    return refused(lambda: read_bytes("a.jpg", MediaConfig(root=str(folder / "root"))), kind="outside root")


@attack("a link to itself, in a root")
def looped(folder: Path) -> str:
    (folder / "a.jpg").symlink_to(folder / "a.jpg")
    return refused(lambda: read_bytes("a.jpg", MediaConfig(root=str(folder))))


@attack("file:// and a local path, where the root is on S3")
def local_for_remote(folder: Path) -> str:
    for uri in ("file:///etc/passwd", "/etc/passwd", "file:/etc/passwd"):
        line = refused(lambda uri=uri: resolve(uri, "s3://bucket/root"), kind="outside root")
    return line


@attack("another bucket, and one whose name begins alike, where the root is on S3")
def other_bucket(folder: Path) -> str:
    for uri in ("s3://other/a.jpg", "s3://bucket/root-of-another/a.jpg", "s3://bucket/root/%2e%2e/a.jpg"):
        line = refused(lambda uri=uri: resolve(uri, "s3://bucket/root"), kind="outside root")
    return line


@attack("a chained address that hides a second place behind ::")
def chained(folder: Path) -> str:
    for uri in ("s3://bucket/root/a::file:///etc/passwd", "zip://x::file:///etc/passwd", "simplecache::s3://other/a"):
        refused(lambda uri=uri: resolve(uri, str(folder)), kind="outside root")
        line = refused(lambda uri=uri: resolve(uri, "s3://bucket/root"), kind="outside root")
    return line


@attack("another scheme than the root's: http to the machine's own metadata service")
def metadata_service(folder: Path) -> str:
    uri = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    refused(lambda: resolve(uri, "s3://bucket/root"), kind="outside root")
    return refused(lambda: resolve(uri, str(folder)), kind="outside root")
