"""Published image sets, in small, in the form in which they are published."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.io import savemat

from emofuse.datasets import CONVERTERS, with_splits
from emofuse.datasets.affectnet import UNCERTAIN
from emofuse.datasets.base import MISSING, STRADDLING
from emofuse.datasets.emotic import UNRATED
from emofuse.datasets.findingemo import query_of
from emofuse.datasets.folder import OTHER
from emofuse.datasets.splits import shares
from emofuse.errors import DataError
from emofuse.tables import schema
from emofuse.tables.columns import texts

OASIS_HEAD = ",Theme,Category,Source,Valence_mean,Valence_SD,Valence_N,Arousal_mean,Arousal_SD,Arousal_N"


def by_name(built) -> dict[str, dict[str, object]]:
    return {Path(row["uri"]).name: row for row in built.table.to_pylist()}


def test_oasis_as_published_with_old_line_ends_and_trailing_spaces(tmp_path: Path, make_image) -> None:
    for name in ("Acorns 1", "Acorns 2", "Happy face 10", "Wall 3", "Yarn 1"):
        make_image(f"Images/{name}.jpg")
    lines = [
        OASIS_HEAD,
        "I1,Acorns 1 ,Object,Pixabay,4.68627451,0.954202712,102,2.346534653,1.602720459,101",
        "I2,Acorns 2,Object ,Pixabay ,1,0,100,7,3,100",
        "I3,Happy face 10  ,Person,Wikimedia,7,1.5,100,4,0.3,100",
        "I4,Wall 3,Scenery,Flickr,4,1,100,1,1,100",
        "I5,Yarn 1,Object,Flickr,4,1,100,1,1,100",
        "I6,Gone 1,Object,Flickr,4,1,100,1,1,100",
    ]
    (tmp_path / "OASIS.csv").write_bytes("\r".join(lines).encode() + b"\r")
    built = CONVERTERS["oasis"](str(tmp_path))
    rows = by_name(built)
    # (4.68627451 - 4) / 3 and 0.954202712 / 3, by hand
    assert rows["Acorns 1.jpg"]["valence"] == pytest.approx(0.22875817, abs=1e-7)
    assert rows["Acorns 1.jpg"]["valence_std"] == pytest.approx(0.31806757, abs=1e-7)
    assert (rows["Acorns 2.jpg"]["valence"], rows["Acorns 2.jpg"]["arousal"]) == (-1, 1)
    assert [rows[f"{n}.jpg"]["group"] for n in ("Acorns 1", "Acorns 2", "Happy face 10")] == [
        "Acorns",
        "Acorns",
        "Happy face",
    ]
    assert rows["Acorns 2.jpg"]["category"] == "Object"
    assert rows["Acorns 1.jpg"]["valence_n"] == 102
    assert built.report.dropped == {MISSING: 1}


def test_oasis_of_the_development_data(shared_data: Path) -> None:
    built = CONVERTERS["oasis"](str(shared_data / "oasis"))
    assert set(built.table.column("split").to_pylist()) == {None}
    table = with_splits(built, shares("70/15/15"), 0).table.to_pandas()
    assert (built.report.read, built.report.kept, len(table)) == (551, 551, 551)
    assert table.groupby("group").split.nunique().max() == 1
    share = table.split.value_counts(normalize=True)
    np.testing.assert_allclose(share[["train", "valid", "test"]], [0.70, 0.15, 0.15], atol=0.02)
    assert not table[["valence", "arousal", "valence_std", "arousal_std"]].isna().any().any()
    assert table.valence.between(-1, 1).all()


def test_the_demo_carries_ten_stand_ins_and_says_so() -> None:
    built = CONVERTERS["demo"]()
    rows, about = by_name(built), schema.read_metadata(built.table.schema)
    assert about["demonstration"] is True
    assert "stand-in" in about["label_note"]
    assert about["label_note"] in built.report.notes
    assert sum(row["valence"] is not None for row in rows.values()) == 10
    assert {row["split"] for row in rows.values()} == {None}
    # Astronaut 5.43 / 4.12, Neutral face 4.40 / 2.63 on 1-7
    assert rows["astronaut.png"]["valence"] == pytest.approx(1.43 / 3, abs=1e-6)
    assert rows["astronaut.png"]["arousal"] == pytest.approx(0.12 / 3, abs=1e-6)
    assert rows["grace_hopper.jpg"]["arousal"] == pytest.approx(-1.37 / 3, abs=1e-6)
    assert all(Path(row["uri"]).is_file() for row in rows.values())


def test_a_folder_gives_every_image_and_follows_links(tmp_path: Path, make_image) -> None:
    make_image("in/a.JPG"), make_image("in/b/c.webp"), make_image("out/d.png"), make_image("in/.hidden/e.jpg")
    (tmp_path / "in/notes.txt").write_text("no image")
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    (tmp_path / "in/b/loop").symlink_to(tmp_path / "in")
    built = CONVERTERS["folder"](str(tmp_path / "in"))
    assert sorted(by_name(built)) == ["a.JPG", "c.webp", "d.png"]
    assert built.report.dropped == {OTHER: 2}
    assert set(built.table.column("split").to_pylist()) == {None}


@pytest.mark.parametrize("name", ["folder", "oasis", "findingemo", "emotic", "affectnet"])
def test_a_folder_that_is_not_there_is_a_data_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder at"):
        CONVERTERS[name](str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["folder", "oasis", "emotic", "affectnet"])
def test_an_empty_folder_is_a_data_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        CONVERTERS[name](str(tmp_path))


FINDINGEMO = """index,user,image_path,tags,age,valence,arousal,emotion,dec_factors,ambiguity,datetime
0,u1,/Run_2/Loving toddlers sports/a b.jpg,Undefined,Children,-3,6,Trust,"BodyLanguage,FacialExpression",0,2023-09-01
1,u1,/Run_2/Joyful forty-something sports/Ann+Hobson+Pilot_01.jpg,Undefined,"Youth,Adults",0,3,Joy,X,0,2023-09-01
2,u2,/Run_1/Joyful forty-something sports/50%25 off.png,Undefined,Adults,3,0,Joy,X,0,2023-09-01
3,u2,/Run_1/Awe people court/gone.jpg,Undefined,Adults,3,0,Joy,X,0,2023-09-01
4,u2,/Run_1/Awe people court/082699_aa~mv2.jpg,Undefined,Adults,1,1,Joy,X,0,2023-09-01
"""


@pytest.fixture
def findingemo_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the name and form of findingemo-light, with five labels."""
    data = tmp_path / "packages/findingemo_light/data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    (data / "annotations_single.ann").write_text(FINDINGEMO)
    monkeypatch.delitem(sys.modules, "findingemo_light", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")


def test_findingemo_keeps_odd_names_and_counts_the_missing(tmp_path: Path, make_image, findingemo_package) -> None:
    for name in (
        "Run_2/Loving toddlers sports/a b.jpg",
        "Run_2/Joyful forty-something sports/Ann+Hobson+Pilot_01.jpg",
        "Run_1/Joyful forty-something sports/50%25 off.png",
        "Run_1/Awe people court/082699_aa~mv2.jpg",
    ):
        make_image(f"images/{name}")
    built = CONVERTERS["findingemo"](str(tmp_path / "images"))
    rows = by_name(built)
    assert built.report.dropped == {MISSING: 1}
    assert (rows["a b.jpg"]["valence"], rows["a b.jpg"]["arousal"]) == (-1, 1)
    assert (rows["50%25 off.png"]["valence"], rows["50%25 off.png"]["arousal"]) == (1, -1)
    assert rows["50%25 off.png"]["group"] == rows["Ann+Hobson+Pilot_01.jpg"]["group"] == "Joyful forty-something sports"
    assert rows["a b.jpg"]["emotion"] == "Trust"


def test_findingemo_labels_of_the_package() -> None:
    light = pytest.importorskip("findingemo_light", reason="needs the package findingemo-light")
    assert isinstance(light, ModuleType)
    text = (Path(str(light.__file__)).parent / "data/annotations_single.ann").read_text()
    paths = [line.split(",")[2] for line in text.splitlines()[1:]]
    assert len(paths) == 25_869
    assert sum(path.lower().endswith(".png") for path in paths) == 684
    assert query_of(paths[0]) == "Loving toddlers sports"


def emotic_mat() -> dict[str, np.ndarray]:
    """Two images of train, one of val, one of test, in the nesting of the published Annotations.mat."""

    def struct(**fields: object) -> np.ndarray:
        out = np.empty((1, 1), dtype=[(name, object) for name in fields])
        out[0, 0] = tuple(fields.values())
        return out

    def listed(items: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(items, axis=1)

    def rating(valence: float, arousal: float) -> np.ndarray:
        return struct(valence=valence, arousal=arousal, dominance=5.0)

    def trained(box: list[int], valence: float, arousal: float) -> np.ndarray:
        return struct(
            body_bbox=np.array([box]),
            annotations_categories=struct(categories="Peace"),
            annotations_continuous=rating(valence, arousal),
            gender="Male",
            age="Adult",
        )

    def tested(ratings: list[tuple[float, float]], combined: tuple[float, float]) -> np.ndarray:
        return struct(
            body_bbox=np.array([[1, 2, 3, 4]]),
            annotations_categories=struct(categories="Peace"),
            combined_categories="Peace",
            annotations_continuous=listed([rating(*one) for one in ratings]),
            combined_continuous=rating(*combined),
            gender="Male",
            age="Adult",
        )

    def image(folder: str, name: str, persons: list[np.ndarray]) -> np.ndarray:
        return struct(
            filename=name,
            folder=folder,
            image_size=struct(n_col=640, n_row=480),
            original_database=struct(name="mscoco"),
            person=listed(persons),
        )

    two = [trained([-5, 10, 50, 400], 1, 10), trained([60, 1, 90, 200], 5.5, np.nan)]
    return {
        "train": listed(
            [
                image("mscoco/images", "COCO 1.jpg", two),
                image("ade20k/images", "gone.jpg", [trained([0, 0, 1, 1], 5, 5)]),
            ]
        ),
        "val": image("framesdb/images", "frame.jpg", [tested([(4, 6), (6, 6)], (5, 6))]),
        "test": image("emodb_small/images", "small.png", [tested([(10, 1)], (10, 1))]),
    }


def test_emotic_mat_gives_a_row_for_each_rated_person(tmp_path: Path, make_image) -> None:
    for name in ("mscoco/images/COCO 1.jpg", "framesdb/images/frame.jpg", "emodb_small/images/small.png"):
        make_image(f"emotic/{name}")
    (tmp_path / "Annotations").mkdir()
    savemat(tmp_path / "Annotations/Annotations.mat", emotic_mat())
    built = CONVERTERS["emotic"](str(tmp_path))
    rows = by_name(built)
    assert built.report.dropped == {UNRATED: 1, MISSING: 1}
    coco, frame, small = rows["COCO 1.jpg"], rows["frame.jpg"], rows["small.png"]
    assert (coco["valence"], coco["arousal"], coco["split"]) == (-1, 1, "train")
    assert coco["person_box"] == [0, 10, 50, 400]
    assert frame["valence"] == pytest.approx((5 - 5.5) / 4.5)
    assert frame["valence_std"] == pytest.approx(np.sqrt(2) / 4.5)
    assert frame["arousal_std"] == 0
    assert (frame["split"], small["split"], small["valence"], small["valence_std"]) == ("valid", "test", 1, None)


def test_emotic_csv_has_the_same_rows(tmp_path: Path, make_image) -> None:
    for name in ("mscoco/images/COCO 1.jpg", "framesdb/images/frame.jpg"):
        make_image(name)
    head = "Index,Folder,Filename,Image Size,BBox,Categorical_Labels,Continuous_Labels,Gender,Age\n"
    (tmp_path / "annots_train.csv").write_text(
        head
        + '0,mscoco/images,COCO 1.jpg,"[640, 480]","[-5, 10, 50, 400]",[\'Peace\'],"[1.0, 10.0, 5.0]",Male,Adult\n'
        + '1,mscoco/images,COCO 1.jpg,"[640, 480]","[60, 1, 90, 200]",[\'Peace\'],"[nan, 3.0, 5.0]",Male,Adult\n'
        + '2,mscoco/images,COCO 1.jpg,"[640, 480]","[61, 1, 90, 200]",[\'Peace\'],"[5.5, 5.5, 5.0]",Male,Adult\n'
    )
    (tmp_path / "annots_test.csv").write_text(
        head + '0,framesdb/images,frame.jpg,"[640, 480]","[1, 2, 3, 4]",[\'Peace\'],"[5.0, 6.0, 5.0]",Male,Adult\n'
    )
    built = CONVERTERS["emotic"](str(tmp_path))
    rows = built.table.to_pylist()
    assert [row["person_box"] for row in rows if row["split"] == "train"] == [[0, 10, 50, 400], [61, 1, 90, 200]]
    assert len({row["group"] for row in rows}) == 2
    assert built.report.dropped == {UNRATED: 1}


def test_affectnet_csv_drops_what_is_marked_invalid(tmp_path: Path, make_image) -> None:
    for i in range(30):
        make_image(f"Manually_Annotated_Images/{i % 3}/{i:02}.jpg", look=i)
    make_image("Manually_Annotated_Images/9/copy.JPG", look=0)
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    line = "{}/{:02}.jpg,1,1,2,2,1.0;2.0,{},{},{}\n".format
    train = [line(i % 3, i, 1, i / 30, -i / 30) for i in range(25)]
    (tmp_path / "training.csv").write_text(head + "".join(train) + line(1, 25, 9, -2, -2) + line(7, 99, 1, 0.5, 0.5))
    test = [line(i % 3, i, 1, 0.1, 0.2) for i in range(26, 30)]
    (tmp_path / "validation.csv").write_text(head + "".join(test) + "9/copy.JPG,1,1,2,2,1.0;2.0,1,0,0\n")
    built = CONVERTERS["affectnet"](str(tmp_path))
    rows = by_name(built)
    assert built.report.dropped == {UNCERTAIN: 1, MISSING: 1, STRADDLING: 1}
    assert rows["24.jpg"]["valence"] == pytest.approx(0.8)
    assert {rows[f"{i}.jpg"]["split"] for i in range(26, 30)} == {rows["copy.JPG"]["split"]} == {"test"}
    assert {row["split"] for row in rows.values()} == {"train", "test"}
    dealt = texts(with_splits(built, shares("70/15/15"), 0).table, "split")
    assert (dealt == "valid").sum() in range(3, 7)
    assert (dealt == "test").sum() == 5


def test_affectnet_arrays_hold_numbers_or_text_but_never_objects(tmp_path: Path, make_image) -> None:
    ratings = {"train_set": [(0.5, "0.25"), ("-0.5", 0.0), (-2, -2), (1, -1)], "val_set": [(0.0, 0.0)]}
    for folder, pairs in ratings.items():
        (tmp_path / folder / "annotations").mkdir(parents=True)
        for i, pair in enumerate(pairs):
            make_image(f"{folder}/images/{i}.jpg")
            for axis, value in zip(("val", "aro"), pair, strict=True):
                np.save(tmp_path / folder / f"annotations/{i}_{axis}.npy", np.array(value))
    built = CONVERTERS["affectnet"](str(tmp_path))
    assert built.report.dropped == {UNCERTAIN: 1}
    assert sorted(r["valence"] for r in built.table.to_pylist()) == [-0.5, 0.0, 0.5, 1.0]
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "train_set/annotations/0_val.npy").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"0_val\.npy should hold one number"):
        CONVERTERS["affectnet"](str(tmp_path))


@pytest.mark.parametrize(
    ("name", "low", "high", "sentinels"),
    [
        ("oasis", [1, 1], [7, 7], "none"),
        ("findingemo", [-3, 0], [3, 6], "none"),
        ("emotic", [1, 1], [10, 10], "NaN"),
        ("affectnet", [-1, -1], [1, 1], "-2"),
        ("afewva", [-10, -10], [10, 10], "none"),
        ("affwild2", [-1, -1], [1, 1], "-5"),
        ("veatic", [-1, -1], [1, 1], "none"),
    ],
)
def test_every_published_set_states_units_sentinels_and_licence(
    name: str, low: list[int], high: list[int], sentinels: str
) -> None:
    about = importlib.import_module(f"emofuse.datasets.{name}").ORIGIN.metadata()
    assert about["source_units"] == {
        "scale": name, "valence": [low[0], high[0]], "arousal": [low[1], high[1]],
    }  # fmt: skip
    assert sentinels in about["sentinels"]
    assert len(about["licence"]) > 10
