"""A table of one's own: columns, units, splits, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emofuse.datasets import CONVERTERS, with_splits
from emofuse.datasets.base import ALONE, MISSING, NO_LABEL, ONE_LABEL, REPEATED, STRADDLING, Built
from emofuse.datasets.splits import shares
from emofuse.errors import ConfigError, DataError
from emofuse.tables import schema

build = CONVERTERS["csv"]


def dealt(built: Built, words: str = "70/15/15") -> Built:
    return with_splits(built, shares(words), 0)


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_ratings_become_reference_units_and_paths_addresses(tmp_path: Path, make_image) -> None:
    paths = ["a b.jpg", "c+d.png", "50%.jpg", "é/ü.jpg", "deep/er/f#g.jpg"]
    for path in paths:
        make_image(path)
    lines = [
        f"{path},{v},{a},1.5" for path, (v, a) in zip(paths, [(1, 7), (4, 4), (7, 1), (5.5, 2.5), (2, 4)], strict=True)
    ]
    write(tmp_path, "ratings.csv", "\ufeffimage_path,valence,arousal,valence_std\r\n" + "\r\n".join(lines) + "\r\n")
    built = build(str(tmp_path), scale="oasis")
    rows = {Path(r["uri"]).name: r for r in built.table.to_pylist()}
    assert (rows["a b.jpg"]["valence"], rows["a b.jpg"]["arousal"]) == (-1.0, 1.0)
    assert (rows["ü.jpg"]["valence"], rows["ü.jpg"]["arousal"]) == (0.5, -0.5)
    assert rows["f#g.jpg"]["valence_std"] == 0.5
    assert all(Path(row["uri"]).is_file() for row in rows.values())
    assert set(built.table.column("split").to_pylist()) == {None}
    assert f"5 {ALONE}" in built.report.notes
    about = schema.read_metadata(built.table.schema)
    assert about["source_units"] == {"scale": "oasis", "valence": [1, 7], "arousal": [1, 7]}
    assert (built.report.read, built.report.kept, built.report.dropped) == (5, 5, {})


def test_ids_are_the_same_wherever_the_folder_lies(tmp_path: Path, make_image) -> None:
    for root in ("here", "some/where else"):
        for i in range(4):
            make_image(f"{root}/{i}.jpg", look=i)
        write(tmp_path / root, "x.csv", "image_path,valence,arousal\n" + "".join(f"{i}.jpg,0,0\n" for i in range(4)))
    one, other = (dealt(build(str(tmp_path / root), scale="reference")).table for root in ("here", "some/where else"))
    for column in ("sample_id", "split", "group"):
        assert one.column(column).equals(other.column(column))
    assert not one.column("uri").equals(other.column("uri"))


def test_odd_ways_of_writing_a_path_find_the_image(tmp_path: Path, make_image) -> None:
    make_image("sub/a.jpg"), make_image("sub/b.jpg"), make_image("sub/c.jpg"), make_image("sub/d é.jpg")
    ways = ["/sub/a.jpg", "sub\\b.jpg", str(tmp_path / "sub" / "c.jpg"), " ./sub/d e\u0301.jpg "]
    write(tmp_path, "x.csv", "image_path,valence,arousal\n" + "".join(f'"{way}",0,0\n' for way in ways))
    assert build(str(tmp_path), scale="reference").report.kept == 4


def test_a_row_with_one_rating_is_not_called_unlabelled(tmp_path: Path, make_image) -> None:
    make_image("a.jpg"), make_image("b.jpg"), make_image("c.jpg")
    write(tmp_path, "x.csv", "image_path,valence,arousal\na.jpg,0,\nb.jpg,,\nc.jpg,0,0\n")
    notes = build(str(tmp_path), scale="reference").report.notes
    assert f"1 {NO_LABEL}" in notes
    assert f"1 {ONE_LABEL}" in notes


def test_missing_repeated_and_unlabelled_rows_are_counted(tmp_path: Path, make_image) -> None:
    make_image("a.jpg"), make_image("b.jpg")
    write(tmp_path, "x.csv", "image_path,valence,arousal\na.jpg,0,0\nb.jpg,,nan\na.jpg,1,1\ngone.jpg,0,0\n,0,0\n")
    report = build(str(tmp_path), scale="reference").report
    assert report.dropped == {MISSING: 2, REPEATED: 1}
    assert report.examples[MISSING] == "gone.jpg"
    assert f"1 {NO_LABEL}" in report.notes
    assert report.read == report.kept + sum(report.dropped.values()) == 5


def test_split_files_are_kept_and_the_later_split_keeps_a_shared_image(tmp_path: Path, make_image) -> None:
    for i in range(10):
        make_image(f"{i}.jpg", look=i)
    make_image("copy of 9.jpg", look=9)
    head = "image_path,valence,arousal\n"
    write(tmp_path, "train.csv", head + "".join(f"{i}.jpg,0,0\n" for i in range(6)) + "copy of 9.jpg,0,0\n")
    write(tmp_path, "valid.csv", head + "6.jpg,0,0\n7.jpg,0,0\n")
    write(tmp_path, "test.csv", head + "8.jpg,0,0\n9.jpg,0,0\n0.jpg,0,0\n")
    built = build(str(tmp_path), scale="reference")
    split = {Path(r["uri"]).stem: r["split"] for r in built.table.to_pylist()}
    assert split == {
        **{str(i): "train" for i in range(1, 6)},
        "6": "valid",
        "7": "valid",
        "8": "test",
        "9": "test",
        "0": "test",
    }
    assert built.report.dropped == {REPEATED: 1, STRADDLING: 1}


def test_where_shares_are_asked_for_a_part_of_train_becomes_a_valid_split_that_is_not_published(
    tmp_path: Path, make_image
) -> None:
    for i in range(40):
        make_image(f"{i}.jpg")
    lines = "".join(f"{i}.jpg,{(i % 5) / 4},{(i % 3) / 2},{'test' if i >= 30 else 'train'}\n" for i in range(40))
    write(tmp_path, "x.csv", "image_path,valence,arousal,split\n" + lines)
    built = build(str(tmp_path), scale="unit")
    assert built.table.column("split").to_pylist().count("valid") == 0
    split = dealt(built).table.column("split").to_pylist()
    assert split.count("test") == 10
    assert 4 <= split.count("valid") <= 7


def test_images_of_the_same_bytes_share_a_group_and_a_split(tmp_path: Path, make_image) -> None:
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 150, 60)
    for i, look in enumerate(looks):
        make_image(f"{i:02}.png", look=int(look))
    lines = "".join(f"{i:02}.png,{rng.uniform()},{rng.uniform()},g{i // 2}\n" for i in range(60))
    write(tmp_path, "x.csv", "image_path,valence,arousal,group\n" + lines)
    rows = dealt(build(str(tmp_path), scale="unit")).table.to_pylist()
    for key in (
        lambda r: r["group"],
        lambda r: looks[int(Path(r["uri"]).stem)],
        lambda r: int(Path(r["uri"]).stem) // 2,
    ):
        splits = {}
        for row in rows:
            splits.setdefault(key(row), set()).add(row["split"])
        assert all(len(found) == 1 for found in splits.values())


def test_a_image_shared_by_two_published_splits_costs_only_itself(tmp_path: Path, make_image) -> None:
    looks = {"a0": 0, "a1": 1, "b0": 0, "b1": 2, "c0": 3, "d0": 3, "e0": 4}
    for name, look in looks.items():
        make_image(f"{name}.png", look=look)
    split = {"a": "train", "b": "test", "c": "valid", "d": "valid", "e": ""}
    lines = "".join(f"{name}.png,0,0,{name[0]},{split[name[0]]}\n" for name in looks)
    write(tmp_path, "x.csv", "image_path,valence,arousal,group,split\n" + lines)
    built = build(str(tmp_path), scale="reference")
    rows = {Path(r["uri"]).stem: (r["group"], r["split"]) for r in built.table.to_pylist()}
    assert built.report.dropped == {STRADDLING: 1}
    assert rows == {
        "a1": ("a", "train"),
        "b0": ("b", "test"),
        "b1": ("b", "test"),
        "c0": ("c", "valid"),
        "d0": ("c", "valid"),
        "e0": ("e", None),
    }


def test_published_splits_are_not_dealt_anew_and_too_few_groups_are_told(tmp_path: Path, make_image) -> None:
    for i in range(3):
        make_image(f"{i}.jpg", look=i)
    head = "image_path,valence,arousal"
    write(tmp_path, "x.csv", f"{head},split\n0.jpg,0,0,train\n1.jpg,0,0,valid\n2.jpg,0,0,\n")
    with pytest.raises(ConfigError, match=r"splits of its own \(train, valid\): leave --split out"):
        dealt(build(str(tmp_path), scale="unit"))
    write(tmp_path, "x.csv", f"{head},group\n0.jpg,0,0,a\n1.jpg,0,0,a\n2.jpg,0,0,b\n")
    with pytest.raises(DataError, match=r"2 group\(s\) are too few for train, valid, test"):
        dealt(build(str(tmp_path), scale="unit"))
    halves = dealt(build(str(tmp_path), scale="unit"), "0/50/50").table
    assert sorted(halves.column("split").to_pylist()) in (["test", "test", "valid"], ["test", "valid", "valid"])
    assert schema.read_metadata(halves.schema)["split_shares"] == {"valid": 0.5, "test": 0.5}


@pytest.mark.parametrize("words", ["70", "70/15/15/0", "70/15/16", "71/14/15", "a/b/c", "100/0/0", "-10/60/50", ""])
def test_shares_that_cannot_be_are_one_clear_line(words: str) -> None:
    with pytest.raises(ConfigError, match="as 70/15/15 or 0/50/50; got"):
        shares(words)


def test_other_columns_go_along_as_text_numbers_and_booleans(tmp_path: Path, make_image) -> None:
    for i in range(3):
        make_image(f"{i}.jpg", look=i)
    head = "image_path,valence,arousal,gender,age,score,id,old,empty,status,path\n"
    rows = "0.jpg,0,0,f,20,0.5,007,true,,x,y\n1.jpg,0,0, m ,31,1,008,FALSE,,x,y\n2.jpg,0,0,,,,009,,,x,y\n"
    write(tmp_path, "x.csv", head + rows)
    built = build(str(tmp_path), scale="unit")
    own = built.table.select([name for name in built.table.column_names if name not in schema.MANIFEST.names])
    assert own.to_pydict() == {
        "gender": ["f", "m", None],
        "age": [20, 31, None],
        "score": [0.5, 1.0, None],
        "id": ["007", "008", "009"],
        "old": [True, False, None],
        "empty": [None, None, None],
    }
    kinds = (pa.string(), pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.string())
    assert [own.schema.field(name).type for name in ("gender", "age", "score", "id", "old", "empty")] == list(kinds)
    assert "left out, since emofuse uses the name: column status, path" in built.report.notes


@pytest.mark.parametrize(
    ("text", "options", "kind", "words"),
    [
        ("image_path,valence,arousal\na.jpg,5,5\n", {"scale": "unit"}, DataError, "outside the unit scale"),
        ("image_path,valence,arousal\na.jpg,high,0\n", {"scale": "unit"}, DataError, "data row 1 has 'high'"),
        ("image_path,valence\na.jpg,0\n", {"scale": "unit"}, DataError, "lacks arousal"),
        ("image_path,valence,arousal\na.jpg,0,0\n", {"scale": "percent"}, ConfigError, "unknown scale 'percent'"),
        ("image_path,valence,arousal\nb.jpg,0,0\n", {"scale": "unit"}, DataError, "image missing: 1 (first: b.jpg)"),
        ("image_path,valence,arousal,split\na.jpg,0,0,dev\n", {"scale": "unit"}, DataError, "got dev"),
        ("", {"scale": "unit"}, DataError, "no CSV table"),
        ("image_path,valence,arousal\n", {"scale": "unit", "table": "y.csv"}, DataError, "looked for y.csv"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, make_image, text: str, options: dict[str, str], kind: type[Exception], words: str
) -> None:
    make_image("a.jpg")
    write(tmp_path, "x.csv", text)
    with pytest.raises(kind) as raised:
        build(str(tmp_path), **options)
    assert words in str(raised.value)


def test_two_tables_ask_which(tmp_path: Path) -> None:
    write(tmp_path, "x.csv", "")
    write(tmp_path, "y.csv", "")
    with pytest.raises(DataError, match=r"several: x\.csv, y\.csv"):
        build(str(tmp_path), scale="unit")


def test_an_fsspec_address_serves_as_root(make_image, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for i in range(5):
        memory.pipe(f"/set one/p {i}.jpg", make_image(f"{i}.jpg").read_bytes())
    memory.pipe("/set one/x.csv", b"image_path,valence,arousal\n" + b"".join(b"p %d.jpg,0,0\n" % i for i in range(5)))
    try:
        table = build("memory://set one", scale="reference").table
        assert table.column("uri").to_pylist() == [f"memory:///set one/p {i}.jpg" for i in range(5)]
        with fsspec.open(table.column("uri")[0].as_py()) as file:
            assert file.read() == (tmp_path / "0.jpg").read_bytes()
    finally:
        memory.rm("/set one", recursive=True)
