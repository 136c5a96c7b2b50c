"""The single-frame interface: its own rules with plain experts, and the batch job's numbers with real ones."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import av
import numpy as np
import pyarrow as pa
import pytest

from emofuse.affect import Affect
from emofuse.config import ComputeConfig, EvaluationConfig, FusionConfig, InferenceConfig, StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.io.video import index_frames, read_frames
from emofuse.live import SceneFaceFusion
from emofuse.tables.schema import MANIFEST, with_metadata


class Scripted:
    """An expert that answers from a list, and remembers what it was shown."""

    def __init__(self, *answers, card=None):
        self.answers, self.card, self.seen = list(answers), card or {}, []
        self.preprocessing = SimpleNamespace(apply=lambda rgb: rgb[:2, :2])

    def __call__(self, images):
        self.seen.append(images)
        mean, variance = self.answers.pop(0)
        return Affect.of([[mean, -mean]], [[variance, variance]])


@dataclass
class Finder:
    """Finds a face in frames that are not black."""

    score: float = 0.9

    def __call__(self, rgb, scale=1.0):
        if not rgb.any():
            return SimpleNamespace(count=0, faces=[], crops=np.empty((0, 256, 256, 3), np.uint8))
        face = SimpleNamespace(box=np.array([1, 2, 3, 4], np.float32), score=self.score, area=4.0)
        return SimpleNamespace(count=1, faces=[face], crops=np.zeros((1, 256, 256, 3), np.uint8))


GREY, BLACK = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8, 3), np.uint8)


def test_inverse_variance_of_both_views():
    """(.6, .09) and (-.2, .25): mean .388235…, variance .0661765 (docs/methods.md, fixed effect)."""
    plain = FusionConfig(method="inverse_variance")
    live = SceneFaceFusion(
        Scripted((0.6, 0.09)), Scripted((-0.2, 0.25)), Finder(), fusion=plain, enable_stabilizer=False
    )
    seen = live.predict_and_fuse(GREY)
    assert seen.fused.valence == pytest.approx(0.388235294117647, abs=1e-12)
    assert seen.fused.arousal == pytest.approx(-0.388235294117647, abs=1e-12)
    np.testing.assert_allclose(seen.fused.variance, 0.0661764705882353)
    np.testing.assert_allclose(seen.scene_weight, 0.735294117647, atol=1e-12)
    assert (seen.scene.valence, seen.face.valence) == (0.6, -0.2)
    assert seen.face_box == [1, 2, 3, 4]
    assert (seen.face_count, seen.face_score) == (1, 0.9)


def test_foreign_experts_are_taken_as_correlated():
    """Best linear unbiased at a correlation of .5, Lyons et al. 1988: mean .5368421053, variance .0888157895."""
    live = SceneFaceFusion(Scripted((0.6, 0.09)), Scripted((-0.2, 0.25)), Finder(), enable_stabilizer=False)
    seen = live.predict_and_fuse(GREY)
    assert seen.fused.valence == pytest.approx(0.5368421053, abs=1e-9)
    np.testing.assert_allclose(seen.fused.variance, 0.0888157895, atol=1e-9)


def test_a_gate_on_a_constant_deviation_is_refused():
    card = {"variance_scale": [0.0, 1.0], "variance_floor": [0.1, 0.1]}
    with pytest.raises(ConfigError, match="valence variance is the same"):
        SceneFaceFusion(None, Scripted(card=card), Finder(), fusion=FusionConfig(max_face_std=0.3))


def test_fixed_weights_without_variance_weighting():
    live = SceneFaceFusion(
        Scripted((0.5, 0.09)), Scripted((0.0, 0.01)), Finder(), use_variance_weighting=False, enable_stabilizer=False
    )
    assert live.predict_and_fuse(GREY).fused.valence == pytest.approx(0.3)


def test_without_a_face_the_scene_passes_through():
    live = SceneFaceFusion(Scripted((0.6, 0.09)), Scripted(), Finder(), enable_stabilizer=False)
    seen = live.predict_and_fuse(BLACK)
    assert (seen.fused.valence, seen.fused.variance[0]) == (0.6, 0.09)
    assert not seen.face.valid.any()
    assert seen.face_box is None
    assert np.isnan(seen.face_score)


def test_colours_arrive_in_the_order_of_rgb():
    scene = Scripted((0.1, 0.1))
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[..., 0] = 255  # blue, to OpenCV
    SceneFaceFusion(scene).predict_and_fuse(frame)
    np.testing.assert_array_equal(scene.seen[0][0, 0, 0], [0, 0, 255])


def test_the_cards_recalibrate_the_variances():
    card = {"variance_scale": [2.0, 4.0], "variance_floor": [0.01, 0.02]}
    seen = SceneFaceFusion(Scripted((0.1, 0.1), card=card)).predict_and_fuse(GREY)
    np.testing.assert_allclose(seen.scene.variance, [0.21, 0.42])


@pytest.mark.parametrize(
    ("fusion", "gate"),
    [
        (FusionConfig(min_face_score=0.95), "gate_score"),
        (FusionConfig(max_face_std=0.4), "gate_std"),
        (FusionConfig(min_luma=120), "gate_luma"),
    ],
)
def test_gates_leave_the_face_out(fusion, gate):
    live = SceneFaceFusion(Scripted((0.6, 0.09)), Scripted((-0.2, 0.25)), Finder(), fusion=fusion)
    seen = live.predict_and_fuse(GREY)
    assert seen.gates == (gate,)
    assert seen.raw.valence == 0.6
    assert seen.face.valence == -0.2


class TestStabilizer:
    X, V = [0.2, 0.3, 0.9, 0.25, 0.2], [0.05, 0.05, 0.6, 0.05, 0.05]

    def follow(self, **options):
        live = SceneFaceFusion(Scripted(*zip(self.X, self.V, strict=True)), **options)
        return live, [live.predict_and_fuse(GREY, i / 30) for i in range(5)]

    def test_the_gated_average_by_default(self):
        """Worked by hand; the third frame is held."""
        _, seen = self.follow()
        np.testing.assert_allclose([s.fused.valence for s in seen], [0.2, 0.27, 0.27, 0.256, 0.2168])
        np.testing.assert_allclose([s.raw.valence for s in seen], self.X)
        assert [s.held.any() for s in seen] == [False, False, True, False, False]

    def test_its_options(self):
        _, seen = self.follow(stabilizer_alpha=0.5, uncertainty_threshold=0.7)
        np.testing.assert_allclose([s.fused.valence for s in seen[:3]], [0.2, 0.25, 0.575])

    def test_switched_off(self):
        _, seen = self.follow(enable_stabilizer=False)
        np.testing.assert_allclose([s.fused.valence for s in seen], self.X)
        assert not any(s.held.any() for s in seen)

    def test_stability_over_the_window(self):
        _, seen = self.follow(stabilizer=StabilizerConfig(window=3))
        last = [0.27, 0.256, 0.2168]
        np.testing.assert_allclose(seen[-1].stability_variance, np.var(last))
        np.testing.assert_allclose(seen[-1].stability_jitter, np.abs(np.diff(last)).mean())
        assert np.isnan(seen[0].stability_jitter).all()

    def test_reset_forgets(self):
        live, _ = self.follow()
        live._scene.answers = [(0.9, 0.05)]
        live.reset()
        again = live.predict_and_fuse(GREY, 0.0)
        assert again.fused.valence == 0.9
        assert np.isnan(again.stability_variance).all()


def test_experts_that_do_not_go_together():
    with pytest.raises(ConfigError, match="go together"):
        SceneFaceFusion(Scripted(), face_expert=Scripted())
    with pytest.raises(ConfigError, match="give a scene_predictor"):
        SceneFaceFusion()


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_not_frames(frame):
    with pytest.raises(ValueError, match="uint8"):
        SceneFaceFusion(Scripted((0, 1))).predict_and_fuse(frame)


def test_a_clip_gives_the_numbers_of_the_batch_job(tmp_path):
    """A face that leaves half-way, through both ways with the embedded experts: equal to 1e-6."""
    from skimage.data import astronaut

    from emofuse.evaluation.evaluate_table import evaluate_table
    from emofuse.inference.decode import Decoder
    from emofuse.inference.predictor import Predictor

    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for i in range(6):
            view = astronaut()[40 * i : 40 * i + 256, 100:356]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")))
        out.mux(stream.encode())
    predict = InferenceConfig(compute=ComputeConfig(batch_size=4))
    options = EvaluationConfig(fusion=FusionConfig(min_face_score=0.1), stabilizer=StabilizerConfig(alpha=0.6))
    shown = list(enumerate(index_frames(path).timestamps.tolist()))
    manifest = pa.table(
        {
            "sample_id": [f"f{i}" for i, _ in shown],
            "uri": [path] * 6,
            "frame_index": [i for i, _ in shown],
            "timestamp": [t for _, t in shown],
            "sequence": ["clip"] * 6,
        }
    )
    columns = [manifest[f.name] if f.name in manifest.column_names else pa.nulls(6, f.type) for f in MANIFEST]
    predictor, decoder = Predictor(predict), Decoder(predict)
    predictions = predictor(decoder(pa.table(columns, schema=MANIFEST)))
    live = SceneFaceFusion.from_config(predict, options)
    cards = {"scene": live._scene.card, "face": live._face.card}
    rows = evaluate_table(with_metadata(predictions, experts=cards), options).fused.to_pylist()
    assert {row["status"] for row in rows} == {"ok", "no_face"}
    for row, frame in zip(rows, read_frames(path), strict=True):
        seen = live.predict_and_fuse(frame.rgb[:, :, ::-1], frame.timestamp)
        for i, axis in enumerate(("valence", "arousal")):
            for name, affect in (("fused", seen.raw), ("scene", seen.scene), ("face", seen.face)):
                for value, column in (
                    (affect.mean[i], f"{name}_{axis}"),
                    (affect.variance[i], f"{name}_{axis}_variance"),
                ):
                    expected = np.nan if row[column] is None else row[column]
                    np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=column)
            np.testing.assert_allclose(seen.fused.mean[i], row[f"smoothed_{axis}"], atol=1e-6)
            assert seen.held[i] == row[f"held_{axis}"]
        if row["face_box"] is None:
            assert seen.face_box is None
        else:
            np.testing.assert_array_equal(seen.face_box, row["face_box"])
