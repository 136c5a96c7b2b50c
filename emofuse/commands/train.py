"""`emofuse train`: a manifest's images → features → a head with its card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from emofuse.affect import AXES
from emofuse.cli import refuse
from emofuse.config import ComputeConfig, FaceConfig, MediaConfig, TrainingConfig
from emofuse.errors import ConfigError
from emofuse.io.addresses import is_remote
from emofuse.runs.run import check_output

if TYPE_CHECKING:
    from emofuse.training.plan import TrainPlan

DESCRIPTION = """Train a head on a backbone's features of a manifest's images, for `emofuse evaluate --scene.head`, or
on their faces, for --face.checkpoint. Writes head.safetensors with its card, and how it was trained."""


@dataclass(frozen=True)
class Options:
    """Options of `emofuse train`."""

    manifest: str
    """The manifest of `emofuse prepare`, with labels."""
    out: str
    """The run directory; head.safetensors goes there."""
    backbone: str = "embedded"
    """embedded | timm:NAME | open_clip:NAME (as in open_clip:ViT-B-32)."""
    weights: str | None = None
    """A weights file, or a pretrained tag of the backbone's hub; none for the embedded backbone."""
    preprocessing: Literal["own", "squash", "crop"] = "own"
    """The backbone's own, or its own with another geometry."""
    expert: Literal["scene", "face"] = "scene"
    """Train on whole images, or on their main faces."""
    split: Literal["train", "all"] = "train"
    """Fit on the train split, or on all labelled rows (for shipping; held-out figures then come from folds alone)."""
    licence: str = "as the training data"
    """The licence note of the card."""
    cache: Path | None = None
    """Folder of cached features; by default OUT/features."""
    seed: int = 0
    """Fixes everything that is drawn."""
    tune: bool = False
    """Search rate, weight decay, dropout and head with Ray Tune first."""
    trials: int | None = None
    """With --tune: how many trials; by default 24."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def plan(self) -> TrainPlan:
        """These options as the training takes them."""
        from emofuse.training.plan import TrainPlan

        return TrainPlan(
            expert=self.expert,
            backbone=self.backbone,
            weights=self.weights,
            preprocessing=self.preprocessing,
            rows=self.split,
            licence=self.licence,
            seed=self.seed,
            training=self.training,
            media=self.media,
            face=self.face,
            compute=self.compute,
        )


def main(options: Options) -> None:
    """Train, telling each epoch, and say what was reached."""
    console = Console()

    def on_epoch(row: dict[str, Any]) -> None:
        numbers = ", ".join(
            f"{key} {row[key]:.4g}" for key in ("train_loss", "valid_loss", "mae_valence", "mae_arousal")
        )
        console.print(f"{row['phase']} epoch {row['epoch']}: {numbers}", highlight=False)

    if is_remote(options.out):
        raise ConfigError(f"training writes to a local or shared folder, not to {options.out}")
    out = Path(check_output(options.out))
    if options.cache is not None and options.cache.exists() and not options.cache.is_dir():
        raise ConfigError(f"--cache names a folder, and {options.cache} is a file")
    if not options.tune:
        refuse(options, "trials", why="there are no trials without --tune")
    if options.expert == "scene":
        refuse(options, "face", why="no face is sought with --expert scene")
    trials = 24 if options.trials is None else options.trials
    if trials < 1:
        raise ConfigError(f"--trials must be at least 1; got {trials}")
    from emofuse.training.run import train

    searcher = None
    if options.tune:
        from emofuse.tuning.learning_rate import Searcher

        searcher = Searcher(trials, out)
    record = train(
        options.manifest, options.plan(), out, cache=options.cache, searcher=searcher, on_epoch=on_epoch
    )  # fmt: skip
    console.print(table_of(record))
    console.print(f"{out / 'head.safetensors'}", highlight=False)


def table_of(record: dict[str, Any]) -> Table:
    """What a run reached, for the terminal."""
    counts = record["counts"]
    title = f"{counts['train']} rows to train, {counts['valid']} to stop by; {record['served']} head"
    table = Table(title=title, min_width=60)
    for name in ("held out", "axis", "Pearson r", "CCC", "MAE"):
        table.add_column(name)
    for part in ("out_of_fold", "valid"):
        for axis in AXES if record["metrics"][part] else ():
            row = record["metrics"][part][axis]
            table.add_row(part.replace("_", " "), axis, *(f"{row[key]:.3f}" for key in ("pearson", "ccc", "mae")))
    return table
