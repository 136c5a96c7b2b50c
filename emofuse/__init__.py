"""emofuse: distributed evaluation of valence and arousal from scenes and faces, on Ray.

Importing this package pulls in neither torch nor ray.
"""

from emofuse.affect import AXES, Affect
from emofuse.errors import CheckpointError, ConfigError, DataError, EmofuseError
from emofuse.scales import SCALES, Scale

__version__ = "0.1.0"

__all__ = [
    "AXES",
    "SCALES",
    "Affect",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EmofuseError",
    "Scale",
    "__version__",
]
