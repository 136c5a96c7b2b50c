"""Hugging Face data sets on disk: images inside the tables or beside them, splits, odd rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from emofuse.datasets import CONVERTERS
from emofuse.datasets.base import MISSING, REPEATED, STRADDLING
from emofuse.datasets.hf import NO_IMAGE
from emofuse.errors import DataError

hf = pytest.importorskip("datasets", reason="needs the package datasets")
build = CONVERTERS["hf"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hf.disable_progress_bars()


def table(files: list[Path | None], *, embed: bool, **columns: list) -> object:
    images = [file and ({"bytes": file.read_bytes(), "path": file.name} if embed else str(file)) for file in files]
    kind = hf.Image() if embed else hf.Value("string")
    features = hf.Features({"image": kind, **{name: hf.Value("float64") for name in columns}})
    return hf.Dataset.from_dict({"image": images, **columns}, features=features)


def test_images_inside_the_tables_are_written_out_once(tmp_path: Path, make_image) -> None:
    files = [make_image(f"made/{i}.{'png' if i % 2 else 'jpg'}", look=i) for i in range(6)]
    parts = {
        "train": table([*files[:3], None], embed=True, valence=[0, 0.5, 1, 1], arousal=[1, None, 0, 0]),
        "validation": table(files[3:4], embed=True, valence=[0.5], arousal=[0.5]),
        "test": table([*files[4:], files[0]], embed=True, valence=[0.5, 0.5, 0], arousal=[0.5, 0.5, 1]),
    }
    hf.DatasetDict(parts).save_to_disk(tmp_path / "set")
    built = build(str(tmp_path / "set"), scale="unit", images=str(tmp_path / "out"))
    rows = built.table.to_pylist()
    assert built.report.dropped == {NO_IMAGE: 1, REPEATED: 1}
    assert len(list((tmp_path / "out").iterdir())) == len(rows) == 6
    assert sorted(row["split"] for row in rows) == ["test"] * 3 + ["train"] * 2 + ["valid"]
    content = {Path(row["uri"]).read_bytes(): row for row in rows}
    assert content[files[0].read_bytes()]["split"] == "test"
    assert (content[files[2].read_bytes()]["valence"], content[files[2].read_bytes()]["arousal"]) == (1, -1)
    assert content[files[1].read_bytes()]["arousal"] is None
    assert {Path(row["uri"]).suffix for row in rows} == {".jpg", ".png"}
    again = build(str(tmp_path / "set"), scale="unit")
    assert again.table.drop("uri").equals(built.table.drop("uri"))
    assert Path(again.table.column("uri")[0].as_py()).parent == tmp_path / "set-images"


def test_images_beside_the_tables_are_used_where_they_are(tmp_path: Path, make_image) -> None:
    files = [make_image(f"made/p {i}.jpg") for i in range(8)]
    columns = {"v": [float(i) for i in range(1, 9)], "a": [9.0] * 8, "who": [float(i // 2) for i in range(8)]}
    table(files, embed=False, **columns).save_to_disk(tmp_path / "set")  # type: ignore[attr-defined]
    files[7].unlink()
    built = build(str(tmp_path / "set"), scale="sam9", labels=("v", "a"), group="who")
    rows = {Path(row["uri"]).name: row for row in built.table.to_pylist()}
    assert built.report.dropped == {MISSING: 1}
    assert rows["p 4.jpg"]["valence"] == 0
    assert rows["p 4.jpg"]["group"] == rows["p 5.jpg"]["group"]
    assert {row["split"] for row in rows.values()} == {None}


def test_a_folder_of_images_with_metadata(tmp_path: Path) -> None:
    for split, shades in {"train": range(5), "test": (5, 0)}.items():
        folder = tmp_path / "set" / split
        folder.mkdir(parents=True)
        for shade in shades:
            Image.new("RGB", (4, 4), (shade * 9, 0, 0)).save(folder / f"{split} {shade}.png")
        lines = "".join(f"{split} {shade}.png,0.25,-0.25\n" for shade in shades)
        (folder / "metadata.csv").write_text("file_name,valence,arousal\n" + lines)
    built = build(str(tmp_path / "set"), scale="reference")
    rows = built.table.to_pylist()
    assert built.report.dropped == {STRADDLING: 1}
    assert sorted(Path(row["uri"]).name for row in rows if row["split"] == "test") == ["test 0.png", "test 5.png"]
    assert {row["valence"] for row in rows} == {0.25}


@pytest.mark.parametrize("root", ["nowhere", "empty"])
def test_what_is_no_data_set_is_a_data_error(tmp_path: Path, root: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=root):
        build(str(tmp_path / root), scale="unit")
