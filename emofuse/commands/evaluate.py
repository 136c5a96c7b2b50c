"""`emofuse evaluate`: manifest → predictions → fused → metrics → report."""

from __future__ import annotations

from dataclasses import dataclass, field

from emofuse.cli import refuse
from emofuse.config import (
    ComputeConfig,
    EvaluationConfig,
    FaceConfig,
    FusionConfig,
    InferenceConfig,
    MediaConfig,
    SceneConfig,
    Split,
    StabilizerConfig,
    StatisticsConfig,
)

DESCRIPTION = """Does adding the face to the scene make the estimate of valence and arousal better, by how much,
and how sure are we? Runs both experts over the images of a manifest, fuses them, and writes a run directory
with predictions, the fusion, metrics, comparisons and report.html. Without arguments: the demonstration
photographs, into runs/. The same command again goes on where it stopped, or says that all is done."""


@dataclass(frozen=True)
class Options:
    """Options of `emofuse evaluate`."""

    manifest: str | None = None
    """Manifest of `emofuse prepare`; by default the demonstration photographs."""
    out: str | None = None
    """Run directory, local or any fsspec address; by default a name below runs/ made of manifest and fingerprint."""
    predictions: str | None = None
    """Evaluate these stored predictions (a file, a run's predictions folder, or a run) anew, without any image."""
    local: bool = False
    """Run in this process, without Ray: the same stages, the same numbers."""
    address: str | None = None
    """Ray cluster to join; by default RAY_ADDRESS, else a cluster on this machine for this run."""
    split: Split = "held_out"
    """The rows that are evaluated: held_out = all that nothing was fitted on | one split | all."""
    calibration: str | None = None
    """A calibration.json of `emofuse calibrate`."""
    by: str | None = None
    """Columns of the manifest, separated by commas, whose values make subgroups: each is evaluated by itself."""
    seed: int = 0
    """Fixes dropout masks and augmentation scales."""
    media: MediaConfig = field(default_factory=MediaConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    stabilizer: StabilizerConfig = field(default_factory=StabilizerConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)

    @property
    def inference_config(self) -> InferenceConfig:
        """The options that can change a prediction."""
        return InferenceConfig(self.seed, self.media, self.scene, self.face, self.compute)

    @property
    def evaluation_config(self) -> EvaluationConfig:
        """The options that can change only the evaluation."""
        by = tuple(name.strip() for name in self.by.split(",")) if self.by else ()
        return EvaluationConfig(
            self.seed, self.split, self.calibration, by, self.fusion, self.stabilizer, self.statistics
        )


def main(options: Options) -> None:
    """Run the job and tell where the report is."""
    from emofuse.pipeline import evaluate, re_evaluate

    inference, evaluation = options.inference_config, options.evaluation_config
    if options.predictions is None:
        evaluate(
            options.manifest,
            out=options.out,
            inference=inference,
            evaluation=evaluation,
            local=options.local,
            address=options.address,
        )
        return
    unused = ("manifest", "address", "scene", "face", "compute")
    refuse(options, *unused, why="--predictions evaluates stored rows, and no image is predicted")
    re_evaluate(options.predictions, out=options.out, inference=inference, evaluation=evaluation)
