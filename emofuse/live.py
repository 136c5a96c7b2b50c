"""One frame at a time: both experts, their fusion and the stabilizer in a loop of one's own.

Every step is the one that the batch job takes, so a clip gives the same numbers here as there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from emofuse.affect import Affect
from emofuse.calibration import Calibration
from emofuse.calibration.served import constant_variance, known_together, served
from emofuse.config import EvaluationConfig, FusionConfig, InferenceConfig, StabilizerConfig
from emofuse.errors import ConfigError
from emofuse.fusion.gating import check_gate, gate
from emofuse.fusion.inputs import Fused
from emofuse.fusion.select import chosen_fusion, clamp, fuse
from emofuse.io.images import DecodedImage
from emofuse.io.malloc import reuse_memory
from emofuse.stabilizer import Window, make_stabilizer
from emofuse.stabilizer.tuned import with_tuned


class ScenePredictor(Protocol):
    """`emofuse.experts.head_expert.SceneExpert`, or anything that answers like it."""

    card: Any
    preprocessing: Any

    def __call__(self, images: np.ndarray) -> Affect:
        """Affect (B, 2) of what `preprocessing.apply` makes of images, stacked."""


class FacePredictor(Protocol):
    """What `emofuse.experts.face.expert.make_face_expert` gives, or anything that answers like it."""

    card: Any

    def __call__(self, crops: np.ndarray) -> Affect:
        """Affect (N, 2) of uint8 crops (N, 256, 256, 3)."""


class FaceProcessor(Protocol):
    """`emofuse.experts.face.finder.FaceFinder`, or anything that answers like it."""

    def __call__(self, rgb: np.ndarray, scale: float = 1.0) -> Any:
        """`FoundFaces` of one image, the main face first."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """What one frame says.

    Attributes:
        fused: (2,), the estimate to use: smoothed where the stabilizer is on (the table's `steady_*`), else as fused.
        raw: (2,), the fusion before the stabilizer (the table's `fused_*`).
        scene: (2,), the scene expert as it was fused, after its variance recalibration.
        face: (2,), the face expert likewise; not valid where there is no face.
        scene_weight: (2,), the scene's share in the fusion; NaN where nothing was fused.
        gates: names of the gates that shut the face out.
        held: bool (2,), where the stabilizer held the frame.
        stability_variance: (2,), variance of `fused` over the window.
        stability_jitter: (2,), mean absolute step of `fused` per frame over the window.
        face_box: [left, top, right, bottom] of the main face in pixels, or None.
        face_score: its detection score, NaN without a face.
        face_count: faces found.
    """

    fused: Affect
    raw: Affect
    scene: Affect
    face: Affect
    scene_weight: np.ndarray
    gates: tuple[str, ...]
    held: np.ndarray
    stability_variance: np.ndarray
    stability_jitter: np.ndarray
    face_box: list[float] | None
    face_score: float
    face_count: int


@dataclass(frozen=True, eq=False)
class _Sight:
    """What the experts alone make of a frame."""

    scene: Affect
    face: Affect
    luma: float
    face_box: list[float] | None
    face_score: float
    face_count: int


class SceneFaceFusion:
    """Scene and face, fused and smoothed, frame by frame.

    It keeps the state of one sequence and is not for several threads; call `reset` between sequences.

    Args:
        scene_predictor: the scene expert; None leaves the scene out.
        face_expert: the face expert, together with `face_processor`; None leaves faces out.
        face_processor: finds and crops faces.
        use_variance_weighting: weights by variance, as `fusion` names them; otherwise fixed ones, 0.6 for the scene.
        enable_stabilizer: steady the fused estimate.
        stabilizer_alpha: EMA weight of the new frame.
        uncertainty_threshold: frames whose fused variance exceeds it are held, per axis.
        fusion: further options of the fusion; its `method` gives way to `use_variance_weighting=False`.
        stabilizer: options of the stabilizer in place of the two above.
        calibration: corrections fitted on valid, in place of the experts' own cards.

    Raises:
        ConfigError: without any expert, or with a face expert or processor alone.
    """

    def __init__(
        self,
        scene_predictor: ScenePredictor | None = None,
        face_expert: FacePredictor | None = None,
        face_processor: FaceProcessor | None = None,
        *,
        use_variance_weighting: bool = True,
        enable_stabilizer: bool = True,
        stabilizer_alpha: float = 0.7,
        uncertainty_threshold: float = 0.4,
        fusion: FusionConfig | None = None,
        stabilizer: StabilizerConfig | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if (face_expert is None) != (face_processor is None):
            raise ConfigError("face_expert and face_processor go together: give both or neither")
        if scene_predictor is None and face_expert is None:
            raise ConfigError("give a scene_predictor, or a face_expert with its face_processor")
        self._scene, self._face, self._finder = scene_predictor, face_expert, face_processor
        asked = fusion or FusionConfig()
        self._fusion = chosen_fusion(
            asked if use_variance_weighting else replace(asked, method="fixed"),
            calibration.fusion if calibration else None,
        )
        self._calibration = calibration
        self._cards = {"scene": getattr(scene_predictor, "card", None), "face": getattr(face_expert, "card", None)}
        check_gate(self._fusion, constant_variance("face", self._cards, calibration))
        self._known = known_together(self._cards, calibration)
        options = stabilizer or StabilizerConfig(alpha=stabilizer_alpha, uncertainty_threshold=uncertainty_threshold)
        self._window_frames = options.window
        self._stabilizer = make_stabilizer(options) if enable_stabilizer else None
        self.reset()

    @classmethod
    def from_config(cls, predict: InferenceConfig, evaluate: EvaluationConfig | None = None) -> SceneFaceFusion:
        """The experts and options of a batch job.

        An image's numbers are those of the job at one batch shape; `compute.batch_size=1` is quicker
        here and differs by rounding.
        """
        from emofuse.experts.face.expert import make_face_expert
        from emofuse.experts.face.finder import FaceFinder
        from emofuse.experts.head_expert import SceneExpert

        reuse_memory()
        evaluate, tuned = with_tuned(evaluate or EvaluationConfig())
        calibration = Calibration.load(evaluate.calibration) if evaluate.calibration else None
        fusion = chosen_fusion(evaluate.fusion, calibration.fusion if calibration else None)
        with_face = predict.face.expert != "none"
        return cls(
            SceneExpert(predict.scene, predict.compute, predict.seed),
            make_face_expert(predict.face, predict.compute, predict.seed) if with_face else None,
            FaceFinder(predict.face, predict.compute) if with_face else None,
            fusion=replace(fusion, **tuned.gates) if tuned else fusion,
            stabilizer=evaluate.stabilizer,
            calibration=calibration,
        )

    def reset(self) -> None:
        """Forget the sequence."""
        if self._stabilizer is not None:
            self._stabilizer.reset()
        self._window = Window(self._window_frames)

    def predict_and_fuse(self, frame_bgr: np.ndarray, timestamp: float | None = None) -> Predicted:
        """One more frame of the sequence.

        Args:
            frame_bgr: uint8 (H, W, 3), upright, in OpenCV's order of colours.
            timestamp: seconds; None = one frame after the last at the stabilizer's frame rate.

        Raises:
            ValueError: if the frame is not of that form.
        """
        if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3 or not frame_bgr.size:
            raise ValueError(f"expected a frame uint8 (H, W, 3); got {frame_bgr.dtype} {frame_bgr.shape}")
        sight = self._look(np.ascontiguousarray(frame_bgr[:, :, ::-1]))
        scene, face = self._prediction("scene", sight.scene), self._prediction("face", sight.face)
        joined, gates = self._join(scene, face, sight)
        raw = Affect.of(clamp(joined.mean), joined.variance)
        fused, held = raw, np.zeros(2, dtype=bool)
        if self._stabilizer is not None:
            smoothed = self._stabilizer.update(raw.mean, raw.variance, timestamp)
            fused, held = Affect.of(clamp(smoothed.mean), smoothed.variance), self._stabilizer.held
        self._window.append(fused.mean)
        return Predicted(
            fused=fused,
            raw=raw,
            scene=scene,
            face=face,
            scene_weight=joined.weights[0],
            gates=gates,
            held=held,
            stability_variance=self._window.variance,
            stability_jitter=self._window.jitter,
            face_box=sight.face_box,
            face_score=sight.face_score,
            face_count=sight.face_count,
        )

    def _look(self, rgb: np.ndarray) -> _Sight:
        scene = face = Affect.missing()
        if self._scene is not None:
            scene = self._scene(self._scene.preprocessing.apply(rgb)[None])[0]
        luma = DecodedImage(rgb, rgb.shape[1], rgb.shape[0]).luma
        if self._face is None or self._finder is None:
            return _Sight(scene, face, luma, None, np.nan, 0)
        found = self._finder(rgb)
        if not found.count:
            return _Sight(scene, face, luma, None, np.nan, 0)
        main, each = found.faces[0], self._face(found.crops)
        face = each[0] if len(each) == 1 else _together(each, found.faces)
        return _Sight(scene, face, luma, [float(edge) for edge in main.box], float(main.score), found.count)

    def _prediction(self, name: str, affect: Affect) -> Affect:
        """An expert's answer as it is fused: calibrated, or else recalibrated by its card."""
        mean, variance, _ = served(name, affect.mean, affect.variance, self._cards, self._calibration)
        return Affect.of(mean, variance)

    def _join(self, scene: Affect, face: Affect, sight: _Sight) -> tuple[Fused, tuple[str, ...]]:
        shut = gate([sight.face_score], face.variance[None], [sight.luma], self._fusion)
        gates = tuple(name for name, closed in shut.items() if closed[0])
        mean = np.stack([scene.mean, np.full(2, np.nan) if gates else face.mean])
        return fuse(mean, np.stack([scene.variance, face.variance]), self._fusion, self._known), gates


def _together(each: Affect, faces: list[Any]) -> Affect:
    from emofuse.experts.face.expert import combine_faces

    return combine_faces(each, np.array([face.area for face in faces]))
