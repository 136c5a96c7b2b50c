"""emofuse: distributed evaluation of valence and arousal from scenes and faces, on Ray.

    import emofuse

    run = emofuse.evaluate("manifest.parquet", out="runs/first", local=True)
    run.read_metrics().to_pandas()

Importing this package pulls in neither torch nor ray; a name comes with its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emofuse.affect import AXES, Affect
from emofuse.config import (
    ComputeConfig,
    EvaluationConfig,
    FaceConfig,
    FusionConfig,
    InferenceConfig,
    MediaConfig,
    SceneConfig,
    StabilizerConfig,
    StatisticsConfig,
)
from emofuse.errors import CheckpointError, ConfigError, DataError, EmofuseError
from emofuse.scales import SCALES, Scale
from emofuse.version import __version__

if TYPE_CHECKING:
    from emofuse.calibration import Calibration
    from emofuse.live import SceneFaceFusion
    from emofuse.pipeline import evaluate, predict, re_evaluate
    from emofuse.runs.run import Run

__all__ = [
    "AXES",
    "SCALES",
    "Affect",
    "Calibration",
    "CheckpointError",
    "ComputeConfig",
    "ConfigError",
    "DataError",
    "EmofuseError",
    "EvaluationConfig",
    "FaceConfig",
    "FusionConfig",
    "InferenceConfig",
    "MediaConfig",
    "Run",
    "Scale",
    "SceneConfig",
    "SceneFaceFusion",
    "StabilizerConfig",
    "StatisticsConfig",
    "__version__",
    "evaluate",
    "predict",
    "re_evaluate",
]

_HOMES = {
    "Calibration": "emofuse.calibration",
    "Run": "emofuse.runs.run",
    "SceneFaceFusion": "emofuse.live",
    "evaluate": "emofuse.pipeline",
    "predict": "emofuse.pipeline",
    "re_evaluate": "emofuse.pipeline",
}
"""Names whose modules are loaded when they are first used."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
