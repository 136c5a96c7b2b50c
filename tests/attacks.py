"""Hostile inputs: what a stranger's pictures, tables, weights, names and addresses may try, and what happens then.

Each attack makes its own files in an empty folder, tries, and returns one line of what happened;
it raises AssertionError where the attempt succeeds, or ends in anything but a stated refusal.
A pickle that is ever run leaves a file called `owned` in that folder.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from broken import encoded, png_that_declares, scene

from emofuse import runs, schema, storage
from emofuse.config import JudgeConfig, MediaConfig, StatisticsConfig
from emofuse.errors import EmofuseError
from emofuse.media import read_bytes, read_picture, resolve
from emofuse.runs import Run

ATTACKS: list[Attack] = []


@dataclass(frozen=True)
class Attack:
    """One attempt.

    Attributes:
        name: what is tried.
        run: tries it in an empty folder, and says what happened.
    """

    name: str
    run: Callable[[Path], str]


def attack(name: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Enter a function into the list."""

    def enter(run: Callable[[Path], str]) -> Callable[[Path], str]:
        ATTACKS.append(Attack(name, run))
        return run

    return enter


class Owner:
    """Unpickled, it leaves a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self._folder / "owned"),)


def refused(action: Callable[[], object], *, kind: str | None = None, kinds: type[Exception] = EmofuseError) -> str:
    """The one line that an action is refused with."""
    try:
        action()
    except kinds as error:
        line = str(error)
        found = getattr(error, "kind", None)
    else:
        raise AssertionError("it was let through")
    assert line.isprintable(), ascii(line)
    assert len(line) < 2000, len(line)
    assert kind in (None, found), line
    return f"refused: {line[:110]}"


def memory() -> float:
    """Most memory this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parquet(path: Path, table: pa.Table) -> str:
    """A Parquet file's address."""
    pq.write_table(table, path)
    return str(path)


def rows(**columns: list[object]) -> pa.Table:
    """A manifest of two rows with these columns in the place of the usual ones."""
    return pa.table({"sample_id": ["a", "b"], "uri": ["a.jpg", "b.jpg"], **columns})


def look(address: str) -> object:
    """Look a manifest through, as a job does first."""
    from emofuse.pipeline.manifest import survey

    return survey(address)


# Pictures


@attack("a PNG of 100 bytes that declares 60,000 x 60,000 pixels")
def bomb_by_header(folder: Path) -> str:
    (folder / "a.png").write_bytes(png_that_declares(60_000, 60_000))
    return refused(lambda: read_picture(str(folder / "a.png")), kind="too many pixels")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@attack("a small PNG with a text chunk that inflates to 400 MB")
def bomb_by_text(folder: Path) -> str:
    whole = encoded(scene(), "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(400_000_000), 9)
    (folder / "a.png").write_bytes(whole[:33] + _chunk(b"zTXt", text) + whole[33:])
    before = memory()
    line = refused(lambda: read_picture(str(folder / "a.png")), kind="corrupt")
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a small PNG with a colour profile that inflates to 400 MB")
def bomb_by_profile(folder: Path) -> str:
    whole = encoded(scene(), "PNG")
    profile = b"icc\0\0" + zlib.compress(bytes(400_000_000), 9)
    (folder / "a.png").write_bytes(whole[:33] + _chunk(b"iCCP", profile) + whole[33:])
    before = memory()
    line = refused(lambda: read_picture(str(folder / "a.png")), kind="corrupt")
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a PNG whose pixel data inflates to 400 MB more than declared")
def bomb_by_pixels(folder: Path) -> str:
    header = struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(400_000_000), 9)) + _chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    before = memory()
    picture = read_picture(str(folder / "a.png"))
    assert memory() - before < 200, "it was inflated"
    return f"read as {picture.width} x {picture.height}; no more was inflated than that takes"


@attack("a GIF of 2,000 frames")
def many_frames(folder: Path) -> str:
    frames = [scene(i % 3, (16, 16)).convert("P") for i in range(2000)]
    (folder / "a.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    picture = read_picture(str(folder / "a.gif"))
    return f"its first frame alone was read, {picture.rgb.shape}"


@attack("a TIFF whose directory points back to itself")
def endless_tiff(folder: Path) -> str:
    (folder / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8))
    return refused(lambda: read_picture(str(folder / "a.tif")))


@attack("PostScript called photo.jpg, which would start an interpreter")
def postscript(folder: Path) -> str:
    (folder / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file\n")
    return refused(lambda: read_picture(str(folder / "photo.jpg")), kind="not a picture")


@attack("an SVG with an external entity, called photo.png")
def svg(folder: Path) -> str:
    text = '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>'
    (folder / "photo.png").write_text(text)
    return refused(lambda: read_picture(str(folder / "photo.png")), kind="not a picture")


@attack("/dev/zero as a picture")
def device(folder: Path) -> str:
    return refused(lambda: read_picture("/dev/zero"), kind="not a file")


@attack("a named pipe as a picture, and as a video")
def pipe(folder: Path) -> str:
    from emofuse.video.container import open_video

    os.mkfifo(folder / "a.jpg")

    def video() -> None:
        with open_video(str(folder / "a.jpg"), MediaConfig()):
            pass

    refused(video, kind="not a file")
    return refused(lambda: read_picture(str(folder / "a.jpg")), kind="not a file")


@attack("a picture larger than the limit on bytes, sparse on disk")
def large_file(folder: Path) -> str:
    with open(folder / "a.jpg", "wb") as file:
        file.truncate(50_000_000_000)
    before = memory()
    line = refused(lambda: read_bytes(str(folder / "a.jpg"), MediaConfig(max_bytes=1_000_000)), kind="file too large")
    assert memory() - before < 100
    return line


@attack("a playlist called film.mp4 that names /etc/passwd")
def playlist(folder: Path) -> str:
    from emofuse.video.container import open_video

    def opened(text: str) -> Callable[[], None]:
        def action() -> None:
            (folder / "film.mp4").write_text(text)
            with open_video(str(folder / "film.mp4"), MediaConfig()):
                pass

        return action

    refused(opened("ffconcat version 1.0\nfile /etc/passwd\n"), kind="not a video")
    return refused(opened("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), kind="not a video")


# Addresses


@attack("a manifest address of 10 MB")
def long_address(folder: Path) -> str:
    return refused(lambda: read_picture("x" * 10_000_000), kind="no address")


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


# Tables


@attack("a manifest cut off in the middle")
def truncated(folder: Path) -> str:
    whole = io.BytesIO()
    pq.write_table(rows(), whole)
    (folder / "m.parquet").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    return refused(lambda: look(str(folder / "m.parquet")))


@attack("a manifest whose footer claims to be 4 GB long")
def long_footer(folder: Path) -> str:
    (folder / "m.parquet").write_bytes(b"PAR1" + b"x" * 100 + struct.pack("<I", 0xFFFFFFF0) + b"PAR1")
    return refused(lambda: look(str(folder / "m.parquet")))


@attack("a manifest with one bit in a hundred flipped")
def noise(folder: Path) -> str:
    whole = io.BytesIO()
    pq.write_table(rows(group=["g" * 1000, "h" * 1000]), whole)
    lines = set()
    for seed in range(20):
        data = np.frombuffer(whole.getvalue(), np.uint8).copy()
        hit = np.random.default_rng(seed).choice(len(data), len(data) // 100, replace=False)
        data[hit] ^= 4
        (folder / "m.parquet").write_bytes(data.tobytes())
        try:
            look(str(folder / "m.parquet"))
        except EmofuseError as error:
            lines.add(str(error).split(":")[-1][:40])
    return f"20 files, {len(lines)} different refusals, no crash"


@attack("a pickle as a column: Ray's own Arrow type for Python objects, which Ray would unpickle")
def pickled_column(folder: Path) -> str:
    import ray.data  # noqa: F401 - registers the type, as in every process of a job on Ray
    from ray.data.extensions import ArrowPythonObjectType

    payload = pa.array([pickle.dumps(Owner(folder))] * 2, pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), payload)
    for name in ("extra", "uri", "group"):
        line = refused(lambda name=name: look(parquet(folder / "m.parquet", rows(**{name: column}))))
        refused(lambda: storage.read_table(str(folder / "m.parquet")))
    return line


@attack("the same pickle hidden in a list, in a struct, in a dictionary")
def nested_pickle(folder: Path) -> str:
    import ray.data  # noqa: F401
    from ray.data.extensions import ArrowPythonObjectType

    kind = ArrowPythonObjectType()
    column = pa.ExtensionArray.from_storage(kind, pa.array([pickle.dumps(Owner(folder))] * 2, pa.large_binary()))
    listed = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    inside = pa.StructArray.from_arrays([column], names=["x"])
    for hidden in (listed, inside):
        line = refused(lambda hidden=hidden: schema.conform(rows(extra=hidden), schema.MANIFEST, "manifest"))
        refused(lambda hidden=hidden: look(parquet(folder / "m.parquet", rows(extra=hidden))))
    return line


@attack("a column of an Arrow type that this process does not know, and another may")
def unknown_type(folder: Path) -> str:
    plain = rows()
    for name in ("extra", "group"):
        field = pa.field(name, pa.binary(), metadata={b"ARROW:extension:name": b"someones.pickle"})
        table = pa.Table.from_arrays([*plain.columns, pa.array([b"x", b"y"])], schema=pa.schema([*plain.schema, field]))
        line = refused(lambda table=table: look(parquet(folder / "m.parquet", table)))
        refused(lambda: storage.read_table(str(folder / "m.parquet")))
    return line


@attack("a pickle in the metadata of Ray's tensor type, which older Rays loaded")
def pickled_type(folder: Path) -> str:
    import ray.data  # noqa: F401

    storage_type = pa.list_(pa.int64())
    field = pa.field(
        "extra",
        storage_type,
        metadata={
            b"ARROW:extension:name": b"ray.data.arrow_tensor_v2",
            b"ARROW:extension:metadata": pickle.dumps(Owner(folder)),
        },
    )
    plain = rows()
    table = pa.Table.from_arrays(
        [*plain.columns, pa.array([[1], [2]], storage_type)], schema=pa.schema([*plain.schema, field])
    )
    return refused(lambda: look(parquet(folder / "m.parquet", table)))


@attack("metadata of 50 MB, and metadata that is no JSON, a list, and 100,000 brackets deep")
def odd_metadata(folder: Path) -> str:
    huge = rows().replace_schema_metadata({b"other": b"x" * 50_000_000})
    look(parquet(folder / "m.parquet", huge))
    for value in (b"{half", b"[1, 2]", b"[" * 100_000):
        table = rows().replace_schema_metadata({schema.METADATA_KEY: value})
        line = refused(lambda table=table: look(parquet(folder / "m.parquet", table)))
    return line


@attack("strings that are no UTF-8, as ids and as addresses")
def not_utf8(folder: Path) -> str:
    bad = pa.array([b"\xff\xfe", b"b"]).view(pa.binary()).view(pa.string())
    refused(lambda: look(parquet(folder / "m.parquet", rows(sample_id=bad))))
    return refused(lambda: look(parquet(folder / "m.parquet", rows(uri=bad))))


@attack("columns of other types, and one name twice")
def wrong_types(folder: Path) -> str:
    for column in ({"uri": [[1], [2]]}, {"valence": ["high", "low"]}, {"frame_index": [1.5, 2.5]}):
        refused(lambda column=column: look(parquet(folder / "m.parquet", rows(**column))))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["sample_id", "uri", "uri"])
    return refused(lambda: look(parquet(folder / "m.parquet", twice)))


@attack("labels of 1e30, infinity, and a split called __proto__")
def odd_labels(folder: Path) -> str:
    for value in (1e30, float("inf"), float("-inf")):
        refused(lambda value=value: look(parquet(folder / "m.parquet", rows(valence=[value, 0.0]))))
    return refused(lambda: look(parquet(folder / "m.parquet", rows(split=["__proto__", "test"]))))


@attack("a run directory whose run.json is a list, is deep, is another program's")
def hostile_run(folder: Path) -> str:
    for text in ("[]", "[" * 100_000, '{"emofuse": ', '{"name": "thesis"}', "null"):
        (folder / "run.json").write_text(text)
        line = refused(lambda: Run(str(folder)).load())
    return line


# Weights


@attack("a pickle that runs code, as a scene head, as EmoNet, as a detector and as a calibration")
def pickled_weights(folder: Path) -> str:
    import torch

    from emofuse.calibration import Calibration
    from emofuse.face.emonet import load_emonet
    from emofuse.scene.card import read_card
    from emofuse.scene.head_file import load_head

    plain, zipped = folder / "plain.pth", folder / "zipped.pth"
    plain.write_bytes(pickle.dumps(Owner(folder)))
    torch.save({"conv1.weight": Owner(folder)}, zipped)
    for path in (plain, zipped):
        for load in (read_card, load_head, load_emonet, Calibration.load):
            line = refused(lambda path=path, load=load: load(path))
    return line


@attack("safetensors whose header claims 2^60 bytes, is no JSON, or points beyond the file")
def hostile_header(folder: Path) -> str:
    from emofuse.face.emonet import load_emonet
    from emofuse.scene.card import read_card

    beyond = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    contents = (struct.pack("<Q", 2**60), struct.pack("<Q", 4) + b"{{{{", struct.pack("<Q", len(beyond)) + beyond)
    for data in contents:
        (folder / "a.safetensors").write_bytes(data)
        for load in (read_card, load_emonet):
            line = refused(lambda load=load: load(folder / "a.safetensors"))
    return line


@attack("a head whose card is a list, is 100,000 brackets deep, or has NaN and 1e308 for its scales")
def hostile_card(folder: Path) -> str:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    from emofuse.scene.card import embedded_head, read_card

    with safe_open(embedded_head("scene"), framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        card = json.loads(file.metadata()["card"])
    for text in ("[]", "[" * 100_000, "null", json.dumps({**card, "format": "other/9"})):
        save_file(tensors, folder / "a.safetensors", metadata={"card": text})
        line = refused(lambda: read_card(folder / "a.safetensors"))
    for value in (float("nan"), float("inf"), -1.0, 1e308):
        hostile = {**card, "variance_scale": [value, value]}
        save_file(tensors, folder / "a.safetensors", metadata={"card": json.dumps(hostile)})
        refused(lambda: read_card(folder / "a.safetensors"))
    return line


@attack("an EmoNet file with NaN in it, one with shapes of another network, one of 40 MB of zeros")
def hostile_tensors(folder: Path) -> str:
    import torch

    from emofuse.face.emonet import EmoNet, load_emonet

    state = EmoNet(8).state_dict()
    for name, tensors in {
        "nan.pth": {**state, "conv1.bias": torch.full((64,), float("nan"))},
        "other.pth": {**state, "conv1.weight": torch.zeros(1, 1, 1, 1)},
        "list.pth": [torch.zeros(10)],
    }.items():
        torch.save(tensors, folder / name)
        line = refused(lambda name=name: load_emonet(folder / name))
    (folder / "zeros.pth").write_bytes(bytes(40_000_000))
    refused(lambda: load_emonet(folder / "zeros.pth"))
    return line


@attack("a torch file that is a zip bomb")
def zip_bomb(folder: Path) -> str:
    from emofuse.face.emonet import load_emonet

    with zipfile.ZipFile(folder / "a.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(500_000_000))
        file.writestr("archive/version", b"3")
    before = memory()
    line = refused(lambda: load_emonet(folder / "a.pth"))
    assert memory() - before < 200, "it was inflated"
    return line


@attack("a calibration of another format, with infinities, 100,000 brackets deep")
def hostile_calibration(folder: Path) -> str:
    from emofuse.calibration import Calibration

    for text in ("[]", "[" * 100_000, '{"format": "emofuse-calibration", "version": 1e400}', "\xff\xfe"):
        (folder / "c.json").write_bytes(text.encode("latin-1"))
        line = refused(lambda: Calibration.load(folder / "c.json"))
    return line


# Names and secrets


@attack("HTML and scripts as file names, ids, groups and title of a data set, in the report")
def hostile_names(folder: Path) -> str:
    from emofuse.pipeline.judge import judge
    from emofuse.report import build_report

    script = "<script>fetch('http://evil')</script>\"'><img src=x onerror=alert(1)>"
    table = predictions([f"{script}{i}" for i in range(6)], uri=f"javascript:alert(1)//{script}", group=script)
    table = schema.with_metadata(table, dataset={"title": script, "licence": script, "label_note": script})
    judged = judge(table, JudgeConfig(statistics=StatisticsConfig(resamples=20)))
    run = Run(str(folder / "run"))
    storage.write_table(storage.join(run.fused, "part-0.parquet"), judged.fused)
    storage.write_table(run.metrics, judged.metrics)
    storage.write_table(run.comparisons, judged.comparisons)
    run.save({"emofuse": "0", "dataset": {"title": script}, "manifest": {"address": script}, "split": judged.split})
    build_report(run.address)
    page = storage.read_bytes(run.report).decode()
    assert "<script>fetch" not in page
    assert "<img src=x" not in page
    assert 'href="javascript:' not in page
    return "shown as text; no tag, no link and no handler came of it"


@attack("terminal commands and rich's markup in names, on the terminal")
def hostile_terminal(folder: Path) -> str:
    from emofuse.errors import DataError
    from emofuse.remote import printable

    evil = "\x1b[2J\x1b]8;;http://evil\x07[/red][link=http://evil]x"
    assert "\x1b" not in printable(evil)
    shown = io.StringIO()
    from emofuse.cli import run_job

    def fails(options: object) -> None:
        raise DataError(f"no file at {evil}")

    @dataclass(frozen=True)
    class Nothing:
        """No options."""

    import sys

    before, sys.argv = sys.argv, ["job"]
    try:
        with redirect_stderr(shown), suppress(SystemExit):
            run_job(fails, Nothing, "fails")
    finally:
        sys.argv = before
    assert "\x1b" not in shown.getvalue()
    assert "[/red]" in shown.getvalue()
    return f"shown: {shown.getvalue().strip()[:80]}"


@attack("cells that a spreadsheet would run, in ids")
def formulas(folder: Path) -> str:
    ids = ["=cmd|'/c calc'!A1", "+1", "-1", "@x"]
    table = predictions(ids)
    storage.write_table(str(folder / "t.parquet"), table)
    assert storage.read_table(str(folder / "t.parquet")).column("sample_id").to_pylist() == ids
    written = [path.suffix for path in folder.rglob("*") if path.is_file()]
    assert ".csv" not in written
    return "kept as they are in Parquet; nothing is ever written as CSV"


@attack("passwords and signatures in addresses and options, in run.json and in messages")
def secrets(folder: Path) -> str:
    secret = "hunter2"
    addresses = (
        f"ftp://user:{secret}@host/m.parquet",
        f"https://host/m.parquet?X-Amz-Signature={secret}&token={secret}",
        f"s3://AKIA:{secret}@bucket/x",
    )
    record = {"emofuse": "0", "manifest": {"address": addresses[0]}, "list": list(addresses), "api_key": secret}
    Run(str(folder)).save(record)
    assert secret not in (folder / "run.json").read_text()
    for address in addresses:
        line = refused(lambda address=address: read_bytes(address, MediaConfig(root=str(folder))), kind="outside root")
        assert secret not in line
    assert secret not in runs.redact(addresses[1])
    return line


@attack("a sample id of 10 MB, and ids of control characters, through the whole judgement")
def hostile_ids(folder: Path) -> str:
    from emofuse.pipeline.judge import judge
    from emofuse.pipeline.sink import commit

    table = predictions(["x" * 10_000_000, "\x1b[2J", "a/../../b", "\n", "‮gpj.exe", "😀"])
    name = commit(str(folder / "predictions"), table, {})
    assert len(name) < 60
    assert [path.name for path in (folder / "predictions").iterdir()] == [name]
    assert judge(table, JudgeConfig(statistics=StatisticsConfig(resamples=20))).fused.num_rows == table.num_rows
    return f"judged; the file is called {name}"


@attack("a table of NumPy objects (a pickle) where AffectNet keeps a number")
def pickled_array(folder: Path) -> str:
    from emofuse.datasets import CONVERTERS

    for part in ("images", "annotations"):
        (folder / "val_set" / part).mkdir(parents=True)
    (folder / "val_set" / "images" / "1.jpg").write_bytes(encoded(scene(), "JPEG"))
    for name in ("val", "aro"):
        np.save(folder / "val_set" / "annotations" / f"1_{name}.npy", np.array([Owner(folder)], dtype=object))
    return refused(lambda: CONVERTERS["affectnet"](str(folder)))


def predictions(ids: list[str], uri: str = "a.jpg", group: str = "g") -> pa.Table:
    """A predictions table with these ids."""
    n, rng = len(ids), np.random.default_rng(0)
    columns: dict[str, object] = {"sample_id": ids, "uri": [uri] * n, "group": [f"{group}{i}" for i in range(n)]}
    for prefix in ("", "scene_", "face_"):
        for axis in ("valence", "arousal"):
            columns[f"{prefix}{axis}"] = pa.array(rng.uniform(-1, 1, n).astype(np.float32))
            if prefix:
                columns[f"{prefix}{axis}_variance"] = pa.array(np.full(n, 0.1, np.float32))
    columns |= {"in_sample": [False] * n, "status": ["ok"] * n, "split": ["test"] * n, "face_score": [0.9] * n}
    return schema.conform(pa.table(columns), schema.PREDICTIONS, "predictions")


def attempt(each: Attack, folder: Path) -> str:
    """Run one, and see that no pickle was run.

    Raises:
        AssertionError: if it succeeded, or ended in something else than a refusal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    happened = each.run(folder)
    assert not (folder / "owned").exists(), "its code was run"
    return happened


__all__ = ["ATTACKS", "Attack", "attempt"]
